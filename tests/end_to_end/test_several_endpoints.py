"""Whole runs against several endpoints that serve one model: real servers; some are slow, die, or come back."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from raylabel.demo.server import openai_api
from raylabel.demo.world import World, build_world
from raylabel.errors import ConfigError
from raylabel.settings import Settings
from raylabel.storage.folders import Folder
from raylabel.store.results import Results
from tests.end_to_end.running import MODEL, Fault, Ran, Seen, WireServer, grounding, label, referring
from tests.local_server import Exchange

pytestmark = pytest.mark.slow

IMAGES = 40


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), IMAGES, seed=5)


class Replica(WireServer):
    """One of several; it may be switched off and on, and say that it serves something else."""

    def __init__(self, *given: Any, model: str = MODEL, key: str = "", **more: Any) -> None:
        super().__init__(*given, **more)
        self.is_off = False
        self.dies_after = 10**9
        self._switching = threading.Lock()
        self.looked_at = 0
        self._serves, self._key = model, key

    def come_back(self) -> None:
        """And stay."""
        with self._switching:
            self.dies_after, self.is_off = 10**9, False

    def _respond(self, exchange: Exchange) -> None:
        with self._switching:
            if exchange.command == "POST" and len(self.seen) >= self.dies_after:
                self.is_off = True
            is_off = self.is_off
        if is_off:
            exchange.close_connection = True
            exchange.connection.close()
            return
        if self._key and exchange.headers.get("authorization") != f"Bearer {self._key}":
            exchange.send(401, openai_api.write_error(401, "no such key"))
            return
        if exchange.command == "GET":
            self.looked_at += 1
            exchange.send(200, openai_api.write_models(self._serves))
            return
        super()._respond(exchange)


@contextmanager
def replicas(*servers: Replica) -> Iterator[tuple[Replica, ...]]:
    with ExitStack() as stack:
        yield tuple(stack.enter_context(server) for server in servers)


def at(pipeline: str, *servers: Replica | dict[str, Any]) -> str:
    entries = [{"url": f"{s.url}/v1"} if isinstance(s, Replica) else s for s in servers]
    return f"{pipeline}.vlm.openai.base_url={json.dumps(entries)}"


def host(server: Replica) -> str:
    return server.url.removeprefix("http://")


def run_referring(world: World, results: Path, servers: tuple[Replica, ...], *overrides: str) -> Ran:
    where = at("image_referring_expression", *servers)
    return label(referring(world, results, servers[0].url, where, *overrides))


def picture_of(seen: Seen) -> str:
    parts = seen.body["messages"][0]["content"]
    return str(next(part["image_url"]["url"] for part in parts if part["type"] == "image_url"))


def at_their_places(servers: Iterable[Replica]) -> float:
    """Share of the questions that went where most questions about their image went."""
    places: dict[str, Counter[str]] = defaultdict(Counter)
    for server in servers:
        for seen in server.seen:
            places[picture_of(seen)][server.url] += 1
    return sum(max(c.values()) for c in places.values()) / sum(sum(c.values()) for c in places.values())


def stored(results: Path, directory: str) -> list[dict[str, Any]]:
    table = Results(Folder(str(results))).answers(directory)
    files = sorted(Path(table._folder.location).glob("*.parquet"))
    return [row for path in files for row in pq.read_table(path).to_pylist()]


def test_the_steps_of_an_image_go_to_one_endpoint(world: World, tmp_path: Path) -> None:
    with replicas(Replica(latency_s=0.03), Replica(latency_s=0.03)) as both:
        ran = run_referring(world, tmp_path / "results", both)
        assert ran.code == 0
        assert at_their_places(both) >= 0.9
        told = ran.manifest["endpoints"]
        assert {name: e["requests"] for name, e in told.items()} == {host(s): len(s.seen) for s in both}
        assert sum(e["moved"] for e in told.values()) <= 0.1 * sum(len(server.seen) for server in both)
        for server in both:
            assert host(server) in ran.printed


def test_two_endpoints_of_equal_speed_are_loaded_alike(tmp_path: Path) -> None:
    many = build_world(tmp_path / "world", 120, seed=6)
    with replicas(Replica(latency_s=0.1), Replica(latency_s=0.1)) as both:
        ran = label(grounding(many, tmp_path / "results", both[0].url, at("image_grounding", *both)))
        loads = [len(server.seen) for server in both]
        assert ran.code == 0
        # Whom an image falls to depends on the ports, which are random; `scripts/bench --case endpoints` measures it.
        assert max(loads) - min(loads) <= 0.25 * max(loads), loads


def test_the_labels_and_the_keys_of_answers_do_not_depend_on_who_answered(world: World, tmp_path: Path) -> None:
    with replicas(Replica(), Replica(), Replica()) as three:
        alone = label(grounding(world, tmp_path / "alone", three[0].url))
        spread = label(grounding(world, tmp_path / "pool", three[0].url, at("image_grounding", *three)))
        assert alone.code == spread.code == 0
        assert alone.annotations == spread.annotations
        asked = sum(len(server.seen) for server in three)
        again = label(grounding(world, tmp_path / "pool", three[2].url, "image_grounding.workflow.max_workers=3"))
        assert again.code == 0
        assert sum(len(server.seen) for server in three) == asked, "what three answered is not asked of one of them"
        rows = stored(tmp_path / "pool", "step_1_grounding")
        assert {row["endpoint"] for row in rows} == {host(server) for server in three}


def test_an_endpoint_that_dies_takes_nothing_with_it_and_is_taken_back(world: World, tmp_path: Path) -> None:
    dying, lasting = Replica(latency_s=0.02), Replica()
    back_after: list[int] = []

    def answer(seen: Seen) -> Fault | None:
        time.sleep(0.3 if back_after else 0.05)  # afterwards there is time enough to be found
        if dying.is_off and seen.number >= 40 and not back_after:
            back_after.append(len(dying.seen))
            dying.come_back()
        return None

    lasting.misbehave = answer
    dying.dies_after = 15
    with replicas(dying, lasting) as both:
        ran = run_referring(world, tmp_path / "results", both)
        assert ran.code == 0
        assert ran.failures == []
        assert back_after, "it was away"
        assert len(dying.seen) > back_after[0], "and was asked again when it was back"
        rows = stored(tmp_path / "results", "step_0_region_expr")
        assert rows
        tries = [row["tries"] for row in rows]
        assert max(tries) <= 2
        assert tries.count(1) >= 0.9 * len(tries), "that it died is no try of what it had in flight"
        assert ran.manifest["endpoints"][host(dying)]["refused"] > 0
        assert ran.manifest["endpoints"][host(dying)]["set_aside"] == ""


def test_a_slow_endpoint_gets_what_it_can_take_and_delays_nobody_else(world: World, tmp_path: Path) -> None:
    with replicas(Replica(latency_s=0.2), Replica(latency_s=1.0)) as (fast, slow):
        ran = run_referring(world, tmp_path / "results", (fast, slow))
        assert ran.code == 0
        assert 0 < len(slow.seen) < 0.4 * len(fast.seen)
        assert at_their_places((fast, slow)) >= 0.85


def test_one_that_turns_requests_away_is_left_alone_and_the_others_go_on(world: World, tmp_path: Path) -> None:
    busy = Replica(lambda seen: Fault(429, openai_api.write_error(429, "too many"), {}), latency_s=0.0)
    with replicas(busy, Replica(latency_s=0.02)) as both:
        ran = run_referring(world, tmp_path / "results", both)
        assert ran.code == 0
        assert len(busy.seen) < 0.3 * len(both[1].seen)
        assert {row["endpoint"] for row in stored(tmp_path / "results", "step_0_region_expr")} == {host(both[1])}
        assert "too many" in ran.manifest["endpoints"][host(busy)]["set_aside"]


def test_one_that_breaks_every_request_is_set_aside_and_fails_no_record(world: World, tmp_path: Path) -> None:
    dead = Replica(lambda seen: Fault(500, openai_api.write_error(500, "EngineCore encountered an issue"), {}))
    with replicas(dead, Replica(latency_s=0.02)) as both:
        ran = run_referring(world, tmp_path / "results", both)
        assert ran.code == 0
        assert len(dead.seen) < 0.3 * len(both[1].seen)


def test_endpoints_that_serve_two_models_are_named_with_both(world: World, tmp_path: Path) -> None:
    with replicas(Replica(), Replica(model="another-vlm")) as both:
        settings = grounding(world, tmp_path / "results", both[0].url, at("image_grounding", *both))
        with pytest.raises(ConfigError) as told:
            label(settings)
        assert str(told.value) == (
            f"image_grounding.vlm.openai.base_url: all endpoints must serve one model, but {host(both[0])} serves "
            f'"{MODEL}" and {host(both[1])} serves "another-vlm"'
        )
        assert not any(server.seen for server in both)


def test_one_that_is_away_at_the_start_is_asked_once_it_is_there(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    late = Replica(latency_s=0.02)
    late.is_off = True

    def answer(seen: Seen) -> Fault | None:
        time.sleep(0.05)
        late.is_off = late.is_off and seen.number < 30
        return None

    with replicas(late, Replica(answer)) as both:
        ran = run_referring(world, tmp_path / "results", both)
        assert ran.code == 0
        assert late.seen
        assert f"{host(late)} does not answer and is set aside" in caplog.text


KEYS = ("sk-first-0123456789", "sk-second-9876543210")


def test_each_endpoint_gets_its_own_key_and_nobody_sees_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRST_KEY", KEYS[0])
    with replicas(Replica(key=KEYS[0]), Replica(key=KEYS[1])) as both:
        entries: list[dict[str, Any]] = [
            {"url": f"{both[0].url}/v1", "api_key_env": "FIRST_KEY"},
            {"url": f"{both[1].url}/v1", "api_key": KEYS[1], "max_in_flight": 2, "weight": 3},
        ]
        settings: Settings = grounding(world, tmp_path / "results", both[0].url, at("image_grounding", *entries))
        ran = label(settings)
        assert ran.code == 0
        assert all(server.seen for server in both)
        assert both[1].most_in_flight["all"] <= 2
        kept = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
        for key in KEYS:
            assert key not in ran.printed
            assert not [path for path in kept if key.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        pytest.param("[]", "allowed: an address, or a list of at least one", id="none"),
        pytest.param(
            '["http://a:1/v1","http://a:1/v1/"]', "allowed: addresses of which none is there twice", id="twice"
        ),
        pytest.param('[{"weight": 2}]', "number 1 is neither", id="no-url"),
        pytest.param(
            '["http://a:1/v1",{"url":"http://b:1/v1","weight":0}]', "number 2: weight cannot be used", id="weight"
        ),
        pytest.param('["http://a:1/v1","b:1"]', "number 2: url cannot be used", id="no-scheme"),
        pytest.param('[{"url":"http://a:1/v1","wieght":2}]', "number 1: wieght cannot be used", id="key"),
    ],
)
def test_a_list_that_cannot_be_used_says_which_entry(world: World, tmp_path: Path, written: str, told: str) -> None:
    with pytest.raises(ConfigError, match=r"image_grounding\.vlm\.openai\.base_url: ") as error:
        grounding(world, tmp_path, "http://unused", f"image_grounding.vlm.openai.base_url={written}")
    assert told in str(error.value)
