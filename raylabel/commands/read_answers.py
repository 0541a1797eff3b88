"""``raylabel read-answers``: what raylabel makes of answers one has."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from raylabel.commands import Command
from raylabel.errors import InputError, printable


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "answers",
        metavar="FILE",
        help='JSON lines with "raw" (the text of an answer), "convention" {"order", "scale"}, "image_width", '
        '"image_height", "model_width", "model_height", "asked", "id"; - reads standard input',
    )


def _read_answers(options: argparse.Namespace) -> int:
    from raylabel.review.answers import read_answer_lines
    from raylabel.storage.regular import open_regular

    path = Path(options.answers)
    if options.answers == "-":
        return _show(read_answer_lines(sys.stdin.buffer, "standard input"))
    try:
        with open_regular(path) as lines:
            return _show(read_answer_lines(lines, str(path)))
    except OSError as error:
        raise InputError(
            f'FILE: cannot read "{path}": {error.strerror or error}; give a file of JSON lines, or -.'
        ) from None


def _show(results: Iterable[dict[str, Any] | InputError]) -> int:
    code = 0
    plain = sys.stdout.encoding.casefold() not in ("utf-8", "utf8")
    for result in results:
        if isinstance(result, InputError):
            print(f"raylabel: {printable(str(result))}", file=sys.stderr)
            code = 2
        else:
            line = json.dumps(result, ensure_ascii=plain)
            print(line if line.isprintable() else json.dumps(result))
    return code


READ_ANSWERS = Command(
    "read-answers",
    "show what is read from models' answers: one JSON line in, one JSON line out",
    "raylabel read-answers answers.jsonl",
    _add_arguments,
    _read_answers,
)
