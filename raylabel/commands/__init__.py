"""One file a command: what it is for, what it takes, what it does.

A command's file is imported for every ``--help``, so what it needs for its work is imported where it works.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A word of the command line.

    Args:
        name: as typed.
        purpose: what it does, for the list of commands and its own help; lower case, without a full stop.
        example: one line as typed.
        add_arguments: declares what it takes.
        run: does it; returns the exit code.
        usage: where argparse's own line would say less than is known.
    """

    name: str
    purpose: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    usage: str | None = None


def add_pilot(parser: argparse.ArgumentParser) -> None:
    """``--limit N``, ``--sample N`` and ``--seed S``."""
    parser.add_argument("--limit", type=positive, metavar="N", help="the first N records only: a pilot")
    parser.add_argument(
        "--sample",
        type=positive,
        metavar="N",
        help="N records at random only: a pilot that tells what the others will take",
    )
    add_seed(parser)


def add_seed(parser: argparse.ArgumentParser) -> None:
    """``--seed S``."""
    parser.add_argument("--seed", type=whole, metavar="S", help="of the random sample; the same one, the same records")


def add_yes(parser: argparse.ArgumentParser) -> None:
    """``--yes``."""
    parser.add_argument(
        "--yes", action="store_true", help="ask again about settled records, however many (limits.confirm_requests)"
    )


def add_progress(parser: argparse.ArgumentParser) -> None:
    """``--progress``."""
    parser.add_argument(
        "--progress",
        choices=("rich", "plain", "json", "none"),
        help="how the run is shown: a live table, lines for logs, a JSON object a second on standard output (all else "
        "goes to standard error then), or not at all; default: rich on a terminal, plain elsewhere",
    )


def add_plugins(parser: argparse.ArgumentParser) -> None:
    """``--plugin FILE|NAME``."""
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        dest="plugins",
        metavar="FILE|NAME",
        help="steps of your own beside those that the specification names: a Python file, or an installed plugin; may "
        "be given again",
    )


def add_writing(parser: argparse.ArgumentParser) -> None:
    """``--replace``, ``--quiet`` and ``--exit-zero``."""
    parser.add_argument(
        "--replace",
        action="store_true",
        help="write over results of other data or another pipeline, and over edited files (which are kept)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print the result and what is wrong, nothing else")
    parser.add_argument(
        "--exit-zero",
        action="store_true",
        help="end with 0 instead of 3 where records are left open: for schedulers to which any other code is a failure",
    )


def positive(text: str) -> int:
    """An argument that is a whole number of 1 or more."""
    return _number(text, 1)


def whole(text: str) -> int:
    """An argument that is a whole number of 0 or more."""
    return _number(text, 0)


def _number(text: str, least: int) -> int:
    if not text.isdecimal() or len(text) > 18 or int(text) < least:
        raise argparse.ArgumentTypeError(f'found "{text[:100]}", allowed: a whole number of {least} or more')
    return int(text)
