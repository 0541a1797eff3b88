"""What is taken of old labels and what is not, one record at a time."""

from __future__ import annotations

import copy
import dataclasses
import json
import random
from typing import Any

import pytest

from raylabel.errors import AnswerError, GeometryError
from raylabel.geometry import XYXY_PIXELS, YXYX_1000, Convention
from raylabel.importing.tao_folder import CHECKPOINT, LABELS, LINES, Old
from raylabel.importing.tao_labels import Taken, TaoLabels
from raylabel.pipelines import all_steps
from raylabel.records import (
    IMAGE_GROUNDING,
    IMAGE_REFERRING_EXPRESSION,
    Box,
    Changes,
    Expression,
    ImageFacts,
    Instance,
    Outcome,
    Record,
    Region,
    Seed,
    Size,
    StepOutcome,
)
from raylabel.steps.base import ModelTarget, StepSetup

Json = dict[str, Any]
STEPS = all_steps()
SIZE = Size(640, 480)
FACTS = ImageFacts("d" * 32, SIZE, 1, "image/png", True)
CAPTION = "There is a red bus and a man with a hat."
CLEANED = "a red bus and a man with a hat."


def reader(convention: Convention | None = XYXY_PIXELS, *, takes_doubtful: bool = True, **setup: Any) -> TaoLabels:
    setups = {step.name: StepSetup((ModelTarget(step.prompt),), **setup) for step in STEPS.values()}
    return TaoLabels(setups, convention, takes_doubtful=takes_doubtful)


def line(fields: Json, *, kind: str = LINES, is_own: bool = True) -> Old:
    return Old(kind, is_own, {"width": 640, "height": 480, **fields})


def text(content: str) -> Old:
    return Old(LABELS, True, text=content)


def why_not(step: str, old: Old, record: Record, **how: Any) -> str:
    with pytest.raises((AnswerError, GeometryError)) as refused:
        reader(**how).read(STEPS[step], old, record)
    return str(refused.value)


# --- captions -------------------------------------------------------------------------------------------------------

CAPTIONED = Record("1" * 32, 0, 0, "i", "i.png", IMAGE_GROUNDING, image=FACTS, caption=CAPTION)


def extraction(*expressions: Json, caption: Any = CLEANED) -> Json:
    return {"caption": CAPTION, "cleaned_caption": caption, "expressions": list(expressions)}


def test_made_up_spans_and_nouns_are_found_anew_and_ids_derive_from_content() -> None:
    said = extraction(
        {"text": "red bus", "char_span": [0, 7], "noun_chunk": "bus", "expression_id": "expr_00000"},
        {"text": "man with a hat", "char_span": [0, 14], "noun_chunk": "hat", "expression_id": "expr_00000"},
        {"text": "cat", "char_span": [90, 93], "noun_chunk": "kitten"},
        {"text": "red bus", "char_span": [2, 9]},
        {"text": "The man is here."},
        {"no": "text"},
    )
    taken = reader().read(STEPS["expression_extraction"], line(said), CAPTIONED)
    assert taken.result.outcome is Outcome.LABELED
    bus, man, cat = taken.result.changes.expressions or ()
    assert (bus.char_span, bus.noun_chunk) == ((2, 9), "bus")
    assert (man.char_span, man.noun_chunk) == ((16, 30), "man")
    assert (cat.char_span, cat.noun_chunk, cat.flags) == (None, "kitten", ("not_in_caption",))
    assert len({bus.expression_id, man.expression_id, cat.expression_id}) == 3
    assert taken.result.violations == {"repeated_phrase": 1, "sentence": 1}
    assert taken.mended["ids made anew, as those of the original repeat"] == 3


