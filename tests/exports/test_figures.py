"""A delivered line, counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raylabel.exports.annotations import to_line
from raylabel.exports.figures import Figures
from raylabel.pipelines import PIPELINES
from raylabel.records import (
    IMAGE_GROUNDING,
    IMAGE_REFERRING_EXPRESSION,
    Box,
    Expression,
    Instance,
    Outcome,
    Record,
    Region,
    Seed,
    StepOutcome,
)

LABELS = {name: [step.label for step in steps if not step.fills_in] for name, steps in PIPELINES.items()}
BOX = Box(1, 2, 30, 40)
SEED = Seed(BOX, "Car")
REGION = Region(BOX, "car", "white", "the white sedan")


def boxes(*verified: bool | None) -> tuple[Instance, ...]:
    return tuple(Instance(f"b{n}", BOX, verified=v) for n, v in enumerate(verified))


def phrase(*verified: bool | None, whole: bool | None = None, grounded: bool = True, flags: Any = ()) -> Expression:
    return Expression("e", "sedan", instances=boxes(*verified) if grounded else None, verified=whole, flags=flags)


def line(pipeline: str, *outcomes: str, dropped: dict[str, int] | None = None, **fields: Any) -> dict[str, Any]:
    """What is delivered of a record whose first steps ended so; ``-`` for a step that did not run."""
    ended = {
        label: StepOutcome(Outcome(outcome), violations=dropped or {} if label == LABELS[pipeline][-1] else {})
        for label, outcome in zip(LABELS[pipeline], outcomes, strict=False)
        if outcome != "-"
    }
    made = to_line(Record("0" * 32, 0, 0, "42", "42.jpg", pipeline, outcomes=ended, **fields))
    written: dict[str, Any] = json.loads(json.dumps(made))
    return written


def grounding(*outcomes: str, **fields: Any) -> dict[str, Any]:
    return line(IMAGE_GROUNDING, *outcomes, caption="a sedan", **fields)


def referring(*outcomes: str, **fields: Any) -> dict[str, Any]:
    return line(IMAGE_REFERRING_EXPRESSION, *outcomes, **{"seeds": (SEED, SEED), **fields})


def told(figures: Figures) -> dict[str, Any]:
    return {**{k: v for k, v in figures.records.items() if v}, **{k: v for k, v in figures.totals.items() if v}}


DESCRIBED = {"regions": (REGION, REGION), "caption": "Cars."}
L, N, S = "labeled", "nothing", "skipped"


@pytest.mark.parametrize(
    ("delivered", "counted"),
    [
        pytest.param(
            grounding(L, L, expressions=(phrase(None, None), phrase())),
            {"with_boxes": 1, "expressions": 2, "expressions_matching_nothing": 1, "boxes": 2},
            id="grounded",
        ),
        pytest.param(
            grounding(L, N, expressions=(phrase(),)),
            {"without_boxes": 1, "expressions": 1, "expressions_matching_nothing": 1},
            id="no-phrase-matches",
        ),
        pytest.param(grounding(N, S, expressions=()), {"without_boxes": 1}, id="no-phrase-in-the-caption"),
        pytest.param(
            grounding(L, expressions=(phrase(grounded=False),)),
            {"with_expressions": 1, "expressions": 1, "expressions_not_grounded": 1},
            id="first-step-alone",
        ),
        pytest.param(grounding(N, expressions=()), {"without_expressions": 1}, id="first-step-alone-found-nothing"),
        pytest.param(
            grounding(L, "failed", expressions=(phrase(grounded=False),)),
            {"open": 1, "expressions": 1, "expressions_not_grounded": 1},
            id="open",
        ),
        pytest.param(grounding("unreadable"), {"open": 1}, id="unreadable-from-the-start"),
        pytest.param(grounding("refused", S), {"refused": 1}, id="refused"),
        pytest.param(
            grounding(L, L, expressions=(phrase(None),), extra={"kitti_bboxes": [[1, 2, 3, 4]], "regions": 7}),
            {"with_boxes": 1, "expressions": 1, "boxes": 1},
            id="fields-carried-through-are-not-raylabels",
        ),
        pytest.param(
            referring(L, L, L, L, **DESCRIBED, expressions=(phrase(True, None, whole=True), phrase(None))),
            {"with_boxes": 1, "captions": 1, "seed_boxes": 2, "regions": 2, "expressions": 2, "boxes": 3},
            id="checked",
        ),
        pytest.param(
            referring(
                L, L, L, L, **DESCRIBED, expressions=(phrase(True, False, whole=True), phrase(False, whole=False))
            ),
            {
                "with_boxes": 1,
                "captions": 1,
                "seed_boxes": 2,
                "regions": 2,
                "expressions": 1,
                "expressions_rejected": 1,
                "boxes": 1,
                "boxes_rejected": 1,
            },
            id="rejected-and-kept",
        ),
        pytest.param(
            referring(
                *(L, L, L, L),
                **DESCRIBED,
                expressions=(phrase(True, whole=True),),
                dropped={"rejected_box": 1, "rejected_phrase": 1},
            ),
            {
                "with_boxes": 1,
                "captions": 1,
                "seed_boxes": 2,
                "regions": 2,
                "expressions": 1,
                "expressions_rejected": 1,
                "boxes": 1,
                "boxes_rejected": 1,
            },
            id="rejected-and-gone",
        ),
        pytest.param(
            referring(L, L, L, N, **DESCRIBED, expressions=(phrase(False, False, whole=False),)),
            {"without_boxes": 1, "captions": 1, "seed_boxes": 2, "regions": 2, "expressions_rejected": 1},
            id="all-rejected-and-kept",
        ),
        pytest.param(
            referring(L, L, L, "unreadable", **DESCRIBED, expressions=(phrase(None),)),
            {
                "open": 1,
                "captions": 1,
                "seed_boxes": 2,
                "regions": 2,
                "expressions": 1,
                "boxes": 1,
                "boxes_of_open_or_refused": 1,
            },
            id="check-open",
        ),
        pytest.param(
            referring(S, L, S, S, seeds=(), regions=(), expressions=(), caption="A road.", flags=("no_label_file",)),
            {"without_boxes": 1, "captions": 1},
            id="no-seeds-but-a-caption",
        ),
        pytest.param(
            referring(L, regions=(REGION, REGION)), {"with_regions": 1, "seed_boxes": 2, "regions": 2}, id="0"
        ),
        pytest.param(referring("-", L, caption="Cars."), {"with_captions": 1, "captions": 1, "seed_boxes": 2}, id="1"),
        pytest.param(
            referring(L, L, L, L, **DESCRIBED, expressions=(phrase(None),), flags=("seeds_skipped:3",)),
            {
                "with_boxes": 1,
                "captions": 1,
                "seed_boxes": 2,
                "seed_rows_not_used": 3,
                "regions": 2,
                "expressions": 1,
                "boxes": 1,
            },
            id="seed-rows-that-are-no-boxes",
        ),
    ],
)
def test_a_line_is_counted_by_what_was_looked_for_and_found(delivered: dict[str, Any], counted: dict[str, int]) -> None:
    figures = Figures()
    figures.add(delivered)
    assert told(figures) == counted
    labeled = delivered["outcome"] == "labeled"
    assert labeled == any(figures.records[f"with_{kind}"] for kind in ("boxes", "expressions", "regions", "captions"))


def test_a_line_without_an_outcome_is_unfinished() -> None:
    begun = grounding(L, expressions=(phrase(grounded=False),))
    del begun["outcome"]
    figures = Figures()
    figures.add(begun)
    assert told(figures) == {"unfinished": 1, "expressions": 1, "expressions_not_grounded": 1}


@pytest.mark.parametrize(
    ("flag", "noted"),
    [
        pytest.param("no_label_file", {"no_label_file": 1}, id="plain"),
        pytest.param("seeds_skipped:12", {"seeds_skipped": 12}, id="with-a-number"),
        pytest.param("unknown_finish:so", {"unknown_finish:so": 1}, id="with-a-word"),
        pytest.param("seeds_skipped:" + "9" * 6000, {"seeds_skipped": 1}, id="a-number-that-nobody-counted"),
        pytest.param("a:b:3", {"a:b:3": 1}, id="two-colons"),
        pytest.param("", {"": 1}, id="empty"),
    ],
)
def test_flags_are_counted_by_name(flag: str, noted: dict[str, int]) -> None:
    figures = Figures()
    figures.add(referring(S, L, S, S, seeds=(), flags=(flag,)))
    assert figures.flags == noted


def test_flags_of_all_things_in_a_record_are_counted() -> None:
    figures = Figures()
    clipped = Expression("e", "x", instances=(Instance("b", BOX, flags=("clipped", "adjusted")),), flags=("merged",))
    region = Region(BOX, "car", "", "x", ("same_description", "clipped"))
    figures.add(referring(L, L, L, L, regions=(region,), expressions=(clipped,), flags=("repeated_image_id",)))
    assert figures.flags == {"clipped": 2, "adjusted": 1, "merged": 1, "same_description": 1, "repeated_image_id": 1}


VERDICTS = st.lists(st.sampled_from([True, False, None]), max_size=3)
EXPRESSIONS = st.builds(
    lambda verified, whole, grounded: phrase(*verified, whole=whole, grounded=grounded),
    VERDICTS,
    st.sampled_from([True, False, None]),
    st.booleans(),
)


@given(st.lists(st.tuples(st.lists(EXPRESSIONS, max_size=4), st.sampled_from(["labeled", "failed", "refused"]))))
def test_every_line_is_counted_once_and_every_box_is_kept_or_rejected(
    records: list[tuple[list[Expression], str]],
) -> None:
    figures = Figures()
    lines = [referring(L, L, L, last, **DESCRIBED, expressions=tuple(found)) for found, last in records]
    for delivered in lines:
        figures.add(delivered)
    assert figures.lines == len(lines) == figures.to_json()["records"]["total"]
    written = [e for delivered in lines for e in delivered["expressions"]]
    assert figures.totals["expressions"] + figures.totals["expressions_rejected"] == len(written)
    kept = [i for e in written if e.get("outcome") == "labeled" for i in e["instances"] if i["verified"] is not False]
    assert figures.totals["boxes"] == len(kept)
