"""Whole answers of the demo model as each family gives them: what it is asked, what it sees, what it says."""

from __future__ import annotations

import io
import json
import re

import pytest
from PIL import Image

from raylabel.demo.labels import box_iou
from raylabel.demo.server.dialects import DIALECTS, MAX_PIXELS
from raylabel.demo.server.model import Ask, BadRequest, Model
from raylabel.demo.server.questions import read_question

SIZE_WH = (1242, 375)
RED, BLUE, GREEN = (215, 28, 34), (40, 70, 220), (20, 175, 60)
SQUARE_PX, BAR_PX, GREEN_PX = (100, 120, 190, 210), (621, 150, 931, 225), (1000, 40, 1180, 190)
FAMILIES = sorted(set(DIALECTS) - {"molmo"})


def drawn(*rectangles, size_wh=SIZE_WH) -> bytes:
    image = Image.new("RGB", size_wh, (150, 150, 146))
    for rgb, box in rectangles:
        image.paste(rgb, box)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


PICTURE = drawn((RED, SQUARE_PX), (BLUE, BAR_PX), (GREEN, GREEN_PX))


def say(question: str, dialect: str, *, model: Model | None = None, picture: bytes = PICTURE, **options) -> str:
    ask = Ask("You label images.", [picture], question, dialect, **options)
    return (model or Model()).answer(ask).text


def boxed(box_px, dialect: str, size_wh=SIZE_WH):
    """A box of the picture as the family writes it in JSON."""
    spoken = DIALECTS[dialect]
    wide, high = spoken.view(size_wh, MAX_PIXELS)
    across, down = wide / size_wh[0], high / size_wh[1]
    left, top, right, bottom = box_px
    return spoken.spell(spoken.write((left * across, top * down, right * across, bottom * down), wide, high))


# --- what is asked --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "phrases", "wants_json"),
    [
        pytest.param("Where is <ref>the red circle</ref>?", ["the red circle"], False, id="internvl"),
        pytest.param("<ref>a star</ref> and <ref>blue bars</ref>", ["a star", "blue bars"], True, id="two-refs"),
        pytest.param("<|ref|>the red circle<|/ref|>.", ["the red circle"], False, id="deepseek"),
        pytest.param("<|object_ref_start|>blue bar<|object_ref_end|>", ["blue bar"], False, id="qwen2"),
        pytest.param("detect red circle ; blue bar\n", ["red circle", "blue bar"], True, id="paligemma"),
        pytest.param("<OPEN_VOCABULARY_DETECTION>the red circle", ["the red circle"], False, id="florence-one"),
        pytest.param("<CAPTION_TO_PHRASE_GROUNDING>red circle. blue bar.", ["red circle", "blue bar"], True, id="both"),
        pytest.param("<grounding><phrase> red circle </phrase>", ["red circle"], False, id="kosmos"),
        pytest.param('Look.\nPhrase: "the red circle"\n', ["the red circle"], False, id="phrase-line"),
        pytest.param("phrase: the red circle", ["the red circle"], False, id="phrase-line-unquoted"),
        pytest.param('Find a phrase. Phrase: "a \\"red\\" star"', ['a "red" star'], False, id="phrase-behind-words"),
        pytest.param('Phrases: ["red circle", "star"]', ["red circle", "star"], True, id="phrases"),
        pytest.param('Reply in JSON.\nPhrase: "red circle"', ["red circle"], True, id="json-wanted"),
        pytest.param('{"id": 1, "phrase": "star"}\nas <ref>x</ref>', ["star"], True, id="json-lines-first"),
    ],
)
def test_a_grounding_question_is_understood_in_every_familys_words(question, phrases, wants_json):
    task = read_question(question)
    assert task.name == "grounding"
    assert [item["phrase"] for item in task.items] == phrases
    assert task.wants_json == wants_json


@pytest.mark.parametrize(
    ("question", "name"),
    [
        pytest.param('Caption: "we detect <ref>a star</ref>"', "expression_extraction", id="caption-with-tags"),
        pytest.param("Describe every phrase: short, please.", "image_caption", id="the-word-phrase"),
        pytest.param("List the phrases, one a line:", "image_caption", id="an-empty-list"),
        pytest.param('{"id": 1, "box": "<loc0051><loc0309><loc0708><loc0646>"}', "region_expr", id="loc-tokens"),
        pytest.param('{"id": 1, "box": "<patch_index_0044><patch_index_0863>"}', "region_expr", id="cells"),
        pytest.param('{"id": 1, "bbox_2d": [[1, 2, 3, 4]]}', "region_expr", id="list-in-list"),
        pytest.param('{"id": 1, "box": "(1,2),(3,4)"}', "region_expr", id="two-points"),
        pytest.param('{"id": 1, "x_min": 0.1, "y_min": 0.2, "x_max": 0.3, "y_max": 0.4}', "region_expr", id="corners"),
    ],
)
def test_other_questions_are_not_taken_for_grounding(question, name):
    assert read_question(question).name == name


