"""Whole runs that may ask, use, spend or take only so much: how far they come, what they say, and how they go on."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from raylabel.demo.world import World, build_world
from raylabel.errors import ConfigError
from tests.end_to_end.running import (
    MODEL,
    Fault,
    Seen,
    WireServer,
    error,
    grounding,
    label,
    read_lines,
    referring,
)

pytestmark = pytest.mark.slow

WINDOW = 8
PRICED = f"prices={{{MODEL}: {{input: 1, output: 10}}}}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 20, seed=3)


def test_so_many_requests_are_sent_and_not_one_more(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with WireServer() as wire:
        whole = label(grounding(world, tmp_path / "whole", wire.url))
        total = sum(wire.asked().values())
        ran = label(grounding(world, tmp_path / "budget", wire.url, "limits.max_requests=10"))

        assert ran.code == 3
        assert sum(wire.asked().values()) == 10
        (sentence,) = capsys.readouterr().err.strip().splitlines()
        assert "limits.max_requests is met: this command spent 10 requests" in sentence
        assert "the same command continues" in sentence
        assert ran.manifest["spent"]["requests"] == 10
        assert ran.counts["unfinished"] == len(ran.annotations) - ran.counts["records"].get("labeled", 0)

        spent = 10
        while ran.code == 3:
            ran = label(grounding(world, tmp_path / "budget", wire.url, "limits.max_requests=10"))
            asked = sum(wire.asked().values())
            assert asked == min(10, total - spent), "each command counts anew, and what was answered is not asked again"
            spent += asked
    assert ran.code == 0
    assert ran.annotations == whole.annotations


def test_a_budget_too_small_to_settle_anything_is_met_all_the_same(world: World, tmp_path: Path) -> None:
    with WireServer() as wire:
        ran = label(grounding(world, tmp_path, wire.url, "limits.max_requests=1"))
        assert (ran.code, sum(wire.asked().values())) == (3, 1)
        assert ran.counts["unfinished"] == len(ran.annotations)


def test_a_budget_that_suffices_is_no_reason_to_stop(world: World, tmp_path: Path) -> None:
    with WireServer() as wire:
        label(grounding(world, tmp_path / "whole", wire.url))
        total = sum(wire.asked().values())
        ran = label(grounding(world, tmp_path / "budget", wire.url, f"limits.max_requests={total}"))
        assert ran.code == 0
        assert sum(wire.asked().values()) == total


def test_what_fails_counts_and_what_is_turned_away_does_not(world: World, tmp_path: Path) -> None:
    def failing(seen: Seen) -> Fault:
        return error(400)

    with WireServer(failing) as wire:
        plain = "image_grounding.vlm.structured_output=never"  # else each is tried again without its schema
        settings = grounding(world, tmp_path / "failing", wire.url, "limits.max_requests=12", plain)
        assert label(settings).code == 3
        assert sum(wire.asked().values()) == 12

    turned_away: set[str] = set()

    def busy(seen: Seen) -> Fault | None:
        if seen.number % 3 or seen.text in turned_away:
            return None
        turned_away.add(seen.text)
        return error(429, "slow down", retry_after="0.1")

    with WireServer(busy) as wire:
        ran = label(referring(world, tmp_path / "busy", wire.url, "limits.max_requests=20"))
        assert ran.code == 3
        assert turned_away
        assert sum(wire.asked().values()) == 20 + len(turned_away)
        assert ran.manifest["spent"]["requests"] == 20


def test_no_more_tokens_are_used_than_allowed_but_for_what_was_in_flight(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with WireServer() as wire:
        whole = label(grounding(world, tmp_path / "whole", wire.url)).manifest["spent"]
        each = sum(whole["tokens"][kind] for kind in ("input", "output")) / whole["requests"]
        most = round(15.5 * each)
        ran = label(grounding(world, tmp_path / "budget", wire.url, f"limits.max_tokens={most}"))
    used = sum(ran.manifest["spent"]["tokens"][kind] for kind in ("input", "output"))
    assert ran.code == 3
    assert most <= used <= most + WINDOW * 2 * each
    assert "limits.max_tokens is met" in capsys.readouterr().err


def test_no_more_money_is_spent_than_allowed_but_for_what_was_in_flight(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with WireServer() as wire:
        whole = label(grounding(world, tmp_path / "whole", wire.url, PRICED))
        spent = whole.manifest["spent"]
        tokens = spent["tokens"]
        assert spent["cost_usd"] == pytest.approx((tokens["input"] + 10 * tokens["output"]) / 1e6)
        assert "cost" in whole.printed
        by_step = [step["cost_usd"] for step in whole.manifest["requests"].values()]
        assert sum(by_step) == pytest.approx(spent["cost_usd"])

        each = spent["cost_usd"] / spent["requests"]
        most = 15.5 * each
        ran = label(grounding(world, tmp_path / "budget", wire.url, PRICED, f"limits.max_cost_usd={most}"))
    assert ran.code == 3
    assert most <= ran.manifest["spent"]["cost_usd"] <= most + WINDOW * 2 * each
    assert "limits.max_cost_usd is met" in capsys.readouterr().err


def test_a_run_that_asks_nothing_spends_nothing(world: World, tmp_path: Path) -> None:
    with WireServer() as wire:
        first = label(grounding(world, tmp_path, wire.url, PRICED), limit=5)
        pilot = first.manifest
        assert re.search(r"tokens out, about 0\.\d+ USD\n", first.printed), "what the rest will cost"
        rest = label(grounding(world, tmp_path, wire.url, PRICED)).manifest
        spent, again = rest["spent"], label(grounding(world, tmp_path, wire.url, PRICED)).manifest["spent"]
    assert rest["stored"]["replies"] == pilot["spent"]["requests"] + spent["requests"]
    assert rest["stored"]["cost_usd"] == pytest.approx(pilot["spent"]["cost_usd"] + spent["cost_usd"])
    assert spent["requests"] == 2 * (len(read_lines(world.captions_path)) - 5), (
        "what the pilot did is not counted again"
    )
    assert (again["requests"], again["cost_usd"]) == (0, 0.0)


def test_a_model_of_ones_own_has_no_price_whatever_its_name(world: World, tmp_path: Path) -> None:
    with WireServer() as wire:
        own = grounding(world, tmp_path, wire.url, "image_grounding.vlm.openai.model_name=gpt-4o")
        ran = label(own)
        assert ran.manifest["spent"]["cost_usd"] is None
        assert "cost" not in ran.printed

        own.limits.max_cost_usd = 1.0
        wire.asked()
        with pytest.raises(ConfigError, match=r'no price is known for "gpt-4o" at 127.0.0.1:\d+; set prices: ') as told:
            label(own)
        assert '"gpt-4o": {input: ..., output: ...}' in str(told.value)
        assert not wire.asked()


def test_a_budget_of_tokens_that_nobody_counts_is_not_kept_and_said_so(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def uncounted(seen: Seen) -> Fault:
        message = {"role": "assistant", "content": '{"cleaned_caption": "a", "expressions": []}'}
        return Fault(200, {"model": MODEL, "choices": [{"message": message, "finish_reason": "stop"}]})

    with WireServer(uncounted) as wire:
        ran = label(grounding(world, tmp_path, wire.url, "limits.max_tokens=100000"))
        assert ran.code == 2
        assert sum(wire.asked().values()) <= 4 * WINDOW
    assert "limits.max_tokens cannot be kept" in capsys.readouterr().err


def test_after_so_many_hours_nothing_new_is_asked(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(seen: Seen) -> None:
        time.sleep(0.1)

    with WireServer(slow) as wire:
        ran = label(grounding(world, tmp_path, wire.url, "limits.max_hours=0.0002"))
        assert ran.code == 3
        assert 0 <= sum(wire.asked().values()) < 2 * len(ran.annotations)
        assert "limits.max_hours is met: this command ran for 0.0002 h; the same command" in capsys.readouterr().err
        assert label(grounding(world, tmp_path, wire.url)).code == 0


def test_an_endpoints_bad_hour_is_no_failure_of_the_records(world: World, tmp_path: Path) -> None:
    with WireServer(lambda seen: error(500)) as wire:
        ran = label(grounding(world, tmp_path, wire.url))
        assert ran.code == 3
        assert ran.counts["records"] == {"failed": len(ran.annotations)}
        assert ran.counts["failed_by_endpoint"] == len(ran.annotations)

        wire.misbehave = lambda seen: error(400)
        ran = label(grounding(world, tmp_path, wire.url))
        assert ran.code == 1, "a request that can never work is the record's own"
        assert ran.counts["failed_by_endpoint"] == 0

        wire.misbehave = lambda seen: None
        assert label(grounding(world, tmp_path, wire.url)).code == 0
