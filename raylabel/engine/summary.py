"""What a run says at its end, on the screen and in ``run.json``."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from raylabel.engine.coordinator import Status, StepReport
from raylabel.engine.delivery import Counts
from raylabel.records import JsonObject, Outcome
from raylabel.steps.base import Step
from raylabel.validation import follows


def print_summary(
    console: Console, steps: Sequence[type[Step]], counts: Counts, status: Status | None, results: str, started: float
) -> None:
    """The table of outcomes by step, the sum over the input, what was asked, and what to look at next."""
    console.print(_table(steps, counts, status))
    parts = [f"{n} {o}" for o in (x.value for x in Outcome) if (n := counts.records[o])]
    parts += [f"{counts.unusable} unusable"] if counts.unusable else []
    parts += [f"{counts.unfinished} unfinished"] if counts.unfinished else []
    lines = [f"{counts.lines} input lines = {' + '.join(parts) or '0'}"]
    if counts.violations:
        found = (f"{n} {name} ({follows(name)})" for name, n in sorted(counts.violations.items()))
        lines.append("checked: " + ", ".join(found))
    if notes := sorted((flag, n) for flag, n in counts.flags.items() if not follows(flag)):
        lines.append("flags: " + ", ".join(f"{n} {flag}" for flag, n in notes))
    if counts.stale:
        lines.append(
            f"{counts.stale} records have a step that was built on something changed since: run that step again"
        )
    if counts.open:
        lines.append(f"{counts.open} open: see {results}/failures.jsonl; the same command tries them again")
    if counts.not_reached:
        lines.append(_projection(counts, status))
    lines.append(f"{time.time() - started:.1f} s; results in {results}/annotations.jsonl")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(steps: Sequence[type[Step]], counts: Counts, status: Status | None) -> Table:
    table = Table("records")
    for step in steps:
        table.add_column(step.name, justify="right")
    for outcome in Outcome:
        table.add_row(outcome.value, *(str(counts.steps[s.name][outcome.value]) for s in steps))
    total = sum(counts.records.values()) + counts.unfinished
    waiting = [total - sum(counts.steps[s.name].values()) for s in steps]
    if any(waiting):
        table.add_row("waiting for an open step", *map(str, waiting))
    reports = [status.steps[s.name] if status else StepReport() for s in steps]
    table.add_section()
    table.add_row("requests", *(str(r.requests) for r in reports))
    table.add_row("replayed from the store", *(str(r.replayed) for r in reports))
    table.add_row("tokens in", *(f"{r.tokens.get('input', 0):,}" for r in reports))
    table.add_row("tokens out", *(f"{r.tokens.get('output', 0):,}" for r in reports))
    return table


def _projection(counts: Counts, status: Status | None) -> str:
    rest = f"{counts.not_reached} records are left"
    asked = sum(s.requests for s in status.steps.values()) if status else 0
    done = max((sum(s.outcomes.values()) for s in status.steps.values()), default=0) if status else 0
    if status is None or not asked or not done:
        return rest
    factor = counts.not_reached / done
    tokens = {k: sum(s.tokens.get(k, 0) for s in status.steps.values()) for k in ("input", "output")}
    return (
        f"{rest}; at this pilot's rate they need about {asked * factor:,.0f} requests, "
        f"{tokens['input'] * factor:,.0f} tokens in and {tokens['output'] * factor:,.0f} tokens out"
    )


def summary_json(status: Status | None) -> JsonObject:
    """What this run asked, by step."""
    if status is None:
        return {}
    return {
        name: {
            "requests": s.requests,
            "replayed": s.replayed,
            "retries": s.retries,
            "mean_latency_s": round(s.latency_s / s.requests, 3) if s.requests else None,
            "tokens": dict(s.tokens),
            "models": list(s.models),
        }
        for name, s in status.steps.items()
    }
