"""The figures of a run: what is counted in the last minute, and what is expected of the rest."""

from __future__ import annotations

import pytest

from raylabel.runtime.coordinator import Status, StepReport
from raylabel.runtime.endpoint_limits import EndpointStatus
from raylabel.runtime.figures import Extent, Observed, RunFigures, State

NOW = RunFigures(0.0, State.RUNNING)


def step(done: int = 0, requests: int | None = None, **more: object) -> StepReport:
    """A step that labeled so many records with as many requests."""
    outcomes = {"labeled": done} if done else {}
    return StepReport(requests=done if requests is None else requests, outcomes=outcomes, **more)  # type: ignore[arg-type]


def status(*steps: StepReport, **more: object) -> Status:
    """Steps ``a``, ``b`` and so on."""
    return Status(dict(zip("abc", steps, strict=False)), 0, 0, {}, None, False, **more)  # type: ignore[arg-type]


def observed(records: int = 1000, before: int = 0, levels: tuple[str, ...] = ("a",)) -> Observed:
    return Observed(Extent(records, before, [list(level) for level in levels]), 0.0)


def test_the_time_in_which_workers_start_is_no_part_of_the_pace() -> None:
    seen = observed(records=100)
    for second in range(40):
        assert seen.add_to(NOW, status(step()), {}, second).total.eta_s is None
    figures = seen.add_to(NOW, status(step(20)), {}, 49.0)
    assert figures.total.requests_per_s == 2.0
    assert figures.total.eta_s == 40.0


def test_rates_are_those_of_the_last_minute() -> None:
    seen = observed()
    for second in range(301):  # 2 a second, from the 100th second on 5
        done = 2 * min(second, 100) + 5 * max(0, second - 100)
        figures = seen.add_to(NOW, status(step(done)), {}, float(second))
    assert figures.total.requests_per_s == pytest.approx(5.0)
    assert figures.steps["a"].eta_s == pytest.approx(0.0), "200 + 1,000 are more than there are"
    assert figures.total.done == 1200


def test_the_eta_of_a_run_is_that_of_its_slowest_step() -> None:
    seen = observed(levels=("a", "b"))
    for second in range(101):
        figures = seen.add_to(NOW, status(step(4 * second), step(2 * second)), {}, float(second))
    assert figures.steps["a"].eta_s == pytest.approx(600 / 4)
    assert figures.steps["b"].eta_s == figures.total.eta_s == pytest.approx(800 / 2)
    assert figures.slowest == "b"
    assert figures.total.done == 200


def test_few_records_that_take_long_have_an_eta_by_the_pace_of_the_whole_run() -> None:
    seen = observed(records=10)
    for second in range(601):  # one in 100 s: the last minute may have none
        figures = seen.add_to(NOW, status(step(second // 100, requests=second // 50)), {}, float(second))
    assert figures.total.eta_s == pytest.approx(4 * 100, rel=0.1)


def test_records_that_stay_open_in_an_earlier_step_are_not_waited_for_in_a_later_one() -> None:
    seen = observed(records=100, before=40, levels=("a", "b"))
    seen.add_to(NOW, status(step(), step()), {}, 0.0)
    first = StepReport(requests=60, outcomes={"labeled": 50, "failed": 7, "unreadable": 3})
    figures = seen.add_to(NOW, status(first, step(50)), {}, 10.0)
    assert figures.steps["a"].open == figures.total.open == 10
    assert figures.steps["b"].done == 90
    assert figures.steps["b"].eta_s == figures.total.eta_s == 0.0
    assert figures.slowest == ""


def test_errors_are_those_of_the_last_minute_by_kind_the_most_frequent_first() -> None:
    seen = observed(levels=("ab",))
    early = {"HTTP 500": 4}
    seen.add_to(NOW, status(step(1, errors=early), step(1)), {}, 0.0)
    now = status(step(5, errors={"HTTP 500": 5, "HTTP 429": 2}), step(5, errors={"HTTP 429": 3}))
    figures = seen.add_to(NOW, now, {}, 30.0)
    assert list(figures.errors.items()) == [("HTTP 429", 5), ("HTTP 500", 5)]
    assert figures.total.rate_limited == 5
    for second in range(31, 92):
        figures = seen.add_to(NOW, now, {}, float(second))
    assert figures.errors == {}, "they are over"
    assert figures.total.rate_limited == 5, "the count is of the whole run"


@pytest.mark.parametrize(
    ("done", "requests", "replayed", "projected"),
    [
        pytest.param(10, 10, 0, 10.0, id="all-were-asked-about"),
        pytest.param(50, 10, 40, 6.0, id="most-were-replayed-and-those-that-are-left-may-not-be"),
        pytest.param(100, 100, 0, 1.0, id="nothing-is-left"),
        pytest.param(100, 0, 100, 1.0, id="none-was-asked-about"),
    ],
)
def test_money_in_all_is_reckoned_by_the_records_that_were_asked_about(
    done: int, requests: int, replayed: int, projected: float
) -> None:
    now = status(step(done, requests, replayed=replayed))
    figures = observed(records=100).add_to(NOW, now, {"a": 1.0}, 10.0)
    assert figures.total.cost_usd == 1.0
    assert figures.total.projected_usd == pytest.approx(projected)


def test_money_is_not_known_where_one_step_has_no_price() -> None:
    figures = observed(levels=("a", "b")).add_to(NOW, status(step(5), step(5)), {"a": 1.0, "b": None}, 10.0)
    assert figures.steps["a"].cost_usd == 1.0
    assert figures.total.cost_usd is None


def test_each_endpoint_has_its_rate_and_what_it_said_steers_no_terminal() -> None:
    seen = observed()
    before = EndpointStatus(requests=100, latency_s=50.0)
    seen.add_to(NOW, status(step(100), endpoints={"one:1": before}), {}, 10.0)
    after = EndpointStatus(in_flight=3, allowed=8, requests=200, latency_s=100.0, set_aside="busy \x1b[31mred\n\x07")
    for second in range(20, 71, 10):
        figures = seen.add_to(NOW, status(step(200), endpoints={"one:1": after}), {}, float(second))
    each = figures.endpoints["one:1"]
    assert (each.in_flight, each.window, each.latency_s, each.state) == (3, 8, 0.5, "set aside")
    assert each.requests_per_s == pytest.approx(100 / 60)
    assert each.why == "busy red"
