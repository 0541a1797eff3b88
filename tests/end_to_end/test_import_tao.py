"""A results folder of TAO's auto_label is taken over, and the next run asks exactly what was lost in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raylabel.cli import main
from raylabel.demo.world import World, build_world
from raylabel.errors import ConfigError, InputError
from raylabel.importing import Manner, import_tao
from raylabel.importing.found import Found
from raylabel.pipelines import all_steps
from raylabel.records import IMAGE_GROUNDING
from raylabel.runtime.work_list import Wanted
from raylabel.settings import Settings
from raylabel.storage.folders import Folder
from raylabel.store.results import Results
from tests.end_to_end.running import (
    CAPTION,
    CHECK,
    EXTRACTION,
    GROUNDING,
    GROUPING,
    REGIONS,
    JournaledServer,
    grounding,
    journaled_server,
    label,
    read_lines,
    referring,
)
from tests.importing.tao_original import FAILED, ground, on_grid, phrase_text, refer
from tests.importing.truthful import Saying, Truthful, fails, says

Json = dict[str, Any]
STEPS = all_steps()
INPUT = "image_grounding.data.input_jsonl"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 26, seed=4)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JournaledServer]:
    with journaled_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def imported(settings: Settings, old: Path, manner: Manner | None = None) -> Found:
    return import_tao(settings, str(old), manner or Manner(), lambda text: None)


def asked(results: Path, step: str) -> list[str]:
    """The ids of the records that a step asked about, one for each reply."""
    table = Results(Folder(str(results))).answers(STEPS[step].directory)
    return sorted(table.scan(("record_id",))["record_id"].to_pylist())


def ids(lines: list[Json], files: set[tuple[str, str | None]]) -> list[str]:
    """The ids of the records of some images, or of a caption of theirs where one is named."""
    named = ((line["record_id"], Path(line["image_path"]).name, line.get("caption")) for line in lines)
    return sorted(record_id for record_id, file, caption in named if {(file, None), (file, caption)} & files)


def of_images(lines: list[Json], files: set[str]) -> list[str]:
    return ids(lines, {(file, None) for file in files})


def labels_in(lines: list[Json]) -> dict[tuple[str, str], Any]:
    """Phrases with their boxes, by image and caption."""
    return {
        (Path(line["image_path"]).name, line["caption"]): {
            e["text"]: [i["bbox"] for i in e["instances"]] for e in line.get("expressions", ())
        }
        for line in lines
    }


# --- image_grounding ------------------------------------------------------------------------------------------------


class Grounded:
    """A world whose captions were grounded by the original, with one of each of its defects.

    Args:
        size: whether the input tells the images' sizes.
    """

    def __init__(self, world: World, old: Path, *, grid: bool = False, size: bool = False) -> None:
        lines = read_lines(world.captions_path)
        images = list(dict.fromkeys(line["image_path"] for line in lines))
        captions = {image: [line["caption"] for line in lines if line["image_path"] == image] for image in images}
        single = [image for image in images if len(captions[image]) == 1]
        failed, broken, self.empty, call, unread, null, self.short, self.other = single[:8]
        self.late = {"image_path": single[-1], "caption": "a caption that came later, with a red circle"}
        # The second caption of an image gets what was said of the first.
        second = {(image, caption) for image in images for caption in captions[image][1:]}
        assert second
        self.lost = {(failed, None), (broken, None), (single[-1], self.late["caption"]), *second}
        self.lost_boxes = self.lost | {(call, None), (unread, None), (null, None)}
        instead: dict[tuple[str, str, int], Saying] = {
            ("extraction", failed, 0): fails,
            ("extraction", broken, 0): says('{"cleaned_caption": "a'),
            ("extraction", self.empty, 0): says('{"cleaned_caption": "Nothing of note.", "expressions": []}'),
            ("grounding", call, 0): fails,
            ("grounding", unread, 0): says("I see many things."),
            ("grounding", null, 0): lambda record, truth: truth.replace("0.75", "null"),
            ("grounding", self.short, 0): without_scores,
            ("grounding", self.other, 0): in_capitals,
        }
        if size:
            sizes = {e["file"]: {"width": e["width"], "height": e["height"]} for e in world.truth["images"]}
            lines = [{**line, **sizes[line["image_path"]]} for line in lines]
        self.captions = old.parent / "captions.jsonl"
        texts = [json.dumps(line) for line in lines]
        self.captions.write_text("\n".join([texts[0], "not JSON", *texts[1:]]) + "\n")
        self.ask = Truthful(world, instead, grid=grid)
        ground(self.captions, str(world.images_dir), old, self.ask)
        self.captions.write_text(f"{self.captions.read_text()}{json.dumps(self.late)}\n")
        self.override = f"{INPUT}={self.captions}"


def without_scores(record: Json, truth: str) -> str:
    said = json.loads(truth)
    return json.dumps({phrase: {**boxes, "scores": boxes["scores"][:1]} for phrase, boxes in said.items()})


def in_capitals(record: Json, truth: str) -> str:
    """The first phrase under a key that the original does not find."""
    said = json.loads(truth)
    return json.dumps({phrase.upper() if n == 0 else phrase: boxes for n, (phrase, boxes) in enumerate(said.items())})


@pytest.fixture(scope="module")
def grounded(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Grounded, Path]:
    folder = tmp_path_factory.mktemp("grounded")
    return Grounded(world, folder / "old"), folder / "old"


def true_labels(world: World) -> dict[tuple[str, str], Any]:
    return {
        (entry["file"], caption["caption"]): {
            phrase["text"]: [entry["objects"][n]["box"] for n in phrase["objects"]] for phrase in caption["phrases"]
        }
        for entry in world.truth["images"]
        for caption in entry["captions"]
    }


def test_captions_that_were_grounded_are_taken_over_and_what_was_lost_is_asked(
    world: World, server: JournaledServer, grounded: tuple[Grounded, Path], tmp_path: Path
) -> None:
    made, old = grounded
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    results = tmp_path / "r"
    found = imported(grounding(world, results, server.url, made.override), old)
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before
    assert (found.records, found.unusable) == (32, 1)
    lines = read_lines(results / "annotations.jsonl")
    lost, lost_boxes = ids(lines, made.lost), ids(lines, made.lost_boxes)
    extracted, boxed = found.steps[STEPS[EXTRACTION]], found.steps[STEPS[GROUNDING]]
    assert (extracted.outcomes, extracted.lost.total) == ({"labeled": 32 - len(lost) - 1, "nothing": 1}, len(lost))
    assert (boxed.outcomes.total(), boxed.skipped) == (32 - len(lost_boxes) - 1, 1)
    assert (boxed.lost.total, boxed.blocked) == (len(lost_boxes) - len(lost), len(lost))

    server.asked()
    ran = label(grounding(world, results, server.url, made.override))
    assert asked(results, EXTRACTION) == lost
    assert asked(results, GROUNDING) == lost_boxes
    assert server.asked() == {EXTRACTION: len(lost), GROUNDING: len(lost_boxes)}
    assert (ran.counts["records"]["labeled"], ran.counts["unusable_lines"]) == (30, 1)

    truth, labels = true_labels(world), labels_in(ran.annotations)
    for line in ran.annotations:
        key = (Path(line["image_path"]).name, line["caption"])
        if line["record_id"] not in lost_boxes and key[0] not in (made.empty, made.other):
            assert labels[key] == truth[key]
    assert sum(not boxes for boxes in labels[next(k for k in labels if k[0] == made.other)].values()) >= 1
    scores = [i["score"] for line in ran.annotations for e in line["expressions"] for i in e["instances"]]
    assert 0.75 in scores
    assert 0.9 not in scores
    every = [e["expression_id"] for line in ran.annotations for e in line["expressions"]]
    assert len(set(every)) == len(every)
    for line in ran.annotations:
        for e in line["expressions"]:
            start, end = e["char_span"]
            assert line["cleaned_caption"][start:end] == e["text"]
    by = {line["record_id"]: line["provenance"]["step0_expression_extraction"] for line in ran.annotations}
    assert {record_id for record_id, made_by in by.items() if "imported" not in made_by} == set(lost)

    again = label(grounding(world, results, server.url, made.override))
    assert server.asked() == {}
    assert again.annotations == ran.annotations


def test_doubtful_gaps_are_asked_on_request(
    world: World, server: JournaledServer, grounded: tuple[Grounded, Path], tmp_path: Path
) -> None:
    made, old = grounded
    results = tmp_path / "r"
    settings = grounding(world, results, server.url, made.override)
    imported(settings, old, Manner(takes_doubtful=False))
    ran = label(grounding(world, results, server.url, made.override))
    absent = {key for key, of in true_labels(world).items() if not all(of.values()) and key[0] != made.empty}
    assert asked(results, GROUNDING) == ids(ran.annotations, {*made.lost_boxes, *absent, (made.other, None)})
    labels = labels_in(ran.annotations)
    assert all(bool(boxes) == bool(labels[key][e]) for key in absent for e, boxes in true_labels(world)[key].items())


@pytest.mark.parametrize("size", [False, True], ids=["untold-sizes", "told-sizes"])
def test_boxes_on_a_grid_are_recognised_and_become_pixels(
    world: World, server: JournaledServer, tmp_path: Path, size: bool
) -> None:
    made = Grounded(world, tmp_path / "old", grid=True, size=size)
    found = imported(grounding(world, tmp_path / "r", server.url, made.override), tmp_path / "old")
    assert found.boxes.startswith("xyxy1000: ")
    lines = read_lines(tmp_path / "r" / "annotations.jsonl")
    truth = true_labels(world)
    taken = [line for line in lines if line["outcomes"].get("step1_grounding") == "labeled"]
    reasons, _ = found.steps[STEPS[GROUNDING]].lost.most_frequent(9)
    cut_off = sum(reason.count for reason in reasons if reason.example.startswith("a box was cut off"))
    assert len(taken) + cut_off == 20
    assert bool(cut_off) == size  # of numbers that ended at the side of an image nothing is known
    for line in taken:
        key = (Path(line["image_path"]).name, line["caption"])
        for e in line["expressions"]:
            for instance, box in zip(e["instances"], truth[key][e["text"]] if e["instances"] else [], strict=True):
                sides = [line["width"], line["height"]] * 2
                assert all(
                    abs(a - b) <= side / 1000 + 1 for a, b, side in zip(instance["bbox"], box, sides, strict=True)
                )


def test_an_old_run_that_was_killed_is_taken_over_from_its_checkpoints(
    world: World, server: JournaledServer, grounded: tuple[Grounded, Path], tmp_path: Path
) -> None:
    made, old = grounded
    shutil.copytree(old, tmp_path / "old")
    for path in (tmp_path / "old").rglob("annotations.jsonl"):
        path.unlink()
    checkpoint = sorted((tmp_path / "old" / "step_1_grounding" / ".ckpt").iterdir())[-1]
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    found = imported(grounding(world, tmp_path / "r", server.url, made.override), tmp_path / "old")
    assert found.steps[STEPS[EXTRACTION]].kinds == {".ckpt": found.steps[STEPS[EXTRACTION]].outcomes.total()}
    assert found.unreadable == {str(checkpoint.parent): 1}
    ran = label(grounding(world, tmp_path / "r", server.url, made.override))
    assert asked(tmp_path / "r", EXTRACTION) == ids(ran.annotations, made.lost)
    cut = next(key for key in true_labels(world) if key[0].startswith(checkpoint.stem))
    assert asked(tmp_path / "r", GROUNDING) == ids(ran.annotations, {*made.lost_boxes, cut})


def test_the_file_at_the_top_is_enough(
    world: World, server: JournaledServer, grounded: tuple[Grounded, Path], tmp_path: Path
) -> None:
    made, old = grounded
    (tmp_path / "old").mkdir()
    shutil.copy(old / "annotations.jsonl", tmp_path / "old")
    imported(grounding(world, tmp_path / "r", server.url, made.override), tmp_path / "old")
    ran = label(grounding(world, tmp_path / "r", server.url, made.override))
    # Whether an empty list was an answer, its checkpoint alone would tell.
    assert asked(tmp_path / "r", EXTRACTION) == ids(ran.annotations, {*made.lost, (made.empty, None)})


def test_images_that_had_another_folder_are_found(
    world: World, server: JournaledServer, grounded: tuple[Grounded, Path], tmp_path: Path
) -> None:
    made, old = grounded
    shutil.copytree(old, tmp_path / "old")
    for path in [*(tmp_path / "old").rglob("*.jsonl"), *(tmp_path / "old").rglob("*.json")]:
        path.write_text(path.read_text().replace(str(world.images_dir), "/workspace/data"))
    there = imported(grounding(world, tmp_path / "r", server.url, made.override), old)
    elsewhere = imported(grounding(world, tmp_path / "s", server.url, made.override), tmp_path / "old")
    assert elsewhere.to_json()["steps"] == there.to_json()["steps"]
    assert read_lines(tmp_path / "s" / "annotations.jsonl") == read_lines(tmp_path / "r" / "annotations.jsonl")


def test_what_is_taken_over_lives_as_any_other_label(
    world: World, server: JournaledServer, grounded: tuple[Grounded, Path], tmp_path: Path
) -> None:
    """A later step alone, another model, a retry, a changed image, and asking everything anew."""
    made, old = grounded
    results = tmp_path / "r"
    images = tmp_path / "images"
    shutil.copytree(world.images_dir, images)
    where = [made.override, f"image_grounding.data.image_root={images}"]
    imported(grounding(world, results, server.url, *where), old)
    first = label(grounding(world, results, server.url, *where))
    server.asked()

    label(grounding(world, results, server.url, *where, "image_grounding.workflow.steps=[1]"))
    label(grounding(world, results, server.url, *where, "image_grounding.vlm.openai.temperature=0.5"), confirmed=True)
    lost, lost_boxes = len(ids(first.annotations, made.lost)), len(ids(first.annotations, made.lost_boxes))
    assert server.asked() == {EXTRACTION: lost, GROUNDING: lost_boxes}  # those that we asked, and no others

    reread = label(
        grounding(world, results, server.url, *where, "image_grounding.vlm.openai.temperature=0.5"), reread=True
    )
    assert "step1_grounding: 0 of 32 records changed\n" in reread.printed

    one = next(
        line["record_id"]
        for line in first.annotations
        if line["provenance"].get("step1_grounding") == {"imported": "TAO auto_label"}
    )
    wanted = Wanted(steps=(GROUNDING,), outcomes=("labeled",), ids=(one,))
    retried = label(grounding(world, results, server.url, *where), wanted=wanted)
    assert server.asked() == {GROUNDING: 1}
    assert "model" in next(
        line["provenance"]["step1_grounding"] for line in retried.annotations if line["record_id"] == one
    )
    label(grounding(world, results, server.url, *where))
    assert server.asked() == {}

    several = {line["image_path"] for line in first.annotations if line["record_id"] != one}
    changed = next(Path(line["image_path"]) for line in first.annotations if line["image_path"] in several)
    other = next(path for path in images.iterdir() if path.suffix == changed.suffix and path.name != changed.name)
    shutil.copy(other, changed)
    again = label(grounding(world, results, server.url, *where))
    captions = sum(line["image_path"] == str(changed) for line in first.annotations)
    assert server.asked()[EXTRACTION] == captions
    assert len(again.annotations) == 32

    label(grounding(world, results, server.url, *where, "image_grounding.workflow.force_reprocess=true"))
    assert server.asked()[EXTRACTION] == 32


# --- image_referring_expression -------------------------------------------------------------------------------------


class Referred:
    """A world whose boxes were described by the original, with one of each of its defects."""

    def __init__(self, world: World, old: Path, output_format: str) -> None:
        files = [entry["file"] for entry in sorted(world.truth["images"], key=lambda e: e["image_id"])]
        labeled = {e["file"] for e in world.truth["images"] if sum(r["error"] is None for r in e["labels"]) > 2}
        usable = [file for file in files if file in labeled]
        region, prose, part, caption, group, erased, check, self.dropped, self.moved, self.added = usable[:10]
        self.lost = {REGIONS: {region, part}, CAPTION: {caption}, GROUPING: {group}, CHECK: {erased, check}}
        if output_format == "jsonl":  # the text file has what the original could not read
            self.lost[REGIONS].add(prose)
        else:
            self.lost[GROUPING].add(prose)
        instead: dict[tuple[str, str, int], Saying] = {
            ("regions", region, 0): fails,
            ("regions", prose, 0): lambda record, truth: f"Here are the boxes:\n{truth}",
            ("regions", part, 0): lambda record, truth: json.dumps(json.loads(truth)[:-1]),
            ("caption", caption, 0): fails,
            ("groups", group, 0): fails,
            ("check", erased, 0): says("All boxes are correct."),
            ("check", check, 0): fails,
            ("check", self.dropped, 0): lambda record, truth: truth.partition("\n")[2],
            ("check", self.moved, 0): moved,
            ("check", self.added, 0): lambda record, truth: truth.replace("]]", "], [5, 5, 9, 9]]"),
        }
        self.ask = Truthful(world, instead)
        refer(world.images_dir, world.labels_dir, old, self.ask, output_format)


def moved(record: Json, truth: str) -> str:
    expressions = record["expressions"]
    first = expressions[0]["instances"][0]
    x1, y1, x2, y2 = first["bbox"]
    changed = {**first, "bbox": [x1 + 4, y1, x2, y2]}
    return phrase_text([{**expressions[0], "instances": [changed, *expressions[0]["instances"][1:]]}, *expressions[1:]])


def asked_of_images(results: Path, lines: list[Json], step: str) -> set[str]:
    by_id = {line["record_id"]: Path(line["image_path"]).name for line in lines}
    return {by_id[record_id] for record_id in asked(results, step)}


def check_asked(made: Referred, results: Path, lines: list[Json]) -> None:
    """Exactly what was lost is asked, and what is built on it."""
    lost = made.lost
    assert asked_of_images(results, lines, REGIONS) == lost[REGIONS]
    assert asked_of_images(results, lines, CAPTION) == lost[CAPTION]
    assert asked_of_images(results, lines, GROUPING) == lost[REGIONS] | lost[GROUPING]
    assert asked_of_images(results, lines, CHECK) == lost[REGIONS] | lost[GROUPING] | lost[CHECK]


@pytest.mark.parametrize("output_format", ["jsonl", "both"])
def test_boxes_that_were_described_are_taken_over_and_what_was_lost_is_asked(
    world: World, server: JournaledServer, tmp_path: Path, output_format: str
) -> None:
    made = Referred(world, tmp_path / "old", output_format)
    results = tmp_path / "r"
    found = imported(referring(world, results, server.url), tmp_path / "old")
    assert found.mended["areas marked DontCare that were taken for objects, left out"] > 0
    assert found.mended["boxes that the double check added against its rules, left out"] > 0
    assert found.mended["boxes that the double check moved"] == 1
    ran = label(referring(world, results, server.url))
    check_asked(made, results, ran.annotations)

    by_file = {Path(line["image_path"]).name: line for line in ran.annotations}
    for line in ran.annotations:
        seeds = [row[:4] for row in line["kitti_bboxes"]]
        assert [region["bbox"] for region in line.get("regions", ())] in (seeds, [])
        if Path(line["image_path"]).name in made.lost[REGIONS] | made.lost[GROUPING]:
            continue
        for e in line.get("expressions", ()):
            assert all(i["bbox"] in seeds and i["score"] is None for i in e["instances"])
    checked = [line for line in ran.annotations if line["outcomes"]["step3_double_check"] == "labeled"]
    assert all(e["verified"] for line in checked for e in line["expressions"])
    (proposed,) = [
        i for e in by_file[made.moved]["expressions"] for i in e["instances"] if "adjust_proposed" in i.get("flags", ())
    ]
    assert proposed["proposed_bbox"][0] > proposed["bbox"][0]
    assert by_file[made.dropped]["dropped"]["rejected_phrase"] == 1


def test_the_text_files_alone_are_taken_over(world: World, server: JournaledServer, tmp_path: Path) -> None:
    made = Referred(world, tmp_path / "old", "both")
    for path in (tmp_path / "old").rglob("*.jsonl"):
        path.unlink()
    failed = sorted((tmp_path / "old" / "step_1_image_caption" / "labels").iterdir())[-1]
    failed.write_text(FAILED)
    made.lost[CAPTION].add(
        next(e["file"] for e in world.truth["images"] if e["image_id"] == failed.name.partition(".")[0])
    )
    results = tmp_path / "r"
    imported(referring(world, results, server.url), tmp_path / "old")
    ran = label(referring(world, results, server.url))
    check_asked(made, results, ran.annotations)


def test_running_the_last_steps_alone_left_nothing_at_the_top_and_costs_nothing_now(
    world: World, server: JournaledServer, tmp_path: Path
) -> None:
    old, results = tmp_path / "old", tmp_path / "r"
    ask = Truthful(world)
    refer(world.images_dir, world.labels_dir, old, ask, steps="01")
    refer(world.images_dir, world.labels_dir, old, ask, steps="23")
    assert (old / "annotations.jsonl").read_bytes() == b""
    found = imported(referring(world, results, server.url), old)
    assert found.steps[STEPS[REGIONS]].lost.total == found.steps[STEPS[CAPTION]].lost.total == 0
    ran = label(referring(world, results, server.url))
    assert asked(results, REGIONS) == asked(results, CAPTION) == []
    with_regions = [line["record_id"] for line in ran.annotations if line["regions"]]
    assert asked(results, GROUPING) == sorted(with_regions)


def test_equal_stems_share_a_label_file_and_are_asked(world: World, server: JournaledServer, tmp_path: Path) -> None:
    """What stands in the lines of either may be the other's."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    entries = [e for e in world.truth["images"] if e["labels"]][:3]
    for entry in entries:
        shutil.copy(world.images_dir / entry["file"], images)
        shutil.copy(world.labels_dir / f"{entry['image_id']}.txt", labels)
    refer(images, labels, tmp_path / "old", Truthful(world), "both")
    twin = entries[0]
    (images / "more").mkdir()
    (labels / "more").mkdir()
    shutil.copy(world.images_dir / entries[1]["file"], images / "more" / twin["file"])
    shutil.copy(world.labels_dir / f"{entries[1]['image_id']}.txt", labels / "more" / f"{twin['image_id']}.txt")
    block = "image_referring_expression.data"
    where = [f"{block}.image_dir={images}", f"{block}.kitti_label_dir={labels}"]
    imported(referring(world, tmp_path / "r", server.url, *where), tmp_path / "old")
    ran = label(referring(world, tmp_path / "r", server.url, *where))
    assert asked(tmp_path / "r", CAPTION) == of_images(ran.annotations, {twin["file"]})


