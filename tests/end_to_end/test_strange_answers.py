"""Whole runs against a model whose answers are errors, sentences, keys that come again, or boxes of another scale."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from raylabel.demo.world import World, build_world
from tests.end_to_end.running import (
    EXTRACTION,
    Fault,
    Json,
    Ran,
    Seen,
    WireServer,
    captions_override,
    grounding,
    label,
    read_lines,
    says,
)

pytestmark = pytest.mark.slow

NEVER = {
    "error": "Error: model not found",
    "proxy": "upstream: no healthy instances found",
    "gateway": "<html><head><title>502 Bad Gateway</title></head><body>no response from 10, 20, 30, 40</body></html>",
    "crash": "ValueError: expected input of torch.Size([1, 16, 28, 28]) but got torch.Size([2, 32, 56, 56])",
    "body": '{"error": {"message": "not found", "code": 404}, "boxes": []}',
    "status": '{"predictions": [], "status": "failed", "reason": "worker timeout"}',
    "people": "There are no people and a {it} is parked left.",
    "other": "I can see a {it} on the left, no other vehicles are visible.",
    "unsure": "I am not sure whether there is a {it} in the image.",
    "doubt": "Il n'y a aucun doute : la voiture est à gauche.",
    "unit": '[{"id": 1, "bbox_2d": [0.12, 0.33, 0.45, 0.6], "label": "{it}"}]',
    "corners": '[{"id": 1, "x_min": 0.1, "y_min": 0.2, "x_max": 0.4, "y_max": 0.5, "label": "{it}"}]',
    "turned": '[{"id": 1, "bbox": {"cx": 500, "cy": 400, "w": 200, "h": 100, "angle": 30}, "label": "{it}"}]',
    "obb": '[{"id": 1, "bbox": [500, 400, 200, 100], "rotation": 45, "label": "{it}"}]',
}
"""Answers that say neither where the thing is nor that it is not there."""

BOX = "[100, 200, 500, 600]"
TOLD = {
    "plain": (f'[{{"id": 1, "bbox_2d": {BOX}, "label": "{{it}}"}}]', 1),
    "tag": ('{{"label": "{it}", "bbox": [100, 200, 500, 600</bbox>], "errors": []}}', 1),
    "gone": ("There is no {it} in this image.", 0),
    "list": ("[]", 0),
}
"""Answers that settle the phrase, with the boxes they give it."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 2, seed=3)


def run_over(
    world: World, folder: Path, answers: dict[str, str], things: tuple[str, ...] = ()
) -> tuple[Ran, list[Seen]]:
    """A run over one record an answer, whose only phrase is "NAME car" unless things are named."""

    def misbehave(seen: Seen) -> Fault | None:
        if seen.task == EXTRACTION:
            name = re.findall(r"Seen by (\w+)", seen.text)[-1]
            phrases = [f"{name} {thing}" for thing in things or ("car",)]
            listed = [{"text": phrase, "char_span": [0, 1], "noun_chunk": "car"} for phrase in phrases]
            return says(json.dumps({"cleaned_caption": ", ".join(phrases), "expressions": listed}))
        name = next(name for name in answers if f'"{name} ' in seen.text)
        return says(answers[name].replace("{it}", f"{name} car").replace("{{", "{").replace("}}", "}"))

    picture = read_lines(world.captions_path)[0]
    lines: list[Json] = [{**picture, "caption": f"Seen by {name}."} for name in answers]
    given = captions_override(folder / "captions.jsonl", lines)
    with WireServer(misbehave) as server:
        settings = grounding(world, folder / "results", server.url, given, "limits.max_failure_rate=1")
        return label(settings), list(server.seen)


def test_no_record_is_labeled_or_negative_without_a_statement(world: World, tmp_path: Path) -> None:
    ran, seen = run_over(world, tmp_path, {**NEVER, **{name: text for name, (text, _) in TOLD.items()}})
    ended = {line["caption"][8:-1]: line for line in ran.annotations}
    assert {name: ended[name]["outcome"] for name in NEVER} == dict.fromkeys(NEVER, "unreadable")
    for name in NEVER:
        assert all("instances" not in e or not e["instances"] for e in ended[name].get("expressions", ()))
    for name, (_, boxes) in TOLD.items():
        assert ended[name]["outcome"] == ("labeled" if boxes else "nothing")
        assert [len(e["instances"]) for e in ended[name]["expressions"]] == [boxes]
    assert ran.code == 3
    assert len(ran.failures) == len(NEVER)
    assert all(failure["reason"] for failure in ran.failures)
    counted = ran.manifest["counts"]["violations"]
    assert counted["below_scale"] >= 2
    assert counted["rotated"] >= 2
    asked_again = [s.text for s in seen if '"people car"' in s.text]
    assert len(asked_again) > 1
    assert all("[] if there is none" in text for text in asked_again[1:])


REPEATED = (
    '{"object_name": "keys car", "bbox": [100, 200, 500, 600], "object_name": "keys van", "bbox": [1, 2, 50, 60]}'
)
FORGOTTEN = (
    '[{"bbox_2d": [100, 200, 500, 600], "label": "brace car", "bbox_2d": [1, 2, 50, 60], "label": "brace van"}, '
    '{"bbox_2d": [7, 8, 90, 91], "label": "brace bus"}]'
)


def test_keys_that_come_again_give_each_box_to_its_own_phrase(world: World, tmp_path: Path) -> None:
    answers = {"keys": REPEATED, "brace": FORGOTTEN}
    ran, _ = run_over(world, tmp_path, answers, ("car", "van", "bus"))
    ended = {line["caption"][8:-1]: line for line in ran.annotations}
    boxes = {
        e["text"]: [i["bbox"] for i in e["instances"] or ()]
        for name in answers
        for e in ended[name].get("expressions", ())
        if "instances" in e
    }
    size = ended["brace"]["width"], ended["brace"]["height"]
    assert boxes["brace car"] == [pytest.approx(px([100, 200, 500, 600], size), abs=0.51)]
    assert boxes["brace van"] == [pytest.approx(px([1, 2, 50, 60], size), abs=0.51)]
    assert boxes["brace bus"] == [pytest.approx(px([7, 8, 90, 91], size), abs=0.51)]
    assert ended["brace"]["outcome"] == "labeled"
    assert ended["keys"]["outcome"] == "unreadable", "nothing is said of the third phrase"


def px(box: list[int], size: tuple[int, int]) -> list[float]:
    """A box of 0-1000 in pixels."""
    width, height = size
    return [box[0] / 1000 * width, box[1] / 1000 * height, box[2] / 1000 * width, box[3] / 1000 * height]
