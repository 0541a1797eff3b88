"""The score is fair: perfect answers get everything, and what a lazy or blind program would say does not pass."""

from __future__ import annotations

import copy
import json

import pytest

from raylabel.demo.looks import DrawnObject, Look
from raylabel.demo.score import DEMO_TARGETS, missed_targets, score_image_grounding, score_referring

GROUNDING_SCORES = {"recall", "precision", "mean_iou", "phrase_exact"}
REFERRING_SCORES = {*GROUNDING_SCORES, "description_correct", "planted_errors_caught"}


def grounding_lines(truth):
    return [
        {
            "image_id": entry["image_id"],
            "image_path": f"images/{entry['file']}",
            "caption": caption["caption"],
            "cleaned_caption": caption["cleaned_caption"],
            "expressions": [
                {
                    "text": phrase["text"],
                    "char_span": phrase["char_span"],
                    "instances": [{"bbox": entry["objects"][n]["box"]} for n in phrase["objects"]],
                    "outcome": "labeled" if phrase["objects"] else "nothing",
                }
                for phrase in caption["phrases"]
            ],
        }
        for entry in truth["images"]
        for caption in entry["captions"]
    ]


def referring_lines(truth, adjust="apply"):
    """What a perfect run writes: looked-up regions, one expression a look, planted errors gone or mended."""
    return [perfect_referring(entry, adjust) for entry in truth["images"]]


def perfect_referring(entry, adjust):
    objects = [DrawnObject(**{**o, "box": tuple(o["box"])}) for o in entry["objects"]]
    boxes, regions = {}, []
    for label in entry["labels"]:
        if label["object"] is None:
            regions.append({"bbox": label["box"], "type": "nothing", "color": "", "description": "empty ground"})
            continue
        drawn = objects[label["object"]]
        regions.append({"bbox": label["box"], "type": drawn.kind, "color": drawn.color, "description": "a thing"})
        boxes[label["object"]] = {"bbox": list(drawn.box), "verified": True}
        if label["error"] == "shifted":
            boxes[label["object"]] = (
                {"bbox": list(drawn.box), "original_bbox": label["box"], "verified": True, "flags": ["adjusted"]}
                if adjust == "apply"
                else {"bbox": label["box"], "proposed_bbox": list(drawn.box), "flags": ["adjust_proposed"]}
            )
    expressions = [
        {
            "text": f"{color} {kind}s",
            "verified": True,
            "instances": [boxes[n] for n in Look(kind, color).fitting(objects, (entry["width"], entry["height"]))],
        }
        for kind, color in sorted({(o.kind, o.color) for o in objects})
    ]
    return {
        "image_id": entry["image_id"],
        "image_path": f"images/{entry['file']}",
        "regions": regions,
        "expressions": expressions,
    }


def seeds_kept(entry):
    """Perfect descriptions, but every seed box stays as people drew it."""
    line = perfect_referring(entry, "apply")
    seeds = [{"bbox": label["box"], "verified": True} for label in entry["labels"]]
    return {**line, "expressions": [{"text": "shapes", "verified": True, "instances": seeds}]}


def seeds_copied(entry):
    line = seeds_kept(entry)
    regions = [
        {"bbox": label["box"], "type": label["type"].lower(), "color": "", "description": label["type"]}
        for label in entry["labels"]
    ]
    return {**line, "regions": regions}


def test_perfect_annotations_score_one_everywhere(demo_world):
    grounding = score_image_grounding(demo_world.truth, grounding_lines(demo_world.truth))
    referring = score_referring(demo_world.truth, referring_lines(demo_world.truth))
    assert {name: grounding[name] for name in GROUNDING_SCORES} == dict.fromkeys(GROUNDING_SCORES, 1.0)
    assert {name: referring[name] for name in REFERRING_SCORES} == dict.fromkeys(REFERRING_SCORES, 1.0)
    assert grounding["images"] == referring["images"] == 40
    assert set(DEMO_TARGETS) == REFERRING_SCORES
    assert missed_targets(grounding) == missed_targets(referring) == []
    json.dumps([grounding, referring])


def test_flagged_proposals_catch_shifted_labels_without_moving_boxes(demo_world):
    scores = score_referring(demo_world.truth, referring_lines(demo_world.truth, adjust="flag"))
    assert scores["recall"] == scores["planted_errors_caught"] == 1.0
    assert 0.9 < scores["mean_iou"] < 1.0


def test_nothing_scores_nothing(demo_world):
    for scores in (score_image_grounding(demo_world.truth, []), score_referring(demo_world.truth, [])):
        assert scores["images"] == 0
        assert not any(scores[name] for name in DEMO_TARGETS if name in scores)


def test_a_picture_without_expressions_is_a_miss_and_adds_no_expression(demo_world):
    lines = referring_lines(demo_world.truth)
    whole = score_referring(demo_world.truth, lines)
    assert whole["expressions"] == sum(len(line["expressions"]) for line in lines)
    gone = len(lines[0]["expressions"])
    lines[0]["expressions"] = []
    scores = score_referring(demo_world.truth, lines)
    assert scores["expressions"] == whole["expressions"] - gone
    assert scores["phrase_exact"] < whole["phrase_exact"]
    assert score_referring(demo_world.truth, [])["expressions"] == 0


