"""``raylabel init``: a recipe as a specification of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path

from raylabel.commands import Command
from raylabel.errors import ConfigError

_FOLDER = Path(__file__).parents[1] / "recipes"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="its name; without one, the recipes are listed")
    parser.add_argument("file", nargs="?", metavar="FILE", help="to write; default: RECIPE.yaml in this folder")


def _init(options: argparse.Namespace) -> int:
    known = recipes()
    if options.recipe is None:
        width = max(map(len, known))
        for name, recipe in known.items():
            print(f"{name:{width}}  {_purpose(recipe.read_text(encoding='utf-8'))}")
        print('\n"raylabel init RECIPE [FILE]" writes one.')
        return 0
    name = _name(options.recipe)
    if name not in known:
        from raylabel.settings import did_you_mean

        raise ConfigError(f'no recipe "{options.recipe}"; known: {", ".join(known)}.{did_you_mean(name, list(known))}')
    path = Path(options.file or f"{name}.yaml")
    text = known[name].read_text(encoding="utf-8").replace(f"configs/{known[name].name}", str(path))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f'FILE: "{path}" exists and is kept; give another name: raylabel init {name} FILE.') from None
    except OSError as error:
        raise ConfigError(f'FILE: cannot write "{path}": {error.strerror}.') from None
    questions = 'answer the lines with "?" in it, then: ' if "? " in text else ""
    print(f"{path}\nNext: {questions}raylabel check {path}")
    return 0


def recipes() -> dict[str, Path]:
    """The recipes that come with raylabel, by the names they are asked for by."""
    return {_name(file.name): file for file in sorted(_FOLDER.glob("*.yaml"))}


def _name(text: str) -> str:
    """A recipe by any of its spellings.

    >>> _name("gemini_image_grounding.yaml"), _name("gemini-grounding")
    ('gemini-grounding', 'gemini-grounding')
    """
    return text.removesuffix(".yaml").replace("_", "-").replace("-image-grounding", "-grounding")


def _purpose(text: str) -> str:
    """The first sentence of what a recipe says of its data, and that of its endpoint."""
    data, endpoint = text.partition("\n#\n")[2].splitlines()[:2]
    return f"{data.removeprefix('# ')} {endpoint.removeprefix('# ').partition('. ')[0].rstrip('.:')}."


INIT = Command(
    "init",
    "write a recipe (a short, commented specification for an endpoint and a pipeline) to start from",
    "raylabel init gemini-grounding",
    _add_arguments,
    _init,
)
