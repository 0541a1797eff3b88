"""``refcoco`` and ``grefcoco``, read by pycocotools and by readers that follow their consumers' sources."""

from __future__ import annotations

import json
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from raylabel.exports.training.refcoco import cleaned
from raylabel.exports.training.splits import read_splits
from raylabel.records import Box, Record, Region, Size
from tests.exports.training.exporting import export
from tests.exports.training.results import Made, boxes_of, described, expression, record, write_results
from tests.exports.training.test_detection import assert_same_objects

SIZE = Size(1242, 375)
DOG, CAT = Box(100, 20, 330, 140), Box(550, 60, 570, 180)
Targets = dict[str, dict[str, list[tuple[float, ...]]]]


class Grefer:
    """henghuiding/gRefCOCO, grefer.py, ``createIndex``, ``getRefIds`` and ``getMaskByRef``; with ``refer.py``'s ids."""

    def __init__(self, folder: Path, refs: str) -> None:
        file = folder / refs
        self.refs = pickle.loads(file.read_bytes()) if file.suffix == ".p" else json.loads(file.read_text("utf-8"))
        instances = json.loads((folder / "instances.json").read_text("utf-8"))
        self.anns: dict[int, Any] = {-1: None} | {ann["id"]: ann for ann in instances["annotations"]}
        self.images = {image["id"]: image for image in instances["images"]}
        categories = {category["id"] for category in instances["categories"]}
        self.by_id: dict[int, Any] = {}
        sentences: set[int] = set()
        for ref in self.refs:
            assert ref["ref_id"] not in self.by_id
            assert ref["ref_id"], "taken for none"
            self.by_id[ref["ref_id"]] = ref
            assert ref["image_id"] in self.images
            for category, ann in zip(as_list(ref["category_id"]), as_list(ref["ann_id"]), strict=True):
                assert (category in categories) == (ann != -1)
                found = self.anns[ann]
                assert found is None or (found["image_id"] == ref["image_id"] and not found["iscrowd"])
            assert ref["sent_ids"] == [sentence["sent_id"] for sentence in ref["sentences"]]
            assert not sentences & {*ref["sent_ids"]}
            sentences |= {*ref["sent_ids"]}

    def targets(self, split: str) -> Targets:
        """By image and sentence, the boxes."""
        found: Targets = defaultdict(dict)
        for ref in self.refs:
            if ref["split"] != split:
                continue
            anns = [self.anns[ann] for ann in as_list(ref["ann_id"])]
            if None in anns:
                assert as_list(ref["ann_id"]) == as_list(ref["category_id"]) == [-1]
            boxes = [corners(ann["bbox"]) for ann in anns if ann is not None]
            for sentence in ref["sentences"]:
                assert sentence["sent"] == " ".join(sentence["tokens"]) == sentence["sent"].lower()
                sentences = found[self.images[ref["image_id"]]["file_name"]]
                assert sentence["sent"] not in sentences
                sentences[sentence["sent"]] = boxes
        return found


def as_list(value: Any) -> list[int]:
    return value if isinstance(value, list) else [value]


def corners(xywh: list[float]) -> tuple[float, ...]:
    x, y, w, h = xywh
    return (x, y, x + w, y + h)


def read_mmdetection(folder: Path, split: str) -> list[tuple[str, str, tuple[float, ...]]]:
    """mmdetection 3.3, ``RefCocoDataset.load_data_list`` with ``text_mode`` original: image, text, box of the mask."""
    instances = json.loads((folder / "instances.json").read_text("utf-8"))
    refs = pickle.loads((folder / "refs(unc).p").read_bytes())
    anns = {ann["id"]: ann for ann in instances["annotations"]}
    images = {image["id"]: image for image in instances["images"]}
    kept = {}
    for ref in refs:
        if ref["split"] == split:
            kept[ref["ann_id"]] = anns[ref["ann_id"]] | ref  # one ref an object
    found: list[tuple[str, str, tuple[float, ...]]] = []
    for ann in kept.values():
        [polygon] = ann["segmentation"]
        assert len(polygon) == 8
        box = (min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2]))
        name = images[int(ann["image_id"])]["file_name"]
        found += [(name, sentence["raw"].lower(), box) for sentence in ann["sentences"]]
    return found


