"""Values, identities, outcomes and their JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raylabel.errors import InputError
from raylabel.records import (
    Box,
    Changes,
    Expression,
    Instance,
    Outcome,
    Record,
    Region,
    StepOutcome,
    bbox_id,
    box_from_json,
    changes_to_json,
    digest_of,
    expression_ids,
    expression_to_json,
    expressions_from_json,
    read_changes,
    record_id,
    regions_from_json,
    seed_from_json,
    seed_to_json,
)

# --- identity -------------------------------------------------------------------------------------------------------


@pytest.mark.tao_row("ids are unique and do not depend on order, timing, workers or resuming")
def test_a_line_has_the_same_id_wherever_and_whenever_it_is_read():
    # Pinned: an id that changes between versions orphans every stored answer.
    assert record_id("42", "a/42.jpg", "A car.", 0) == "3ab114cde81ce8b56b4d77cb9672dd80"


@pytest.mark.tao_row("records with the same file stem overwrite each other")
@pytest.mark.tao_row("ids collide after a resume")
@pytest.mark.parametrize(
    "other",
    [
        pytest.param(("43", "a.jpg", "A car.", 0), id="image_id"),
        pytest.param(("42", "b/a.jpg", "A car.", 0), id="path-with-the-same-stem"),
        pytest.param(("42", "a.jpg", "A bus.", 0), id="caption"),
        pytest.param(("42", "a.jpg", None, 0), id="no-caption"),
        pytest.param(("42", "a.jpg", "A car.", 1), id="second-occurrence"),
    ],
)
def test_lines_that_differ_in_anything_are_different_records(other):
    assert record_id(*other) != record_id("42", "a.jpg", "A car.", 0)


@pytest.mark.tao_row("ids are unique and do not depend on order, timing, workers or resuming")
def test_ids_of_equal_phrases_differ_and_do_not_depend_on_their_neighbours():
    first = expression_ids("r", ["car", "bus", "car"])
    assert len(set(first)) == 3
    assert expression_ids("r", ["car", "car", "tree"])[:2] == [first[0], first[2]]
    assert expression_ids("other", ["car"]) != first[:1]


def test_boxes_of_an_expression_have_ids_of_their_own():
    assert len({bbox_id(e, n) for e in ("a", "b") for n in range(3)}) == 6


@settings(deadline=None)
@given(st.text(), st.text())
def test_parts_of_a_digest_do_not_run_together(a, b):
    assert digest_of(a, b) != digest_of(a + b)
    assert digest_of(a, b) != digest_of([a, b])


@pytest.mark.parametrize(
    ("parts", "digest"),
    [
        pytest.param((), "7ebb3c7c2a87b1a2f8a7ed729ecb040d", id="nothing"),
        pytest.param(("a", 1), "484c670ce4753ed75a3cc908af49224a", id="text-and-number"),
        pytest.param(
            ('a"\\\n\x00\x7f\u00fc\U0001f600\u2028', -5, None, True), "7457946c9f7a3a652569df117d017bb2", id="escapes"
        ),
        pytest.param(({"b": [1.5, None], "a": "\u00fc"}, ["x", ()]), "130eea27bceee285baa344c4666cf7b3", id="nested"),
        pytest.param(("\ud83d",), "c6ac2fd54e3f307905b723e923cdf595", id="half-a-surrogate-pair"),
        pytest.param((Outcome.LABELED, 10**30, -0.0, 1e22), "90ec05c6b3b4df727ac410c03bca94af", id="enum-and-numbers"),
    ],
)
def test_a_digest_stays_what_it_was(parts, digest):
    # Pinned: stored answers, image facts and settled shards are found by digests.
    assert digest_of(*parts) == digest


def test_half_a_surrogate_pair_has_a_digest():
    assert digest_of("\ud83d") != digest_of("?")


# --- outcomes -------------------------------------------------------------------------------------------------------


def test_exactly_unreadable_and_failed_are_open():
    assert {o.value for o in Outcome if o.is_open} == {"unreadable", "failed"}


@pytest.mark.parametrize(
    ("outcomes", "worst"),
    [
        ([], "skipped"),
        (["nothing", "labeled"], "labeled"),
        (["labeled", "refused"], "refused"),
        (["refused", "unreadable"], "unreadable"),
        (["unreadable", "failed", "labeled"], "failed"),
        (["skipped", "nothing"], "nothing"),
    ],
)
def test_a_record_is_as_bad_as_its_worst_step(outcomes, worst):
    assert Outcome.worst(Outcome(o) for o in outcomes).value == worst


def make_record(**fields):
    return Record("0" * 32, 3, 70, "000042", "images/a.jpg", "image_grounding", **fields)


def test_applying_a_step_changes_what_it_gives_and_nothing_else():
    before = make_record(caption="old", regions=())
    after = before.apply("step1_image_caption", StepOutcome(Outcome.LABELED), Changes(caption="new"))
    assert (after.caption, after.regions, after.expressions) == ("new", (), None)
    assert after.outcome is Outcome.LABELED
    assert before.outcomes == {}


def test_an_empty_list_is_a_change_and_none_is_none():
    record = make_record(expressions=(Expression("e", "car"),))
    done = StepOutcome(Outcome.NOTHING)
    assert record.apply("s", done, Changes(expressions=())).expressions == ()
    assert record.apply("s", done, Changes()).expressions == record.expressions


GOOD = {"bbox": [1, 2, 3, 4]}

# --- JSON -----------------------------------------------------------------------------------------------------------

pixels = st.floats(0, 10_000, allow_nan=False)
flags = st.lists(st.sampled_from(["clipped", "adjusted", "not_in_caption"]), max_size=2, unique=True).map(tuple)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
words = texts.filter(str.strip)


@st.composite
def boxes(draw):
    x, y = (
        sorted(draw(st.lists(pixels, min_size=2, max_size=2))),
        sorted(draw(st.lists(pixels, min_size=2, max_size=2))),
    )
    return Box(x[0], y[0], x[1] + 1.0, y[1] + 1.0)


verdicts = st.none() | st.booleans()
instances = st.builds(
    Instance,
    bbox_id=words,
    box=boxes(),
    score=st.none() | st.floats(0, 1),
    verified=verdicts,
    original_box=st.none() | boxes(),
    proposed_box=st.none() | boxes(),
    flags=flags,
)
expressions = st.builds(
    Expression,
    expression_id=words,
    text=words,
    char_span=st.none() | st.tuples(st.integers(0, 9), st.integers(0, 9)),
    noun_chunk=st.none() | texts,
    instances=st.none() | st.lists(instances, max_size=3).map(tuple),
    verified=verdicts,
    original_text=st.none() | texts,
    flags=flags,
)
regions = st.builds(Region, box=boxes(), type=words, color=texts, description=texts, flags=flags)
changes = st.builds(
    Changes,
    caption=st.none() | texts,
    cleaned_caption=st.none() | texts,
    regions=st.none() | st.lists(regions, max_size=3).map(tuple),
    expressions=st.none() | st.lists(expressions, max_size=3).map(tuple),
)


@settings(max_examples=40, deadline=None)
@given(changes)
def test_what_a_step_changed_comes_back_from_the_store_unchanged(made):
    assert read_changes(json.dumps(changes_to_json(made))) == made


@pytest.mark.tao_row("extracted and not yet grounded is told from grounded and nothing there")
def test_an_expression_not_yet_grounded_is_told_from_one_that_nothing_matches():
    open_one = expression_to_json(Expression("e", "car"))
    nothing = expression_to_json(Expression("e", "car", instances=()))
    assert open_one["instances"] == nothing["instances"] == []
    assert "outcome" not in open_one
    assert nothing["outcome"] == "nothing"
    assert expressions_from_json([open_one])[0].instances is None
    assert expressions_from_json([nothing])[0].instances == ()


def test_the_keys_of_an_expression_are_those_of_the_format():
    written = expression_to_json(Expression("e", "car", (0, 3), "car", (Instance("b", Box(1, 2, 3, 4)),)))
    assert list(written) == ["expression_id", "text", "char_span", "noun_chunk", "instances", "verified", "outcome"]
    assert list(written["instances"][0]) == ["bbox_id", "bbox", "score", "verified"]


@pytest.mark.tao_row("score: in [0, 1] or null; bbox_score is accepted")
@pytest.mark.parametrize(
    ("given", "score"),
    [
        ({"score": 0.5}, 0.5),
        ({"bbox_score": 0.9}, 0.9),
        ({"score": None}, None),
        ({"score": [0.5]}, None),
        ({"score": True}, None),
        ({}, None),
    ],
)
def test_a_score_is_read_under_both_names_and_never_invented(given, score):
    value = {"expression_id": "e", "text": "car", "instances": [{"bbox_id": "b", "bbox": [1, 2, 3, 4], **given}]}
    (expression,) = expressions_from_json([value])
    (instance,) = expression.instances or ()
    assert instance.score == score


@pytest.mark.tao_row("regions[].bbox_2d is accepted and not written")
def test_a_region_is_read_under_both_names_of_its_box():
    assert regions_from_json([{"bbox_2d": [1, 2, 3, 4]}]) == regions_from_json([{"bbox": [1, 2, 3, 4]}])


@pytest.mark.parametrize(
    "value",
    [
        None,
        "1 2 3 4",
        [1, 2, 3],
        [1, 2, 3, "4"],
        [1, 2, 3, True],
        [3, 2, 1, 4],
        [1, 4, 3, 4],
        [1, 2, float("inf"), 4],
        [1, 2, float("nan"), 4],
    ],
)
def test_what_is_no_box_says_where_and_what_was_found(value):
    with pytest.raises(InputError, match=r"^line 3\.bbox: expected"):
        box_from_json(value, "line 3.bbox")


@pytest.mark.parametrize(
    ("read", "value", "said"),
    [
        pytest.param(regions_from_json, {}, '"regions": expected a list, found dict', id="no-list"),
        pytest.param(regions_from_json, [GOOD, 7], "regions[1]: expected an object, found 7", id="no-object"),
        pytest.param(
            regions_from_json,
            [GOOD, {"type": "car"}],
            "regions[1].bbox: expected four numbers [x1, y1, x2, y2], found None",
            id="no-box",
        ),
        pytest.param(
            regions_from_json,
            [{"bbox_2d": [3, 2, 1, 4]}],
            "regions[0].bbox_2d: expected finite x1 < x2 and y1 < y2, found [3, 2, 1, 4]",
            id="box-turned-around",
        ),
        pytest.param(
            regions_from_json,
            [GOOD | {"flags": 5}],
            "\"regions\": a value of an unexpected type ('int' object is not iterable)",
            id="flags-that-are-none",
        ),
        pytest.param(
            expressions_from_json,
            [{"text": " "}],
            "expressions[0]: expected an object with a non-empty \"text\", found {'text': ' '}",
            id="no-text",
        ),
        pytest.param(
            expressions_from_json,
            [{"expression_id": "e", "text": "car", "instances": [{"bbox_id": "b", **GOOD, "original_bbox": "x"}]}],
            "expressions[0].instances[0].original_bbox: expected four numbers [x1, y1, x2, y2], found 'x'",
            id="box-inside",
        ),
    ],
)
def test_what_is_wrong_in_a_list_is_told_with_its_place(read, value, said):
    with pytest.raises(InputError) as told:
        read(value)
    assert str(told.value) == said


def test_seeds_are_written_with_the_numbers_they_came_with():
    assert seed_to_json(seed_from_json([100, 120.5, 220, 210, "Car"], "s")) == [100, 120.5, 220, 210, "Car"]
    assert seed_from_json([1, 2, 3, 4], "s").type == "object"


# --- what is labeled ------------------------------------------------------------------------------------------------

KEPT, REJECTED, UNCHECKED = (Instance(f"b{v}", Box(0, 0, 1, 1), verified=v) for v in (True, False, None))


@pytest.mark.parametrize(
    ("instances", "verified", "outcome", "kept"),
    [
        pytest.param(None, None, None, (), id="not-grounded"),
        pytest.param((), None, "nothing", (), id="matches-nothing"),
        pytest.param((UNCHECKED,), None, "labeled", (UNCHECKED,), id="not-checked"),
        pytest.param((KEPT, REJECTED), True, "labeled", (KEPT,), id="one-box-rejected"),
        pytest.param((REJECTED,), None, "rejected", (), id="every-box-rejected"),
        pytest.param((REJECTED, REJECTED), False, "rejected", (), id="rejected"),
        pytest.param((KEPT, UNCHECKED), False, "rejected", (), id="rejected-whatever-its-boxes-say"),
        pytest.param((), False, "nothing", (), id="rejected-without-boxes"),
    ],
)
def test_an_expression_is_labeled_by_a_box_that_nobody_rejected(instances, verified, outcome, kept):
    expression = Expression("e", "x", instances=instances, verified=verified)
    assert (expression.outcome, expression.kept) == (outcome, kept)
    written = expression_to_json(expression)
    assert written.get("outcome") == outcome
    assert expressions_from_json([written]) == (expression,)


GROUNDING = ("step0_expression_extraction", "step1_grounding")
REFERRING = ("step0_region_expr", "step1_image_caption", "step2_grounding_expr", "step3_double_check")


@pytest.mark.parametrize(
    ("steps", "ended", "outcome"),
    [
        pytest.param(GROUNDING, "labeled labeled", "labeled", id="boxes"),
        pytest.param(GROUNDING, "labeled nothing", "nothing", id="expressions-that-match-nothing"),
        pytest.param(GROUNDING, "nothing skipped", "nothing", id="no-expressions"),
        pytest.param(GROUNDING, "labeled", "labeled", id="expressions-were-all-that-was-asked-for"),
        pytest.param(GROUNDING, "labeled failed", "failed", id="open"),
        pytest.param(GROUNDING, "refused skipped", "refused", id="refused"),
        pytest.param(REFERRING, "labeled labeled labeled labeled", "labeled", id="checked"),
        pytest.param(REFERRING, "labeled labeled labeled nothing", "nothing", id="all-rejected"),
        pytest.param(REFERRING, "labeled labeled labeled unreadable", "unreadable", id="check-open"),
        pytest.param(REFERRING, "labeled failed labeled labeled", "failed", id="caption-open"),
        pytest.param(REFERRING, "labeled refused labeled nothing", "refused", id="caption-refused"),
        pytest.param(REFERRING, "skipped labeled skipped skipped", "skipped", id="a-caption-and-no-seeds"),
        pytest.param(REFERRING, "- labeled", "labeled", id="a-caption-was-all-that-was-asked-for"),
        pytest.param(REFERRING, "labeled labeled", "labeled", id="descriptions-were-all-that-was-asked-for"),
        pytest.param((), "", "skipped", id="no-steps"),
        pytest.param(("stepA", "stepB"), "nothing labeled", "labeled", id="steps-of-somebody-else"),
    ],
)
def test_the_outcome_of_a_record_says_what_became_of_its_boxes(steps, ended, outcome):
    words = zip(steps, ended.split(), strict=False)
    outcomes = {step: StepOutcome(Outcome(word)) for step, word in words if word != "-"}
    for order in (outcomes, dict(reversed(outcomes.items()))):
        assert Record("0" * 32, 0, 0, "a", "a.jpg", "x", outcomes=order).outcome is Outcome(outcome)
