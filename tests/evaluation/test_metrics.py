"""Every metric, calculated by hand."""

from __future__ import annotations

import pytest

from raylabel.evaluation.metrics import grade, measure, measure_classes, parts_of
from raylabel.evaluation.questions import NOT_ASKED, UNANSWERED, Question
from raylabel.evaluation.truth.values import TrueBox
from raylabel.records import Box

# Ten times ten each; IoU of A with NEAR_A 0.8, with HALF_A 0.5, with A_THIRD 0.3.
A, B, C = Box(0, 0, 10, 10), Box(100, 0, 110, 10), Box(200, 0, 210, 10)
NEAR_A, HALF_A, THIRD_A, FAR = Box(0, 0, 10, 8), Box(0, 0, 10, 5), Box(0, 0, 10, 3), Box(300, 300, 340, 340)


def ask(true: list[Box], given: list[Box], **more: object) -> Question:
    scores = tuple(0.9 - place / 10 for place in range(len(given)))
    return Question("a thing", tuple(TrueBox(box) for box in true), tuple(given), scores, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        pytest.param(
            ask([A, B], [NEAR_A, FAR, B]),
            {"recall@0.5": (2, 2), "recall@0.75": (2, 2), "recall@0.95": (1, 2), "precision@0.5": (2, 3)}
            | {"precision@0.95": (1, 3), "f1@0.5": (4, 5), "mean_iou": (1.8, 2), "exact": (0, 1)},
            id="one-too-many",
        ),
        pytest.param(
            ask([A], [HALF_A]),
            {"recall@0.5": (1, 1), "recall@0.75": (0, 1), "precision@0.75": (0, 1), "exact": (1, 1)}
            | {"accuracy_single_target": (1, 1), "mean_iou": (0.5, 1)},
            id="half-is-enough",
        ),
        pytest.param(
            ask([A], [THIRD_A]),
            {"recall@0.5": (0, 1), "exact": (0, 1), "accuracy_single_target": (0, 1), "mean_iou": (0, 0)}
            | {"target_accuracy": (1, 1)},
            id="too-little",
        ),
        pytest.param(
            ask([A], [FAR, A]),
            {"recall@0.5": (1, 1), "precision@0.5": (1, 2), "recall_at_1_any_box": (0, 1)}
            | {"accuracy_single_target": (0, 1), "exact": (0, 1)},
            id="the-right-one-is-second",
        ),
        pytest.param(
            ask([Box(0, 0, 10, 10), Box(10, 0, 20, 10)], [Box(0, 0, 10, 10)]),
            # The box around both has 200 pixels, half of which are covered.
            {"recall@0.5": (1, 2), "recall_at_1_any_box": (1, 1), "recall_at_1_merged_boxes": (1, 1), "exact": (0, 1)},
            id="one-of-two-is-half-of-the-merged-box",
        ),
        pytest.param(
            ask([Box(0, 0, 10, 10), Box(30, 0, 40, 10)], [Box(0, 0, 40, 10)]),
            {"recall_at_1_any_box": (0, 1), "recall_at_1_merged_boxes": (1, 1), "recall@0.5": (0, 2)},
            id="around-both",
        ),
        pytest.param(
            ask([], []),
            {"no_target_accuracy": (1, 1), "exact": (1, 1), "recall@0.5": (0, 0), "precision@0.5": (0, 0)},
            id="nothing-there-and-nothing-found",
        ),
        pytest.param(
            ask([], [A]),
            {"no_target_accuracy": (0, 1), "exact": (0, 1), "precision@0.5": (0, 1)},
            id="nothing-there-and-something-found",
        ),
        pytest.param(
            ask([], [], state=UNANSWERED),
            {"no_target_accuracy": (0, 1), "exact": (0, 1)},
            id="a-failure-is-no-negative",
        ),
        pytest.param(
            ask([], [], state=NOT_ASKED), {"no_target_accuracy": (0, 1)}, id="what-was-not-asked-is-no-negative"
        ),
        pytest.param(
            ask([A], [], state=UNANSWERED),
            {"recall@0.5": (0, 1), "target_accuracy": (0, 1), "exact": (0, 1), "recall_at_1_any_box": (0, 1)},
            id="a-failure-misses",
        ),
        pytest.param(
            ask([A], [A, Box(102, 2, 108, 8)], ignored=(Box(100, 0, 200, 100),)),
            {"precision@0.5": (1, 1), "exact": (1, 1), "recall@0.5": (1, 1)},
            id="a-box-in-a-crowd-is-neither",
        ),
        pytest.param(
            ask([A], [A, Box(98, 0, 108, 10)], ignored=(Box(100, 0, 200, 100),)),
            # 80 % of it lie in the crowd: ignored at 0.5 and 0.75, wrong at 0.95.
            {"precision@0.5": (1, 1), "precision@0.75": (1, 1), "precision@0.95": (1, 2)},
            id="partly-in-a-crowd",
        ),
        pytest.param(
            ask([], [Box(102, 2, 108, 8)], ignored=(Box(100, 0, 200, 100),)),
            {"precision@0.5": (0, 0), "no_target_accuracy": None, "exact": None},
            id="a-class-with-nothing-but-a-crowd",
        ),
        pytest.param(
            ask([A, A], [A]), {"recall@0.5": (1, 2), "precision@0.5": (1, 1)}, id="a-box-stands-for-one-object"
        ),
    ],
)
def test_parts_of_a_question(question: Question, expected: dict[str, tuple[float, float] | None]) -> None:
    parts = parts_of(question, by_phrase=True)
    for name, value in expected.items():
        found = parts.get(name)
        assert found is None if value is None else found == pytest.approx(value), name


