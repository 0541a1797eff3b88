"""Results folders that lost something, or were damaged: what is missing is found and made again by the same command."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from raylabel.demo.world import World, build_world
from raylabel.errors import StoreError
from tests.end_to_end.running import GROUNDING, WireServer, grounding, label

FILES = ("annotations.jsonl", "failures.jsonl", "step_1_grounding/annotations.jsonl")
ROWS, ANSWERS = "step_1_grounding/records", "step_1_grounding/answers"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 60, seed=9)


def contents(results: Path) -> dict[str, bytes]:
    return {name: (results / name).read_bytes() for name in FILES}


def fragments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def without(folder: str) -> Callable[[Path], None]:
    return lambda results: shutil.rmtree(results / folder)


def without_one(folder: str) -> Callable[[Path], None]:
    return lambda results: fragments(results / folder)[0].unlink()


def with_a_flipped_bit(folder: str) -> Callable[[Path], None]:
    def flip(results: Path) -> None:
        path = fragments(results / folder)[0]
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 4
        path.write_bytes(data)

    return flip


@pytest.mark.parametrize(
    ("harm", "asks"),
    [
        pytest.param(without("step_1_grounding"), True, id="a-step"),
        pytest.param(without(ROWS), False, id="rows"),
        pytest.param(without_one(ROWS), False, id="some-rows"),
        pytest.param(without(ANSWERS), False, id="answers-of-records-that-are-whole"),
        pytest.param(without("step_0_expression_extraction"), True, id="an-earlier-step"),
        pytest.param(without("checkpoints/images"), False, id="facts-of-images"),
        pytest.param(without("checkpoints/shards"), False, id="the-table-of-settled-shards"),
        pytest.param(without("checkpoints"), False, id="all-checkpoints"),
        pytest.param(with_a_flipped_bit(ROWS), False, id="damaged-rows"),
        pytest.param(with_a_flipped_bit(ANSWERS), False, id="damaged-answers-of-records-that-are-whole"),
        pytest.param(with_a_flipped_bit("checkpoints/shards"), False, id="a-damaged-table-of-settled-shards"),
    ],
)
def test_what_is_missing_is_made_again_by_the_same_command(
    world: World, tmp_path: Path, harm: Callable[[Path], None], asks: bool
) -> None:
    results = tmp_path / "r"
    with WireServer() as wire:
        assert label(grounding(world, results, wire.url)).code == 0
        before = contents(results)
        wire.asked()
        harm(results)
        (results / "annotations.jsonl").unlink(missing_ok=True)
        ran = label(grounding(world, results, wire.url))
        assert ran.code == 0
        assert contents(results) == before
        assert bool(wire.asked()) == asks
        assert label(grounding(world, results, wire.url)).code == 0
        assert not wire.asked(), "the store is whole again"


@pytest.mark.parametrize("harm", [without_one, with_a_flipped_bit], ids=["lost", "damaged"])
def test_only_what_was_lost_is_asked_again(
    world: World, tmp_path: Path, harm: Callable[[str], Callable[[Path], None]], capfd: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "r"
    with WireServer() as wire:
        label(grounding(world, results, wire.url), limit=32)
        label(grounding(world, results, wire.url))
        before = contents(results)
        wire.asked()
        shutil.rmtree(results / ANSWERS)
        harm(ROWS)(results)
        (results / "annotations.jsonl").unlink()
        capfd.readouterr()
        ran = label(grounding(world, results, wire.url))
        said = capfd.readouterr().err
        assert ran.code == 0
        assert contents(results) == before
        asked = wire.asked()
        assert set(asked) == {GROUNDING}
        assert asked.total() < 80, "records whose rows are there are left alone"
        assert "taken up again" in ran.printed
        assert said.count("was damaged") == (harm is with_a_flipped_bit)
        assert len(list((results / ROWS / "damaged").glob("*"))) == (harm is with_a_flipped_bit)


def test_a_step_that_vanishes_while_the_run_goes_on_is_made_again(world: World, tmp_path: Path) -> None:
    results = tmp_path / "r"

    def misbehave(seen):
        if seen.number == 140 and (results / ROWS).exists():
            shutil.rmtree(results / ROWS)

    with WireServer(misbehave, latency_s=0.02) as wire:
        assert label(grounding(world, tmp_path / "whole", wire.url)).code == 0
        wire.seen.clear()
        ran = label(grounding(world, results, wire.url))
        assert ran.code == 0
        assert contents(results) == contents(tmp_path / "whole")


@pytest.mark.parametrize("name", ["checkpoints/delivered.json", "checkpoints/written.json", "checkpoints/steps.json"])
@pytest.mark.parametrize("text", [b"", b'{"key": ', b"[]", b"\xff\xfe"], ids=["empty", "cut", "a-list", "no-text"])
def test_a_damaged_note_is_made_again(world: World, tmp_path: Path, name: str, text: bytes) -> None:
    results = tmp_path / "r"
    with WireServer() as wire:
        label(grounding(world, results, wire.url), limit=32)
        before = contents(results)
        wire.asked()
        (results / name).write_bytes(text)
        (results / "annotations.jsonl").unlink()
        assert label(grounding(world, results, wire.url), limit=32).code == 0
        assert contents(results) == before
        assert not wire.asked()
        assert (results / "checkpoints" / "damaged" / Path(name).name).read_bytes() == text


def test_generations_that_cannot_be_read_are_not_guessed(world: World, tmp_path: Path) -> None:
    results = tmp_path / "r"
    with WireServer() as wire:
        forced = grounding(world, results, wire.url, "image_grounding.workflow.force_reprocess=true")
        label(forced, limit=32)
        file = results / "checkpoints" / "generations.json"
        kept = file.read_bytes()
        file.write_bytes(kept[:10])
        with pytest.raises(StoreError, match=r"generations\.json is damaged"):
            label(grounding(world, results, wire.url), limit=32)
        wire.asked()
        file.write_bytes(kept)
        assert label(grounding(world, results, wire.url), limit=32).code == 0
        assert not wire.asked()
