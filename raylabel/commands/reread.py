"""``raylabel reread``: the stored replies are read again, without a request."""

from __future__ import annotations

import argparse

from raylabel.commands import Command, add_plugins, add_progress, add_writing
from raylabel.commands.run import console_of, load


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="CONFIG key=value",
        help="the specification of the run, and settings that win over it: rules may be others, questions not",
    )
    add_progress(parser)
    add_writing(parser)
    add_plugins(parser)


def _reread(options: argparse.Namespace) -> int:
    from raylabel.runtime import process
    from raylabel.runtime.in_process import InProcess
    from raylabel.runtime.run import run

    settings = load(options, "reread")
    settings.pipeline.workflow.force_reprocess = False  # that is about asking
    process.set_up()
    return run(
        settings,
        InProcess(),
        console=console_of(options.progress),
        reread=True,
        replace=options.replace,
        quiet=options.quiet,
        progress=options.progress,
    )


REREAD = Command(
    "reread",
    "read the stored replies of a run again, after a change of reader or rules, without a request",
    "raylabel reread config.yaml double_check.adjust=apply",
    _add_arguments,
    _reread,
    "raylabel reread [-h] [-v] [-q] [--replace] [--progress KIND] [--exit-zero] [--plugin P] CONFIG [key=value ...]",
)
