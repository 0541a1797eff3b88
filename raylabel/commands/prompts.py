"""``raylabel prompts``: the text a model is asked."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from raylabel.commands import Command, add_plugins
from raylabel.commands.run import load
from raylabel.errors import ConfigError, printable

if TYPE_CHECKING:
    from raylabel.profiles import Profile
    from raylabel.runtime.first_questions import Asked

_WIDTH, _HEIGHT = 1280, 720
"""Of the image in the example, for models that write boxes in pixels."""
_ALL = "all"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="CONFIG key=value | STEP",
        help="a specification: what is asked about its first record; or a step: its question, where what is filled in "
        "for each record is left open; without either, the steps are listed",
    )
    parser.add_argument(
        "--step", action="append", default=[], metavar="STEP", help="of a specification, this step only"
    )
    parser.add_argument(
        "--profile",
        metavar="NAME",
        help="in the words of this family (as in vlm.profile), or of the family of a model; all: of every family",
    )
    parser.add_argument(
        "--template", action="store_true", help="the question with all its placeholders, to start a prompt_file from"
    )
    add_plugins(parser)


def _prompts(options: argparse.Namespace) -> int:
    from raylabel.pipelines import all_steps
    from raylabel.settings import use_plugins

    words = options.overrides
    if any("=" in word or Path(word).suffix in (".yaml", ".yml") or Path(word).is_file() for word in words):
        return _prompts_of_specification(options)
    use_plugins(options.plugins)
    names = [*words, *options.step]
    if not names:
        for name, step in all_steps().items():
            print(f"{name}: {(step.__doc__ or '').splitlines()[0]}")
        return 0
    if len(names) > 1:
        raise ConfigError(f'"{names[1]}": give one step, or a specification with --step for each.')
    return _prompt_of_step(names[0], options.profile, template=options.template)


# --- a step ---------------------------------------------------------------------------------------------------------


def _prompt_of_step(name: str, profile_name: str | None, *, template: bool) -> int:
    from raylabel.geometry import View
    from raylabel.pipelines import all_steps
    from raylabel.profiles import UNKNOWN
    from raylabel.prompts.boxes import box_values
    from raylabel.records import Size

    steps = all_steps()
    _check_step(name, list(steps))
    profile = UNKNOWN if profile_name is None else _profile(profile_name)
    prompt = steps[name].prompt_for(profile)
    if template:
        print(prompt.text.strip())
        return 0
    size = Size(_WIDTH, _HEIGHT)
    question = Template(prompt.text).safe_substitute(box_values(profile, View(size, size))).strip()
    print("\n\n".join(part for part in (prompt.preamble, f"<image, {_WIDTH}x{_HEIGHT}>", question) if part))
    return 0


def _check_step(name: str, known: Sequence[str]) -> None:
    from raylabel.settings import did_you_mean

    if name not in known:
        raise ConfigError(f'no step "{name}"; known: {", ".join(known)}.{did_you_mean(name, known)}')


def _profile(name: str) -> Profile:
    from raylabel.profiles import PROFILES, profile_for, profile_named
    from raylabel.settings import did_you_mean

    found = profile_named(name) or profile_for([name])
    if found is None:
        names = [profile.name for profile in PROFILES]
        raise ConfigError(
            f'--profile: no family "{name}", and none that a model of this name belongs to; known: {", ".join(names)}.'
            f"{did_you_mean(name, names)}"
        )
    return found


# --- a specification ------------------------------------------------------------------------------------------------


def _prompts_of_specification(options: argparse.Namespace) -> int:
    from raylabel.profiles import PROFILES, UNKNOWN
    from raylabel.runtime.first_questions import first_questions

    if options.template:
        raise ConfigError("--template shows a question without a record; give a step in place of the specification.")
    settings = load(options, "prompts")
    selected = [step.name for step in settings.selected_steps]
    for name in options.step:
        _check_step(name, selected)
    wanted: list[Profile] = []
    if options.profile is not None:
        wanted = [*PROFILES, UNKNOWN] if options.profile == _ALL else [_profile(options.profile)]
    for asked in first_questions(settings, options.step or selected, wanted):
        _show(asked)
    return 0


def _show(asked: Asked) -> None:
    print(f"=== {asked.step}, {', '.join(asked.models)} ===")
    if asked.supposed:
        print(f"(not found yet, and supposed here: {', '.join(asked.supposed)})")
    if isinstance(asked.questions, str):
        print(f"nothing: {asked.questions}\n")
        return
    picture = f"<{asked.image_path}, {asked.sent.width}x{asked.sent.height}>"
    for question in asked.questions:
        parts = (question.preamble, picture, question.text)
        print("\n\n".join("\n".join(map(printable, part.split("\n"))) for part in parts if part) + "\n")


PROMPTS = Command(
    "prompts",
    "show what a model is asked: about the first record of a specification, or in a step",
    "raylabel prompts config.yaml --step grounding",
    _add_arguments,
    _prompts,
    "raylabel prompts [-h] [-v] [--step STEP] [--profile NAME] [--template] [--plugin P] "
    "[CONFIG [key=value ...] | STEP]",
)
