"""Boxes for phrases that are given: nothing is extracted, and every phrase of the list is asked for in every image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raylabel.demo.server.language import read_phrase
from raylabel.demo.server.seeing import look_at
from raylabel.demo.world import World, build_world
from raylabel.runtime.sampled import Sample
from tests.end_to_end.running import (
    EXTRACTION,
    GROUNDING,
    WireServer,
    captions_override,
    grounding,
    label,
    read_lines,
)
from tests.exports.training.exporting import export

pytestmark = pytest.mark.slow

DATA = "image_grounding.data"
CLASSES = ["circle", "blue square", "star", "ring", "red thing", "triangle", "bar", "cross", "hexagon", "green circle"]
CLASSES += ["yellow bar", "pink star"]
PHRASES = f"{DATA}.phrases=[{','.join(CLASSES)}]"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 6, seed=8)


def images_only(world: World, path: Path, **more: Any) -> str:
    """An input of images without captions."""
    names = sorted(image.name for image in world.images_dir.iterdir())
    return captions_override(path, [{"image_path": name, **more} for name in names])


def check_boxes(line: dict[str, Any]) -> int:
    """Every phrase of a line has the boxes of what the model sees; how many there are."""
    scene = look_at(Path(line["image_path"]).read_bytes())
    found = 0
    for expression in line["expressions"]:
        boxes = [instance["bbox"] for instance in expression["instances"]]
        seen = [list(one.box_px) for one in read_phrase(expression["text"]).all_of(scene)]
        assert len(boxes) == len(seen), expression["text"]
        for box, true in zip(sorted(boxes), sorted(seen), strict=True):
            assert max(abs(a - b) for a, b in zip(box, true, strict=True)) <= 2
        found += len(boxes)
    return found


def test_twelve_classes_are_one_question_an_image_and_the_same_command_asks_nothing(
    world: World, tmp_path: Path
) -> None:
    with WireServer() as server:
        given = [images_only(world, tmp_path / "in.jsonl"), PHRASES]
        ran = label(grounding(world, tmp_path / "r", server.url, *given))
        assert ran.code == 0, ran.printed
        assert server.asked() == {GROUNDING: 6}
        again = label(grounding(world, tmp_path / "r", server.url, *given))
        assert server.asked() == {}
    assert again.annotations == ran.annotations
    assert sum(map(check_boxes, ran.annotations)) > 10
    for line in ran.annotations:
        assert [e["text"] for e in line["expressions"]] == CLASSES
        assert all(e["char_span"] is None and e["noun_chunk"] is None for e in line["expressions"])
        assert "caption" not in line
        assert "cleaned_caption" not in line
        assert "flags" not in line
        assert line["outcomes"]["step0_expression_extraction"] == "skipped"
        assert line["outcome"] in ("labeled", "nothing")


def test_lines_may_have_phrases_a_caption_or_both(world: World, tmp_path: Path) -> None:
    names = sorted(image.name for image in world.images_dir.iterdir())[:4]
    caption = "A star beside a red circle."
    lines: list[dict[str, Any]] = [
        {"image_path": names[0], "phrases": ["star", "red circle"]},
        {"image_path": names[1], "caption": caption},
        {"image_path": names[2], "caption": caption, "phrases": ["red circle"]},
        {"image_path": names[3], "phrases": []},
    ]
    with WireServer() as server:
        given = captions_override(tmp_path / "in.jsonl", lines)
        ran = label(grounding(world, tmp_path / "r", server.url, given))
        assert ran.code == 0, ran.printed
        assert server.asked() == {EXTRACTION: 1, GROUNDING: 3}
    first, second, third, fourth = ran.annotations
    assert [line["outcomes"]["step0_expression_extraction"] for line in ran.annotations] == [
        "skipped",
        "labeled",
        "skipped",
        "skipped",
    ]
    assert first["phrases"] == ["star", "red circle"]
    assert all(e["char_span"] for e in second["expressions"])
    (expression,) = third["expressions"]
    start, end = expression["char_span"]
    assert third["cleaned_caption"][start:end] == "red circle"
    assert (fourth["outcome"], fourth["expressions"]) == ("skipped", [])


def test_phrases_and_captions_take_turns_in_one_folder_of_results(world: World, tmp_path: Path) -> None:
    """Each command has the labels that it asks for, whatever another one stored for the same records."""
    with WireServer() as server:
        captions = label(grounding(world, tmp_path / "r", server.url))
        server.asked()
        alone = f"{DATA.replace('.data', '')}.workflow.steps=[1]"
        for steps in ([], [alone]):
            phrases = label(
                grounding(world, tmp_path / "r", server.url, f"{DATA}.phrases=[star]", *steps), confirmed=True
            )
            assert phrases.code == 0, phrases.printed
            assert all([e["text"] for e in line["expressions"]] == ["star"] for line in phrases.annotations)
            assert sum(map(check_boxes, phrases.annotations)) > 0
            assert server.asked()[EXTRACTION] == 0
        back = label(grounding(world, tmp_path / "r", server.url), confirmed=True)
        assert server.asked() == {}
    assert back.annotations == captions.annotations


def test_one_more_class_asks_each_image_again_and_says_so(world: World, tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    given = [images_only(world, tmp_path / "in.jsonl"), f"{DATA}.phrases_file={file}"]
    with WireServer() as server:
        file.write_text("star\nring\n", encoding="utf-8")
        label(grounding(world, tmp_path / "r", server.url, *given))
        server.asked()
        file.write_text("star\nring\ncross\n", encoding="utf-8")
        more = label(grounding(world, tmp_path / "r", server.url, *given))
        assert server.asked() == {GROUNDING: 6}
    assert all(len(line["expressions"]) == 3 for line in more.annotations)
    sum(map(check_boxes, more.annotations))


def test_a_sample_is_part_of_the_whole_and_exports_have_the_phrases_as_classes(world: World, tmp_path: Path) -> None:
    given = [images_only(world, tmp_path / "in.jsonl"), f"{DATA}.phrases=[blue square, star]"]
    with WireServer() as server:
        pilot = label(grounding(world, tmp_path / "r", server.url, *given), sample=Sample(3))
        assert pilot.manifest["estimate"]["records"] == 3
        assert server.asked() == {GROUNDING: 3}
        label(grounding(world, tmp_path / "r", server.url, *given))
        assert server.asked() == {GROUNDING: 3}
    export(tmp_path / "r", "coco", tmp_path / "coco")
    (file,) = [p for p in (tmp_path / "coco").rglob("*.json") if p.name != "export.json"]
    names = {category["name"] for category in json.loads(file.read_text())["categories"]}
    assert names <= {"blue square", "star"}
    assert names
    assert len(read_lines(tmp_path / "r" / "annotations.jsonl")) == 6