@pytest.mark.parametrize(
    ("said", "kind", "is_own", "reason"),
    [
        pytest.param(extraction(), LINES, True, "the list of phrases is empty", id="empty"),
        pytest.param(extraction(caption=CAPTION), CHECKPOINT, True, "the list of phrases is empty", id="an-error-text"),
        pytest.param(extraction(), CHECKPOINT, False, "the list of phrases is empty", id="of-a-later-step"),
        pytest.param(extraction({"text": "bus"}, caption=" "), LINES, True, "no cleaned caption", id="no-caption"),
        pytest.param(extraction({"text": "bus"}, caption=7), LINES, True, "no cleaned caption", id="a-number"),
        pytest.param(
            extraction({"text": "bus"}, caption="Failed to obtain answer via API."),
            LINES,
            True,
            "no cleaned caption",
            id="a-failure",
        ),
        pytest.param(extraction({"text": "There is a bus."}), LINES, True, "there are sentences", id="sentences"),
        pytest.param({"caption": CAPTION, "pipeline_steps": ["step0"]}, LINES, True, "is empty", id="no-content"),
    ],
)
def test_an_extraction_that_may_have_failed_is_not_taken(said: Json, kind: str, is_own: bool, reason: str) -> None:
    assert reason in why_not("expression_extraction", line(said, kind=kind, is_own=is_own), CAPTIONED)


def test_an_empty_extraction_counts_where_its_checkpoint_says_that_it_was_answered() -> None:
    taken = reader().read(STEPS["expression_extraction"], line(extraction(), kind=CHECKPOINT), CAPTIONED)
    assert taken.result.outcome is Outcome.NOTHING
    assert taken.result.changes.expressions == ()


# --- boxes of phrases -----------------------------------------------------------------------------------------------

EXTRACTED = CAPTIONED.apply(
    "step0_expression_extraction",
    StepOutcome(Outcome.LABELED),
    Changes(cleaned_caption=CLEANED, expressions=(Expression("e1", "red bus"), Expression("e2", "man with a hat"))),
)


def grounded(bus: list[Json], man: list[Json], **fields: Any) -> Json:
    expressions = [{"text": "red bus", "instances": bus}, {"text": "man with a hat", "instances": man}]
    steps = ["step0_expression_extraction", "step1_grounding"]
    return {"caption": CAPTION, "expressions": expressions, "pipeline_steps": steps, **fields}


def box(*numbers: float, score: Any = 0.5) -> Json:
    return {"bbox": list(numbers), "bbox_score": score, "bbox_id": "box_00000"}


def boxes_of(taken: Taken) -> list[list[Instance]]:
    return [list(e.instances or ()) for e in taken.result.changes.expressions or ()]


def test_scores_that_were_made_up_are_left_out_and_others_kept() -> None:
    said = grounded(
        [box(1, 2, 30, 40, score=0.9), box(5, 2, 60, 40, score=0.8), box(9, 9, 99, 99, score=0.9)],
        [box(1, 2, 30, 40, score=0.9), box(5, 5, 60, 60, score="high")],
    )
    taken = reader().read(STEPS["grounding"], line(said), EXTRACTED)
    assert [[i.score for i in found] for found in boxes_of(taken)] == [[0.9, 0.8, None], [0.9, None]]
    said["expressions"][1]["instances"].pop()
    taken = reader().read(STEPS["grounding"], line(said), EXTRACTED)
    assert [i.score for i in boxes_of(taken)[1]] == [None]
    assert taken.mended["scores of 0.9 that stand for none, left out"] == 2


def test_a_phrase_without_a_box_beside_others_is_in_doubt() -> None:
    said = grounded([box(1, 2, 30, 40)], [])
    taken = reader().read(STEPS["grounding"], line(said), EXTRACTED)
    assert [e.outcome for e in taken.result.changes.expressions or ()] == ["labeled", "nothing"]
    assert sum(n for name, n in taken.mended.items() if name.startswith("phrases without a box")) == 1
    assert "in doubt" in why_not("grounding", line(said), EXTRACTED, takes_doubtful=False)


