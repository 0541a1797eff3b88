"""Conversations: what is written for training is read back to the same pixels, by raylabel's own reader of answers, by
``supervision``, and by readers that follow the trainers' sources."""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raylabel.answers.reading import ReplyKind, read_boxes
from raylabel.errors import ConfigError
from raylabel.exports.training.conversations import DIALECTS, Dialect, resize_of, turns
from raylabel.exports.training.samples import Phrase, Picture, Sample
from raylabel.exports.training.writers import Notes, Options
from raylabel.geometry import Resize, View, place
from raylabel.profiles import profile_named
from raylabel.records import Box, Instance, Outcome, Size
from tests.exports.training.exporting import export
from tests.exports.training.results import Made, boxes_of, expression, record, write_results

SIZE = Size(1242, 375)
DOG, CAT = Box(100, 20, 330, 140), Box(550, 60, 570, 180)


def lines(folder: Path, pattern: str = "train.*.jsonl") -> list[dict[str, Any]]:
    [path] = folder.glob(pattern)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def turn_of(line: dict[str, Any]) -> tuple[str, str]:
    """Question and answer of a line of any dialect."""
    if "prefix" in line:
        return line["prefix"], line["suffix"]
    human, gpt = line["conversations"]
    assert (human["from"], gpt["from"]) == ("human", "gpt")
    assert human["value"].startswith("<image>\n")
    assert human["value"].count("<image>") == 1
    assert "<image>" not in gpt["value"]
    return human["value"], gpt["value"]


def view_of(name: str, size: Size, resize: Resize | None = None) -> View:
    profile = profile_named(name)
    assert profile is not None
    return View(size, size, (resize or profile.resize).apply(size))


def step_px(name: str, view: View) -> tuple[float, float]:
    """One unit of a dialect's numbers in pixels: what an answer cannot tell apart."""
    profile = profile_named(name)
    assert profile is not None
    side_x, side_y = profile.convention.sides(view)
    return view.displayed.width / side_x, view.displayed.height / side_y


def read_by_raylabel(name: str, phrase: str, answer: str, view: View) -> list[Box]:
    profile = profile_named(name)
    assert profile is not None
    reading = read_boxes(answer, profile.convention.order, profile.convention.sides(view), [phrase], profile.answers_in)
    assert reading.kind is (ReplyKind.BOXES if any(c.isdigit() for c in answer) else ReplyKind.NOTHING), answer
    return [place(box.corners, profile.convention, view) for box in reading.boxes]


def assert_close(found: list[Any], true: list[Any], step: tuple[float, float]) -> None:
    """Same boxes, in any order, within one unit of the numbers they were written in."""
    left = [tuple(box) for box in true]
    assert len(found) == len(left)
    for box in found:
        near = [t for t in left if all(abs(a - b) <= step[n % 2] for n, (a, b) in enumerate(zip(box, t, strict=True)))]
        assert near, (box, left, step)
        left.remove(near[0])


def merged_truth(made: Made) -> Iterator[tuple[str, Size, dict[str, set[tuple[float, ...]]]]]:
    """The answered phrases of each settled record with their boxes, equal phrases as one."""
    for r in made.settled():
        assert r.image is not None
        answered = [e for e in r.expressions or () if e.instances is not None and e.outcome != "rejected"]
        phrases: dict[str, set[tuple[float, ...]]] = defaultdict(set)
        for e in answered:
            phrases[e.text].update(box for _, box in boxes_of([e]))
        yield made.name(r), r.image.size, phrases


@pytest.mark.parametrize("name", DIALECTS)
def test_raylabel_reads_every_answer_back_to_the_same_pixels(made: Made, tmp_path: Path, name: str) -> None:
    export(made.folder, name, tmp_path / "out")
    rest = iter(lines(tmp_path / "out"))
    for image, size, phrases in merged_truth(made):
        view = view_of(name, size)
        for phrase, boxes in phrases.items():
            if not boxes and not DIALECTS[name].says_nothing:
                continue
            line = next(rest)
            question, answer = turn_of(line)
            assert line["image"] == image
            assert phrase in question
            found = [box.as_tuple() for box in read_by_raylabel(name, phrase, answer, view)]
            assert_close(found, sorted(boxes), step_px(name, view))
    assert next(rest, None) is None


