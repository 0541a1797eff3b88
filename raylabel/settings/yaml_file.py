"""A specification file read as YAML, and what its author should look at where it is none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from raylabel.errors import ConfigError
from raylabel.settings.files import TEXT_LIMIT_BYTES, near_file
from raylabel.storage.regular import read_up_to

_EXPECTED = 'expected YAML such as "results_dir: results"'
_VALUE = re.compile(r"\s*(?:- +|[^\s#:][^#:]*: +)(?P<value>\S)")
"""A line with a key (or a dash), and where its value begins."""
_STARTS_WITH_A_SIGN = (
    "cannot start any token",
    "expected alphabetic or numeric",
    "constructor for the tag '!",
    "undefined alias",
)
"""What libyaml says of values that begin with a sign of YAML's own."""


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a file, interpolations as they stand; empty where it holds none.

    Raises:
        ConfigError: it cannot be read, or is not YAML; what is in its lines is not shown, as it may be a key.
    """
    try:
        with path.open("rb") as stream:  # also a pipe, as "<(...)" of a shell is one
            text = read_up_to(stream, TEXT_LIMIT_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file (looked in {Path.cwd()}).{near_file(path)}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: found a folder, expected a YAML file.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}), expected a YAML file.") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}.") from None
    if what := _other_format(text):
        raise ConfigError(f"{path}: {what}")
    try:
        content = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{path}{_mistake(error, text.splitlines())}") from None
    except ValueError:
        raise ConfigError(f"{path}: a number in it has too many digits to be read.") from None
    except yaml.YAMLError:
        raise ConfigError(f"{path}: not valid YAML (a control character, perhaps).") from None
    except AssertionError:  # OmegaConf's, of a file that is one number
        content = None
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {unreadable_interpolation(error)}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: found no keys, {_EXPECTED}.")
    return {str(key): value for key, value in content.items()}


def unreadable_interpolation(error: OmegaConfBaseException) -> ConfigError:
    """The error for a ``${`` that OmegaConf cannot parse."""
    return ConfigError(f'{error.full_key or "?"}: "${{" without a readable interpolation; write \\${{ for the text.')


# --- other formats --------------------------------------------------------------------------------------------------


def _other_format(text: str) -> str | None:
    """That a file is of another kind; None where it may be YAML."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        return None
    if _is_json_object(lines[0]) and (len(lines) > 1 or '"image_path"' in lines[0]):
        return (
            f"holds JSON lines, {_EXPECTED}; is it the input? Then name it in a specification or behind it, "
            "as image_grounding.data.input_jsonl=FILE."
        )
    if re.match(r"\[+[\w.\"-]+\]+\s*(#|$)", lines[0]) or re.match(r"\s*[\w.-]+\s*=", lines[0]):
        return f'written as "key = value" (TOML, perhaps), {_EXPECTED}, with blocks by indentation.'
    if re.match(r"[{\[\"'&*!|>?-]", lines[0]) or any(re.search(r":(\s|$)", line) for line in lines):
        return None
    if re.match(r"[\w.]+:\S", lines[0]):
        return 'a space is missing behind each ":", ' + _EXPECTED + "."
    return f"found text without keys, {_EXPECTED}."


def _is_json_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


# --- mistakes -------------------------------------------------------------------------------------------------------


def _mistake(error: yaml.MarkedYAMLError, lines: Sequence[str]) -> str:
    """Where and what: the parser names the place where it could not go on, which is often a line below the mistake."""
    problem, mark = error.problem or error.context or "", error.problem_mark or error.context_mark
    if mark is None:
        return f": not valid YAML: {problem}."
    begun = min((error.context_mark or mark).line, len(lines) - 1)
    found = next(_likely(problem, lines, min(mark.line, len(lines) - 1), mark.column, begun), None)
    if found is None:
        return f", line {mark.line + 1}, column {mark.column + 1}: not valid YAML: {problem}."
    return f", line {found[0] + 1}: {found[1]}{'' if found[1].endswith('?') else '.'}"


def _likely(problem: str, lines: Sequence[str], at: int, column: int, begun: int) -> Iterator[tuple[int, str]]:
    """Mistakes that give this problem, each with its line; the likeliest first.

    Args:
        problem: in the words of libyaml.
        at, column: where it gave up.
        begun: the line where the thing began that it was in.
    """
    line = lines[at]
    value = _VALUE.match(line)
    if re.match(r" *\t", line):
        yield at, "a tab; indent with spaces"
    if value and value["value"] in "@`%*&!" and any(words in problem for words in _STARTS_WITH_A_SIGN):
        yield at, f'put the value in quotes, because it begins with "{value["value"]}"'
    if "mapping values" in problem:
        if value and value.start("value") < column:
            yield at, 'put the value in quotes, because it holds ": "'
        yield from _in_the_line_above(lines, at)
    if "expected ':'" in problem:
        yield begun, _without_colon(lines[begun])
    if problem == "found unexpected end of stream":
        yield begun, "a quote that is not closed"
    if "expected ','" in problem:
        yield begun, f'"{problem[-2]}" is missing, or a comma before line {at + 1}'
    if "node content" in problem and at == len(lines) - 1:
        yield at, 'the file ends before a "[" or "{" is closed'
    if problem == "did not find expected key" and line[:column].strip():
        yield at, "text behind a closing quote or bracket; is a quote missing, here or above?"
    if problem == "did not find expected key":
        yield at, f"indented by {column} spaces as no line above; begin it in the same column as its neighbours"


def _in_the_line_above(lines: Sequence[str], at: int) -> Iterator[tuple[int, str]]:
    """A line with a key and a colon was taken for the rest of a value, so that the mistake is where that began."""
    above = next((n for n in range(at - 1, -1, -1) if lines[n].strip() and not lines[n].lstrip().startswith("#")), None)
    if above is not None and not re.search(r":(\s|$)", lines[above]):
        yield above, _without_colon(lines[above])
    elif above is not None and _indentation(lines[at]) > _indentation(lines[above]):
        yield at, f"indented more than line {above + 1}, which has a value; begin both in the same column"


def _without_colon(line: str) -> str:
    if re.match(r"\s*[\w.]+:\S", line):
        return 'write a space behind the ":"'
    return 'expected "key: value"; is a colon missing?'


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
