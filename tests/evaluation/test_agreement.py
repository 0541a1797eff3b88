"""How far two results agree on a record: cases counted by hand."""

from __future__ import annotations

import random

import pytest

from raylabel.evaluation.agreement import AGREEMENT, Said, agreement_of
from raylabel.records import Box

LEFT, LEFT_80, MIDDLE, RIGHT = Box(0, 0, 10, 10), Box(0, 0, 10, 8), Box(20, 0, 30, 10), Box(50, 0, 60, 10)
LEFT_60 = Box(0, 0, 10, 6)


def said(**boxes: list[Box]) -> Said:
    return Said([name.replace("_", " ") for name in boxes], list(boxes.values()))


@pytest.mark.parametrize(
    ("a", "b", "expected", "apart", "differences"),
    [
        pytest.param(
            said(red_car=[LEFT, MIDDLE], dog=[]),
            said(the_red_car=[LEFT_80], Dog=[RIGHT]),
            # Of four boxes two have a partner; over all phrases, too.
            {
                "records": (0, 1),
                "phrases": (4, 4),
                "answers": (0, 2),
                "shared_boxes": (2, 4),
                "shared_boxes_close": (2, 4),
                "mean_iou": (0.8, 1),
                "all_boxes": (2, 4),
                "all_boxes_close": (2, 4),
            },
            2.2,
            ["boxes only in A", "boxes only in B"],
            id="boxes-that-only-one-found",
        ),
        pytest.param(
            said(car=[LEFT], dog=[]),
            said(car=[LEFT_60], dog=[]),
            {"records": (1, 1), "answers": (2, 2), "shared_boxes": (2, 2), "shared_boxes_close": (0, 2)},
            0.4,
            ["boxes with an IoU below 0.75"],
            id="none-is-the-same-as-none-and-a-loose-box-is-the-same-object",
        ),
        pytest.param(
            said(car=[LEFT], bird=[MIDDLE]),
            said(automobile=[LEFT_80]),
            # No words in common, one object.
            {"records": (0, 1), "phrases": (0, 3), "answers": (0, 0), "mean_iou": (0, 0), "all_boxes": (2, 3)},
            2.0,
            ["phrases only in A", "other words for the same boxes"],
            id="other-words-for-the-same-boxes",
        ),
        pytest.param(
            said(car=[LEFT]),
            said(dog=[LEFT], car=[RIGHT]),
            # The words decide: "car" is elsewhere in B, though its box there has another name.
            {"phrases": (2, 3), "answers": (0, 1), "shared_boxes": (0, 2), "all_boxes": (2, 3)},
            3.0,
            ["phrases only in B", "boxes only in A", "boxes only in B"],
            id="words-come-before-boxes",
        ),
        pytest.param(said(), said(), {"records": (1, 1), "phrases": (0, 0)}, 0.0, [], id="nothing-and-nothing"),
    ],
)
def test_two_results_of_a_record(a, b, expected, apart, differences):
    found = agreement_of(a, b)
    counted = {name: AGREEMENT[name].parts(found) for name in expected}
    assert counted == {name: pytest.approx(parts) for name, parts in expected.items()}
    assert found.apart == pytest.approx(apart)
    assert found.differences == differences


def test_neither_comes_first_and_each_agrees_with_itself():
    chance = random.Random(5)

    def some() -> Said:
        def box() -> Box:
            x, y = chance.randint(0, 30), chance.randint(0, 30)
            return Box(x, y, x + chance.randint(5, 20), y + chance.randint(5, 20))

        words = chance.sample(["car", "dog", "red car", "tree", "the dog"], chance.randint(0, 4))
        return Said(words, [[box() for _ in range(chance.randint(0, 3))] for _ in words])

    for _ in range(50):
        a, b = some(), some()
        there, back = agreement_of(a, b), agreement_of(b, a)
        for metric in AGREEMENT.values():
            assert metric.parts(there) == pytest.approx(metric.parts(back))
        assert there.apart == pytest.approx(back.apart)
        assert (there.boxes_only_a, len(there.only_a)) == (back.boxes_only_b, len(back.only_b))
        own = agreement_of(a, a)
        assert own.is_whole
        assert own.apart == 0
        assert all(above == below for above, below in (metric.parts(own) for metric in AGREEMENT.values()))