@pytest.mark.parametrize("name", ["qwen2.5-vl", "qwen3-vl", "paligemma"])
@pytest.mark.filterwarnings("ignore")
def test_supervision_reads_every_answer_back_to_the_same_pixels(made: Made, tmp_path: Path, name: str) -> None:
    import supervision as sv

    vlm = {"qwen2.5-vl": sv.VLM.QWEN_2_5_VL, "qwen3-vl": sv.VLM.QWEN_3_VL, "paligemma": sv.VLM.PALIGEMMA}[name]
    export(made.folder, name, tmp_path / "out")
    rest = iter(lines(tmp_path / "out"))
    for _, size, phrases in merged_truth(made):
        view = view_of(name, size)
        for boxes in phrases.values():
            if not boxes and not DIALECTS[name].says_nothing:
                continue
            _, answer = turn_of(next(rest))
            more = {"input_wh": (view.seen.width, view.seen.height)} if name == "qwen2.5-vl" else {}
            found = sv.Detections.from_vlm(vlm, answer, resolution_wh=(size.width, size.height), **more)
            assert_close(found.xyxy.tolist(), sorted(boxes), step_px(name, view))


@pytest.mark.parametrize("name", ["ms-swift", "ms-swift-json"])
def test_ms_swift_puts_a_box_for_each_mark(made: Made, tmp_path: Path, name: str) -> None:
    """After swift/template/base.py: each mark is replaced by the next entry, and their numbers must agree."""
    export(made.folder, name, tmp_path / "out")
    rest = iter(lines(tmp_path / "out"))
    for image, _, phrases in merged_truth(made):
        for phrase, boxes in phrases.items():
            line = next(rest)
            user, assistant = (message["content"] for message in line["messages"])
            objects = line["objects"]
            assert line["images"] == [image]
            assert (user + assistant).count("<image>") == 1
            assert (user + assistant).count("<bbox>") == len(objects["bbox"])
            assert (user + assistant).count("<ref-object>") == len(objects["ref"]) == 1
            assert objects["ref"] == [phrase]
            assert objects["bbox_type"] == "real"
            assert sorted(map(tuple, objects["bbox"])) == sorted(boxes)
            if name == "ms-swift-json":
                for box in objects["bbox"]:
                    assistant = assistant.replace("<bbox>", str(box), 1)
                assert [e["bbox_2d"] for e in json.loads(assistant)] == objects["bbox"]
                assert {e["label"] for e in json.loads(assistant)} <= {phrase}
    assert next(rest, None) is None


