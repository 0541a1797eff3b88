"""A truth in any of its formats says the same."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest

from raylabel.commands.eval import EVAL
from raylabel.errors import InputError
from raylabel.evaluation.truth.formats import TRUTH_FORMATS, read_truth
from raylabel.evaluation.truth.values import NO_AREA, Truth
from raylabel.records import Outcome, Size
from tests.evaluation.written_truths import answer, coco, json_file, lines_file, phrase, results, xywh

CAR, OTHER, DOG = (10.0, 20.0, 110.0, 80.0), (200.0, 20.0, 300.0, 80.0), (50.0, 300.0, 90.0, 340.5)
CAPTION = "Two red cars and a dog."
CARS_SPAN, DOG_SPAN = [4, 12], [17, 22]


def said(truth: Truth) -> dict[str, Any]:
    """Phrases with their boxes by image."""
    found: dict[str, Any] = {}
    for entry in truth.entries:
        of_image = found.setdefault(Path(entry.image).stem, {})
        for one in entry.phrases:
            of_image[one.text] = sorted(box.box.as_tuple() for box in one.boxes)
    return found


def write_captioned_coco(folder: Path) -> str:
    image = {"id": 7, "file_name": "a/1.jpg", "width": 640, "height": 480, "caption": CAPTION}
    image["tokens_negative"] = [[19, 22]]
    boxes = [(CAR, CARS_SPAN), (OTHER, CARS_SPAN), (DOG, DOG_SPAN)]
    annotations = [
        {"id": n, "image_id": 7, "category_id": 1, "bbox": xywh(box), "tokens_positive": [span], "iscrowd": 0}
        for n, (box, span) in enumerate(boxes, 1)
    ]
    value = {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    return json_file(folder / "grounding.json", value)


def write_odvg(folder: Path) -> str:
    regions = [
        {"bbox": list(CAR), "phrase": "red cars", "tokens_positive": [CARS_SPAN]},
        {"bbox": list(OTHER), "phrase": "red cars", "tokens_positive": [CARS_SPAN]},
        {"bbox": [list(DOG)], "phrase": ["a dog"], "tokens_positive": [DOG_SPAN]},
    ]
    line = {"filename": "a/1.jpg", "width": 640, "height": 480, "grounding": {"caption": CAPTION, "regions": regions}}
    return lines_file(folder / "odvg.jsonl", [line])


def write_refs(folder: Path, ending: str) -> str:
    boxes = {31: CAR, 32: OTHER, 33: DOG}
    instances = {
        "images": [{"id": 5, "file_name": "1.jpg", "width": 640, "height": 480}],
        "annotations": [{"id": n, "image_id": 5, "category_id": 1, "bbox": xywh(box)} for n, box in boxes.items()],
        "categories": [{"id": 1, "name": "thing"}],
    }
    refs = [
        {"ann_id": [31, 32], "sentences": [{"sent": "red cars", "raw": "Red cars!"}]},
        {"ann_id": 33, "sentences": [{"sent": "a dog"}, {"sent": "a dog"}]},
        {"ann_id": [-1], "no_target": True, "sentences": [{"sent": "a cat"}]},
    ]
    refs = [
        {"ref_id": n, "image_id": 5, "file_name": f"1_{n}.jpg", "split": "val", **ref} for n, ref in enumerate(refs)
    ]
    json_file(folder / "instances.json", instances)
    if ending == "json":
        json_file(folder / "grefs(unc).json", refs)
    else:
        (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    return str(folder)


def write_referring_lines(folder: Path) -> str:
    lines = [("red cars", CAR), ("a dog", DOG)]
    return lines_file(
        folder / "refcoco.jsonl",
        [{"image": "x/1.jpg", "sent": t, "bbox": list(b), "width": 640, "height": 480} for t, b in lines],
    )


def write_flickr(folder: Path) -> str:
    (folder / "Sentences").mkdir()
    (folder / "Annotations").mkdir()
    sentence = "[/EN#1/other/vehicles Two red cars] and [/EN#2/animals a dog] in [/EN#3/scene a street] ."
    (folder / "Sentences" / "1.txt").write_text(f"{sentence}\n\n", encoding="utf-8")
    objects = "".join(
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{k}>{v:g}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        + "</bndbox></object>"
        for name, box in (("1", CAR), ("1", OTHER), ("2", DOG))
    )
    scene = "<object><name>3</name><scene>1</scene><nobndbox>1</nobndbox></object>"
    text = f"<annotation><filename>1.jpg</filename><size><width>640</width><height>480</height></size>{objects}{scene}"
    (folder / "Annotations" / "1.xml").write_text(f"{text}</annotation>", encoding="utf-8")
    return str(folder)


def write_kitti(folder: Path) -> str:
    rows = [("Car", CAR), ("Car", OTHER), ("Dog", DOG), ("DontCare", (400, 0, 640, 100))]
    text = "".join(f"{kind} 0.00 0 0.00 {' '.join(map(str, box))} 0 0 0 0 0 0 0\n" for kind, box in rows)
    (folder / "1.txt").write_text(text, encoding="utf-8")
    (folder / "2.txt").write_text("", encoding="utf-8")
    return str(folder)


def write_annotations(folder: Path) -> str:
    return results(
        folder,
        answer(
            1, "1.jpg", phrase("red cars", [CAR, OTHER]), phrase("a dog", [DOG]), phrase("a cat", []), phrase("x", None)
        ),
        answer(2, "2.jpg", ended=Outcome.FAILED),
        dataclasses.replace(answer(3, "3.jpg", phrase("a cat", [])), verified=False),
    )


RED_CARS, A_DOG = [CAR, OTHER], [DOG]


@pytest.mark.parametrize(
    ("write", "name", "expected"),
    [
        pytest.param(
            lambda folder: coco(folder / "c.json", {"1.jpg": {"car": [CAR, OTHER], "dog": [DOG]}, "2.jpg": {}}),
            "coco",
            {"1": {"car": RED_CARS, "dog": A_DOG}, "2": {}},
            id="coco",
        ),
        pytest.param(
            write_captioned_coco, "coco", {"1": {"red cars": RED_CARS, "a dog": A_DOG, "dog": []}}, id="coco-captions"
        ),
        pytest.param(write_odvg, "odvg", {"1": {"red cars": RED_CARS, "a dog": A_DOG}}, id="odvg-grounding"),
        pytest.param(
            lambda folder: write_refs(folder, "json"),
            "refcoco",
            {"1": {"red cars": RED_CARS, "a dog": A_DOG, "a cat": []}},
            id="grefcoco",
        ),
        pytest.param(
            lambda folder: write_refs(folder, "p"),
            "refcoco",
            {"1": {"red cars": RED_CARS, "a dog": A_DOG, "a cat": []}},
            id="refcoco-pickle",
        ),
        pytest.param(
            write_referring_lines, "refcoco-jsonl", {"1": {"red cars": [CAR], "a dog": A_DOG}}, id="refcoco-jsonl"
        ),
        pytest.param(
            write_flickr, "flickr30k-entities", {"1": {"Two red cars": RED_CARS, "a dog": A_DOG}}, id="flickr30k"
        ),
        pytest.param(write_kitti, "kitti", {"1": {"Car": RED_CARS, "Dog": A_DOG}, "2": {}}, id="kitti"),
        pytest.param(
            write_annotations,
            "raylabel",
            {"1": {"red cars": RED_CARS, "a dog": [(50, 300, 90, 341)], "a cat": []}},  # written in whole pixels
            id="raylabel",
        ),
    ],
)
def test_a_format_is_recognised_and_read(tmp_path: Path, write: Any, name: str, expected: dict[str, Any]) -> None:
    truth, found = read_truth(write(tmp_path))
    assert found == name
    assert said(truth) == {image: {t: sorted(b) for t, b in of.items()} for image, of in expected.items()}


def test_odvg_detection(tmp_path: Path) -> None:
    instances = [{"bbox": list(CAR), "label": 0, "category": "car"}, {"bbox": list(DOG), "label": 1, "category": "dog"}]
    line = {"file_name": "1.jpg", "width": 640, "height": 480, "detection": {"instances": instances}}
    truth, _ = read_truth(lines_file(tmp_path / "d.jsonl", [line]))
    assert said(truth) == {"1": {"car": [CAR], "dog": [DOG]}}
    assert truth.classes == {"car", "dog"}


def test_what_is_around_the_boxes_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    kitti, _ = read_truth(write_kitti(tmp_path / "k"))
    assert [box.as_tuple() for box in kitti.entries[0].ignored] == [(400, 0, 640, 100)]
    assert kitti.classes == {"Car", "Dog"}
    (tmp_path / "f").mkdir()
    flickr, _ = read_truth(write_flickr(tmp_path / "f"))
    (entry,) = flickr.entries
    assert entry.caption == "Two red cars and a dog in a street ."
    assert [one.kind for one in entry.phrases] == ["other", "animals"]
    assert entry.size == Size(640, 480)
    assert flickr.left_out["phrases without boxes (scenes, and what is not visible)"] == 1
    crowd, _ = read_truth(coco(tmp_path / "c.json", {"1.jpg": {}}, {"1.jpg": {"car": [CAR]}}))
    (only,) = crowd.entries[0].phrases
    assert (only.boxes, [box.as_tuple() for box in only.ignored]) == ((), [CAR])


def test_failures_are_no_negatives_of_an_earlier_run(tmp_path: Path) -> None:
    truth, _ = read_truth(write_annotations(tmp_path))
    assert truth.left_out == {
        "records that are failed": 1,
        "records that are rejected by a person": 1,
        "phrases that were not answered": 1,
    }


def test_a_box_without_an_area_is_counted(tmp_path: Path) -> None:
    truth, _ = read_truth(coco(tmp_path / "c.json", {"1.jpg": {"car": [CAR, (5, 5, 5, 9)]}}))
    assert said(truth) == {"1": {"car": [CAR]}}
    assert truth.left_out == {NO_AREA: 1}


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    write_refs(tmp_path, "p")
    (tmp_path / "refs(unc).p").write_bytes(b"cos\nsystem\n(S'echo gone wrong'\ntR.")
    with pytest.raises(InputError, match=r"no pickle of references \(it asks for os\.system"):
        read_truth(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param('{"a": 1}\n', "the format of .* is none of raylabel, coco", id="unknown"),
        pytest.param('{"images": [], "annotations": [], "categories": []}', "says nothing of any image", id="empty"),
        pytest.param(
            '{"images": [], "annotations": [7]}', 'expected "annotations", a list of objects', id="no-objects"
        ),
        pytest.param(
            '{"images": [{"id": 1, "file_name": "1.jpg"}], "categories": [], '
            '"annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 1]}]}',
            r"annotations\[0\]: no category 3",
            id="no-category",
        ),
        pytest.param('{"image": "1.jpg", "sent": "x", "bbox": [1, 2, 3]}\n', "line 1: expected four", id="no-box"),
        pytest.param('{"image": "1.jpg", "sent": "x", "bbox": [1, 2, 3, 4]}\n{', "line 2 is not JSON", id="cut-off"),
        pytest.param('{"file_name": "1.jpg", "grounding": {}}\n', 'expected "regions"', id="no-regions"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "truth.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_truth(str(tmp_path / "truth.json"))


def test_a_format_that_is_named_is_not_guessed(tmp_path: Path) -> None:
    path = write_odvg(tmp_path)
    with pytest.raises(InputError, match=r"expected texts|expected four numbers"):
        read_truth(path, "refcoco-jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        read_truth(str(tmp_path / "missing.json"))


def test_the_command_names_all_formats() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    EVAL.add_arguments(parser)
    (action,) = [a for a in parser._actions if a.dest == "truth_format"]
    assert tuple(action.choices or ()) == tuple(TRUTH_FORMATS)