def test_boxes_that_were_told_for_another_size_are_asked_again(
    world: World, server: JournaledServer, tmp_path: Path
) -> None:
    """An unknown size became 1920 x 1080, and the model was pointed at other places."""
    old = tmp_path / "old"
    refer(world.images_dir, world.labels_dir, old, Truthful(world))
    path = old / "step_0_region_expr" / "annotations.jsonl"
    lines = read_lines(path)
    wrong = next(line for line in lines if len(line["regions"]) > 1)
    wrong |= {"width": 0, "height": 0}
    told = {"width": 1920, "height": 1080}
    for region, box in zip(wrong["regions"], wrong["kitti_bboxes"], strict=True):
        region["bbox"] = region["bbox_2d"] = on_grid(box, told)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    for name in ("step_2_grounding_expr", "step_3_double_check"):
        shutil.rmtree(old / name)
    (old / "annotations.jsonl").unlink()
    imported(referring(world, tmp_path / "r", server.url), old)
    ran = label(referring(world, tmp_path / "r", server.url))
    assert asked(tmp_path / "r", REGIONS) == of_images(ran.annotations, {Path(wrong["image_path"]).name})


# --- commands -------------------------------------------------------------------------------------------------------


def test_every_command_works_on_what_is_taken_over(
    world: World,
    server: JournaledServer,
    grounded: tuple[Grounded, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    made, old = grounded
    shutil.copytree(old, "old")
    Path("old/experiment.yaml").write_text(
        json.dumps(
            {
                "results_dir": "/somewhere/else",
                "autolabel_type": IMAGE_GROUNDING,
                "gpu_ids": [0],
                "image_grounding": {
                    "vlm": {"backend": "openai", "openai": {"base_url": f"{server.url}/v1", "model_name": "m"}},
                    "data": {"input_jsonl": "/gone.jsonl", "image_root": str(world.images_dir)},
                },
            }
        )
    )
    assert main(["import-tao", "old", "--out", "r"]) == 2
    assert f"{INPUT}:" in capsys.readouterr().err
    assert main(["import-tao", "old", made.override, "--out", "r"]) == 0
    said = capsys.readouterr().out
    assert "image_grounding: 32 records in the input" in said
    assert f'"raylabel run old/experiment.yaml {made.override} results_dir=r" asks what is left open' in said
    note = json.loads(Path("r/import.json").read_text())
    assert note["finished"] is True
    assert note["steps"]["step0_expression_extraction"]["taken_over"]["nothing"] == 1
    assert json.loads(Path("r/run.json").read_text())["exit_code"] == 3

    assert main(["status", "r"]) == 0
    assert "not taken over: the list of phrases is empty" in capsys.readouterr().out
    assert main(["stats", "r", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"][GROUNDING]["outcomes"]["labeled"] == 20
    assert main(["review", "r"]) == 0
    assert Path("r/review/index.html").is_file()
    assert main(["export", "r", "--format", "coco-grounding"]) == 0
    assert "records: 20 written" in capsys.readouterr().out
    assert main(["import-tao", "old", made.override, "--out", "r"]) == 2
    assert "r is not empty" in capsys.readouterr().err


# --- refusals -------------------------------------------------------------------------------------------------------


def nothing_there(old: Path) -> None:
    for path in [*old.rglob("*.jsonl"), *old.rglob("*.json")]:
        path.unlink()


def other_images(old: Path) -> None:
    for path in [*old.rglob("*.jsonl"), *old.rglob("*.json")]:
        path.write_text(path.read_text().replace(".png", ".bmp").replace(".jpg", ".bmp"))


def no_json(old: Path) -> None:
    (old / "step_1_grounding" / "annotations.jsonl").write_bytes(b"\x00\xff\x13 garbage\n" * 40)


def folder_for_file(old: Path) -> None:
    path = old / "step_0_expression_extraction" / "annotations.jsonl"
    path.unlink()
    path.mkdir()


def no_folder(old: Path) -> None:
    shutil.rmtree(old)


def our_own(old: Path) -> None:
    (old / "checkpoints").mkdir()


def other_pipeline(old: Path) -> None:
    nothing_there(old)
    (old / "step_0_region_expr").mkdir()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        pytest.param(nothing_there, "holds no results of auto_label for image_grounding", id="nothing"),
        pytest.param(other_images, "holds nothing of the 32 records", id="other-images"),
        pytest.param(no_json, "none of its 40 lines can be read; the first: not valid UTF-8", id="no-json"),
        pytest.param(folder_for_file, "annotations.jsonl: cannot be read", id="a-folder"),
        pytest.param(no_folder, "no folder", id="no-folder"),
        pytest.param(our_own, "holds results of raylabel itself", id="our-own"),
        pytest.param(other_pipeline, "results of image_referring_expression", id="other-pipeline"),
    ],
)
def test_what_is_no_old_folder_is_refused_and_the_new_one_stays_usable(
    world: World,
    server: JournaledServer,
    grounded: tuple[Grounded, Path],
    tmp_path: Path,
    spoil: Callable[[Path], None],
    sentence: str,
) -> None:
    made, old = grounded
    shutil.copytree(old, tmp_path / "old")
    spoil(tmp_path / "old")
    settings = grounding(world, tmp_path / "r", server.url, made.override)
    with pytest.raises(InputError) as refused:
        imported(settings, tmp_path / "old")
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    imported(settings, old)


def test_numbers_that_may_be_either_are_refused_until_somebody_says(
    world: World, server: JournaledServer, tmp_path: Path
) -> None:
    made = Grounded(world, tmp_path / "all")
    lines = read_lines(tmp_path / "all" / "annotations.jsonl")
    few = [line for line in lines if line["expressions"] and line["expressions"][0]["instances"]][:2]
    for line in few:
        for e in line["expressions"]:
            for i in e["instances"]:
                i["bbox"] = [10, 10, 200, 200]
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "annotations.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in few))
    settings = grounding(world, tmp_path / "r", server.url, made.override)
    with pytest.raises(ConfigError, match=r"--boxes: .*fit both\); say what they are"):
        imported(settings, tmp_path / "old")
    found = imported(settings, tmp_path / "old", Manner("yxyx1000"))
    assert found.boxes == "yxyx1000, as you say"
    assert found.steps[STEPS[GROUNDING]].outcomes == {"labeled": 2}
    none = imported(grounding(world, tmp_path / "s", server.url, made.override), tmp_path / "old", Manner("none"))
    assert none.steps[STEPS[GROUNDING]].outcomes == {}
    assert none.steps[STEPS[EXTRACTION]].outcomes == {"labeled": 2}


def test_a_family_that_writes_y_first_is_asked_about(world: World, server: JournaledServer, tmp_path: Path) -> None:
    made = Grounded(world, tmp_path / "old", grid=True)
    name, old = "image_grounding.vlm.openai.model_name", tmp_path / "old"
    with pytest.raises(ConfigError, match="often writes y first"):
        imported(grounding(world, tmp_path / "r", server.url, made.override, f"{name}=gemini-2.5-pro"), old)
    qwen = grounding(world, tmp_path / "r", server.url, made.override, f"{name}=qwen3-vl-8b")
    assert imported(qwen, old).boxes.startswith("xyxy1000: ")


def test_an_import_that_broke_off_begins_anew(
    world: World, server: JournaledServer, grounded: tuple[Grounded, Path], tmp_path: Path
) -> None:
    made, old = grounded
    settings = grounding(world, tmp_path / "r", server.url, made.override)
    imported(settings, old)
    expected = read_lines(tmp_path / "r" / "annotations.jsonl")
    (tmp_path / "r" / "run.json").unlink()
    (tmp_path / "r" / "annotations.jsonl").unlink()
    (tmp_path / "r" / "import.json").write_text('{"finished": false}')
    imported(settings, old)
    assert read_lines(tmp_path / "r" / "annotations.jsonl") == expected
