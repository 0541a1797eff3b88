"""Reopened steps: a settled step of one record is asked anew, once, even if it takes several runs to finish.

What ``generations`` are to a whole step, a reopening is to one record in it: its number is part of the keys of that
step's questions about that record, so that what was answered before is kept and no longer counts, and nothing else is
asked. It is pending until the record has a newer row of that step than it had when it was reopened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from raylabel.store.results import Results
from raylabel.store.tables import Row


@dataclass(frozen=True, slots=True)
class Reopening:
    """The last reopening of a record in a step.

    Args:
        number: how often it was reopened.
        row: ``uid`` of the row that no longer counts.
        asked_for: what the user named, as text: the same command continues its own reopenings.
    """

    number: int
    row: str
    asked_for: str

    def is_pending(self, row: Row | None) -> bool:
        """Whether this, the newest row of the record, is still the one that was superseded."""
        return row is not None and row["uid"] == self.row


Reopenings = Mapping[str, Mapping[str, Reopening]]
"""By step directory, then by record id."""


def load_reopenings(results: Results) -> Reopenings:
    """The last reopening of each record and step."""
    found: dict[str, dict[str, Reopening]] = {}
    for row in results.reopened().scan(("step", "number", "row", "asked_for")).to_pylist():  # oldest first
        found.setdefault(row["step"], {})[row["key"]] = Reopening(row["number"], row["row"], row["asked_for"])
    return found


def reopen(results: Results, rows: Mapping[str, Iterable[tuple[str, str]]], asked_for: str) -> None:
    """Note that steps of some records are asked anew: all of them are when this returns, or none.

    Args:
        rows: by step directory, the record's id and the ``uid`` of its newest row.
    """
    known = load_reopenings(results)
    new = []
    for directory, superseded in rows.items():
        before = known.get(directory, {})
        for record_id, uid in superseded:
            number = before[record_id].number + 1 if record_id in before else 1
            new.append({"key": record_id, "step": directory, "number": number, "row": uid, "asked_for": asked_for})
    results.reopened().append(new)


def pending_rows(results: Results, directory: str, reopenings: Mapping[str, Reopening]) -> list[Row]:
    """The superseded rows of a step that no newer ones have taken the place of."""
    if not reopenings:
        return []
    table = results.rows(directory)
    table.refresh()
    return [row for key, row in table.newest(reopenings).items() if reopenings[key].is_pending(row)]
