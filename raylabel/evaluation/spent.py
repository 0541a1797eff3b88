"""What the labels of some records took: requests, tokens, money and time, from the replies in the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from raylabel.clients.base import TOKEN_KINDS
from raylabel.pipelines import all_steps
from raylabel.records import JsonObject
from raylabel.runtime.costs import Costs
from raylabel.runtime.specification import recall_specification
from raylabel.store.arrays import groups_by, is_true, numbers_of, rows_at
from raylabel.store.generations import current_generations
from raylabel.store.results import Results

_TOKENS = tuple(f"tokens_{kind}" for kind in TOKEN_KINDS)
_COLUMNS = ("generation", "record_id", "model", "endpoint", "latency_s", *_TOKENS)


@dataclass
class Spent:
    """What was asked about some records.

    Args:
        records: how many they are.
        usd: None where the price of a reply is not known.
        centiseconds: how long answers took, by how many took so long.
    """

    records: int = 0
    requests: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    usd: float | None = 0.0
    centiseconds: Counter[int] = field(default_factory=Counter)
    models: set[str] = field(default_factory=set)

    def latency_s(self, share: float) -> float | None:
        """As long as this share of the answers took at most; None without any."""
        wanted, seen = share * self.centiseconds.total(), 0
        for value in sorted(self.centiseconds):
            seen += self.centiseconds[value]
            if seen >= wanted:
                return value / 100
        return None

    @property
    def seconds(self) -> float:
        """Of all answers together, whatever ran side by side."""
        return sum(value * count for value, count in self.centiseconds.items()) / 100

    def of_a_record(self, amount: float) -> float | None:
        return amount / self.records if self.records and self.requests else None

    def to_json(self) -> JsonObject:
        return {
            "records": self.records,
            "requests": self.requests,
            "tokens": {kind: self.tokens[kind] for kind in TOKEN_KINDS},
            "cost_usd": self.usd if self.requests else None,
            "seconds": round(self.seconds, 2),
            "latency_s": {"median": self.latency_s(0.5), "p95": self.latency_s(0.95)},
            "models": sorted(self.models),
        }


def spent_on(results: Results, record_ids: Collection[str]) -> Spent:
    """What all replies about some records took, of the generation that counts; nothing where there is no store."""
    specification = recall_specification(results)
    costs = None if specification is None else Costs(specification.settings)
    generations = current_generations(results)
    wanted = frozenset(record_ids)
    spent = Spent(records=len(wanted))
    for step in all_steps().values():
        generation = generations.get(step.directory, 0)
        count = partial(_counted, wanted=wanted, generation=generation)
        for rows, centiseconds in results.answers(step.directory).fold(_COLUMNS, count):
            spent.centiseconds.update(centiseconds)
            for row in rows:
                spent.requests += row["replies"]
                spent.tokens.update({kind: row[f"tokens_{kind}"] for kind in TOKEN_KINDS})
                spent.models.add(row["model"] or "")
                usd = None if costs is None else costs.usd_of(row)
                spent.usd = None if spent.usd is None or usd is None else spent.usd + usd
    return spent


def _counted(table: pa.Table, wanted: frozenset[str], generation: int) -> tuple[list[dict[str, Any]], Counter[int]]:
    """Rows as ``stored_usage`` has them, of the replies about these records, and how long they took."""
    first, group = groups_by([table["record_id"]])
    ids = rows_at(table, first)["record_id"].to_pylist()
    about = np.array([one in wanted for one in ids], bool)[group] & (numbers_of(table["generation"]) == generation)
    table = rows_at(table, np.flatnonzero(about))
    first, group = groups_by([table["model"], table["endpoint"]])
    rows: list[dict[str, Any]] = rows_at(table, first).select(["model", "endpoint"]).to_pylist()
    amounts = {"replies": np.ones(table.num_rows), "counted": is_true(table["tokens_output"].is_valid())}
    for name, amount in (amounts | {name: numbers_of(table[name]) for name in _TOKENS}).items():
        for row, total in zip(rows, np.bincount(group, amount, len(first)).tolist(), strict=True):
            row[name] = int(total)
    times, counts = np.unique(np.rint(100 * numbers_of(table["latency_s"])).astype(int), return_counts=True)
    return rows, Counter(dict(zip(times.tolist(), counts.tolist(), strict=True)))
