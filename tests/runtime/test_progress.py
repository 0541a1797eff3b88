"""What is said while a run goes on, where there is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from raylabel.runtime.coordinator import Status, StepReport
from raylabel.runtime.endpoint_limits import EndpointStatus
from raylabel.runtime.progress import PLAIN_EVERY_S, Progress


@pytest.mark.parametrize(
    ("spent", "limit", "end"),
    [
        pytest.param("", "", "ETA 0:30", id="neither"),
        pytest.param("0.12 USD", "", "ETA 0:30; 0.12 USD", id="money-where-it-is-known"),
        pytest.param("0.12 USD", "it takes 4 at a time", "ETA 0:30; 0.12 USD; it takes 4 at a time", id="both"),
    ],
)
def test_a_line_ends_with_the_money_so_far_and_the_present_limit(spent: str, limit: str, end: str) -> None:
    now, said = [0.0], io.StringIO()
    progress = Progress(Console(file=said, width=200), ["step"], 40, clock=lambda: now[0])
    now[0] = PLAIN_EVERY_S
    step = StepReport(
        requests=10, outcomes={"labeled": 10}, usage={"model": {"input": 70, "thought": 10, "output": 20}}
    )
    progress.show(Status({"step": step}, 0, 0, {}, None, False, limit=limit), spent)
    assert said.getvalue().rstrip() == f"[10 s] step 10/40 done, 0 open, 0 in flight, 1.0 requests/s, 100 tokens, {end}"


def test_a_line_tells_of_each_of_several_endpoints() -> None:
    now, said = [0.0], io.StringIO()
    progress = Progress(Console(file=said, width=200), ["step"], 40, clock=lambda: now[0])
    now[0] = PLAIN_EVERY_S
    endpoints = {
        "a:8000": EndpointStatus(in_flight=3, allowed=8, requests=25, latency_s=10.0),
        "b:8000": EndpointStatus(set_aside="takes no requests for now"),
    }
    progress.show(Status({"step": StepReport()}, 0, 0, {}, None, False, endpoints=endpoints))
    end = "; a:8000 3 in flight, 2.5 requests/s; b:8000 0 in flight, 0.0 requests/s (set aside)"
    assert said.getvalue().rstrip().endswith(end)


def test_a_terminal_shows_a_row_for_each_of_several_endpoints() -> None:
    said = io.StringIO()
    console = Console(file=said, width=120, force_terminal=True)
    endpoints = {name: EndpointStatus(requests=25, latency_s=10.0) for name in ("a:8000", "b:8000")}
    with Progress(console, ["step"], 40) as progress:
        progress.show(Status({"step": StepReport()}, 0, 0, {}, None, False, endpoints=endpoints))
    assert "a:8000" in said.getvalue()
    assert "0.40 s" in said.getvalue()