@pytest.mark.parametrize(
    ("phrase", "fitting"),
    [
        pytest.param("the red rectangle", [SQUARE_PX], id="a-square-is-one"),
        pytest.param("blue rectangle", [BAR_PX], id="a-bar-is-one"),
        pytest.param("solid rectangles", [SQUARE_PX, BAR_PX, GREEN_PX], id="all"),
        pytest.param("yellow rectangle", [], id="absent"),
        pytest.param("red bar", [], id="a-square-is-no-bar"),
    ],
)
def test_squares_and_bars_are_rectangles(phrase, fitting):
    entries = json.loads(say(f'Phrase: "{phrase}"', "pixels", bare_json=True))
    assert [tuple(entry["box_2d"]) for entry in entries] == fitting


def test_magenta_is_a_kind_of_pink():
    picture = drawn(((255, 0, 255), SQUARE_PX))
    assert len(json.loads(say('Phrase: "magenta rectangle"', "pixels", picture=picture, bare_json=True))) == 1


# --- what is said ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", FAMILIES)
def test_each_family_describes_the_object_in_a_box_that_is_given_in_its_dialect(dialect):
    lines = [json.dumps({"id": n, "box": boxed(box, dialect)}) for n, box in enumerate((BAR_PX, SQUARE_PX), 1)]
    told = json.loads(say("\n".join(lines), dialect, bare_json=True))
    assert [(r["id"], r["color"], r["type"]) for r in told["regions"]] == [(1, "blue", "bar"), (2, "red", "square")]


@pytest.mark.parametrize("dialect", FAMILIES)
def test_each_family_mends_a_loose_box_in_its_dialect(dialect):
    left, top, right, bottom = BAR_PX
    loose = boxed((left - 100, top - 30, right - 60, bottom - 10), dialect)
    item = {"id": 1, "phrase": "blue bar", "boxes": [{"id": 7, "box": loose}, {"id": 8, "box": boxed(BAR_PX, dialect)}]}
    mended, kept = json.loads(say(json.dumps(item), dialect, bare_json=True))["checks"][0]["boxes"]
    assert mended == {"id": 7, "verdict": "adjust", DIALECTS[dialect].key: boxed(BAR_PX, dialect)}
    assert kept == {"id": 8, "verdict": "keep"}


def test_a_token_family_writes_its_tokens_as_a_string_where_json_holds_a_box():
    # 150/375 = 0.4 -> 409.6, 621/1242 = 0.5 -> 512, 225/375 = 0.6 -> 614.4, 931/1242 = 0.749597 -> 767.6
    listed = json.loads(say('{"id": 3, "phrase": "blue bar"}', "paligemma", bare_json=True))
    assert listed == [{"id": 3, "box": "<loc0409><loc0512><loc0614><loc0767>", "label": "blue bar"}]


def test_families_that_write_json_give_ids_to_what_had_them_and_null_to_what_is_absent():
    question = '{"id": 4, "phrase": "blue bar"}\n{"id": 9, "phrase": "green star"}'
    # 621/1242 = 0.5, 931/1242 = 0.7496, 150/375 = 0.4, 225/375 = 0.6
    assert json.loads(say(question, "unit")) == [
        {"id": 4, "bbox_2d": [0.5, 0.4, 0.75, 0.6], "label": "blue bar"},
        {"id": 9, "bbox_2d": None, "label": "green star"},
    ]
    assert json.loads(say("<ref>green star</ref>", "unit")) == []


def test_everything_but_grounding_stays_json_in_every_family():
    for dialect in DIALECTS:
        text = say("What is this?", dialect).rsplit("</think>", 1)[-1]
        assert list(json.loads(text.strip().removeprefix("```json").removesuffix("```"))) == ["caption"], dialect


def test_a_schema_holds_the_answer_whatever_the_family():
    schema = {
        "type": "object",
        "properties": {
            "found": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"id": {"type": "integer"}, "bbox": {"type": "array", "items": {"type": "number"}}},
                    "required": ["id", "bbox"],
                },
            }
        },
        "required": ["found"],
    }
    question = '{"id": 4, "phrase": "blue bar"}'
    for dialect in ("glm-4.5v", "qwen3-vl", "internvl"):
        found = json.loads(say(question, dialect, schema=schema))["found"]
        assert found == [{"id": 4, "bbox": [500, 400, 750, 600]}]
    assert json.loads(say(question, "claude", schema=schema))["found"] == [{"id": 4, "bbox": [*BAR_PX]}]
    emptied = json.loads(say(question, "qwen3-vl", schema=schema, empties_boxes=True))
    assert emptied == {"found": [{"id": 4, "bbox": []}]}