def test_sums_over_images() -> None:
    images = [
        [ask([A, B], [A]), ask([], [])],
        [ask([A], [A, FAR])],
        [ask([], [C])],
    ]
    measured = measure(images, by_phrase=True)
    values = {name: one.value for name, one in measured.items()}
    assert values["recall@0.5"] == pytest.approx(2 / 3)
    assert values["precision@0.5"] == pytest.approx(2 / 4)
    assert values["f1@0.5"] == pytest.approx(4 / 7)
    assert values["mean_iou"] == 1
    assert values["exact"] == pytest.approx(1 / 4)
    assert values["no_target_accuracy"] == pytest.approx(1 / 2)
    assert values["target_accuracy"] == 1
    assert values["accuracy_single_target"] == 1
    assert values["recall_at_1_any_box"] == 1
    assert (measured["recall@0.5"].count, measured["exact"].count) == (3, 4)
    assert all(one.low is None or one.low <= (one.value or 0) <= (one.high or 0) for one in measured.values())


def test_of_whole_images_the_metrics_of_phrases_mean_nothing() -> None:
    measured = measure([[ask([A], [A])]], by_phrase=False)
    assert measured["recall@0.5"].value == 1
    assert "exact" not in measured


def test_by_size_of_the_true_box() -> None:
    small, medium, large = Box(0, 0, 31, 31), Box(100, 0, 195, 95), Box(200, 0, 296, 96)
    measured = measure([[ask([small, medium, large], [medium, Box(200, 0, 296, 72)])]], by_phrase=True)
    assert [measured[f"recall:{size}"].value for size in ("small", "medium", "large")] == [0, 1, 1]
    assert measured["mean_iou:large"].value == pytest.approx(0.75)
    assert measured["mean_iou:small"].value is None


def test_the_annotated_area_tells_the_size() -> None:
    outlined = Question("x", (TrueBox(Box(0, 0, 200, 200), area=900.0),), (Box(0, 0, 200, 200),), (None,))
    assert measure([[outlined]], by_phrase=True)["recall:small"].value == 1


def test_by_class() -> None:
    car = Question("car", (TrueBox(A, "car"), TrueBox(B, "car")), (A, FAR, C), (None,) * 3, "car")
    dog = Question("dog", (TrueBox(C, "dog"),), (), (), "dog")
    absent = Question("cat", (), (B,), (None,), "cat")
    measured = measure_classes([[car, dog], [absent]])
    assert list(measured) == ["car", "dog", "cat"]
    found = {name: (of["recall"].value, of["precision"].value) for name, of in measured.items()}
    assert found == {"car": (0.5, pytest.approx(1 / 3)), "dog": (0.0, None), "cat": (None, 0.0)}


def test_what_is_right_and_wrong_in_an_answer() -> None:
    graded = grade(ask([A, B], [FAR, A]))
    assert (graded.missed, graded.wrong, graded.is_exact) == (1, 1, False)
    assert grade(ask([A, B], [B, A])).is_exact
