from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from raylabel.demo.labels import box_iou
from raylabel.demo.server.answering import answer, extract
from raylabel.demo.server.dialects import DIALECTS
from raylabel.demo.server.language import noun_phrases, read_phrase, single_out
from raylabel.demo.server.questions import read_question
from raylabel.demo.server.seeing import UnreadableImage, look_at


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def scene_of(*rectangles, size_wh=(640, 420), ground=(150, 150, 146)):
    """A scene of solid rectangles given as (rgb, box)."""
    image = Image.new("RGB", size_wh, ground)
    for rgb, box in rectangles:
        image.paste(rgb, box)
    return look_at(encoded(image))


RED, BLUE = (215, 28, 34), (40, 70, 220)


def test_nearly_every_object_is_found_where_and_what_it_is(demo_world):
    total = boxes = looks = exact_sides = surplus = 0
    for entry in demo_world.truth["images"]:
        scene = look_at((demo_world.images_dir / entry["file"]).read_bytes())
        surplus += len(scene.objects) - len(entry["objects"])
        for drawn in entry["objects"]:
            total += 1
            seen = max(scene.objects, key=lambda s: box_iou(s.box_px, drawn["box"]))
            boxes += box_iou(seen.box_px, drawn["box"]) >= 0.9
            exact_sides += all(abs(a - b) < 1 for a, b in zip(seen.box_px, drawn["box"], strict=True))
            look = (seen.kind, seen.color, seen.texture, seen.size)
            looks += look == (drawn["kind"], drawn["color"], drawn["texture"], drawn["size"])
    assert total > 250
    assert surplus == 0
    assert boxes >= 0.99 * total
    assert exact_sides >= 0.99 * total
    assert looks >= 0.99 * total


def test_captions_are_cleaned_and_taken_apart_as_the_truth_says(demo_world):
    for entry in demo_world.truth["images"]:
        for caption in entry["captions"]:
            told = extract(caption["caption"])
            assert told["cleaned_caption"] == caption["cleaned_caption"]
            assert [e["text"] for e in told["expressions"]] == [p["text"] for p in caption["phrases"]]


def test_the_stored_orientation_is_not_looked_at():
    image = Image.new("RGB", (300, 200), (140, 140, 140))
    image.paste(RED, (20, 30, 80, 90))
    exif = Image.Exif()
    exif[274] = 6
    out = io.BytesIO()
    image.save(out, "PNG", exif=exif)
    assert [s.box_px for s in look_at(out.getvalue()).objects] == [(20, 30, 80, 90)]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no picture at all", id="text"),
        pytest.param(encoded(Image.effect_noise((300, 200), 50), "JPEG")[:3000], id="truncated-jpeg"),
        pytest.param(encoded(Image.effect_noise((300, 200), 50))[:3000], id="truncated-png"),
    ],
)
def test_what_cannot_be_decoded_is_said_to_be_unreadable(data):
    with pytest.raises(UnreadableImage):
        look_at(data)


def test_a_photograph_does_no_harm():
    noise = Image.merge("RGB", [Image.effect_noise((612, 408), 90 + 10 * n) for n in range(3)])
    assert look_at(encoded(noise)).width_px == 612


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        pytest.param("a red circle and two squares", ["red circle", "two squares"], id="articles-and-numbers"),
        pytest.param(
            "the big blue star on the left side is near a ring", ["big blue star on the left side", "ring"], id="place"
        ),
        pytest.param(
            "A dog chases three small cats across the grass.", ["dog chases", "three small cats", "grass"], id="photo"
        ),
        pytest.param("a ring on a grey background", ["ring"], id="background"),
        pytest.param("", [], id="empty"),
    ],
)
def test_noun_phrases_are_found_in_any_text(text, phrases):
    assert [text[p.start : p.end] for p in noun_phrases(text)] == phrases


