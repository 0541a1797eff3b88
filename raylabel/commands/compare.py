"""``raylabel compare``: two results held against each other."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from raylabel.commands import Command, positive, whole
from raylabel.errors import ConfigError, InputError, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raylabel.evaluation.truth.values import Truth
    from raylabel.review.statistics import Section

_WORST = 500
_COLUMNS = 100
_EVERY = 5000
"""Records between two words about how far it is."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", type=Path, metavar="A", help="results_dir of a run")
    parser.add_argument("b", type=Path, metavar="B", help="that of another, with another model, prompt or setting")
    parser.add_argument("--truth", metavar="FILE|DIR", help="what is true of the images, as for eval: is one better?")
    parser.add_argument("--truth-format", metavar="F", help="of it, as for eval; default: what it seems to be")
    parser.add_argument(
        "--match",
        choices=("auto", "text", "region"),
        default="auto",
        help="what is laid beside the truth: phrases of equal words, or all boxes of an image (default: as for eval)",
    )
    parser.add_argument(
        "--unanswered",
        choices=("wrong", "left-out"),
        default="wrong",
        help="what is true of a record that failed in one result is missed there (default), or is not judged in either",
    )
    parser.add_argument("--seed", type=whole, default=0, metavar="S", help="of the draws behind the intervals")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--review", type=Path, metavar="DIR", help="write what differs as a gallery of both, the worst first"
    )
    parser.add_argument("--worst", type=positive, default=_WORST, metavar="N", help=f"records in it; default: {_WORST}")


def _compare(options: argparse.Namespace) -> int:
    for name in ("a", "b"):
        if not (folder := getattr(options, name)).is_dir():
            raise ConfigError(f'{name.upper()}: no folder "{folder}"; give the results_dir of a run.')
    from raylabel.evaluation.comparing import compare
    from raylabel.evaluation.comparison_report import sections_of, to_json
    from raylabel.evaluation.disagreements import write_disagreements
    from raylabel.review.reading import open_results

    a, b = open_results(options.a), open_results(options.b)
    made = compare(
        a,
        b,
        _truth(options),
        match=options.match,
        unanswered=options.unanswered,
        worst=options.worst if options.review else 0,
        seed=options.seed,
        progress=_say_how_far,
    )
    if not made.matched.total():
        raise InputError(
            f"{options.a} and {options.b}: no record of the one is in the other, neither by record_id nor by image "
            f"(image_id and name of the file): {made.a.alone} and {made.b.alone} records"
        )
    sections = sections_of(made)
    if options.json:
        print(json.dumps(to_json(made), indent=2))  # ASCII: no phrase steers a terminal
    else:
        _show(sections)
    if options.review and made.worst:
        try:
            page = write_disagreements(made, a, options.review, sections)
        except OSError as error:
            raise InputError(f"--review: {options.review} cannot be written ({error.strerror or error})") from error
        print(printable(str(page)), file=sys.stderr if options.json else sys.stdout)
    elif options.review:
        print("no record differs: nothing to review", file=sys.stderr if options.json else sys.stdout)
    return 0


def _truth(options: argparse.Namespace) -> Truth | None:
    if not options.truth:
        return None
    from raylabel.evaluation.truth.formats import read_truth

    return read_truth(options.truth, options.truth_format)[0]


def _say_how_far(records: int) -> None:
    if records % _EVERY == 0:
        print(f"{records:,} records ...", file=sys.stderr)


def _show(sections: Sequence[Section]) -> None:
    for section in sections:
        print(printable(section.title))
        if section.note:
            print(textwrap.fill(printable(section.note), _COLUMNS, initial_indent="  ", subsequent_indent="  "))
        table = [[printable(cell) for cell in row] for row in (section.head, *section.rows)]
        widths = [max(len(row[n]) for row in table) for n in range(len(section.head))]
        for row in table:
            cells = [
                cell.ljust(width) if n == 0 else cell.rjust(width)
                for n, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            print(f"  {'  '.join(cells)}".rstrip())
        print()


COMPARE = Command(
    "compare",
    "hold two results against each other: agreement, what only one found, cost, and by a truth which is better",
    "raylabel compare results/one_model results/another --truth truth.jsonl --review differences",
    _add_arguments,
    _compare,
)
