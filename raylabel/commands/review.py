"""``raylabel review``: the results of a run to look at and to judge, and the judgements back into the store."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from raylabel.commands import Command, positive
from raylabel.errors import ConfigError, InputError, printable

if TYPE_CHECKING:
    from raylabel.review.reading import Reviewed

_EVERY = 500
"""Records between two words about how far it is."""
_WISHES = ("failed", "flagged", "rejected")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results_dir of a run; it may be at work")
    parser.add_argument("--png", action="store_true", help="draw contact sheets instead of a gallery")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: RESULTS/review")
    parser.add_argument("--only", choices=_WISHES, help="records that failed, have flags, or had anything rejected")
    parser.add_argument("--sample", type=positive, metavar="N", help="N records at random, always the same ones")
    parser.add_argument(
        "--apply", type=Path, metavar="FILE", help="store the judgements that a gallery was left with; draw nothing"
    )
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        dest="plugins",
        metavar="FILE|NAME",
        help="the plugin of the run, to show its questions and replies, too; nothing else needs it",
    )


def _review(options: argparse.Namespace) -> int:
    if not options.results.is_dir():
        raise ConfigError(f'RESULTS: no folder "{options.results}"; give the results_dir of a run.')
    drawing = [name for name in ("png", "out", "only", "sample") if getattr(options, name)]
    if options.apply and drawing:
        raise ConfigError(f"--apply stores judgements and draws nothing; leave out --{drawing[0]}.")
    from raylabel.review.reading import open_results
    from raylabel.settings import use_plugins

    use_plugins(options.plugins)
    reviewed = open_results(options.results)
    if options.apply:
        return _apply(reviewed, options.apply, options.results)
    reviewed = reviewed.only(options.only, options.sample)
    out = options.out or options.results / "review"
    try:
        if options.png:
            from raylabel.review.sheets import draw_sheets

            for path in draw_sheets(reviewed, out):
                print(printable(str(path)))
        else:
            from raylabel.review.gallery import write_gallery

            print(printable(str(write_gallery(reviewed, out, _say_how_far))))
    except OSError as error:
        raise InputError(f"--out: {out} cannot be written ({error.strerror or error})") from error
    return 0


def _say_how_far(records: int) -> None:
    if records % _EVERY == 0:
        print(f"{records:,} records ...", file=sys.stderr)


def _apply(reviewed: Reviewed, file: Path, results: Path) -> int:
    from raylabel.review.applying import apply_judgements

    applied = apply_judgements(reviewed, file)
    words = {"accept": "accepted", "reject": "rejected", "flag": "flagged", "none": "without a verdict"}
    for name, counts in (("record", applied.records), ("box", applied.boxes)):
        if counts:
            plural = {"record": "records", "box": "boxes"}[name] if counts.total() != 1 else name
            each = ", ".join(f"{counts[word]} {said}" for word, said in words.items() if counts[word])
            print(f"{counts.total()} {plural} judged: {each}")
    if applied.outdated:
        print(f"{applied.outdated} left out: about labels that are others by now, or not in {printable(str(results))}")
    if applied.records or applied.boxes:
        print("raylabel run CONFIG writes the result files anew, without a request for this")
    if applied.records["reject"]:
        print("raylabel retry CONFIG --rejected asks the rejected records again")
    if not applied.records and not applied.boxes:
        print("nothing stored")
    return 0


REVIEW = Command(
    "review",
    "show the results of a run to look at and judge: a gallery that opens from disk, or contact sheets",
    "raylabel review results",
    _add_arguments,
    _review,
)
