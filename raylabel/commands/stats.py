"""``raylabel stats``: what a results folder holds, in numbers."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from raylabel.commands import Command
from raylabel.errors import InputError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from raylabel.runtime.stored_counts import ModelCounts, StoredCounts


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", metavar="RESULTS", help="results_dir of a run; it may be at work")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with the names of run.json")


def _stats(options: argparse.Namespace) -> int:
    from raylabel.runtime.specification import know_plugins
    from raylabel.runtime.stored_counts import count_stored
    from raylabel.storage.folders import Folder
    from raylabel.storage.locations import absolute
    from raylabel.store.results import Results

    results = Results(Folder(absolute(options.results)))
    know_plugins(results)
    counts = count_stored(results)
    if not counts.steps:
        raise InputError(f'RESULTS: no results in "{options.results}"; give the results_dir of a run.')
    if options.json:
        print(json.dumps(counts.to_json(), ensure_ascii=False, indent=2))
    else:
        _show(counts)
    return 0


def _show(counts: StoredCounts) -> None:
    from raylabel.validation import consequence_of

    for one in counts.steps:
        print(f"{one.step.label}: {one.records:,} {'record' if one.records == 1 else 'records'}")
        _show_counts(one.outcomes)
        for model in one.models:
            _show_model(model)
    flags = {name: count for name, count in counts.flags.items() if name not in counts.violations}
    for name, found in (("rules", counts.violations), ("flags", flags)):
        if found:
            print(f"{name}:")
            _show_counts({f"{each} ({consequence_of(each) or 'noted'})": n for each, n in sorted(found.items())})
    total = counts.to_json()
    print(f"all: {total['replies']:,} replies, {_in_words(total['tokens'], total['cost_usd'])}")


def _show_counts(counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        print(f"  {count:>12,}  {printable(name)}")


def _show_model(model: ModelCounts) -> None:
    name = printable(f"{model.model} at {model.endpoint}")
    print(f"  {name}: {model.replies:,} replies, {_in_words(model.tokens, model.cost_usd)}")


def _in_words(tokens: Mapping[str, int], usd: float | None) -> str:
    from raylabel.runtime.costs import in_dollars

    cached = f" ({tokens['cached']:,} of them cached)" if tokens["cached"] else ""
    out = tokens["output"] + tokens["thought"]
    cost = "no price" if usd is None else in_dollars(usd)
    return f"{tokens['input']:,} tokens in{cached}, {out:,} tokens out, {cost}"


STATS = Command(
    "stats",
    "count what a run has stored: outcomes, rules and flags, models, tokens and money",
    "raylabel stats results --json",
    _add_arguments,
    _stats,
)
