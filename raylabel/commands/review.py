"""``raylabel review``: the results of a run, drawn."""

from __future__ import annotations

import argparse
from pathlib import Path

from raylabel.commands import Command
from raylabel.errors import ConfigError


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results_dir of a run")
    parser.add_argument("--png", action="store_true", help="draw contact sheets")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: RESULTS/review")


def _review(options: argparse.Namespace) -> int:
    if not options.png:
        raise ConfigError('nothing to draw: write "raylabel review RESULTS --png".')
    if not options.results.is_dir():
        raise ConfigError(f'RESULTS: no folder "{options.results}"; give the results_dir of a run.')
    from raylabel.review.sheets import write_contact_sheets

    for path in write_contact_sheets(options.results, options.out or options.results / "review"):
        print(path)
    return 0


REVIEW = Command(
    "review",
    "draw the results of a run: images with boxes, phrases and outcomes",
    "raylabel review results --png",
    _add_arguments,
    _review,
)