def smart_resize(height: int, width: int, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Qwen's own, from qwen-vl-utils, vision_process.py."""
    h_bar = max(factor, round(height / factor) * factor)
    w_bar = max(factor, round(width / factor) * factor)
    if h_bar * w_bar > max_pixels:
        beta = math.sqrt((height * width) / max_pixels)
        h_bar = math.floor(height / beta / factor) * factor
        w_bar = math.floor(width / beta / factor) * factor
    elif h_bar * w_bar < min_pixels:
        beta = math.sqrt(min_pixels / (height * width))
        h_bar = math.ceil(height * beta / factor) * factor
        w_bar = math.ceil(width * beta / factor) * factor
    return h_bar, w_bar


def test_qwen2_5_counts_in_pixels_of_the_picture_that_smart_resize_leaves() -> None:
    rng = random.Random(5)
    for _ in range(300):
        size = Size(rng.randint(60, 5000), rng.randint(60, 5000))
        if max(size.width, size.height) > 200 * min(size.width, size.height):
            continue
        for low, high in ((56 * 56, 14 * 14 * 4 * 1280), (28 * 28 * 16, 28 * 28 * 576)):
            resize = resize_of(DIALECTS["qwen2.5-vl"], Options(min_pixels=low, max_pixels=high))
            seen = resize.apply(size)
            assert (seen.height, seen.width) == smart_resize(size.height, size.width, 28, low, high)
            assert resize.apply(seen) == seen  # a picture that is so already stays as it is


def test_the_trainers_limit_of_pixels_moves_the_numbers_and_is_in_the_name(tmp_path: Path) -> None:
    size = Size(2000, 1000)
    results = write_results(
        tmp_path / "r", [record(0, "a.jpg", size, "a dog", (expression(0, "dog", (2, 5), [Box(0, 0, 2000, 1000)]),))]
    )
    export(results, "qwen2.5-vl", tmp_path / "out", options=Options(min_pixels=12544, max_pixels=451584))
    [path] = (tmp_path / "out").glob("train.*")
    assert path.name == "train.qwen2.5-vl.xyxy-pixels-resized-to-451584.jsonl"
    [line] = lines(tmp_path / "out")
    height, width = smart_resize(1000, 2000, 28, 12544, 451584)
    assert json.loads(turn_of(line)[1])[0]["bbox_2d"] == [0, 0, width, height]


def test_limits_of_pixels_are_refused_where_they_change_nothing() -> None:
    with pytest.raises(ConfigError, match="--max-pixels: the numbers of qwen3-vl do not depend"):
        resize_of(DIALECTS["qwen3-vl"], Options(max_pixels=1000))


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
def test_a_box_that_is_thinner_than_a_unit_stays_a_box(dialect: Dialect) -> None:
    size = Size(12_000, 600)
    for box in (Box(5, 10, 7, 12), Box(11_998, 598, 12_000, 600), Box(700, 30, 701, 31)):
        sample = Sample("r", "i", Picture("a.jpg", size, "a"), "", (Phrase("dog", None, (Instance("b", box),)),))
        notes = Notes()
        [turn] = turns(sample, dialect, dialect.row().resize, notes)
        view = view_of(dialect.profile, size)
        [found] = read_by_raylabel(dialect.profile, "dog", turn.answer, view)
        assert found.width > 0
        assert found.height > 0
        step = step_px(dialect.profile, view)
        assert_close([found.as_tuple()], [box.as_tuple()], (step[0] * 2, step[1] * 2))


@pytest.mark.parametrize("name", ["ms-swift", *DIALECTS])
def test_a_phrase_that_would_become_a_mark_is_left_out_and_counted(tmp_path: Path, name: str) -> None:
    texts = ["<image> of a dog", "<loc0001> dog; <box>", "plain dog"]
    results = write_results(
        tmp_path / "r", [record(0, "a.jpg", SIZE, "", tuple(expression(0, t, None, [DOG]) for t in texts))]
    )
    said = export(results, name, tmp_path / "out")
    assert len(lines(tmp_path / "out")) == 1
    assert said["left_out"]["phrases"]["reserved_mark"]["count"] == 2


@pytest.mark.parametrize("name", ["ms-swift", *DIALECTS])
def test_what_failed_is_no_answer(tmp_path: Path, name: str) -> None:
    results = write_results(
        tmp_path / "r",
        [
            record(
                0, "a.jpg", SIZE, "a dog", (expression(0, "dog", (2, 5), [DOG]), expression(0, "zebra", None, None))
            ),
            record(1, "b.jpg", SIZE, "a dog", None, Outcome.FAILED),
            record(2, "c.jpg", SIZE, "a dog", (expression(2, "dog", (2, 5), [DOG]),), Outcome.UNREADABLE),
        ],
    )
    export(results, name, tmp_path / "out")
    [line] = lines(tmp_path / "out")
    assert (line.get("image") or line["images"][0]) == "a.jpg"
    assert "zebra" not in json.dumps(line)


@pytest.mark.parametrize("name", ["ms-swift", "ms-swift-json", "qwen2.5-vl", "qwen3-vl", "internvl"])
def test_nothing_is_an_answer(tmp_path: Path, name: str) -> None:
    results = write_results(tmp_path / "r", [record(0, "a.jpg", SIZE, "a dog", (expression(0, "dog", (2, 5), []),))])
    export(results, name, tmp_path / "out")
    [line] = lines(tmp_path / "out")
    answer = line["messages"][1]["content"] if "messages" in line else turn_of(line)[1]
    assert read_boxes(answer, asked=["dog"]).kind is ReplyKind.NOTHING


@pytest.mark.parametrize("name", ["paligemma", "florence-2"])
def test_where_nothing_cannot_be_said_it_is_left_out_and_counted(tmp_path: Path, name: str) -> None:
    results = write_results(tmp_path / "r", [record(0, "a.jpg", SIZE, "a dog", (expression(0, "dog", (2, 5), []),))])
    said = export(results, name, tmp_path / "out")
    assert lines(tmp_path / "out") == []
    assert said["left_out"]["phrases"]["negative"]["count"] == 1


def test_equal_questions_of_a_record_have_one_answer(tmp_path: Path) -> None:
    found = (expression(0, "dog", (2, 5), [DOG]), expression(0, "dog", (12, 15), [CAT]))
    results = write_results(tmp_path / "r", [record(0, "a.jpg", SIZE, "a dog and a dog", found)])
    export(results, "qwen3-vl", tmp_path / "out")
    [line] = lines(tmp_path / "out")
    assert len(json.loads(turn_of(line)[1])) == 2


def test_internvl_finds_its_lines_through_meta_json(made: Made, tmp_path: Path) -> None:
    from raylabel.exports.training.splits import read_splits

    export(made.folder, "internvl", tmp_path / "out", splits=read_splits("train=3,val=1"))
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert list(meta) == ["raylabel_train", "raylabel_val"]
    for entry in meta.values():
        written = (tmp_path / "out" / entry["annotation"]).read_text(encoding="utf-8").splitlines()
        assert len(written) == entry["length"] > 0
        assert (Path(entry["root"]) / json.loads(written[0])["image"]).is_file()


def test_y_comes_first_for_paligemma_and_x_for_florence() -> None:
    sample = Sample(
        "r",
        "i",
        Picture("a.jpg", Size(1024, 512), "a"),
        "",
        (Phrase("dog", None, (Instance("b", Box(512, 128, 768, 256)),)),),
    )
    [pali] = turns(sample, DIALECTS["paligemma"], Resize(), Notes())
    [florence] = turns(sample, DIALECTS["florence-2"], Resize(), Notes())
    assert pali.answer == "<loc0256><loc0512><loc0512><loc0768> dog"
    assert florence.answer == "dog<loc_500><loc_250><loc_750><loc_500>"


def test_refcoco_lines_hold_the_descriptions_of_boxes(told: Made, tmp_path: Path) -> None:
    export(told.folder, "refcoco-jsonl", tmp_path / "out")
    found = {(line["image"], line["sent"]): tuple(line["bbox"]) for line in lines(tmp_path / "out")}
    regions = [(made_of, region) for made_of in told.records for region in made_of.regions or ()]
    assert regions
    for owner, region in regions:
        assert found[told.name(owner), region.description] == region.box.as_tuple()


def test_refcoco_lines_are_the_phrases_with_one_box(made: Made, tmp_path: Path) -> None:
    export(made.folder, "refcoco-jsonl", tmp_path / "out")
    true = [
        (image, phrase, *boxes)
        for image, _, phrases in merged_truth(made)
        for phrase, boxes in phrases.items()
        if len(boxes) == 1
    ]
    found = [(line["image"], line["sent"], tuple(line["bbox"])) for line in lines(tmp_path / "out")]
    assert found == true
