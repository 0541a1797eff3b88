"""A limit that was found out: what a refusal does to it."""

from __future__ import annotations

import pytest

from raylabel.runtime.measures import LONG_ANSWERS, Ceiling


def refused(after: int, *more: int) -> list[float]:
    """A rate of 20 a second, behind each of its refusals, with so many answers before each."""
    ceiling, answered, values = Ceiling(20.0, 0.0), 0, []
    ceiling.set(20.0, 0.0, 0)
    for now_s, answers in enumerate((after, *more), start=1):
        answered += answers
        ceiling.halve(60.0 * now_s, answered)
        values.append(ceiling.value)
    return values


def test_a_rate_that_was_good_for_long_is_kept_where_it_is_refused_once() -> None:
    assert refused(LONG_ANSWERS) == [20.0]
    assert refused(LONG_ANSWERS, LONG_ANSWERS, LONG_ANSWERS) == [20.0] * 3


def test_one_that_is_refused_again_soon_falls_the_further_the_more_often() -> None:
    values = refused(*[30] * 12)
    assert values[0] == pytest.approx(20 * 0.97)
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values), "each refusal lowers it"
    assert values[-1] < 20 / 2, "a limit that was halved is found with a few refusals"


def test_a_refusal_that_comes_alone_makes_the_next_one_count_as_the_first() -> None:
    first, alone, soon = refused(30, LONG_ANSWERS, 30)
    assert alone == first
    assert soon == pytest.approx(alone * 0.97)