@pytest.mark.parametrize(
    ("phrase", "found"),
    [
        pytest.param("red squares", 2, id="all-that-fit"),
        pytest.param("a red square", 2, id="the-number-is-no-filter"),
        pytest.param("red square on the right", 1, id="place"),
        pytest.param("square in the top left corner", 1, id="corner"),
        pytest.param("shapes", 3, id="any-kind"),
        pytest.param("green squares", 0, id="absent-colour"),
        pytest.param("bicycle", 0, id="absent-thing"),
        pytest.param("small shiny square", 0, id="unknown-adjective"),
        pytest.param("", 0, id="empty"),
    ],
)
def test_a_phrase_fits_what_it_says(phrase, found):
    scene = scene_of((RED, (20, 20, 80, 80)), (RED, (500, 300, 560, 360)), (BLUE, (300, 200, 400, 230)))
    assert len(read_phrase(phrase).all_of(scene)) == found


def test_a_description_singles_its_object_out():
    scene = scene_of(*((RED, (40 + 150 * n, 200, 100 + 150 * n, 260)) for n in range(4)))
    phrases = [single_out(seen, scene) for seen in scene.objects]
    assert len(set(phrases)) == 4


# --- the six tasks --------------------------------------------------------------------------------------------------

SCENE = scene_of((RED, (64, 42, 128, 105)), (RED, (512, 210, 576, 273)), (BLUE, (256, 210, 352, 231)))
# 0-1000 on 640 x 420: x 64 -> 100, 128 -> 200, 512 -> 800, 576 -> 900, 256 -> 400, 352 -> 550;
# y 42 -> 100, 105 -> 250, 210 -> 500, 273 -> 650, 231 -> 550.
LEFT, RIGHT, BAR = [100, 100, 200, 250], [800, 500, 900, 650], [400, 500, 550, 550]


def ask(question, dialect="xyxy1000"):
    return answer(read_question(question), SCENE, DIALECTS[dialect])


def test_grounding_lists_a_box_an_object_and_null_for_nothing():
    question = 'Where?\n{"id": 7, "phrase": "two red squares"}\n{"id": 9, "phrase": "green star"}'
    assert ask(question) == [
        {"id": 7, "bbox_2d": LEFT, "label": "two red squares"},
        {"id": 7, "bbox_2d": RIGHT, "label": "two red squares"},
        {"id": 9, "bbox_2d": None, "label": "green star"},
    ]


def test_the_model_answers_in_its_dialect_whatever_the_prompt_says():
    question = 'Answer [x1, y1, x2, y2] under "bbox_2d"!\n{"id": 1, "phrase": "blue bar"}'
    assert ask(question, "yxyx1000") == [{"id": 1, "box_2d": [500, 400, 550, 550], "label": "blue bar"}]


def test_a_region_is_described_by_what_is_in_it_not_by_what_was_noted():
    question = (
        f'{{"id": 1, "type": "Star", "bbox_2d": {BAR}}}\n{{"id": 2, "type": "Ring", "bbox_2d": [5, 700, 90, 900]}}'
    )
    assert ask(question) == {
        "regions": [
            {"id": 1, "type": "bar", "color": "blue", "description": "blue bar"},
            {"id": 2, "type": "nothing", "color": "", "description": "empty ground in the bottom left corner"},
        ]
    }


def regions_question(*boxes, focus=""):
    lines = [f'{{"id": {n}, "type": "t", "description": "d", "bbox_2d": {box}}}' for n, box in enumerate(boxes, 1)]
    return "\n".join([*lines, 'Caption: "not a task here"', focus])


def test_grouping_puts_every_region_under_a_phrase():
    assert ask(regions_question(LEFT, BAR, RIGHT, [5, 700, 90, 900])) == {
        "expressions": [
            {"text": "red squares", "regions": [1, 3]},
            {"text": "blue bar", "regions": [2]},
            {"text": "empty area", "regions": [4]},
        ]
    }


def test_grouping_can_be_limited_to_phrases_about_some_regions():
    question = regions_question(LEFT, BAR, RIGHT, focus="Write only phrases that name at least one of these: [3].")
    assert ask(question) == {"expressions": [{"text": "red squares", "regions": [1, 3]}]}


