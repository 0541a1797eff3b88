"""``raylabel estimate``: a random sample is labeled for good, and tells what the others will take."""

from __future__ import annotations

import argparse

from raylabel.commands import Command, add_plugins, add_progress, add_seed, add_writing, add_yes, positive
from raylabel.commands.run import load, run_settings, sample_of

_SAMPLE = 20
"""Records; what they say of the others is some 10 to 20 % wide, and of more records not much narrower."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="CONFIG key=value",
        help="as for run, which goes on from here; what is answered is stored and never asked again",
    )
    parser.add_argument(
        "--sample", type=positive, default=_SAMPLE, metavar="N", help=f"records to label; default: {_SAMPLE}"
    )
    add_seed(parser)
    add_yes(parser)
    add_progress(parser)
    add_writing(parser)
    parser.set_defaults(limit=None)
    add_plugins(parser)


def _estimate(options: argparse.Namespace) -> int:
    return run_settings(
        load(options, "estimate"),
        sample=sample_of(options),
        confirmed=options.yes,
        replace=options.replace,
        quiet=options.quiet,
        progress=options.progress,
    )


ESTIMATE = Command(
    "estimate",
    "label a random sample and say what requests, tokens, time and money the rest will take",
    "raylabel estimate config.yaml --sample 50",
    _add_arguments,
    _estimate,
    "raylabel estimate [-h] [-v] [-q] [--sample N] [--seed S] [--yes] [--replace] [--progress KIND] [--exit-zero] "
    "[--plugin P] CONFIG [key=value ...]",
)
