"""Several answers, joined by what they agree on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raylabel.geometry import iou
from raylabel.records import Box
from raylabel.steps.voting import SAME_IOU, Vote, agree

CAR, DOG = Box(100, 100, 300, 200), Box(400, 250, 480, 400)


def moved(box: Box, by: float) -> Vote:
    return Vote(Box(box.x1 + by, box.y1, box.x2 + by, box.y2), 0.9)


def test_what_most_answers_hold_is_kept_with_their_share_as_score():
    ballots = [[moved(CAR, -4), moved(DOG, 0)], [moved(CAR, 0)], [moved(CAR, 6)]]
    (car,) = agree(ballots, 0.5)
    assert (car.box, car.score) == (CAR, 1.0)


def test_everything_is_kept_where_no_agreement_is_asked_for():
    found = agree([[moved(CAR, 0), moved(DOG, 0)], [moved(CAR, 0)], []], 0.0)
    assert [(vote.box, vote.score) for vote in found] == [(CAR, 0.667), (DOG, 0.333)]


def test_an_answer_has_one_voice_for_an_object():
    found = agree([[moved(CAR, 0), moved(CAR, 5)], [moved(CAR, 1)]], 0.0)
    assert [vote.score for vote in found] == [1.0, 0.5]


def test_a_box_joins_the_object_it_shares_most_with():
    left, right = Box(0, 0, 100, 100), Box(30, 0, 130, 100)
    found = agree([[Vote(left), Vote(right)], [Vote(right), Vote(left)]], 0.6)
    assert [vote.box for vote in found] == [left, right]


def test_nothing_is_agreed_on_where_nobody_says_anything():
    assert agree([[], [], []], 0.0) == []


def test_flags_stay_where_all_answers_have_them():
    (vote,) = agree([[Vote(CAR, None, ("clipped",))], [Vote(CAR, None, ("clipped", "swapped_corners"))]], 0.5)
    assert vote.flags == ("clipped",)


boxes = st.builds(
    lambda x, y, w, h: Vote(Box(x, y, x + w, y + h)),
    st.integers(0, 500),
    st.integers(0, 500),
    st.integers(5, 200),
    st.integers(5, 200),
)


@given(st.lists(st.lists(boxes, max_size=5), min_size=1, max_size=5))
def test_no_object_is_held_by_more_than_all_and_every_one_by_somebody(ballots):
    found = agree(ballots, 0.0)
    scores = [vote.score for vote in found if vote.score is not None]
    assert len(scores) == len(found)
    assert all(0 < score <= 1 for score in scores)
    assert sum(round(score * len(ballots)) for score in scores) == sum(len(ballot) for ballot in ballots)
    for vote in found:
        assert any(iou(vote.box, other.box) >= SAME_IOU for ballot in ballots for other in ballot)
