"""Whole runs, nothing set, against an endpoint with a limit that is told in each provider's way: ``scripts/bench --case
rates`` in small, which counts and measures no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from raylabel.demo.world import World, build_world
from tests.end_to_end.running import grounding, label
from tests.served_here import served_here

LIMIT = "limit 24/3s window=sliding"
MOST_REFUSED = 16
"""While the limit is being found out; of 60 requests."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 26, seed=3)


@pytest.mark.parametrize(
    ("backend", "told"),
    [
        pytest.param("openai", "tells=nothing", id="retry-after"),
        pytest.param("openai", "tells=openai retry-after=no", id="x-ratelimit"),
        pytest.param("gemini", "tells=gemini", id="retry-info"),
        pytest.param("openai", "tells=nothing retry-after=no", id="nothing"),
    ],
)
def test_a_limit_costs_no_record_and_few_requests(world: World, tmp_path: Path, backend: str, told: str) -> None:
    with served_here("--faults", f"{LIMIT} {told}", "--boxes", "auto" if backend == "gemini" else "xyxy1000") as server:
        found_out = "image_grounding.workflow.max_workers=auto"
        ran = label(grounding(world, tmp_path / "results", server.url, found_out, backend=backend))
        stats = server.stats()
    assert ran.code == 0, ran.printed
    assert ran.failures == []
    assert {question["answered"] for question in stats["questions"].values()} == {1}
    assert 0 < stats["refused"] <= MOST_REFUSED or "tells=openai" in told


def test_a_quota_that_is_used_up_stops_the_run_in_one_sentence(world: World, tmp_path: Path) -> None:
    with served_here("--faults", "limit 20/day tells=gemini") as server:
        ran = label(grounding(world, tmp_path / "results", server.url, backend="gemini"))
        stats = server.stats()
    assert ran.code == 3
    assert "come back" in ran.printed
    assert sum(question["answered"] for question in stats["questions"].values()) == 20
    assert stats["refused"] <= 8, "what was in flight"