def test_numbers_are_read_as_the_user_says() -> None:
    said = grounded([box(100, 200, 300, 500)], [box(0, 0, 1000, 1000)], width=0, height=0)
    (bus,), (man,) = boxes_of(reader(YXYX_1000).read(STEPS["grounding"], line(said), EXTRACTED))
    assert (bus.box, man.box) == (Box(128.0, 48.0, 320.0, 144.0), Box(0.0, 0.0, 640.0, 480.0))
    assert "--boxes none" in why_not("grounding", line(said), EXTRACTED, convention=None)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        pytest.param(grounded([], []), "every phrase is empty", id="all-empty"),
        pytest.param({**grounded([], []), "pipeline_steps": []}, "its call failed", id="step-not-named"),
        pytest.param(grounded([box(9, 9, 9, 40)], []), "cut off until nothing", id="no-width"),
        pytest.param(grounded([box(700, 9, 640, 40)], []), "cut off until nothing", id="turned-around"),
        pytest.param(grounded([box(1, 2, 300, 40)], [], width=300), "cut off at 300 x 480", id="cut-off"),
        pytest.param(grounded([box(1, 2, 900, 40)], [], width=9000), "leaves the 640x480 image", id="outside"),
        pytest.param(
            {**grounded([box(1, 2, 9, 9)], []), "expressions": [{"text": "red bus", "instances": [box(1, 2, 9, 9)]}]},
            "phrases are others",
            id="other-phrases",
        ),
    ],
)
def test_boxes_that_may_be_a_failure_or_are_spoilt_are_not_taken(said: Json, reason: str) -> None:
    assert reason in why_not("grounding", line(said), EXTRACTED)


def test_boxes_of_an_image_that_was_not_upright_are_not_taken() -> None:
    turned = dataclasses.replace(EXTRACTED, image=dataclasses.replace(FACTS, orientation=6))
    assert "EXIF orientation" in why_not("grounding", line(grounded([box(1, 2, 30, 40)], [])), turned)


# --- described boxes ------------------------------------------------------------------------------------------------

SEEDS = (Seed(Box(64.5, 48, 320, 240), "Car"), Seed(Box(320, 240, 630, 470), "Van"))
ROWS: list[Any] = [[64, 48, 320, 240, "Car"], [0, 0, 20, 20, "DontCare"], [320, 240, 630, 470, "Van"]]
CAR, CARE, VAN = [100, 100, 500, 500], [0, 0, 31, 41], [500, 500, 984, 979]
SEEDED = Record("2" * 32, 0, 0, "i", "i.png", IMAGE_REFERRING_EXPRESSION, image=FACTS, seeds=SEEDS)


def region(numbers: list[int], description: str, key: str = "bbox") -> Json:
    return {key: numbers, "type": "car", "color": "red", "description": description}


REGIONS = [region(CAR, "the red car"), region(CARE, "something"), region(VAN, "the van")]


def described(*regions: Json, **fields: Any) -> Json:
    return {"kitti_bboxes": ROWS, "regions": list(regions), **fields}


@pytest.mark.parametrize(
    "old",
    [
        pytest.param(line(described(*REGIONS)), id="line"),
        pytest.param(line(described(*reversed(REGIONS))), id="in-another-order"),
        pytest.param(line(described(*(region(r["bbox"], r["description"], "bbox_2d") for r in REGIONS))), id="bbox_2d"),
        pytest.param(line(described(region([104, 96, 507, 490], "the red car"), *REGIONS[1:])), id="other-numbers"),
        pytest.param(
            line(described(region([64, 48, 320, 240], "the red car"), region([320, 240, 630, 470], "the van"))),
            id="pixels",
        ),
        pytest.param(text(json.dumps([REGIONS[0], REGIONS[2]], indent=2)), id="text"),
        pytest.param(text("\n".join(map(json.dumps, REGIONS))), id="text-of-objects"),
        pytest.param(text(f"```json\n{json.dumps(REGIONS)}\n```"), id="fenced"),
        pytest.param(text(f"Sure, here they are: {json.dumps({'regions': REGIONS})}"), id="what-the-model-said"),
    ],
)
def test_descriptions_find_their_seed_boxes(old: Old) -> None:
    taken = reader().read(STEPS["region_expr"], old, SEEDED)
    found = [(r.box, r.description) for r in taken.result.changes.regions or ()]
    assert found == [(SEEDS[0].box, "the red car"), (SEEDS[1].box, "the van")]