def boxed_everything(truth, lines):
    objects = {e["image_id"]: e["objects"] for e in truth["images"]}
    for line in lines:
        for expression in line["expressions"]:
            expression["instances"] = [{"bbox": o["box"]} for o in objects[line["image_id"]]]
            expression["outcome"] = "labeled"
    return lines


def boxed_whole_picture(truth, lines):
    sizes = {e["image_id"]: (e["width"], e["height"]) for e in truth["images"]}
    for line in lines:
        for expression in line["expressions"]:
            expression["instances"] = [{"bbox": [0, 0, *sizes[line["image_id"]]]}]
    return lines


def swapped_axes(truth, lines):
    for line in lines:
        for expression in line["expressions"]:
            for instance in expression["instances"]:
                x1, y1, x2, y2 = instance["bbox"]
                instance["bbox"] = [y1, x1, y2, x2]
    return lines


def swapped_sides(truth, lines):
    sizes = {e["image_id"]: (e["width"], e["height"]) for e in truth["images"]}
    for line in lines:
        width, height = sizes[line["image_id"]]
        for expression in line["expressions"]:
            for instance in expression["instances"]:
                x1, y1, x2, y2 = instance["bbox"]
                ratio = height / width
                instance["bbox"] = [round(x1 * ratio), round(y1 / ratio), round(x2 * ratio), round(y2 / ratio)]
    return lines


def nothing_found(truth, lines):
    for line in lines:
        for expression in line["expressions"]:
            expression |= {"instances": [], "outcome": "nothing"}
    return lines


SPOILERS = [boxed_everything, boxed_whole_picture, swapped_axes, swapped_sides, nothing_found]


@pytest.mark.parametrize("spoil", SPOILERS)
def test_wrong_boxes_fail_image_grounding(demo_world, spoil):
    lines = spoil(demo_world.truth, copy.deepcopy(grounding_lines(demo_world.truth)))
    missed = missed_targets(score_image_grounding(demo_world.truth, lines))
    assert any(name.startswith(("recall", "precision")) for name in missed)
    assert any(name.startswith("phrase_exact") for name in missed)


@pytest.mark.parametrize("spoil", SPOILERS)
def test_wrong_boxes_fail_image_referring_expression(demo_world, spoil):
    lines = spoil(demo_world.truth, copy.deepcopy(referring_lines(demo_world.truth)))
    assert any(m.startswith("phrase_exact") for m in missed_targets(score_referring(demo_world.truth, lines)))


def test_a_program_that_always_says_keep_fails(demo_world):
    scores = score_referring(demo_world.truth, [seeds_kept(e) for e in demo_world.truth["images"]])
    assert scores["description_correct"] == 1.0
    assert scores["recall"] < DEMO_TARGETS["recall"]
    assert scores["precision"] < DEMO_TARGETS["precision"]
    assert scores["planted_errors_caught"] < 0.5


def test_a_program_that_copies_the_seeds_fails(demo_world):
    scores = score_referring(demo_world.truth, [seeds_copied(e) for e in demo_world.truth["images"]])
    assert scores["planted_errors_caught"] == 0.0
    assert scores["description_correct"] < DEMO_TARGETS["description_correct"]


def test_a_span_that_does_not_verify_is_not_exact(demo_world):
    lines = grounding_lines(demo_world.truth)
    for line in lines:
        for expression in line["expressions"]:
            expression["char_span"] = [expression["char_span"][0] + 1, expression["char_span"][1] + 1]
    scores = score_image_grounding(demo_world.truth, lines)
    assert scores["phrase_exact"] == 0.0
    assert scores["recall"] == 1.0


def test_a_rejected_box_is_not_in_the_output(demo_world):
    lines = referring_lines(demo_world.truth)
    empty = [
        (e["image_id"], label["box"])
        for e in demo_world.truth["images"]
        for label in e["labels"]
        if label["error"] == "empty"
    ]
    for line in lines:
        rejected = [{"bbox": box, "verified": False} for image_id, box in empty if image_id == line["image_id"]]
        line["expressions"][0]["instances"] += rejected
        line["expressions"].append({"text": "empty area", "verified": False, "instances": rejected})
    scores = score_referring(demo_world.truth, lines)
    assert {name: scores[name] for name in REFERRING_SCORES} == dict.fromkeys(REFERRING_SCORES, 1.0)


@pytest.mark.parametrize("field", ["regions", "expressions", "cleaned_caption", "image_path"])
@pytest.mark.parametrize("value", [None, [], "junk", 7, [None], [{}], [{"instances": [{"bbox": "x"}, None]}]])
def test_unfinished_and_broken_lines_count_as_missed_and_never_raise(demo_world, field, value):
    lines = [*grounding_lines(demo_world.truth), *referring_lines(demo_world.truth)]
    broken = [{**line, field: value} for line in lines]
    absent = [{k: v for k, v in line.items() if k != field} for line in lines]
    for some in (broken, absent):
        for scores in (score_image_grounding(demo_world.truth, some), score_referring(demo_world.truth, some)):
            assert all(0 <= scores[name] <= 1 for name in DEMO_TARGETS if name in scores)
