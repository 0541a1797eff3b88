"""The last lines of a run: what there is, what is not, and why."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import pytest
from rich.console import Console

from raylabel.exports.figures import Figures
from raylabel.pipelines import PIPELINES
from raylabel.records import IMAGE_GROUNDING
from raylabel.runtime.coordinator import Status, StepReport
from raylabel.runtime.delivery import Counts
from raylabel.runtime.summary import in_words, print_summary, warning_about
from raylabel.validation import RULES

STEPS = PIPELINES[IMAGE_GROUNDING][1:]


def figures(records: dict[str, int], seeds: bool = False, **totals: int) -> Figures:
    made = Figures()
    made.records.update(records)
    made.totals.update(totals)
    made.with_seeds = seeds
    return made


def summary(counts: Counts, width: int = 80) -> list[str]:
    for step in STEPS:
        counts.steps.setdefault(step.name, Counts().records)
    out = io.StringIO()
    print_summary(Console(file=out, width=width), STEPS, counts, None, "results", 0.0)
    return out.getvalue().splitlines()


def after_table(counts: Counts, width: int = 80) -> list[str]:
    lines = summary(counts, width)
    return lines[max(n for n, line in enumerate(lines) if line.startswith("└")) + 1 :]


def test_thoughts_are_paid_for_and_counted_as_tokens_out() -> None:
    usage = {"model": {"input": 70, "cached": 60, "thought": 10, "output": 20}}
    step = StepReport(requests=10, outcomes={"labeled": 10}, usage=usage)
    status = Status({step_class.name: step for step_class in STEPS}, 0, 0, {}, None, False)
    counts = Counts(steps={step_class.name: Counter() for step_class in STEPS}, not_reached=10)
    out = io.StringIO()
    print_summary(Console(file=out, width=100), STEPS, counts, status, "results", 0.0)
    told = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in out.getvalue().splitlines() if "tokens " in line
    ]
    assert told[:2] == [["tokens in", "70", "70"], ["tokens out", "30", "30"]]
    assert "about 20 requests, 140 tokens in and 60 tokens out" in out.getvalue()


# --- what the result file holds -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "unusable", "words"),
    [
        pytest.param(
            figures(
                {"with_boxes": 4, "without_boxes": 1, "open": 1},
                expressions=12,
                boxes=15,
                expressions_matching_nothing=3,
            ),
            0,
            "6 records: 4 with boxes, 1 without any, 1 open; 12 expressions (3 match nothing), 15 boxes",
            id="grounding",
        ),
        pytest.param(
            figures({"with_boxes": 1}, expressions=1, boxes=1),
            0,
            "1 record: 1 with boxes; 1 expression, 1 box",
            id="one",
        ),
        pytest.param(
            figures({"without_boxes": 1}, expressions=1, expressions_matching_nothing=1),
            1,
            "1 record: 0 with boxes, 1 without any; 1 expression (1 matches nothing), 0 boxes; 1 input line not usable",
            id="none",
        ),
        pytest.param(
            figures({"with_expressions": 2, "without_expressions": 1}, expressions=5, expressions_not_grounded=5),
            0,
            "3 records: 2 with expressions, 1 without any; 5 expressions (5 not grounded)",
            id="first-step-alone",
        ),
        pytest.param(
            figures(
                {"with_boxes": 2, "with_expressions": 3, "without_expressions": 1, "unfinished": 2},
                expressions=9,
                expressions_not_grounded=6,
                boxes=4,
            ),
            0,
            "8 records: 2 with boxes, 3 with expressions, 1 without expressions, 2 unfinished; "
            "9 expressions (6 not grounded), 4 boxes",
            id="steps-ran-for-some",
        ),
        pytest.param(
            figures(
                {"with_boxes": 3, "refused": 1},
                seeds=True,
                seed_boxes=20,
                regions=18,
                expressions=12,
                boxes=25,
                expressions_rejected=1,
                boxes_rejected=2,
                seed_rows_not_used=2,
            ),
            0,
            "4 records: 3 with boxes, 1 refused; 20 seed boxes given, 18 described, 12 expressions, 25 boxes in them; "
            "1 expression and 2 boxes rejected, 2 seed rows not used",
            id="referring",
        ),
        pytest.param(
            figures({"without_boxes": 2}, seeds=True, seed_rows_not_used=1),
            0,
            "2 records: 0 with boxes, 2 without any; 0 seed boxes given, 0 described, 0 expressions, 0 boxes in them; "
            "1 seed row not used",
            id="no-seed-box",
        ),
        pytest.param(
            figures(
                {"open": 2}, seeds=True, seed_boxes=1, regions=1, expressions=1, boxes=3, boxes_of_open_or_refused=3
            ),
            0,
            "2 records: 2 open; 1 seed box given, 1 described, 1 expression, "
            "3 boxes in them (3 of open or refused records)",
            id="all-open",
        ),
        pytest.param(
            figures({"with_captions": 2}, seeds=True, captions=2, seed_boxes=7),
            0,
            "2 records: 2 with a caption; 7 seed boxes given",
            id="captions-alone",
        ),
        pytest.param(figures({"open": 1}), 2, "1 record: 1 open; 2 input lines not usable", id="nothing-but-trouble"),
        pytest.param(figures({}), 3, "0 records; 3 input lines not usable", id="no-record"),
        pytest.param(figures({}), 0, "0 records", id="empty"),
    ],
)
def test_the_line_says_what_was_looked_for_and_what_there_is(held: Figures, unusable: int, words: str) -> None:
    assert in_words(held, unusable) == words


@pytest.mark.parametrize(
    ("held", "why"),
    [
        pytest.param(
            figures({"without_boxes": 3, "open": 1}, expressions=5, expressions_matching_nothing=5),
            "not one box in 3 records: the model says of every expression that nothing matches it",
            id="negatives-alone",
        ),
        pytest.param(
            figures({"without_boxes": 1}),
            "not one box in 1 record: there is no expression to look for",
            id="no-expressions",
        ),
        pytest.param(
            figures({"without_boxes": 4}, seeds=True, seed_rows_not_used=8),
            "not one box in 4 records: no seed box was given",
            id="no-seeds",
        ),
        pytest.param(
            figures({"without_boxes": 2}, seeds=True, seed_boxes=3, regions=3, expressions_rejected=4),
            "not one box in 2 records: the double check rejected every expression",
            id="all-rejected",
        ),
        pytest.param(
            figures({"without_expressions": 2}),
            "not one expression in 2 records: the model found none",
            id="first-step-alone",
        ),
    ],
)
def test_a_result_of_no_use_is_said_to_be_so_in_the_last_lines(held: Figures, why: str) -> None:
    assert warning_about(held) == f"WARNING: {why}"
    *_, warning, last = summary(Counts(held))
    assert warning == f"WARNING: {why}"
    assert last.endswith("results in results/annotations.jsonl")


@pytest.mark.parametrize(
    "held",
    [
        pytest.param(figures({"with_boxes": 1, "without_boxes": 99}, expressions=1, boxes=1), id="one-box"),
        pytest.param(figures({"with_expressions": 2}, expressions=2), id="no-boxes-looked-for"),
        pytest.param(figures({"open": 2, "refused": 1}), id="nothing-settled"),
        pytest.param(figures({}), id="no-records"),
        pytest.param(figures({"with_captions": 2}, seeds=True, captions=2), id="captions"),
    ],
)
def test_no_warning_without_need(held: Figures) -> None:
    assert warning_about(held) == ""


# --- what was noted -------------------------------------------------------------------------------------------------


def test_all_that_was_noted_stands_in_one_list_that_wraps_between_its_items() -> None:
    counts = Counts()
    counts.broken.update(dict.fromkeys(RULES, 1_000_000))
    counts.figures.flags.update({"adjusted": 2, "clipped": 3, "repeated_image_id": 1, "undescribed_regions": 4})
    counts.figures.flags["stale"] = 1
    lines = after_table(counts)
    shown = [line for line in lines if line.startswith(("checked: ", "         "))]
    assert lines[: len(shown)] == shown
    assert shown[0] == "checked: 1000000 adjust_impossible (flagged), 2 adjusted (noted),"
    assert all(len(line) <= 80 for line in shown)
    items = " ".join(line.strip() for line in shown).removeprefix("checked: ").split(", ")
    assert "1000003 clipped (flagged)" in items
    assert "4 undescribed_regions (noted)" in items
    assert len(items) == len({*RULES, "adjusted", "repeated_image_id", "undescribed_regions"})


def test_where_nothing_was_noted_nothing_is_said() -> None:
    assert after_table(Counts())[0] == "0 records"


# --- what is open ---------------------------------------------------------------------------------------------------


def test_the_most_frequent_reasons_stand_on_the_screen() -> None:
    counts = Counts(figures({"open": 6, "with_boxes": 1}), records=Counts().records)
    for path in ("images/a.jpg", "images/b.jpg"):
        counts.open_reasons.add(f"no such file: {path}", path)
    for _ in range(3):
        counts.open_reasons.add("the reply is cut off by the token limit")
    counts.open_reasons.add("internal error: OddError()")
    assert after_table(counts)[:4] == [
        "6 open: see results/failures.jsonl; the same command tries them again",
        "  3 x the reply is cut off by the token limit",
        "  2 x no such file: images/a.jpg (and the like)",
        "  1 x internal error: OddError()",
    ]
    counts.open_reasons.add("yet another")
    assert after_table(counts)[1:4] == [
        "  3 x the reply is cut off by the token limit",
        "  2 x no such file: images/a.jpg (and the like)",
        "  2 for other reasons",
    ]


def test_unusable_lines_are_named_with_their_reasons() -> None:
    counts = Counts()
    for number, reason in ((2, "not JSON: Expecting value"), (5, '"caption" is missing'), (6, '"caption" is missing')):
        counts.unusable_reasons.add(reason, line_number=number)
    for number in (7, 8):
        counts.unusable_reasons.add('"caption" is missing', line_number=number)
    assert after_table(counts)[:4] == [
        "5 input lines not usable: see results/failures.jsonl; mend and run again",
        '  line 5, 6, 7 and 1 more: "caption" is missing',
        "  line 2: not JSON: Expecting value",
        "0 records; 5 input lines not usable",
    ]


@pytest.mark.parametrize(
    ("every", "head"),
    [
        pytest.param(2, "2 seed rows not used: see results/failures.jsonl", id="all-listed"),
        pytest.param(9, "9 seed rows not used, 2 of them listed: see results/failures.jsonl", id="some-listed"),
    ],
)
def test_seed_rows_that_are_no_boxes_stand_with_their_reasons(every: int, head: str) -> None:
    counts = Counts(figures({"with_boxes": 1}, seeds=True, seed_rows_not_used=every))
    for row in ("Car 0 0", "Van 1"):
        counts.unused_reasons.add(f'"{row}" is no KITTI row')
    assert after_table(counts)[:2] == [head, '  2 x "Car 0 0" is no KITTI row (and the like)']


def test_refused_and_unfinished_records_are_told_apart_from_open_ones() -> None:
    counts = Counts(unfinished=2)
    counts.refused_reasons.add("the model declines (SAFETY)")
    assert after_table(counts)[:3] == [
        "2 unfinished: the run stopped first; the same command continues",
        "1 refused: see results/failures.jsonl",
        "  1 x the model declines (SAFETY)",
    ]


def test_long_and_hostile_reasons_stay_short_and_plain() -> None:
    counts = Counts()
    counts.open_reasons.add("HTTP 400: \x1b[2J[bold]" + "word " * 3000)
    lines = after_table(counts)
    reason = [line for line in lines if line.startswith("  ")]
    assert 1 <= len(reason) <= 2
    assert all(len(line) <= 80 for line in reason)
    assert "[bold]" in reason[0], "no markup is made of it"
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        pytest.param({"stale": 1}, "1 record has a step that was built on something changed since", id="stale"),
        pytest.param({"stale": 2}, "2 records have a step that was built on something changed since", id="stale-ones"),
        pytest.param({"not_reached": 1}, "1 record is left", id="left"),
        pytest.param({"not_reached": 2}, "2 records are left", id="several-left"),
        pytest.param({"earlier": 1}, "1 record beyond --limit is as earlier runs left it", id="beyond"),
        pytest.param({"earlier": 2}, "2 records beyond --limit are as earlier runs left them", id="several-beyond"),
    ],
)
def test_numbers_and_their_nouns_agree(number: dict[str, Any], words: str) -> None:
    assert after_table(Counts(**number))[0].startswith(words)
