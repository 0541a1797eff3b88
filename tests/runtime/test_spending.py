"""What workers may spend together, whatever is lost between them and who of them dies; without Ray or a clock."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raylabel.clients.prices import Price, listed_price
from raylabel.runtime.spending import NO_LIMIT, NOTHING, Expenses, SharedBudget, Spending, cost_of, tokens_of

MOST = 40


def requests(number: float) -> Spending:
    return Spending(number, math.inf, math.inf)


class Crew:
    """Workers as they are: they ask whenever they may, and a report or its directive may be lost."""

    def __init__(self, most: Spending) -> None:
        self.purse = SharedBudget(most)
        self.expenses = dict.fromkeys("abc", Expenses())
        self.alive = set("abc")

    def ask(self, who: str, number: int) -> None:
        for _ in range(number):
            own = self.expenses[who]
            if who in self.alive and own.may_ask:
                self.expenses[who] = Expenses(own.spent, own.in_flight + 1, own.allowed)

    def answer(self, who: str, number: int) -> None:
        own = self.expenses[who]
        done = min(number, own.in_flight)
        self.expenses[who] = Expenses(own.spent.plus(Spending(1, 10, 5), done), own.in_flight - done, own.allowed)

    def report(self, who: str, heard: bool, wants: bool = True) -> None:
        if who in self.alive:
            own = self.expenses[who]
            allowed = self.purse.allow(who, own, wants, len(self.alive))
            if heard:
                self.expenses[who] = Expenses(own.spent, own.in_flight, allowed)

    def die(self, who: str) -> None:
        if len(self.alive) > 1 and who in self.alive:
            self.report(who, heard=False)  # what it did since its last report is not known
            self.alive.remove(who)
            self.purse.forget(who)

    @property
    def sent(self) -> float:
        return sum(own.spent.requests + own.in_flight for own in self.expenses.values())

    def finish(self) -> None:
        """Everything is heard, and everybody who may asks, until nobody may."""
        for _ in range(200):
            for who in sorted(self.alive):
                self.report(who, heard=True)
                self.ask(who, 3)
                self.answer(who, 2)


WHO, NUMBER = st.sampled_from("abc"), st.integers(1, 12)
DEEDS = st.one_of(
    st.tuples(st.just("ask"), WHO, NUMBER),
    st.tuples(st.just("answer"), WHO, NUMBER),
    st.tuples(st.just("report"), WHO, st.booleans()),
    st.tuples(st.just("die"), WHO),
)


@given(st.lists(DEEDS, max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_more_requests_are_sent_than_allowed_and_none_is_left_in_the_end(deeds: list[tuple[str, object]]) -> None:
    crew = Crew(requests(MOST))
    for name, *how in deeds:
        getattr(crew, name)(*how)
        assert crew.sent <= MOST
    crew.finish()
    assert crew.sent == MOST
    assert crew.purse.limit_met


@given(st.lists(DEEDS, max_size=60))
@example([("report", "b", True), ("ask", "b", 2), ("answer", "b", 1), ("die", "b")])
@settings(max_examples=100, deadline=None)
def test_nobody_asks_on_once_the_tokens_are_used(deeds: list[tuple[str, object]]) -> None:
    crew = Crew(Spending(math.inf, 10 * MOST, math.inf))
    for name, *how in deeds:
        used, sent = sum(own.spent.tokens for own in crew.expenses.values()), crew.sent
        getattr(crew, name)(*how)
        if used >= 10 * MOST:
            assert crew.sent == sent
    crew.finish()
    # What somebody who died had in flight was paid for, too.
    assert sum(own.committed.tokens for own in crew.expenses.values()) >= 10 * MOST
    assert crew.purse.limit_met.startswith("limits.max_tokens is met")


def test_the_last_of_it_goes_to_those_who_want_it() -> None:
    purse = SharedBudget(requests(3))
    assert purse.allow("idle", Expenses(), False, 2) == requests(1)
    assert purse.allow("busy", Expenses(), True, 2) == requests(2)
    assert purse.allow("idle", Expenses(NOTHING, 0, requests(1)), False, 2) == requests(1)
    assert purse.allow("busy", Expenses(Spending(2), 0, requests(2)), True, 2) == requests(2), (
        "the idle one may ask one"
    )
    assert purse.allow("idle", Expenses(NOTHING, 0, requests(1)), False, 2) == requests(0)
    assert purse.allow("idle", Expenses(NOTHING, 0, requests(0)), False, 2) == requests(0), "now it has heard of it"
    assert purse.allow("busy", Expenses(Spending(2), 0, requests(2)), True, 2) == requests(3)


def test_a_worker_that_was_silent_for_long_and_comes_back_is_counted_once() -> None:
    purse = SharedBudget(requests(10))
    purse.allow("a", Expenses(Spending(2), 1, requests(5)), True, 1)
    purse.forget("a")
    assert purse.spent == Spending(3), "what was in flight was sent"
    purse.allow("a", Expenses(Spending(3), 0, requests(5)), True, 1)
    assert purse.spent == Spending(3)


def test_what_is_in_flight_counts_as_much_as_what_was_before_it() -> None:
    own = Expenses(Spending(10, 1000, 0), 5, Spending(math.inf, 1500, math.inf))
    assert not own.may_ask, "five more take the other 500, it seems"
    assert Expenses(own.spent, 4, own.allowed).may_ask


def test_without_a_limit_everybody_may() -> None:
    allowed = SharedBudget(NO_LIMIT).allow("a", Expenses(Spending(10, 10, 10), 5), True, 3)
    assert allowed == NO_LIMIT


def test_tokens_that_the_server_does_not_count_cannot_be_limited() -> None:
    uncounted = Expenses(Spending(1), unmetered=1)
    purse = SharedBudget(Spending(math.inf, 100, math.inf))
    purse.allow("a", uncounted, True, 1)
    assert purse.cannot_be_kept.startswith("limits.max_tokens cannot be kept")
    purse = SharedBudget(requests(5))
    purse.allow("a", uncounted, True, 1)
    assert not purse.cannot_be_kept


# --- prices ----------------------------------------------------------------------------------------------------------

USAGE = {"qwen": {"input": 1_000_000, "cached": 500_000, "thought": 0, "output": 100_000}}


def test_what_a_usage_costs() -> None:
    assert cost_of(USAGE, {"qwen": Price(2.0, 1.0, 10.0)}) == round(2.5e9)
    assert tokens_of(USAGE) == 1_100_000


def test_a_model_without_a_price_costs_nobody_knows_what_and_not_nothing() -> None:
    assert cost_of({**USAGE, "gemma": {"input": 1}}, {"qwen": Price(2.0, 1.0, 10.0)}) is None


@pytest.mark.parametrize(
    ("model", "base_url"),
    [
        pytest.param("gpt-4o", "http://localhost:8000/v1", id="served-here"),
        pytest.param("gpt-4o", "http://10.1.2.3:8000/v1", id="served-in-house"),
        pytest.param("gpt-4o", "https://nim.example/v1", id="served-by-somebody"),
        pytest.param("no-such-model", "https://api.openai.com/v1", id="no-such-model"),
        pytest.param("text-embedding-3-small", "https://api.openai.com/v1", id="half-a-price"),
        pytest.param("gpt-4o", "https://scripted", id="nobody-is-asked"),
    ],
)
def test_no_price_is_made_up(model: str, base_url: str) -> None:
    assert listed_price(model, base_url) is None


@pytest.mark.parametrize(
    ("model", "base_url"),
    [
        pytest.param("gpt-4o", "https://api.openai.com/v1", id="openai"),
        pytest.param("gemini-2.5-flash", "https://generativelanguage.googleapis.com", id="google"),
        pytest.param("claude-sonnet-4-5", "https://api.anthropic.com", id="anthropic"),
    ],
)
def test_public_providers_are_known_by_their_address(model: str, base_url: str) -> None:
    price = listed_price(model, base_url)
    assert price is not None
    assert 0 < price.cached < price.input < price.output