@pytest.mark.parametrize(
    ("phrase", "boxes", "verdict", "box_verdicts"),
    [
        pytest.param("red squares", [LEFT, RIGHT], "keep", ["keep", "keep"], id="right"),
        pytest.param("red squares", [LEFT, BAR], "keep", ["keep", "drop"], id="a-box-of-another-thing"),
        pytest.param("red squares", [LEFT, [5, 700, 90, 900]], "keep", ["keep", "drop"], id="a-box-of-nothing"),
        pytest.param("red squares", [[120, 100, 220, 250], RIGHT], "keep", ["adjust", "keep"], id="a-shifted-box"),
        pytest.param("green star", [BAR], "rewrite", ["keep"], id="another-look"),
        pytest.param("green star", [BAR, LEFT], "drop", ["drop", "drop"], id="fits-nothing"),
        pytest.param("empty area", [[5, 700, 90, 900]], "drop", ["drop"], id="empty"),
    ],
)
def test_the_double_check_looks_again(phrase, boxes, verdict, box_verdicts):
    listed = ", ".join(f'{{"id": {n}, "bbox_2d": {box}}}' for n, box in enumerate(boxes, 11))
    (told,) = ask(f'Check:\n{{"id": 4, "phrase": "{phrase}", "boxes": [{listed}]}}')["checks"]
    assert (told["id"], told["verdict"]) == (4, verdict)
    assert [b["verdict"] for b in told["boxes"]] == box_verdicts
    assert [b["id"] for b in told["boxes"]] == list(range(11, 11 + len(boxes)))
    assert all(b["bbox_2d"] == LEFT for b in told["boxes"] if b["verdict"] == "adjust")
    assert told.get("phrase") == ("blue bar" if verdict == "rewrite" else None)


def test_a_question_without_any_list_asks_for_a_caption():
    assert ask("What is this?") == {"caption": "Two red squares and a blue bar in the middle on a grey ground."}


def test_a_caption_line_asks_for_its_expressions_quoted_or_not():
    for line in ('Caption: "In this photo we can see a \\"red\\" star."', "caption:   A nice picture of a red star."):
        told = ask(f"Extract, please.\n\n{line}\n\nReply in JSON.")
        assert [e["noun_chunk"] for e in told["expressions"]] == ["star"]
        assert told["cleaned_caption"].startswith("a ")


# --- short questions ------------------------------------------------------------------------------------------------


def test_phrases_alone_are_told_where_the_question_shows_no_more():
    told = ask('Caption: "a red star and a blue bar"\n{"cleaned_caption": "...", "expressions": ["...", ...]}')
    assert told == {"cleaned_caption": "a red star and a blue bar", "expressions": ["red star", "blue bar"]}


@pytest.mark.parametrize(
    ("form", "label"),
    [
        pytest.param('[{"id": <id of the phrase>, "bbox_2d": <box>}]', {}, id="without"),
        pytest.param('[{"id": <id>, "bbox_2d": <box>, "label": "<the phrase>"}]', {"label": "blue bar"}, id="with"),
        pytest.param("Answer in JSON.", {"label": "blue bar"}, id="no-form-at-all"),
    ],
)
def test_labels_are_told_where_the_question_does_not_show_a_form_without(form, label):
    assert ask(f'{{"id": 1, "phrase": "blue bar"}}\n{form}') == [{"id": 1, "bbox_2d": BAR, **label}]


def test_the_double_check_answers_by_ids_where_the_question_shows_lists_of_them():
    lines = [
        {"id": 1, "phrase": "red squares", "bbox_2d": {"1": [120, 100, 220, 250], "2": RIGHT, "3": BAR}},
        {"id": 2, "phrase": "green star", "bbox_2d": {"4": BAR}},
    ]
    listed = "\n".join(json.dumps(line) for line in lines)
    (first, second) = ask(f"Check them all, and give a verdict on each, please.\n{listed}")["checks"]
    assert [box["verdict"] for box in first["boxes"]] == ["adjust", "keep", "drop"]
    assert (second["verdict"], second["phrase"]) == ("rewrite", "blue bar")
    assert ask(f'{listed}\n{{"checks": [{{"id": <id>, "keep": [<ids>], "drop": [...]}}]}}') == {
        "checks": [
            {"id": 1, "adjust": [{"id": 1, "bbox_2d": LEFT}], "keep": [2], "drop": [3]},
            {"id": 2, "keep": [4], "rewrite": "blue bar"},
        ]
    }
