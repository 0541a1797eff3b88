"""What is open, refused or in doubt, as a work list: some of it is chosen to be asked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from raylabel.errors import InputError
from raylabel.exports.failures import kind_of
from raylabel.records import Outcome, Record, canonical_json
from raylabel.runtime.judging import rejected_records
from raylabel.runtime.spec import RunSpec
from raylabel.runtime.status import newest_rows
from raylabel.sources import Shard, SourceSpec, read_shard
from raylabel.store.reopened import load_reopenings, pending_rows

OPEN = tuple(outcome.value for outcome in Outcome if outcome.is_open)
_COLUMNS = ("uid", "shard", "outcome", "reason")
_NAMED = (*OPEN, Outcome.REFUSED.value, Outcome.NOTHING.value)
"""Outcomes that naming a reason or a record may mean; labels are thrown away only by whoever says so."""
_NOBODY = ""
"""Id of no record: none named would mean all."""


@dataclass(frozen=True)
class Wanted:
    """Which records are asked again; what is empty does not matter.

    Args:
        steps: names; a record is wanted for how one of these ended for it.
        outcomes: of the step. Empty: the open ones; with reasons or ids also refused ones and those where there was
            nothing.
        reasons: texts that a reason holds, in any case, or whose kind it is of.
        ids: of records.
        rejected: those that a person rejected (``raylabel review --apply``), however they ended.
    """

    steps: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    rejected: bool = False

    def to_text(self) -> str:
        named = {name: value for name, value in asdict(self).items() if name != "rejected" or value}
        return canonical_json(named)  # without the newest word as earlier releases noted it

    def matching(self, rows: pa.Table) -> pa.Table:
        """Those of a step's rows that are wanted."""
        outcomes = self.outcomes or (_NAMED if self.reasons or self.ids else OPEN)
        rows = rows.filter(pc.is_in(rows["outcome"], pa.array(outcomes)))
        if self.ids:
            rows = rows.filter(pc.is_in(rows["key"], pa.array(self.ids)))
        if self.reasons:
            meant = [reason for reason in rows["reason"].unique().to_pylist() if reason and self._is_meant(reason)]
            rows = rows.filter(pc.is_in(rows["reason"], pa.array(meant, pa.string())))
        return rows

    def _is_meant(self, reason: str) -> bool:
        folded, kind = reason.casefold(), kind_of(reason)
        return any(text.casefold() in folded or kind_of(text) == kind for text in self.reasons)


@dataclass(frozen=True)
class Chosen:
    """The records that are asked again.

    Args:
        shards: those that hold them, in input order.
        reopened: by step directory, the settled ones among them that are not reopened yet: id and ``uid`` of the row.
        asked_for: the text of ``Wanted``.
        continued: how many an earlier, interrupted command of the same words had reopened.
    """

    ids: frozenset[str]
    shards: list[Shard]
    reopened: Mapping[str, Sequence[tuple[str, str]]]
    asked_for: str
    continued: int

    def describe(self) -> str:
        """One sentence."""
        if not self.ids:
            return "nothing to ask again: no record is open"
        settled = len({record_id for rows in self.reopened.values() for record_id, _ in rows})
        parts = [f"{len(self.ids)} to ask again"]
        parts += [f"{settled} of them settled, which are asked anew"] if settled else []
        parts += [f"{self.continued} of them left by an interrupted retry"] if self.continued else []
        return f"records: {', '.join(parts)}; all others stay as they are"


def choose(wanted: Wanted, spec: RunSpec, shards: Sequence[Shard]) -> Chosen:
    """The wanted records of the input.

    While records that the same words reopened are pending, these are gone on with and no others are reopened: an
    interrupted retry asks nobody twice.

    Raises:
        InputError: something was named, and no record of the input is meant.
    """
    asked_for, reopenings = wanted.to_text(), load_reopenings(spec.results)
    wanted = _with_rejected_named(wanted, spec)
    ids: dict[str, int] = {}
    ids_settled: dict[str, int] = {}
    settled: dict[str, list[tuple[str, str]]] = {}
    continued: set[str] = set()
    for plan in spec.selected:
        step = plan.step
        if wanted.steps and step.name not in wanted.steps:
            continue
        of_step = reopenings.get(step.directory, {})
        pending = {row["key"]: row for row in pending_rows(spec.results, step.directory, of_step)}
        own = {key: row["shard"] for key, row in pending.items() if of_step[key].asked_for == asked_for}
        continued |= own.keys()
        ids |= own
        rows = wanted.matching(newest_rows(spec.results, step, spec.generations, _COLUMNS))
        for row in rows.select(["key", "uid", "shard", "outcome"]).to_pylist():
            if row["outcome"] in OPEN or row["key"] in pending:
                ids[row["key"]] = row["shard"]
            else:
                ids_settled[row["key"]] = row["shard"]
                settled.setdefault(step.directory, []).append((row["key"], row["uid"]))
    if continued:
        settled = {}
    else:
        ids |= ids_settled
    found, missing = _shards_holding(spec.source, shards, ids)
    if len(missing) == len(ids) and (wanted.steps or wanted.outcomes or wanted.reasons or wanted.ids):
        raise InputError(
            f'no record of the input is meant; "raylabel status {spec.results.root.location}" lists what became of them'
        )
    kept = {d: [row for row in rows_of if row[0] not in missing] for d, rows_of in settled.items()}
    return Chosen(frozenset(ids.keys() - missing), found, kept, asked_for, len(continued - missing))


def _with_rejected_named(wanted: Wanted, spec: RunSpec) -> Wanted:
    """The same with the ids of the rejected records, if it is about these: however they ended, unless it says how."""
    if not wanted.rejected:
        return wanted
    ids = rejected_records(spec)
    ids = ids.intersection(wanted.ids) if wanted.ids else ids
    outcomes = wanted.outcomes or tuple(o.value for o in Outcome if o is not Outcome.SKIPPED)
    return replace(wanted, ids=(*sorted(ids), _NOBODY), outcomes=outcomes)


def _shards_holding(
    source: SourceSpec, shards: Sequence[Shard], ids: Mapping[str, int]
) -> tuple[list[Shard], set[str]]:
    """The shards that hold these records, in input order, and the ids of those that are not in the input.

    Args:
        ids: with the number of the shard that each was in when it was labeled; lines may have come before it since.
    """
    likely, left = set(ids.values()), set(ids)
    found = []
    for shard in sorted(shards, key=lambda shard: shard.number not in likely):
        if not left:
            break
        here = {line.record_id for line in read_shard(source, shard) if isinstance(line, Record)} & left
        if here:
            found.append(shard)
            left -= here
    return sorted(found, key=lambda shard: shard.number), left
