"""What is laid beside what: images by their names, phrases by their words, failures as failures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from raylabel.errors import ConfigError, InputError
from raylabel.evaluation.evaluating import Evaluation, evaluate
from raylabel.evaluation.questions import ANSWERED, NOT_ASKED, REGION, TEXT, UNANSWERED, Question
from raylabel.geometry import stored_to_displayed
from raylabel.records import Box, Outcome, Record, Size
from tests.evaluation.written_truths import Boxes, answer, coco, json_file, lines_file, phrase, referring, results, xywh

CAR, OTHER, DOG = (10.0, 20.0, 110.0, 80.0), (200.0, 20.0, 300.0, 80.0), (50.0, 300.0, 90.0, 340.0)


def judged(tmp_path: Path, truth: str, *records: Record, **how: str) -> Evaluation:
    return evaluate(results(tmp_path, *records), truth, **how)  # type: ignore[arg-type]


def shown(one: Question) -> tuple[str, int, int, str]:
    return (one.text, len(one.true), len(one.given), one.state)


def questions(evaluation: Evaluation) -> list[tuple[str, int, int, str]]:
    return [shown(one) for of_image in evaluation.images for one in of_image]


def value(evaluation: Evaluation, name: str) -> float | None:
    return evaluation.measured[name].value


# --- phrases --------------------------------------------------------------------------------------------------------


def test_phrases_of_equal_words_are_laid_beside_each_other(tmp_path: Path) -> None:
    truth = referring(tmp_path / "t", ("1.jpg", "the red car", [CAR]), ("1.jpg", "a dog", [DOG]))
    found = judged(tmp_path, truth, answer(1, "1.jpg", phrase("Red car", [CAR]), phrase("a bird", [OTHER])))
    assert questions(found) == [("the red car", 1, 1, ANSWERED), ("a dog", 1, 0, NOT_ASKED)]
    assert (value(found, "recall@0.5"), value(found, "precision@0.5")) == (0.5, 1.0)
    counts = found.to_json()["phrases"]
    assert counts == {"truth": 2, "truth_in_results": 1, "results": 2, "results_in_truth": 1}


def test_a_phrase_twice_in_a_caption_is_two_phrases(tmp_path: Path) -> None:
    caption = "a car beside a car"
    image = {"id": 1, "file_name": "1.jpg", "width": 640, "height": 480, "caption": caption}
    spans = [([0, 5], CAR), ([13, 18], OTHER)]
    annotations = [
        {"id": n, "image_id": 1, "category_id": 1, "bbox": xywh(b), "tokens_positive": [s]}
        for n, (s, b) in enumerate(spans, 1)
    ]
    truth = json_file(tmp_path / "t.json", {"images": [image], "annotations": annotations, "categories": []})
    both = [dataclasses.replace(phrase("a car", [box]), char_span=(s[0], s[1])) for s, box in spans]
    record = answer(1, "1.jpg", both[1], both[0], caption=caption)  # written in another order than they stand
    found = judged(tmp_path, truth, record)
    assert value(found, "exact") == 1.0
    assert len(questions(found)) == 2


def test_without_captions_equal_words_mean_all_boxes_of_either(tmp_path: Path) -> None:
    truth = lines_file(
        tmp_path / "t.jsonl",
        [{"image": "1.jpg", "sent": "car", "bbox": list(b), "width": 640, "height": 480} for b in (CAR, OTHER)],
    )
    found = judged(tmp_path, truth, answer(1, "1.jpg", phrase("car", [OTHER, CAR])))
    assert questions(found) == [("car", 2, 2, ANSWERED)]
    assert value(found, "exact") == 1.0


def test_records_are_laid_beside_their_own_caption(tmp_path: Path) -> None:
    (tmp_path / "flickr" / "Sentences").mkdir(parents=True)
    (tmp_path / "flickr" / "Annotations").mkdir()
    sentences = "[/EN#1/people A man] , tall .\n[/EN#2/people A man] beside a wall .\nA third .\n"
    (tmp_path / "flickr" / "Sentences" / "9.txt").write_text(sentences, encoding="utf-8")
    objects = "".join(
        f"<object><name>{n}</name><bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin><xmax>{b[2]}</xmax><ymax>{b[3]}</ymax>"
        "</bndbox></object>"
        for n, b in ((1, CAR), (2, DOG))
    )
    (tmp_path / "flickr" / "Annotations" / "9.xml").write_text(f"<annotation>{objects}</annotation>", encoding="utf-8")
    found = judged(
        tmp_path,
        str(tmp_path / "flickr"),
        answer(1, "9.jpg", phrase("a man", [DOG]), caption="A man beside a wall."),
        answer(2, "9.jpg", phrase("A man", [CAR]), caption="a man, tall"),
    )
    assert (value(found, "exact"), value(found, "recall_at_1_any_box")) == (1.0, 1.0)
    assert found.questions.left_out["truth"] == {"captions that the results do not have": 1}
    assert list(found.classes) == ["people"]


def test_of_classes_that_the_truth_knows_an_image_without_one_has_none(tmp_path: Path) -> None:
    truth = coco(tmp_path / "t.json", {"1.jpg": {"car": [CAR]}, "2.jpg": {"dog": [DOG]}})
    found = judged(
        tmp_path,
        truth,
        answer(1, "1.jpg", phrase("car", [CAR]), phrase("dog", [])),
        answer(2, "2.jpg", phrase("dog", [DOG]), phrase("car", [OTHER]), phrase("tree", [OTHER])),
    )
    assert questions(found) == [
        ("car", 1, 1, ANSWERED),
        ("dog", 0, 0, ANSWERED),
        ("dog", 1, 1, ANSWERED),
        ("car", 0, 1, ANSWERED),
    ]
    assert value(found, "no_target_accuracy") == 0.5
    assert value(found, "precision@0.5") == pytest.approx(2 / 3)


def test_of_a_class_all_records_of_an_image_are_one_answer(tmp_path: Path) -> None:
    truth = coco(tmp_path / "t.json", {"1.jpg": {"car": [CAR, OTHER]}, "2.jpg": {"dog": [DOG]}})
    found = judged(
        tmp_path,
        truth,
        answer(1, "1.jpg", phrase("car", [CAR], 0.5), phrase("the car", [OTHER], 0.9)),
        answer(2, "1.jpg", phrase("Car", [CAR], 0.7)),
        answer(3, "2.jpg", phrase("dog", [DOG], 0.7)),
    )
    assert questions(found) == [("car", 2, 2, ANSWERED), ("dog", 1, 1, ANSWERED)]
    assert (value(found, "precision@0.5"), value(found, "exact")) == (1.0, 1.0)
    assert found.average_precision is not None
    assert found.average_precision.all.value == pytest.approx(1.0)


def test_where_words_have_nothing_in_common_boxes_are_matched_by_region(tmp_path: Path) -> None:
    truth = coco(tmp_path / "t.json", {"1.jpg": {"car": [CAR, OTHER], "dog": [DOG]}})
    shifted = (CAR[0] + 0.5, CAR[1], CAR[2] + 0.5, CAR[3])
    record = answer(
        1, "1.jpg", phrase("red thing", [CAR]), phrase("vehicle", [shifted, OTHER]), phrase("sky", [(400, 0, 500, 90)])
    )
    found = judged(tmp_path, truth, record)
    # The same object by two phrases is one box.
    assert (found.questions.matched_by, questions(found)) == (REGION, [("", 3, 3, ANSWERED)])
    assert value(found, "recall@0.5") == pytest.approx(2 / 3)
    assert value(found, "precision@0.5") == pytest.approx(2 / 3)
    assert found.classes["car"]["recall"].value == 1.0
    with pytest.raises(ConfigError, match="no phrase of the results is in the truth"):
        judged(tmp_path, truth, record, match="text")


def test_by_region_on_wish(tmp_path: Path) -> None:
    truth = referring(tmp_path / "t", ("1.jpg", "car", [CAR]), ("1.jpg", "same car", [CAR]))
    record = answer(1, "1.jpg", phrase("car", [CAR]))
    assert judged(tmp_path, truth, record).questions.matched_by == TEXT
    assert questions(judged(tmp_path, truth, record, match="region")) == [("", 1, 1, ANSWERED)]


def test_a_truth_of_few_of_many_phrases_is_matched_by_text(tmp_path: Path) -> None:
    truth = referring(tmp_path / "t", ("1.jpg", "car", [CAR]))
    record = answer(1, "1.jpg", *(phrase(text, [DOG]) for text in ("a", "b", "c", "d")), phrase("car", [CAR]))
    assert judged(tmp_path, truth, record).questions.matched_by == TEXT


def test_the_best_box_comes_first_where_all_have_scores(tmp_path: Path) -> None:
    truth = referring(tmp_path / "t", ("1.jpg", "car", [CAR]))
    found = phrase("car", [OTHER, CAR])
    assert found.instances is not None
    scored = [dataclasses.replace(i, score=s) for i, s in zip(found.instances, (0.2, 0.9), strict=True)]
    by_score = dataclasses.replace(found, instances=tuple(scored))
    assert value(judged(tmp_path, truth, answer(1, "1.jpg", by_score)), "accuracy_single_target") == 1.0
    half = dataclasses.replace(found, instances=(found.instances[0], scored[1]))
    assert value(judged(tmp_path, truth, answer(1, "1.jpg", half)), "accuracy_single_target") == 0.0


# --- failures -------------------------------------------------------------------------------------------------------


def failures(tmp_path: Path) -> tuple[str, list[Record]]:
    truth = referring(
        tmp_path / "t",
        *((f"{n}.jpg", "car", [CAR]) for n in range(5)),
        *((f"{n}.jpg", "cat", []) for n in range(5)),
    )
    rejected = dataclasses.replace(answer(4, "4.jpg", phrase("car", [CAR]), phrase("cat", [])), verified=False)
    return truth, [
        answer(0, "0.jpg", phrase("car", [CAR]), phrase("cat", [])),
        answer(1, "1.jpg", ended=Outcome.FAILED),
        answer(2, "2.jpg", phrase("car", [CAR]), phrase("cat", []), ended=Outcome.REFUSED),
        answer(3, "3.jpg", phrase("car", None), phrase("cat", None)),
        rejected,
    ]


def test_failures_count_as_missed_and_never_as_negatives(tmp_path: Path) -> None:
    truth, records = failures(tmp_path)
    found = judged(tmp_path, truth, *records)
    assert value(found, "recall@0.5") == pytest.approx(1 / 5)
    assert value(found, "no_target_accuracy") == pytest.approx(1 / 5)
    assert value(found, "exact") == pytest.approx(1 / 5)
    assert found.unanswered_records == {"failed": 1, "refused": 1, "rejected by a person": 1}
    assert {state for *_, state in questions(found)} == {ANSWERED, UNANSWERED}


def test_failures_are_left_out_on_wish(tmp_path: Path) -> None:
    truth, records = failures(tmp_path)
    found = judged(tmp_path, truth, *records, unanswered="left-out")
    assert (value(found, "recall@0.5"), value(found, "no_target_accuracy"), value(found, "exact")) == (1.0, 1.0, 1.0)
    assert found.measured["recall@0.5"].count == 1
    assert found.unanswered_records.total() == 3


def test_by_region_an_image_without_an_answer_misses_all_of_it(tmp_path: Path) -> None:
    truth, records = failures(tmp_path)
    assert value(judged(tmp_path, truth, *records, match="region"), "recall@0.5") == pytest.approx(1 / 5)
    left = judged(tmp_path, truth, *records, match="region", unanswered="left-out")
    assert value(left, "recall@0.5") == 0.5  # of 3.jpg, nothing is said that would be a failure of the record


def test_what_was_rejected_is_no_label(tmp_path: Path) -> None:
    truth = referring(tmp_path / "t", ("1.jpg", "car", [CAR]), ("1.jpg", "dog", [DOG]))
    dropped = phrase("car", [CAR], verified=False)
    found = judged(tmp_path, truth, answer(1, "1.jpg", dropped, phrase("dog", [DOG])))
    assert sorted(questions(found)) == [("car", 1, 0, NOT_ASKED), ("dog", 1, 1, ANSWERED)]


# --- images ---------------------------------------------------------------------------------------------------------


def test_images_are_found_by_their_names(tmp_path: Path) -> None:
    truth = coco(
        tmp_path / "t.json",
        {
            "a/1.jpg": {"car": [CAR]},
            "b/1.jpg": {"car": [OTHER]},
            "2.png": {"car": [DOG]},
            "3.jpg": {"car": [DOG]},
            "1.jpg": {"car": [DOG]},
        },
    )
    found = judged(
        tmp_path,
        truth,
        answer(1, "a/1.jpg", phrase("car", [CAR])),
        answer(2, "b/1.jpg", phrase("car", [OTHER])),
        answer(3, "2.jpg", phrase("car", [DOG])),
        answer(4, "5.jpg", phrase("car", [DOG])),
    )
    assert value(found, "exact") == 1.0
    assert found.questions.left_out["truth"] == {
        "images not in the results": 1,
        "images several images of that name": 1,
    }
    assert found.questions.left_out["results"] == {"records of images that the truth does not have": 1}


def test_nothing_in_common_is_told_with_an_example(tmp_path: Path) -> None:
    truth = coco(tmp_path / "t.json", {"x.jpg": {"car": [CAR]}})
    with pytest.raises(InputError, match=r"none of its images .* \(1 not in the results\).* /data/images/1\.jpg"):
        judged(tmp_path, truth, answer(1, "1.jpg", phrase("car", [CAR])))


def test_an_image_of_another_size_is_left_out(tmp_path: Path) -> None:
    truth = coco(tmp_path / "t.json", {"1.jpg": {"car": [CAR]}}, width=1280, height=960)
    with pytest.raises(InputError, match="1 of another size"):
        judged(tmp_path, truth, answer(1, "1.jpg", phrase("car", [CAR])))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_as_pixels_do(orientation: int) -> None:
    pixels = np.zeros((30, 50, 3), np.uint8)
    pixels[5:12, 20:44] = 255
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[274] = orientation
    picture.info["exif"] = exif.tobytes()
    displayed = ImageOps.exif_transpose(picture)
    found = stored_to_displayed(Box(20, 5, 44, 12), orientation, Size(*displayed.size))
    assert found.as_tuple() == displayed.getbbox()


STORED: dict[str, tuple[int, Boxes]] = {"1.jpg": (6, [CAR]), "2.jpg": (3, [CAR]), "3.jpg": (1, [CAR])}


def turned_records(shown_as: dict[str, Box]) -> list[Record]:
    sizes = {6: Size(480, 640), 3: Size(640, 480), 1: Size(640, 480)}
    return [
        answer(n, name, phrase("car", [shown_as[name].as_tuple()]), orientation=turn, size=sizes[turn])
        for n, (name, (turn, _)) in enumerate(STORED.items())
    ]


def test_a_truth_in_stored_pixels_is_known_by_its_sizes_and_turned(tmp_path: Path) -> None:
    truth = coco(tmp_path / "t.json", {name: {"car": boxes} for name, (_, boxes) in STORED.items()})
    sizes = {6: Size(480, 640), 3: Size(640, 480), 1: Size(640, 480)}
    displayed = {name: stored_to_displayed(Box(*boxes[0]), turn, sizes[turn]) for name, (turn, boxes) in STORED.items()}
    found = judged(tmp_path, truth, *turned_records(displayed))
    assert (value(found, "mean_iou"), value(found, "recall@0.95")) == (1.0, 1.0)
    assert found.questions.notes == ["the truth counts in pixels as stored; EXIF orientations were applied to it"]


def test_a_truth_in_displayed_pixels_stays_as_it_is(tmp_path: Path) -> None:
    truth = coco(tmp_path / "t.json", {name: {"car": boxes} for name, (_, boxes) in STORED.items()})
    value_ = json.loads(Path(truth).read_text(encoding="utf-8"))
    value_["images"][0] |= {"width": 480, "height": 640}
    Path(truth).write_text(json.dumps(value_), encoding="utf-8")
    found = judged(tmp_path, truth, *turned_records({name: Box(*CAR) for name in STORED}))
    assert (value(found, "recall@0.95"), found.questions.notes) == (1.0, [])


def test_a_truth_without_sizes_is_taken_for_displayed_and_that_is_said(tmp_path: Path) -> None:
    lines = [{"image": name, "sent": "car", "bbox": list(CAR)} for name in STORED]
    found = judged(tmp_path, lines_file(tmp_path / "t.jsonl", lines), *turned_records({n: Box(*CAR) for n in STORED}))
    assert value(found, "recall@0.95") == 1.0
    assert "taken to count in pixels as displayed" in found.questions.notes[0]


def test_a_truth_in_two_frames_is_refused(tmp_path: Path) -> None:
    both = {"1.jpg": (6, Size(480, 640)), "2.jpg": (6, Size(640, 480))}
    lines = [
        {"image": name, "sent": "car", "bbox": list(CAR), "width": size.width, "height": size.height}
        for name, (_, size) in both.items()
    ]
    records = [answer(n, name, phrase("car", [CAR]), orientation=6, size=Size(480, 640)) for n, name in enumerate(both)]
    with pytest.raises(InputError, match="1 are in pixels as displayed and 1 as stored"):
        judged(tmp_path, lines_file(tmp_path / "t.jsonl", lines), *records)


def test_results_that_are_none_are_told(tmp_path: Path) -> None:
    truth = coco(tmp_path / "t.json", {"1.jpg": {"car": [CAR]}})
    with pytest.raises(InputError, match=r"no annotations\.jsonl in .*; give the results_dir of a run"):
        evaluate(str(tmp_path), truth)
    with pytest.raises(InputError, match="holds no record"):
        evaluate(results(tmp_path), truth)
