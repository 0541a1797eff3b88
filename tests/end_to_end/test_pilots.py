"""Pilots: a random sample is asked about, tells what the rest will take, and is not paid for again."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from raylabel.demo.world import World, build_world
from raylabel.runtime.sampled import Sample
from tests.end_to_end.running import Json, Ran, grounding, journaled_server, label, referring

pytestmark = pytest.mark.slow

PRICES = "prices={raylabel-demo-vlm: {input: 1.0, cached_input: 0.5, output: 4.0}}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 60, seed=4)


@pytest.fixture(scope="module")
def total(world: World) -> int:
    """Captions; some images have several."""
    return len(world.captions_path.read_text(encoding="utf-8").splitlines())


def done(ran: Ran) -> set[str]:
    return {line["record_id"] for line in ran.annotations if line.get("outcome") == "labeled"}


def spent(ran: Ran) -> Counter[str]:
    """What all of the store's replies took."""
    stored: Json = ran.manifest["stored"]
    tokens = stored["tokens"]
    return Counter(
        requests=stored["replies"],
        tokens_input=tokens["input"],
        tokens_output=tokens["output"] + tokens["thought"],
        nano_usd=round(1e9 * stored["cost_usd"]),
    )


def test_a_sample_is_stable_and_grows_into_a_larger_one_and_into_the_whole(world, total, tmp_path):
    with journaled_server(tmp_path / "server") as server:
        first = label(grounding(world, tmp_path / "a", server.url), sample=Sample(5, seed=1))
        asked = server.asked()
        elsewhere = label(grounding(world, tmp_path / "b", server.url), sample=Sample(5, seed=1))
        other = label(grounding(world, tmp_path / "c", server.url), sample=Sample(5, seed=2))
        server.asked()
        larger = label(grounding(world, tmp_path / "a", server.url), sample=Sample(8, seed=1))
        more = server.asked()
        again = label(grounding(world, tmp_path / "a", server.url), sample=Sample(8, seed=1))
        assert not server.asked()
        whole = label(grounding(world, tmp_path / "a", server.url))
        rest = server.asked()
    assert len(done(first)) == 5
    assert done(first) == done(elsewhere) != done(other)
    assert done(first) < done(larger) == done(again)
    assert (first.counts["input_lines"], first.counts["not_reached"]) == (5, total - 5)
    assert (asked["grounding"], more["grounding"], rest["grounding"]) == (5, 3, total - 8)
    assert (whole.code, len(done(whole))) == (0, total)
    assert whole.counts["not_reached"] == 0
    assert first.manifest["sample"] == {"size": 5, "seed": 1}
    assert whole.manifest["sample"] is whole.manifest["estimate"] is None


@pytest.mark.parametrize("labeled", [grounding, referring], ids=["grounding", "referring"])
def test_the_estimate_holds_what_the_rest_takes(world, tmp_path, labeled):
    with journaled_server(tmp_path / "server") as server:
        pilot = label(labeled(world, tmp_path / "results", server.url, PRICES), sample=Sample(15))
        whole = label(labeled(world, tmp_path / "results", server.url, PRICES))
    estimate = pilot.manifest["estimate"]
    assert estimate["records"] == whole.counts["input_lines"] - 15
    assert estimate["sampled"] == 15
    real = spent(whole) - spent(pilot)
    for name in ("requests", "tokens_input", "tokens_output"):
        assert estimate[name]["low"] <= real[name] <= estimate[name]["high"]
    assert estimate["usd"]["low"] <= real["nano_usd"] / 1e9 <= estimate["usd"]["high"]
    assert 0 < estimate["seconds"]["low"] < estimate["seconds"]["high"]
    assert (
        f"{estimate['records']} records are left; by the 15 of the sample, they take (95% interval):" in pilot.printed
    )
    assert "  cost         " in pilot.printed


def test_nine_of_ten_seeds_hold_what_the_rest_takes(world, tmp_path):
    """In small; ``scripts/benchmarks/estimates.py`` has the full form."""
    held: Counter[str] = Counter()
    with journaled_server(tmp_path / "server", "--noise", "0.3") as server:
        whole = label(grounding(world, tmp_path / "whole", server.url, PRICES))
        for seed in range(10):
            pilot = label(grounding(world, tmp_path / str(seed), server.url, PRICES), sample=Sample(12, seed))
            real, estimate = spent(whole) - spent(pilot), pilot.manifest["estimate"]
            for name in ("requests", "tokens_input", "tokens_output"):
                held[name] += estimate[name]["low"] <= real[name] <= estimate[name]["high"]
    assert min(held.values()) >= 9


def test_the_estimate_shows_tokens_only_where_no_price_is_known(world, tmp_path):
    with journaled_server(tmp_path / "server") as server:
        pilot = label(grounding(world, tmp_path / "results", server.url), sample=Sample(4))
    assert pilot.manifest["estimate"]["usd"] is None
    assert pilot.manifest["estimate"]["tokens_input"]["expected"] > 0
    assert "no price is known; set prices" in pilot.printed


def test_questions_of_an_earlier_specification_are_no_part_of_the_estimate(world, tmp_path):
    with journaled_server(tmp_path / "server") as server:
        results = tmp_path / "results"
        label(grounding(world, results, server.url, "image_grounding.vlm.openai.temperature=0.5"), sample=Sample(6))
        pilot = label(grounding(world, results, server.url), sample=Sample(6))
    estimate = pilot.manifest["estimate"]
    assert pilot.manifest["stored"]["replies"] == 24
    assert estimate["requests"]["expected"] == 2 * estimate["records"]


def test_a_sample_larger_than_the_input_is_the_input(world, total, tmp_path):
    with journaled_server(tmp_path / "server") as server:
        ran = label(grounding(world, tmp_path / "results", server.url), sample=Sample(100))
        assert (len(done(ran)), ran.counts["not_reached"]) == (total, 0)
        server.asked()
        label(grounding(world, tmp_path / "results", server.url))
        assert not server.asked()
    assert ran.manifest["estimate"] is None


def test_lines_that_cannot_be_used_do_not_end_up_in_the_estimate(world, total, tmp_path):
    lines = world.captions_path.read_text(encoding="utf-8").splitlines()
    given = tmp_path / "captions.jsonl"
    given.write_text("\n".join(line for pair in zip(lines, ["{"] * total, strict=True) for line in pair) + "\n")
    with journaled_server(tmp_path / "server") as server:
        settings = grounding(
            world, tmp_path / "r", server.url, f"image_grounding.data.input_jsonl={given}", "limits.max_failure_rate=1"
        )
        ran = label(settings, sample=Sample(20))
    settled = len(done(ran))
    assert 2 <= settled < 20
    assert ran.manifest["estimate"]["records"] == total - settled
    assert ran.manifest["estimate"]["requests"]["expected"] == 2 * (total - settled)
    assert json.dumps(ran.manifest["estimate"])
