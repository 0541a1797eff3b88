"""What reading the stored replies again changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from raylabel.runtime.rows import is_imported, provenance_text
from raylabel.runtime.spec import RunSpec, StepPlan
from raylabel.runtime.status import newest_rows

_Ends = dict[str, tuple[str, str]]
"""How a step ended, by record: outcome and labels."""


class Comparison:
    """Remembers how every record stands in the steps of a run, to tell later what became of it."""

    def __init__(self, spec: RunSpec) -> None:
        self._before = [_ends_of(spec, plan) for plan in spec.selected]

    def describe(self, spec: RunSpec) -> list[str]:
        """A sentence a step: how many records changed, by outcome before and after; and how many stay as they were."""
        sentences = []
        for plan, before in zip(spec.selected, self._before, strict=True):
            changed: Counter[str] = Counter()
            after = _ends_of(spec, plan)
            for record_id, (outcome, labels) in after.items():
                was, had = before.get(record_id, ("", ""))
                if was != outcome:
                    changed[f"{was or 'not there'} -> {outcome}"] += 1
                elif had != labels:
                    changed[f"{outcome} otherwise"] += 1
            parts = [f"{count} {what}" for what, count in changed.most_common()]
            said = f"{plan.step.label}: {changed.total()} of {len(after)} records changed"
            if older := _made_otherwise(spec, plan):
                parts.append(
                    f"{older} stay as they were: the store lacks a reply to a question as it is put now (raylabel run "
                    "asks it)"
                )
            sentences.append(f"{said}: {', '.join(parts)}" if parts else said)
        return sentences


def _ends_of(spec: RunSpec, plan: StepPlan) -> _Ends:
    columns: Sequence[str] = ("key", "outcome", "changes")
    rows = newest_rows(spec.results, plan.step, spec.generations, columns[1:])
    keys, outcomes, labels = (rows[name].to_pylist() for name in columns)
    return dict(zip(keys, zip(outcomes, labels, strict=True), strict=True))


def _made_otherwise(spec: RunSpec, plan: StepPlan) -> int:
    """Rows that another model, prompt or reader made."""
    rows = newest_rows(spec.results, plan.step, spec.generations, ("versions",))
    now = provenance_text(plan)
    return sum(versions != now and not is_imported(versions) for versions in rows["versions"].to_pylist())
