"""What the store holds, in numbers: outcomes, rules and flags, models, tokens and money; without the input."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from raylabel.clients.base import TOKEN_KINDS
from raylabel.pipelines import PIPELINES
from raylabel.records import JsonObject
from raylabel.runtime.costs import Costs
from raylabel.runtime.specification import recall_specification
from raylabel.runtime.status import newest_rows
from raylabel.steps.base import Step
from raylabel.store.arrays import codes_of, groups_by, rows_at
from raylabel.store.generations import current_generations
from raylabel.store.results import Results, stored_usage
from raylabel.validation import consequence_of, parse_flag

_KINDS = ("image", "regions", "expressions")
"""Of what has flags, as the column of that name has them (``raylabel.runtime.rows``)."""


@dataclass(frozen=True)
class ModelCounts:
    """What a model answered in a step.

    Args:
        model: as its server names it.
        endpoint: host and port.
        tokens: by kind.
        cost_usd: None where there is no price, or the server did not count the tokens of all replies.
    """

    model: str
    endpoint: str
    replies: int
    tokens: Mapping[str, int]
    cost_usd: float | None


@dataclass(frozen=True)
class StepCounts:
    """What there is of a step: its records by outcome, and the models behind it."""

    step: type[Step]
    outcomes: Mapping[str, int]
    models: Sequence[ModelCounts]

    @property
    def records(self) -> int:
        return sum(self.outcomes.values())


@dataclass(frozen=True)
class StoredCounts:
    """What the store holds.

    Args:
        flags: of images and of labels as the last step left them, by name. A person's verdicts, and what the input
            itself brings (a repeated image_id, say), are no part of it.
        violations: of rules, by name; the flags that name one are among them.
    """

    steps: Sequence[StepCounts]
    flags: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)

    @property
    def models(self) -> Iterator[ModelCounts]:
        return (model for step in self.steps for model in step.models)

    def to_json(self) -> JsonObject:
        """The names of ``run.json``, whose ``counts`` and ``stored`` say the same after a run of the whole input."""
        return {
            "steps": {
                one.step.name: {
                    "records": one.records,
                    "outcomes": dict(one.outcomes),
                    **_totals(one.models),
                    "models": [
                        {
                            "model": model.model,
                            "endpoint": model.endpoint,
                            "replies": model.replies,
                            "tokens": dict(model.tokens),
                            "cost_usd": model.cost_usd,
                        }
                        for model in one.models
                    ],
                }
                for one in self.steps
            },
            "flags": dict(sorted(self.flags.items())),
            "violations": dict(sorted(self.violations.items())),
            **_totals(self.models),
        }


def _totals(models: Iterable[ModelCounts]) -> JsonObject:
    models = list(models)
    costs = [model.cost_usd for model in models]
    return {
        "replies": sum(model.replies for model in models),
        "tokens": {kind: sum(model.tokens[kind] for model in models) for kind in TOKEN_KINDS},
        "cost_usd": None if None in costs else sum(cost for cost in costs if cost is not None),
    }


def count_stored(results: Results) -> StoredCounts:
    """Count what is there, by the steps that have anything, in pipeline order."""
    specification = recall_specification(results)
    costs = None if specification is None else Costs(specification.settings)
    generations = current_generations(results)
    steps: list[StepCounts] = []
    flags, violations = Counter[str](), Counter[str]()
    for pipeline in PIPELINES.values():
        tables = []
        for step in pipeline:
            rows = newest_rows(results, step, generations, ("outcome", "violations", "flags"))
            models = _models(results, step.directory, costs)
            if rows.num_rows or models:
                steps.append(StepCounts(step, _by_value(rows["outcome"]), models))
                tables.append(rows)
            for text, count in _by_value(rows["violations"]).items():
                for name, times in json.loads(text).items():
                    violations[name] += count * times
        flags += _flags(tables)
    violations.update({name: count for name, count in flags.items() if consequence_of(name)})
    return StoredCounts(steps, flags, violations)


# --- rows -----------------------------------------------------------------------------------------------------------


def _flags(tables: Sequence[pa.Table]) -> Counter[str]:
    """The flags of records, of each the image's as the first of its rows has them, and the labels' as the last step
    left them.

    Args:
        tables: of the steps of a pipeline, in order.
    """
    counts = Counter[str]()
    by_text = [_lists_of(rows["flags"]) for rows in tables]
    for kind in _KINDS:
        keys, numbers, lists = [], [], list[Sequence[str]]()
        ordered = list(zip(tables, by_text, strict=True))
        for rows, (texts, text_of) in ordered if kind == "image" else reversed(ordered):
            has = np.array([kind in text for text in texts], bool)
            places = np.flatnonzero(has[text_of])
            keys += rows_at(rows.select(["key"]), places)["key"].chunks
            numbers.append(text_of[places] + len(lists))
            lists += [text.get(kind, ()) for text in texts]
        if not any(lists):
            continue
        _, first = np.unique(codes_of(pa.chunked_array(keys, pa.string())), return_index=True)
        times_each = np.bincount(np.concatenate(numbers)[first], minlength=len(lists)).tolist()
        for flags, count in zip(lists, times_each, strict=True):
            for name, times in map(parse_flag, flags):
                counts[name] += count * times
    return +counts


def _lists_of(column: pa.ChunkedArray) -> tuple[list[Mapping[str, Sequence[str]]], np.ndarray]:
    """The different values of a column of flags, and for each row the number of its value."""
    first, group = groups_by([column])
    texts = rows_at(pa.Table.from_arrays([column], ["text"]), first)["text"].to_pylist()
    return [json.loads(text) if text else {} for text in texts], group


def _by_value(column: pa.ChunkedArray) -> dict[str, int]:
    """How often each value occurs, the most frequent first; nulls do not count."""
    first, group = groups_by([column])
    values = rows_at(pa.Table.from_arrays([column], ["value"]), first)["value"].to_pylist()
    counts = zip(values, np.bincount(group, minlength=len(first)).tolist(), strict=True)
    return {value: count for value, count in sorted(counts, key=lambda each: -each[1]) if value is not None}


# --- replies --------------------------------------------------------------------------------------------------------


def _models(results: Results, directory: str, costs: Costs | None) -> list[ModelCounts]:
    return [
        ModelCounts(
            row["model"] or "",
            row["endpoint"] or "",
            row["replies"],
            {kind: row[f"tokens_{kind}"] for kind in TOKEN_KINDS},
            None if costs is None else costs.usd_of(row),
        )
        for row in stored_usage(results, directory)
    ]
