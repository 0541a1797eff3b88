"""Whole runs under what ``scripts/bench --case faults`` does at length: pictures that no request survives, servers that
hang, go away and come back or do not, and runs that end with a sentence."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raylabel.demo.world import World, build_world
from raylabel.probing.schema import probe_picture
from raylabel.settings import Settings
from tests.end_to_end.running import Json, Ran, WireServer, error, grounding, label, referring
from tests.served_here import served_here

pytestmark = pytest.mark.slow

PICTURES, POISONED = 24, 3
RunBy = Callable[..., Settings]
Calm = Callable[[RunBy], list[Json]]
BOTH = pytest.mark.parametrize(
    ("run_by", "pipeline"), [(grounding, "image_grounding"), (referring, "image_referring_expression")]
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), PICTURES, seed=5)


@pytest.fixture(scope="module")
def poisoned(world: World) -> dict[str, str]:
    """Digests of some pictures by their images' ids."""
    entries = world.truth["images"][4 : 4 + POISONED]
    return {
        entry["image_id"]: hashlib.sha256((world.images_dir / entry["file"]).read_bytes()).hexdigest()
        for entry in entries
    }


def labels_of(ran: Ran) -> list[Json]:
    return [{k: v for k, v in line.items() if k != "attempts"} for line in ran.annotations]


@pytest.fixture(scope="module")
def undisturbed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    """The labels of a pipeline by a server without faults."""

    @functools.cache
    def label_calmly(run_by: RunBy) -> list[Json]:
        with served_here() as server:
            ran = label(run_by(world, tmp_path_factory.mktemp("calm") / "r", server.url))
        assert ran.code == 0
        return labels_of(ran)

    return label_calmly


def asked(before: Json, after: Json) -> Counter[str]:
    """Questions by picture between two looks at what the server counted."""
    counts: Counter[str] = Counter()
    for key, question in after["questions"].items():
        counts[question["picture"]] += question["asked"] - before["questions"].get(key, {"asked": 0})["asked"]
    return +counts


@BOTH
@pytest.mark.parametrize("kind", ["reset", "502", "hang"])
def test_pictures_that_no_request_survives_fail_alone(
    run_by: RunBy, pipeline: str, world: World, tmp_path: Path, undisturbed: Calm, poisoned: dict[str, str], kind: str
) -> None:
    calm = undisturbed(run_by)
    faults = "; ".join(f"poison {kind} picture={digest}" for digest in poisoned.values())
    with served_here("--faults", faults) as server:
        settings = run_by(world, tmp_path / "r", server.url, f"{pipeline}.vlm.openai.timeout=3")
        first = label(settings)
        before = server.stats()
        second = label(settings)
        again = asked(before, server.stats())

    for ran in (first, second):
        assert ran.code == 3, ran.printed
        assert {line["image_id"] for line in ran.failures} == set(poisoned)
        assert {line["outcome"] for line in ran.failures} == {"failed"}
        assert all("times, though the server answers others" in line["reason"] for line in ran.failures)
        assert [line for line in labels_of(ran) if line["image_id"] not in poisoned] == [
            line for line in calm if line["image_id"] not in poisoned
        ]
    small = hashlib.sha256(probe_picture().data).hexdigest()  # of questions that find out whether anybody is there
    assert set(again) - {small} == set(poisoned.values())
    assert again[small] <= 2 * sum(again[digest] for digest in poisoned.values())


@BOTH
@pytest.mark.parametrize("away", ["away after 20 for 3", "away after 20 for 3 how=close"], ids=["refusing", "closing"])
def test_a_server_that_comes_back_costs_nothing_but_the_time(
    run_by: RunBy, pipeline: str, world: World, tmp_path: Path, undisturbed: Calm, away: str
) -> None:
    calm = undisturbed(run_by)
    with served_here("--faults", away, "--latency-ms", "20") as server:
        ran = label(run_by(world, tmp_path / "r", server.url))
    assert ran.code == 0, ran.printed
    assert labels_of(ran) == calm


@pytest.mark.parametrize("fault", ["reset", "hang", "502"])
def test_a_server_that_lists_its_models_and_answers_no_question_fails_no_record(
    world: World, tmp_path: Path, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = ("limits.patience=4", "image_grounding.vlm.openai.timeout=2")
    with served_here("--faults", f"{fault} 100% from 1", "--latency-ms", "500") as server:
        ran = label(grounding(world, tmp_path / "r", server.url, *settings))
    assert ran.code == 1, ran.printed
    assert "limits.patience" in capfd.readouterr().err
    assert {line["outcome"] for line in ran.failures} == {"unfinished"}


class Fails:
    """Answers a number of questions, and then none of them until it is mended."""

    def __init__(self, after: int, fault: Any) -> None:
        self.after, self.fault = after, fault

    def __call__(self, seen: Any) -> Any:
        return self.fault if seen.number >= self.after else None


LIMITS = "limits.patience=3"


@pytest.mark.parametrize(
    ("fault", "code", "said", "settings"),
    [
        pytest.param(error(502, "nobody there"), 1, "limits.patience", (LIMITS,), id="nobody-behind-the-proxy"),
        pytest.param(error(503, "starting up"), 1, "limits.patience", (LIMITS,), id="always-busy"),
        pytest.param(error(429, "slow down"), 1, "limits.patience", (LIMITS,), id="always-over-its-limit"),
        pytest.param(error(400, "no"), 1, "limits.max_failure_rate", ("limits.max_failure_rate=0.1",), id="budget"),
        pytest.param(error(401, "wrong key"), 2, "wrong key", (), id="key"),
        pytest.param(error(402, "no credit"), 2, "no credit", (), id="credit"),
        pytest.param(error(429, "tomorrow", retry_after="90000"), 3, "tomorrow", (), id="quota"),
        pytest.param(error(429, "no", retry_after="1000000000000000"), 3, "come back", (), id="for-ever"),
    ],
)
def test_a_run_that_cannot_go_on_says_why_and_leaves_all_that_is_settled(
    world: World,
    tmp_path: Path,
    undisturbed: Calm,
    capfd: pytest.CaptureFixture[str],
    fault: Any,
    code: int,
    said: str,
    settings: tuple[str, ...],
) -> None:
    calm = undisturbed(grounding)
    fails = Fails(30, fault)
    with WireServer(fails) as wire:
        stopped = label(grounding(world, tmp_path / "r", wire.url, *settings))
        printed = capfd.readouterr().err + stopped.printed

        assert stopped.code == code, printed
        assert said in printed
        assert "Traceback" not in printed
        assert not (tmp_path / "r" / "lease.json").exists()
        assert len(stopped.annotations) == len(calm)
        settled = {line["record_id"]: line for line in labels_of(stopped) if line.get("outcome") == "labeled"}
        assert settled
        assert [line for line in calm if line["record_id"] in settled] == list(settled.values())

        fails.after = 10**9
        whole = label(grounding(world, tmp_path / "r", wire.url))
        assert whole.code == 0
        assert labels_of(whole) == calm