@pytest.mark.parametrize(
    ("old", "reason"),
    [
        pytest.param(line(described()), "list of described boxes is empty", id="empty"),
        pytest.param(text(""), "list of described boxes is empty", id="empty-file"),
        pytest.param(text("Failed to obtain answer via API."), "is empty", id="failure"),
        pytest.param(text('[{"bbox_2d": [100, 100'), "", id="truncated"),
        pytest.param(line(described(REGIONS[0])), "1 of 2 boxes have no description", id="one-is-missing"),
        pytest.param(
            line(described(REGIONS[0], region(VAN, ""))), "1 of 2 boxes have no description", id="nothing-said"
        ),
        pytest.param(line(described(*REGIONS, width=0)), "an image of 1920 x 480", id="unknown-size"),
        pytest.param(line(described(*REGIONS, kitti_bboxes=ROWS[:1])), "others than those of the input", id="others"),
        pytest.param(line(described(*REGIONS, kitti_bboxes="x")), "others than those of the input", id="no-list"),
        pytest.param(
            line(described(region([700, 700, 900, 900], "a"), region([0, 600, 90, 900], "b"))),
            "units of the regions cannot be told",
            id="elsewhere",
        ),
    ],
)
def test_descriptions_that_may_be_a_failure_are_not_taken(old: Old, reason: str) -> None:
    assert reason in why_not("region_expr", old, SEEDED)


def test_a_caption_is_taken_and_a_failure_is_none() -> None:
    taken = reader().read(STEPS["image_caption"], line({"caption": "Two cars on a road."}), SEEDED)
    assert taken.result.changes.caption == "Two cars on a road."
    assert reader().read(STEPS["image_caption"], text("Two cars on a road."), SEEDED) == taken
    for old in (line({"caption": ""}), line({}), text(""), text("Failed to obtain answer via API.")):
        assert "the caption is empty" in why_not("image_caption", old, SEEDED)
    assert why_not("image_caption", line({"caption": "Error: rate limit exceeded (429)"}), SEEDED)


DESCRIBED = dataclasses.replace(
    SEEDED,
    regions=(Region(SEEDS[0].box, "car", "red", "the red car"), Region(SEEDS[1].box, "van", "", "the van")),
)


def groups(*expressions: tuple[str, list[list[int]]], **fields: Any) -> Json:
    listed = [
        {"text": phrase, "instances": [{"bbox": b, "bbox_score": 0.9} for b in boxes]} for phrase, boxes in expressions
    ]
    return {**described(*REGIONS), "expressions": listed, **fields}


@pytest.mark.parametrize(
    "old",
    [
        pytest.param(line(groups(("every vehicle", [CAR, VAN, CARE]), ("the car", [CAR]))), id="line"),
        pytest.param(text(f"every vehicle: {json.dumps([CAR, VAN])}\nthe car: {json.dumps([CAR])}\n"), id="text"),
    ],
)
def test_groups_take_the_exact_boxes_of_their_regions(old: Old) -> None:
    taken = reader().read(STEPS["grounding_expr"], old, DESCRIBED)
    assert [[(i.box, i.score) for i in found] for found in boxes_of(taken)] == [
        [(SEEDS[0].box, None), (SEEDS[1].box, None)],
        [(SEEDS[0].box, None)],
    ]