def truth(records: list[Record], made: Made) -> Targets:
    """By image and sentence, all boxes that any record found; not those of the double check's rejections."""
    found: Targets = defaultdict(lambda: defaultdict(list))
    for one in records:
        sentences = found[made.name(one)]
        for e in one.expressions or ():
            if e.instances is not None and e.outcome != "rejected":
                sentences[cleaned(e.text)] += [b for _, b in boxes_of([e]) if b not in sentences[cleaned(e.text)]]
        for region in one.regions or ():
            if region.box.as_tuple() not in sentences[cleaned(region.description)]:
                sentences[cleaned(region.description)].append(region.box.as_tuple())
    return found


def assert_same_targets(found: Targets, true: Targets) -> None:
    assert found.keys() == {name for name, sentences in true.items() if sentences}
    for name, sentences in found.items():
        assert sentences.keys() == true[name].keys()
        pairs = [(sent, box) for sent, boxes in sentences.items() for box in boxes]
        assert_same_objects(pairs, true[name], 0)


@pytest.mark.parametrize("kind", ["grounded", "described"])
def test_grefer_reads_all_targets_of_every_phrase_and_the_phrases_without_one(
    made: Made, told: Made, tmp_path: Path, kind: str
) -> None:
    results = made if kind == "grounded" else told
    said = export(results.folder, "grefcoco", tmp_path / "out")
    found = Grefer(tmp_path / "out" / "grefcoco", "grefs(unc).json").targets("train")
    true = truth(results.settled(), results)
    assert_same_targets(found, true)
    assert all(ref["no_target"] is (ref["ann_id"] == [-1]) for ref in refs(tmp_path, "grefcoco"))
    if kind == "grounded":
        assert any(not boxes for sentences in found.values() for boxes in sentences.values())
    else:
        assert said["out"]["regions"] == sum(len(r.regions or ()) for r in told.records)


def refs(tmp_path: Path, name: str) -> list[dict[str, Any]]:
    [path] = (tmp_path / "out" / name).glob("*refs(unc).json")
    value: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return value


