"""What a run says at its end, on the screen and in ``run.json``."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from raylabel.errors import without_controls
from raylabel.exports.failures import Reason, Reasons, shorten
from raylabel.exports.figures import Figures
from raylabel.records import JsonObject, Outcome
from raylabel.runtime.assembling import STALE
from raylabel.runtime.coordinator import Status, StepReport
from raylabel.runtime.costs import Costs, in_dollars
from raylabel.runtime.delivery import Counts
from raylabel.runtime.estimating import Estimate
from raylabel.runtime.plan import merge_counts
from raylabel.steps.base import Step
from raylabel.validation import consequence_of

SHOWN_REASONS = 3
_IN_WORDS = {
    "boxes": ("boxes", "box"),
    "expressions": ("expressions", "expression"),
    "regions": ("described boxes", "described box"),
    "captions": ("a caption", "caption"),
}
"""What a run looks for, as it stands behind "with" and "not one"."""


def print_summary(
    console: Console,
    steps: Sequence[type[Step]],
    counts: Counts,
    status: Status | None,
    results: str,
    started: float,
    costs: Costs | None = None,
    others: str = "beyond --limit",
    estimate: Estimate | None = None,
) -> None:
    """The table of outcomes by step, what was noted and what is open; at the end what the result file holds.

    Args:
        others: where the records are that a pilot leaves alone, in words.
        estimate: of what these will take, where the pilot was a random one.
    """
    console.print(_table(steps, counts, status, costs))
    if status is not None and len(status.endpoints) > 1:
        console.print(_endpoints(status))
    lines = [*_checked(counts, console.width), *_open(counts, console.width, f"{results}/failures.jsonl")]
    if counts.stale:
        lines.append(
            f"{_number(counts.stale, 'record has', 'records have')} a step that was built on something changed since: "
            "run that step again"
        )
    if counts.earlier:
        left = _number(counts.earlier, f"record {others} is", f"records {others} are")
        lines.append(f"{left} as earlier runs left {'it' if counts.earlier == 1 else 'them'}")
    if counts.not_reached and estimate is None:
        lines.append(_projection(counts, status, costs))
    for line in lines:
        console.print(without_controls(line), markup=False, highlight=False, soft_wrap=True)
    print_result(console, counts, results, started, estimate)


def print_result(
    console: Console, counts: Counts, results: str, started: float, estimate: Estimate | None = None
) -> None:
    """What the others will take where that is estimated; what the result file holds, and where it is."""
    for line in estimate.describe() if estimate is not None else ():
        console.print(without_controls(line), markup=False, highlight=False, soft_wrap=True)
    words = without_controls(in_words(counts.figures, counts.unusable))
    console.print(words, markup=False, highlight=False, soft_wrap=True)
    if warning := warning_about(counts.figures):
        console.print(without_controls(warning), markup=False, highlight=False, soft_wrap=True, style="bold red")
    last = without_controls(f"{time.time() - started:.1f} s; results in {results}/annotations.jsonl")
    console.print(last, markup=False, highlight=False, soft_wrap=True)


# --- what the result file holds -------------------------------------------------------------------------------------


def in_words(figures: Figures, unusable: int = 0) -> str:
    """The records of the result file by what was found in them, and how much there is, in one line.

    Args:
        unusable: input lines that have no record.

    >>> figures = Figures()
    >>> figures.add({"source": "image_grounding", "outcome": "nothing", "outcomes": {"step1_grounding": "nothing"}})
    >>> in_words(figures)
    '1 record: 0 with boxes, 1 without any; 0 expressions, 0 boxes'
    """
    records, kinds = figures.records, figures.kinds
    parts = []
    for kind in kinds:
        parts.append(f"{records[f'with_{kind}']} with {_IN_WORDS[kind][0]}")
        if without := records[f"without_{kind}"]:
            parts.append(f"{without} without {'any' if len(kinds) == 1 else _IN_WORDS[kind][0]}")
    parts += [f"{n} {state}" for state in ("rejected", "refused", "open", "unfinished") if (n := records[state])]
    groups = [", ".join(group) for group in (parts, _amounts(figures), _not_delivered(figures)) if group]
    said = _number(figures.lines, "record") + (f": {'; '.join(groups)}" if figures.lines else "")
    return f"{said}; {_number(unusable, 'input line')} not usable" if unusable else said


def _amounts(figures: Figures) -> list[str]:
    kinds, totals = figures.kinds, figures.totals
    amounts = []
    if figures.with_seeds:
        amounts.append(f"{_number(totals['seed_boxes'], 'seed box', 'seed boxes')} given")
        if totals["regions"] or {"boxes", "regions"} & set(kinds):
            amounts.append(f"{totals['regions']} described")
    if totals["expressions"] or {"boxes", "expressions"} & set(kinds):
        nothing, not_grounded = totals["expressions_matching_nothing"], totals["expressions_not_grounded"]
        notes = [_number(nothing, "matches nothing", "match nothing")] if nothing else []
        notes += [f"{not_grounded} not grounded"] if not_grounded else []
        amounts.append(_number(totals["expressions"], "expression") + (f" ({', '.join(notes)})" if notes else ""))
    if totals["boxes"] or "boxes" in kinds:
        others = totals["boxes_of_open_or_refused"]
        amounts.append(
            _number(totals["boxes"], "box", "boxes")
            + (" in them" if figures.with_seeds else "")
            + (f" ({others} of open or refused records)" if others else "")
        )
    return amounts


def _not_delivered(figures: Figures) -> list[str]:
    totals = figures.totals
    rejected = [_number(n, "expression")] if (n := totals["expressions_rejected"]) else []
    rejected += [_number(n, "box", "boxes")] if (n := totals["boxes_rejected"]) else []
    parts = [f"{' and '.join(rejected)} rejected"] if rejected else []
    return parts + ([f"{_number(n, 'seed row')} not used"] if (n := totals["seed_rows_not_used"]) else [])


def warning_about(figures: Figures) -> str:
    """One sentence where what was looked for was found in no record at all; else empty."""
    kind, totals = next(iter(figures.kinds), ""), figures.totals
    without = figures.records[f"without_{kind}"]
    if not without or figures.records[f"with_{kind}"]:
        return ""
    if figures.with_seeds and not totals["seed_boxes"]:
        why = "no seed box was given"
    elif totals["expressions_rejected"] and not totals["expressions"]:
        why = "the double check rejected every expression"
    elif kind == "boxes" and totals["expressions"]:
        why = "the model says of every expression that nothing matches it"
    elif kind == "boxes":
        why = "there is no expression to look for"
    else:
        why = "the model found none"
    return f"WARNING: not one {_IN_WORDS[kind][1]} in {_number(without, 'record')}: {why}"


# --- what was noted, and what is open -------------------------------------------------------------------------------


def _checked(counts: Counts, width: int) -> list[str]:
    """Every rule that was broken and every flag, with what followed; items are not split."""
    found = {**counts.figures.flags, **counts.violations}
    items = [
        f"{n} {shorten(name)} ({consequence_of(name) or 'noted'})"
        for name, n in sorted(found.items())
        if name.partition(":")[0] != STALE
    ]
    head = "checked:"
    lines = [head]
    for number, item in enumerate(items, 1):
        item += "," if number < len(items) else ""
        if len(lines[-1]) + 1 + len(item) > width and number > 1:
            lines.append(" " * len(head))
        lines[-1] += f" {item}"
    return lines if items else []


def _open(counts: Counts, width: int, failures: str) -> list[str]:
    """What is open, refused, unfinished or not used, with the most frequent reasons."""
    opened, refused = counts.open_reasons, counts.refused_reasons
    unusable, unused = counts.unusable_reasons, counts.unused_reasons
    lines = []
    if opened.total:
        again = "it" if opened.total == 1 else "them"
        lines.append(f"{opened.total} open: see {failures}; the same command tries {again} again")
        lines += _reasons(opened, width)
    if counts.unfinished:
        lines.append(f"{counts.unfinished} unfinished: the run stopped first; the same command continues")
    if refused.total:
        lines.append(f"{refused.total} refused: see {failures}")
        lines += _reasons(refused, width)
    if unusable.total:
        lines.append(f"{_number(unusable.total, 'input line')} not usable: see {failures}; mend and run again")
        lines += _reasons(unusable, width)
    if unused.total:
        every = counts.figures.totals["seed_rows_not_used"]
        listed = "" if unused.total == every else f", {unused.total} of them listed"
        lines.append(f"{_number(every, 'seed row')} not used{listed}: see {failures}")
        lines += _reasons(unused, width)
    return lines


def _reasons(reasons: Reasons, width: int) -> list[str]:
    """The most frequent ones, at most three entries."""
    first, others = reasons.most_frequent(SHOWN_REASONS)
    if others:
        first, others = reasons.most_frequent(SHOWN_REASONS - 1)
    entries = [f"{_places(kind)}{kind.example}{'' if kind.equal else ' (and the like)'}" for kind in first]
    entries += [f"{others} for other reasons"] if others else []
    wrapper = textwrap.TextWrapper(max(width, 40), "  ", "      ", break_on_hyphens=False)
    return [line for entry in entries for line in wrapper.wrap(entry)]


def _places(kind: Reason) -> str:
    """``2 x ``, or the numbers of input lines: ``line 4, 7, 9 and 12 more: ``."""
    if not kind.line_numbers:
        return f"{kind.count} x "
    more = kind.count - len(kind.line_numbers)
    return f"line {', '.join(map(str, kind.line_numbers))}{f' and {more} more' if more else ''}: "


def _number(n: int, one: str, many: str = "") -> str:
    """A number with its noun.

    >>> _number(1, "box", "boxes"), _number(2, "record")
    ('1 box', '2 records')
    """
    return f"{n} {one if n == 1 else many or one + 's'}"


def _table(steps: Sequence[type[Step]], counts: Counts, status: Status | None, costs: Costs | None) -> Table:
    table = Table("records")
    for step in steps:
        table.add_column(step.name, justify="right")
    for outcome in Outcome:
        table.add_row(outcome.value, *(str(counts.steps[s.name][outcome.value]) for s in steps))
    missing = [counts.figures.lines - sum(counts.steps[s.name].values()) for s in steps]
    if any(missing):
        table.add_row("not yet done", *map(str, missing))
    reports = [status.steps[s.name] if status else StepReport() for s in steps]
    table.add_section()
    table.add_row("requests", *(str(r.requests) for r in reports))
    table.add_row("replayed from the store", *(str(r.replayed) for r in reports))
    table.add_row("tokens in", *(f"{r.tokens_in:,}" for r in reports))
    table.add_row("tokens out", *(f"{r.tokens_out:,}" for r in reports))
    spent = [None if costs is None else costs.usd(r) for r in reports]
    if any(usd is not None and r.requests for usd, r in zip(spent, reports, strict=True)):
        table.add_row("cost", *("no price" if usd is None else in_dollars(usd) for usd in spent))
    return table


def _endpoints(status: Status) -> Table:
    table = Table("endpoint")
    for column in ("requests", "not taken", "seconds each", "moved here"):
        table.add_column(column, justify="right")
    table.add_column("")
    for name, each in status.endpoints.items():
        latency = "-" if each.mean_latency_s is None else f"{each.mean_latency_s:.2f}"
        table.add_row(name, str(each.requests), str(each.refused), latency, str(each.moved), each.state)
    return table


def _projection(counts: Counts, status: Status | None, costs: Costs | None) -> str:
    rest = _number(counts.not_reached, "record is left", "records are left")
    asked = sum(s.requests for s in status.steps.values()) if status else 0
    done = max((sum(s.outcomes.values()) for s in status.steps.values()), default=0) if status else 0
    if status is None or not asked or not done:
        return rest
    factor = counts.not_reached / done
    steps = status.steps.values()
    tokens_in, tokens_out = sum(s.tokens_in for s in steps), sum(s.tokens_out for s in steps)
    usd = costs.total_usd(status) if costs else None
    cost = f", about {in_dollars(usd * factor)}" if usd else ""
    return (
        f"{rest}; at this pilot's rate that takes about {asked * factor:,.0f} requests, "
        f"{tokens_in * factor:,.0f} tokens in and {tokens_out * factor:,.0f} tokens out{cost}"
    )


def spent_json(status: Status | None, costs: Costs) -> JsonObject:
    """What this run spent, over all steps; what earlier runs did is no part of it. ``cost_usd`` is null where there is
    no price."""
    steps = list(status.steps.values()) if status else []
    return {
        "requests": sum(s.requests for s in steps),
        "tokens": merge_counts([s.tokens for s in steps]),
        "cost_usd": costs.total_usd(status) if status else 0.0,
    }


def summary_json(status: Status | None, costs: Costs) -> JsonObject:
    """What this run asked, by step."""
    if status is None:
        return {}
    return {
        name: {
            "requests": s.requests,
            "replayed": s.replayed,
            "retries": s.retries,
            "mean_latency_s": round(s.latency_s / s.requests, 3) if s.requests else None,
            "tokens": s.tokens,
            "cost_usd": costs.usd(s),
            "models": list(s.models),
        }
        for name, s in status.steps.items()
    }


def endpoints_json(status: Status | None) -> JsonObject:
    """What each endpoint did in this run, by name; ``moved`` counts questions about images that another one was asked
    about before."""
    return {
        name: {
            "requests": each.requests,
            "refused": each.refused,
            "moved": each.moved,
            "mean_latency_s": None if each.mean_latency_s is None else round(each.mean_latency_s, 3),
            "tokens": {"input": each.tokens_in, "output": each.tokens_out},
            "set_aside": each.set_aside,
        }
        for name, each in (status.endpoints if status else {}).items()
    }