def test_groups_of_one_phrase_are_joined_and_what_no_phrase_names_is_in_doubt() -> None:
    said = groups(("a car", [CAR]), ("A car", [CAR, [1, 700, 30, 900]]))
    taken = reader().read(STEPS["grounding_expr"], line(said), DESCRIBED)
    (only,) = taken.result.changes.expressions or ()
    assert set(only.flags) == {"merged", "unknown_region"}
    assert taken.result.violations == {"left_out": 1}
    assert "in doubt" in why_not("grounding_expr", line(said), DESCRIBED, takes_doubtful=False)


@pytest.mark.parametrize(
    ("old", "reason"),
    [
        pytest.param(line(groups()), "list of phrases is empty", id="empty"),
        pytest.param(line(groups(("a car", []))), "list of phrases is empty", id="no-boxes"),
        pytest.param(text(""), "list of phrases is empty", id="empty-file"),
        pytest.param(text("a car: [[1, 2, 3"), "a line of its label file cannot be read", id="truncated"),
        pytest.param(text("All is well."), "a line of its label file cannot be read", id="prose"),
        pytest.param(line(groups(("a car", [[1, 700, 30, 900]]))), "no phrase names a described box", id="elsewhere"),
        pytest.param(line(groups(("a car", [CARE]))), "no phrase names a described box", id="not-cared-for"),
    ],
)
def test_groups_that_may_be_a_failure_are_not_taken(old: Old, reason: str) -> None:
    assert reason in why_not("grounding_expr", old, DESCRIBED)


GROUPED = dataclasses.replace(
    DESCRIBED,
    expressions=(
        Expression("e1", "every vehicle", instances=(Instance("b1", SEEDS[0].box), Instance("b2", SEEDS[1].box))),
        Expression("e2", "the car", instances=(Instance("b3", SEEDS[0].box),)),
    ),
)


def checked(*expressions: tuple[str, list[list[int]]]) -> Json:
    said = groups(*expressions)
    for e in said["expressions"]:
        e["verified"] = True
    return said


@pytest.mark.parametrize("adjust", ["flag", "apply", "never"])
def test_checks_keep_drop_and_move(adjust: str) -> None:
    moved = [520, 500, 984, 979]
    said = checked(("every vehicle", [CAR, moved, [1, 700, 30, 900]]))
    taken = reader(adjust=adjust).read(STEPS["double_check"], line(said), GROUPED)
    (kept,) = taken.result.changes.expressions or ()
    first, second = kept.instances or ()
    assert (kept.verified, first.verified, first.box) == (True, True, SEEDS[0].box)
    if adjust == "apply":
        assert second.box.as_tuple() == pytest.approx((332.8, 240.0, 629.76, 469.92))
        assert (second.original_box, second.verified) == (SEEDS[1].box, True)
    else:
        assert second.box == SEEDS[1].box
        assert (second.proposed_box is not None) == (adjust == "flag")
    assert taken.result.violations["rejected_phrase"] == 1
    assert {name.partition(" ")[0]: n for name, n in taken.mended.items() if "double check" in name} == {
        "boxes": 1,
        "phrases": 1,
    }
    assert "in doubt" in why_not("double_check", line(said), GROUPED, takes_doubtful=False)


@pytest.mark.parametrize(
    ("old", "reason"),
    [
        pytest.param(line(checked()), "list of phrases is empty", id="erased"),
        pytest.param(text(""), "list of phrases is empty", id="empty-file"),
        pytest.param(line(groups(("the car", [CAR]))), "as they were before the check", id="unchecked-copy"),
    ],
)
def test_checks_that_may_be_a_failure_are_not_taken(old: Old, reason: str) -> None:
    assert reason in why_not("double_check", old, GROUPED)


def test_a_phrase_with_a_colon_that_is_gone_was_not_rejected() -> None:
    signs = dataclasses.replace(
        GROUPED, expressions=(Expression("e1", "sign: stop", instances=(Instance("b1", SEEDS[0].box),)),)
    )
    assert "colon" in why_not("double_check", line(checked(("the car", [CAR]))), signs)