@pytest.mark.parametrize("kind", ["grounded", "described"])
def test_refer_and_mmdetection_read_the_phrases_with_one_target(
    made: Made, told: Made, tmp_path: Path, kind: str
) -> None:
    results = made if kind == "grounded" else told
    export(results.folder, "refcoco", tmp_path / "out", splits=read_splits("train=2,val=1,testA=1"))
    folder = tmp_path / "out" / "refcoco"
    read = Grefer(folder, "refs(unc).p")
    whole: Targets = {}
    for split in ("train", "val", "testA"):
        found = read.targets(split)
        assert found
        assert not whole.keys() & found.keys()
        whole |= found
        mmdet = read_mmdetection(folder, split)
        pairs = {(name, sent, boxes[0]) for name, sentences in found.items() for sent, boxes in sentences.items()}
        assert {(name, cleaned(raw), box) for name, raw, box in mmdet} == pairs
        assert len(mmdet) == len(pairs), "one ref an object, with all its sentences"
    single: Targets = {
        name: alone
        for name, sentences in truth(results.settled(), results).items()
        if (alone := {sent: boxes for sent, boxes in sentences.items() if len(boxes) == 1})
    }
    assert all(len(boxes) == 1 for sentences in whole.values() for boxes in sentences.values())
    for name, sentences in single.items():
        assert sentences.items() <= whole[name].items()


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_pycocotools_reads_the_instances_and_their_polygons(made: Made, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    export(made.folder, "refcoco", tmp_path / "out")
    coco = COCO(str(tmp_path / "out" / "refcoco" / "instances.json"))
    assert min(coco.anns) == min(coco.imgs) == 1
    for ann in list(coco.anns.values())[:40]:
        image = coco.imgs[ann["image_id"]]
        mask = coco.annToMask(ann)
        assert mask.shape == (image["height"], image["width"])
        assert int(mask.sum()) == ann["area"]


def exported(tmp_path: Path, name: str, *records: Record) -> list[dict[str, Any]]:
    export(write_results(tmp_path / "r", records), name, tmp_path / "out")
    return refs(tmp_path, name)


def test_the_pickle_says_what_the_json_says_in_protocol_2(made: Made, tmp_path: Path) -> None:
    """Loaders of Python 2 know no later one."""
    import pickletools

    export(made.folder, "refcoco", tmp_path / "out")
    data = (tmp_path / "out" / "refcoco" / "refs(unc).p").read_bytes()
    assert pickle.loads(data) == refs(tmp_path, "refcoco")
    assert len(pickle.loads(data)) > 200
    assert data[:2] == pickle.PROTO + bytes([2])
    assert max(opcode.proto for opcode, _, _ in pickletools.genops(data)) <= 2
    export(write_results(tmp_path / "empty", []), "refcoco", tmp_path / "none")
    assert pickle.loads((tmp_path / "none" / "refcoco" / "refs(unc).p").read_bytes()) == []


def test_a_phrase_without_target_is_said_in_lists_of_minus_one(tmp_path: Path) -> None:
    [one] = exported(tmp_path, "grefcoco", record(0, "a.jpg", SIZE, "a dog", (expression(0, "dog", (2, 5), []),)))
    assert (one["ann_id"], one["category_id"], one["no_target"]) == ([-1], [-1], True)


def test_ids_start_at_1(tmp_path: Path) -> None:
    """An annotation with the id 0 counts as unmatched, a ref with the id 0 as none."""
    [one] = exported(tmp_path, "grefcoco", record(0, "a.jpg", SIZE, "a dog", (expression(0, "dog", (2, 5), [DOG]),)))
    assert (one["ref_id"], one["ann_id"], one["image_id"], one["sent_ids"]) == (1, [1], 1, [1])


def test_the_name_of_a_ref_ends_in_a_number_that_mdetr_cuts_off(tmp_path: Path) -> None:
    one = record(0, "a.b/000_1.jpg", SIZE, "a dog", (expression(0, "dog", (2, 5), [DOG]),))
    [found] = exported(tmp_path, "refcoco", one)
    assert "_".join(found["file_name"].split("_")[:-1]) + ".jpg" == "a.b/000_1.jpg"


def test_several_targets_are_refused_by_refcoco_and_held_by_grefcoco(tmp_path: Path) -> None:
    one = record(0, "a.jpg", SIZE, "dogs", (expression(0, "dogs", (0, 4), [DOG, CAT]), expression(0, "cat", None, [])))
    results = write_results(tmp_path / "r", [one])
    said = export(results, "refcoco", tmp_path / "refcoco")
    assert {why: entry["count"] for why, entry in said["left_out"]["phrases"].items()} == {
        "several_boxes": 1,
        "negative": 1,
    }
    export(results, "grefcoco", tmp_path / "out")
    assert [ref["ann_id"] for ref in refs(tmp_path, "grefcoco")] == [[1, 2], [-1]]


def test_what_two_captions_found_for_one_phrase_is_one_target(tmp_path: Path) -> None:
    """Boxes that differ by a pixel would make two targets of one object, and "nothing" a target of none."""
    moved = Box(DOG.x1 + 1, DOG.y1, DOG.x2, DOG.y2)
    found = exported(
        tmp_path,
        "grefcoco",
        record(0, "a.jpg", SIZE, "a dog", (expression(0, "Dog", None, [DOG]),)),
        record(1, "a.jpg", SIZE, "a dog", (expression(1, "dog", (2, 5), [moved]),)),
        record(2, "a.jpg", SIZE, "a dog", (expression(2, "dog!", None, []),)),
    )
    assert [(ref["ann_id"], ref["sentences"][0]["raw"]) for ref in found] == [([1], "Dog")]


def test_a_description_and_a_phrase_about_one_box_are_sentences_of_one_ref(tmp_path: Path) -> None:
    region = Region(DOG, "dog", "brown", "the dog on the left")
    one = described(0, "a.jpg", SIZE, (region,), (expression(0, "brown dog", None, [DOG]),))
    [found] = exported(tmp_path, "refcoco", one)
    assert [s["raw"] for s in found["sentences"]] == ["brown dog", "the dog on the left"]


def test_phrases_of_failed_records_are_no_refs(made: Made, tmp_path: Path) -> None:
    from raylabel.records import Outcome

    found = exported(
        tmp_path,
        "grefcoco",
        record(0, "a.jpg", SIZE, "a dog", (expression(0, "dog", (2, 5), None),), Outcome.FAILED),
        record(1, "b.jpg", SIZE, "a dog", (expression(1, "dog", (2, 5), []),), Outcome.UNREADABLE),
        record(2, "c.jpg", SIZE, "a dog", (expression(2, "dog", (2, 5), [DOG]), expression(2, "cat", None, None))),
    )
    assert [[s["raw"] for s in ref["sentences"]] for ref in found] == [["dog"]]