# --- what is seen ---------------------------------------------------------------------------------------------------


def test_qwen_answers_in_pixels_of_the_picture_its_server_made():
    # 1242/28 = 44.36 -> 1232 wide, 375/28 = 13.39 -> 364 high;
    # x: 621 * 1232/1242 = 616, 931 * 1232/1242 = 923.5;  y: 150 * 364/375 = 145.6, 225 * 364/375 = 218.4
    (entry,) = json.loads(say("<ref>blue bar</ref>", "qwen2.5-vl", bare_json=True))
    assert entry["bbox_2d"] == pytest.approx([616, 145.6, 923.5, 218.4], abs=1)


def test_qwens_server_shrinks_to_the_limit_it_was_given():
    # 1232 * 364 is more than 100000: sqrt(1242 * 375/100000) = 2.15812;
    # 1242/2.15812/28 = 20.55 -> 560 wide, 375/2.15812/28 = 6.21 -> 168 high;
    # x: 621 * 560/1242 = 280, 931 * 560/1242 = 419.8;  y: 150 * 168/375 = 67.2, 225 * 168/375 = 100.8
    model = Model(max_pixels=100_000)
    (entry,) = json.loads(say("<ref>blue bar</ref>", "qwen2.5-vl", model=model, bare_json=True))
    assert entry["bbox_2d"] == pytest.approx([280, 67.2, 419.8, 100.8], abs=1)


def test_claude_answers_in_pixels_of_its_long_edge():
    # 1568/4000 = 0.392: 1000 -> 392, 1500 -> 588;  118/300 high: 60 -> 23.6, 210 -> 82.6
    picture = drawn((RED, (1000, 60, 1500, 210)), size_wh=(4000, 300))
    (entry,) = json.loads(say("<ref>red bar</ref>", "claude", picture=picture, bare_json=True))
    assert [entry[name] for name in ("x1", "y1", "x2", "y2")] == pytest.approx([392, 23.6, 588, 82.6], abs=1)


def test_a_sliver_is_refused_by_qwens_server_only():
    sliver = drawn(size_wh=(2010, 10))
    with pytest.raises(BadRequest, match="aspect ratio"):
        say("What is this?", "qwen2.5-vl", picture=sliver)
    assert say("What is this?", "qwen3-vl", picture=sliver)


@pytest.mark.parametrize("size_wh", [(40, 30), (30, 64), (4000, 300), (600, 1400)], ids=str)
@pytest.mark.parametrize("dialect", sorted({*FAMILIES} - {"kosmos-2"}))
def test_objects_of_tiny_and_long_pictures_are_boxed_tightly(dialect, size_wh):
    width, height = size_wh
    box = (width // 5, height // 6, 2 * width // 3, 4 * height // 5)
    spoken = DIALECTS[dialect]
    question = f'{{"id": 1, "phrase": "red rectangle", "boxes": [{json.dumps(boxed(box, dialect, size_wh))}]}}'
    picture = drawn((RED, box), size_wh=size_wh)
    assert json.loads(say(question, dialect, picture=picture, bare_json=True))["checks"][0]["verdict"] == "keep"
    (entry,) = json.loads(
        say('{"id": 1, "phrase": "red rectangle"}', dialect, picture=picture, bare_json=True)
        .replace('{"objects": ', "")
        .replace("}]}", "}]")
    )
    wide, high = spoken.view(size_wh, MAX_PIXELS)
    seen = spoken.read_value(entry if spoken.corners_in_entry else entry[spoken.key], wide, high)
    assert seen is not None
    scaled = [v * s for v, s in zip(seen, [width / wide, height / high] * 2, strict=True)]
    assert box_iou(scaled, box) >= 0.9


# --- thinking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_a_thinking_model_drafts_boxes_that_are_not_its_answer(dialect):
    plain, thinking = (say("<ref>blue bar</ref>", dialect, model=Model(thinks=t)) for t in (False, True))
    thoughts, answer = thinking.split("</think>\n", 1)
    assert thoughts.startswith("<think>\n")
    assert re.search(r"\[\[.+?\]\]", thoughts)
    assert plain.endswith(answer)
    right = DIALECTS[dialect].spell(DIALECTS[dialect].write((621, 150, 931, 225), *SIZE_WH))
    assert json.dumps(right) not in thoughts


def test_glm_thinks_aloud_by_itself_and_others_when_told_to():
    assert say("What is this?", "glm-4.5v").startswith("<think>")
    assert not say("What is this?", "qwen3-vl").startswith("<think>")
    assert say("What is this?", "qwen3-vl", model=Model(thinks=True)).startswith("<think>")


def test_no_thought_comes_through_a_schema():
    schema = {"type": "object", "properties": {"caption": {"type": "string"}}, "required": ["caption"]}
    assert list(json.loads(say("What is this?", "glm-4.5v", schema=schema))) == ["caption"]