# --- hostile --------------------------------------------------------------------------------------------------------

VALUES: list[Any] = [
    None, True, 0, -1, 1e308, 10**30, "", "x", "\ud800", [], {}, [[]], [None], [1, 2, 3], [1, 2, 3, 4], ["1"] * 4,
    {"bbox": 7}, [{"bbox": [0, 0, 0, 0]}], [{"text": 7}], [[1, 2, 3, "Car"]], [float(10**9)] * 4,
]  # fmt: skip


def spoilt(value: Any, rng: random.Random) -> Any:
    """The value with something in it replaced, removed or said twice."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: spoilt(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        if rng.random() < 0.2:
            return [*value, copy.deepcopy(value[at])]
        return [*value[:at], spoilt(value[at], rng), *value[at + 1 :]]
    return copy.deepcopy(rng.choice(VALUES))


CASES: list[tuple[str, Record, Json]] = [
    ("expression_extraction", CAPTIONED, extraction({"text": "red bus", "char_span": [2, 9], "noun_chunk": "bus"})),
    ("grounding", EXTRACTED, grounded([box(1, 2, 30, 40)], [box(5, 5, 60, 60), box(9, 9, 99, 99)])),
    ("region_expr", SEEDED, described(*REGIONS)),
    ("image_caption", SEEDED, {"caption": "Two cars on a road."}),
    ("grounding_expr", DESCRIBED, groups(("every vehicle", [CAR, VAN]), ("the car", [CAR]))),
    ("double_check", GROUPED, checked(("every vehicle", [CAR, VAN]), ("the car", [CAR]))),
]


@pytest.mark.parametrize(("step", "record", "said"), CASES, ids=[case[0] for case in CASES])
def test_whatever_stands_in_a_line_is_taken_or_not(step: str, record: Record, said: Json) -> None:
    labels, rng = reader(), random.Random(7)
    taken = 0
    for _ in range(3000):
        fields = spoilt({"width": 640, "height": 480, **copy.deepcopy(said)}, rng)
        for _ in range(rng.randrange(3)):
            fields = spoilt(fields, rng)
        if not isinstance(fields, dict):
            continue
        try:
            result = labels.read(STEPS[step], Old(rng.choice([LINES, CHECKPOINT]), True, fields), record).result
        except (AnswerError, GeometryError):
            continue
        taken += 1
        for e in result.changes.expressions or ():
            for i in e.instances or ():
                assert 0 <= i.box.x1 < i.box.x2 <= SIZE.width
                assert 0 <= i.box.y1 < i.box.y2 <= SIZE.height
                assert i.score is None or 0 <= i.score <= 1
    assert taken > 100


@pytest.mark.parametrize(
    ("step", "record", "content"),
    [
        ("region_expr", SEEDED, json.dumps(REGIONS)),
        ("image_caption", SEEDED, "Two cars on a road."),
        ("grounding_expr", DESCRIBED, f"every vehicle: {json.dumps([CAR, VAN])}\nthe car: {json.dumps([CAR])}\n"),
        ("double_check", GROUPED, f"every vehicle: {json.dumps([CAR, VAN])}\nthe car: {json.dumps([CAR])}\n"),
    ],
)
def test_whatever_stands_in_a_label_file_is_taken_or_not(step: str, record: Record, content: str) -> None:
    labels, rng = reader(), random.Random(7)
    for _ in range(1500):
        letters = list(content[: rng.randrange(1, len(content) + 1)] if rng.random() < 0.5 else content)
        for _ in range(rng.randrange(4)):
            letters[rng.randrange(len(letters))] = rng.choice('[]{}",:01e9\n \\\x00ü')
        try:
            labels.read(STEPS[step], text("".join(letters)), record)
        except (AnswerError, GeometryError):
            continue
