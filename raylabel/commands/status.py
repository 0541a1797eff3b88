"""``raylabel status``: what became of the records, by step, outcome and kind of reason."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from raylabel.commands import Command
from raylabel.errors import InputError, printable

if TYPE_CHECKING:
    from raylabel.runtime.status import Group

_SHOWN = 10
"""Kinds of reasons of an outcome."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", metavar="RESULTS", help="results_dir of a run; it may be at work")


def _status(options: argparse.Namespace) -> int:
    from raylabel.pipelines import every_step
    from raylabel.runtime.specification import know_plugins
    from raylabel.runtime.status import groups_of
    from raylabel.storage.folders import Folder
    from raylabel.storage.locations import absolute
    from raylabel.store.results import Results

    results = Results(Folder(absolute(options.results)))
    know_plugins(results)
    groups = groups_of(results, every_step())
    if not groups:
        raise InputError(f'RESULTS: no results in "{options.results}"; give the results_dir of a run.')
    for step, of_step in groups.items():
        records = sum(group.count for group in of_step)
        print(f"{step.label}: {records} {'record' if records == 1 else 'records'}")
        for outcome in dict.fromkeys(group.outcome for group in of_step):
            _show_outcome(outcome, [group for group in of_step if group.outcome == outcome])
    return 0


def _show_outcome(outcome: str, groups: list[Group]) -> None:
    from raylabel.exports.failures import shorten
    from raylabel.settings import mask_urls

    print(f"  {outcome:<11}{sum(group.count for group in groups):>9}")
    told = [group for group in groups if group.reason]
    for group in told[:_SHOWN]:
        print(f"  {group.count:>20}  {printable(shorten(mask_urls(group.reason)))}")
        print(f"{'':<24}record {group.record_id}")
    if rest := sum(group.count for group in told[_SHOWN:]):
        print(f"  {rest:>20}  for other reasons")


STATUS = Command(
    "status",
    "show what became of the records of a run, and why: by step, outcome and kind of reason",
    "raylabel status results",
    _add_arguments,
    _status,
)
