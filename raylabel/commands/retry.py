"""``raylabel retry``: records of the work list are asked again, and no others."""

from __future__ import annotations

import argparse

from raylabel.commands import Command, add_plugins, add_progress, add_writing
from raylabel.commands.run import load, run_settings
from raylabel.errors import ConfigError


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="CONFIG key=value",
        help="the specification of the run, and settings that win over it",
    )
    parser.add_argument(
        "--reason",
        action="append",
        default=[],
        metavar="TEXT",
        help='whose reason holds this text, or is of its kind ("raylabel status" lists them); may be given again',
    )
    parser.add_argument("--step", action="append", default=[], metavar="STEP", help="for how they ended in this step")
    parser.add_argument("--id", action="append", default=[], metavar="ID", help="the record with this record_id")
    parser.add_argument(
        "--outcome",
        action="append",
        default=[],
        metavar="OUTCOME",
        help="that ended so (labeled, nothing, refused, unreadable, failed); without it: what is open, and with "
        "--reason or --id also what is refused or nothing",
    )
    parser.add_argument(
        "--rejected",
        action="store_true",
        help='that a person rejected ("raylabel review RESULTS --apply judgements.jsonl"), however it ended',
    )
    add_progress(parser)
    add_writing(parser)
    add_plugins(parser)


def _retry(options: argparse.Namespace) -> int:
    from raylabel.records import Outcome
    from raylabel.runtime.work_list import Wanted

    settings = load(options, "retry")
    if settings.pipeline.workflow.force_reprocess:
        raise ConfigError(
            "workflow.force_reprocess asks every record anew; leave it out to ask only some of them again."
        )
    outcomes = [outcome.value for outcome in Outcome if outcome is not Outcome.SKIPPED]  # there nothing is asked
    for outcome in options.outcome:
        if outcome not in outcomes:
            raise ConfigError(f'--outcome: no outcome "{outcome}"; known: {", ".join(outcomes)}.')
    names = {word: step.name for step in settings.selected_steps for word in (step.name, step.label)}
    for step in options.step:
        if step not in names:
            known = ", ".join(dict.fromkeys(names.values()))
            raise ConfigError(f'--step: no step "{step}" in this specification; it has {known}.')
    steps = sorted({names[step] for step in options.step})
    return run_settings(
        settings,
        wanted=Wanted(
            tuple(steps),
            tuple(sorted(set(options.outcome))),
            tuple(sorted(set(options.reason))),
            tuple(sorted(set(options.id))),
            options.rejected,
        ),
        replace=options.replace,
        quiet=options.quiet,
        progress=options.progress,
    )


RETRY = Command(
    "retry",
    "ask again about some records of a run and no others: those that are open, or settled ones that you name",
    'raylabel retry config.yaml --outcome refused --reason "safety"',
    _add_arguments,
    _retry,
    "raylabel retry [-h] [-v] [-q] [--reason TEXT] [--step STEP] [--id ID] [--outcome OUTCOME] [--rejected] "
    "[--replace] [--progress KIND] [--exit-zero] [--plugin P] CONFIG [key=value ...]",
)
