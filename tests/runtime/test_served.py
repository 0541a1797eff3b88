"""A run with a block ``serve``: its server starts when something is asked, and ends with it."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from raylabel.cli import main
from raylabel.demo.world import World, build_world
from raylabel.errors import ServerError, StartError
from raylabel.probing.facts import EndpointFacts
from raylabel.runtime.coordinator import Budget
from raylabel.runtime.executor import Work
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.plan import MOST_IN_FLIGHT
from raylabel.runtime.preparing import build_spec
from raylabel.runtime.run import run
from raylabel.runtime.served import OwnServers, Served
from raylabel.runtime.traffic import MemberSet
from raylabel.servers.background import ServersInBackground
from raylabel.servers.checking import Address
from raylabel.servers.replica import ReplicaStatus, State
from raylabel.servers.standing import find_standing, standing
from raylabel.settings import ServeSettings, Settings, load_settings
from raylabel.sources import source_for
from raylabel.storage.folders import Folder
from raylabel.store.results import Results
from tests.s3_server import S3Server
from tests.served_here import served_here
from tests.servers.serving import DEMO, FIRST_ONLY, QUICK, ROOT, child_environment, is_running
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")

IMAGES = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), IMAGES)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def specified(world: World, results: Path, *options: str, **serve: object) -> Settings:
    """A specification whose server is the demo's."""
    path = results.with_suffix(".yaml")
    data = {"input_jsonl": str(world.captions_path), "image_root": str(world.images_dir)}
    block = {"model": "demo", "engine": "command", "command": [*DEMO, *options], **serve}
    vlm = {"backend": "openai", "openai": {"temperature": 0}}
    content = {"results_dir": str(results), "image_grounding": {"vlm": vlm, "data": data}, "serve": block}
    path.write_text(json.dumps({**content, "retry": {"backoff": 0.1, "max_backoff": 1}}), encoding="utf-8")
    return load_settings(path)


def serving(settings: Settings, console: Console | None = None) -> Served:
    """Workers of this process, and servers of this machine."""
    servers = ServersInBackground(settings.serve, settings.results_dir, pace=QUICK)
    return Served(InProcess(), OwnServers(settings, servers, console))


def label(settings: Settings) -> tuple[int, str]:
    """The exit code of a run in this process, and what it said."""
    console = Console(file=io.StringIO(), width=200)
    code = run(settings, serving(settings, console), console=console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def pids_of(results: Path, number: int = 1) -> list[int]:
    """The processes that were one of the servers, by its log."""
    log = results / "servers" / f"replica-{number}.log"
    return [int(pid) for pid in re.findall(r'"pid": (\d+)', log.read_text())] if log.exists() else []


def annotations_of(results: Path) -> bytes:
    return (results / "annotations.jsonl").read_bytes()


def test_a_run_starts_its_server_and_ends_it(world: World, tmp_path: Path) -> None:
    results = tmp_path / "results"
    code, said = label(specified(world, results))
    assert code == 0
    assert "the model server is ready at http://127.0.0.1:" in said
    (pid,) = pids_of(results)
    assert not is_running(pid)


LATE = "import runpy, time; time.sleep(3);runpy.run_module('raylabel.demo.server', run_name='__main__', alter_sys=True)"
"""A server that takes a while to come up."""


def test_what_the_server_does_while_it_starts_is_told(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["{python}", "-c", LATE, "--port", "{port}", "--model", "{model}"]
    settings = specified(world, tmp_path / "results", command=command)
    console = Console(file=io.StringIO())
    assert run(settings, serving(settings, console), console=console, progress="json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    phases = [line["phase"] for line in lines if line["state"] == "starting"]
    assert [phase for phase in phases if phase.startswith("starting the model server demo: ")]
    assert lines[-1]["exit_code"] == 0


def test_a_run_with_nothing_left_to_ask_starts_none(world: World, tmp_path: Path) -> None:
    """Though every start has another port, what is known of the endpoint is found again."""
    results = tmp_path / "results"
    label(specified(world, results))
    (results / "servers" / "replica-1.log").unlink()
    code, said = label(specified(world, results))
    assert code == 0
    assert "model server" not in said
    assert pids_of(results) == []


def test_a_server_that_does_not_come_up_ends_the_run_before_anything_is_marked(world: World, tmp_path: Path) -> None:
    results = tmp_path / "results"
    settings = specified(world, results, command=["{python}", "-c", "raise MemoryError('8 GiB')", "{port}"])
    with pytest.raises(StartError, match="out of memory; choose a smaller model"):
        label(settings)
    assert not (results / "annotations.jsonl").exists()
    assert list(results.rglob("answers/*")) == []


def test_a_server_that_stands_is_used_and_left(world: World, tmp_path: Path) -> None:
    results = tmp_path / "results"
    settings = specified(world, results)
    with served_here("--model", "demo") as server:
        address = Address("127.0.0.1", server.server_address[1])
        with standing(settings.serve, [address.url]):
            code, said = label(settings)
            assert code == 0
            assert f"the model server at {address.url} is up already (raylabel serve), and is used" in said
            assert asyncio.run(find_standing(settings.serve)) == [address]
    assert pids_of(results) == []


def kill_at_work(results: Path, times: int, number: int = 1) -> threading.Thread:
    """Kill one of the servers once some of the run's questions are answered, so often."""

    def kill() -> None:
        for place in range(times):
            wait_until(lambda: len(pids_of(results, number)) == place + 1)  # noqa: B023
            wait_until(lambda: any((results / "step_0_expression_extraction").rglob("answers/*")))
            os.kill(pids_of(results, number)[place], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_a_server_that_is_killed_is_started_again_and_nothing_is_lost(world: World, tmp_path: Path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    label(specified(world, undisturbed))
    killing = kill_at_work(disturbed, times=1)
    code, said = label(specified(world, disturbed, "--latency-ms", "300"))
    killing.join()
    assert code == 0
    assert "the model server replica-1 was killed by SIGKILL; it is started again" in said
    assert annotations_of(disturbed) == annotations_of(undisturbed)


def test_a_server_that_is_given_up_ends_the_run_with_the_cause_and_the_same_command_continues(
    world: World, tmp_path: Path
) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    label(specified(world, undisturbed))
    killing = kill_at_work(disturbed, times=1)
    with pytest.raises(ServerError, match=r"was killed by SIGKILL.*log: .*the same command continues"):
        label(specified(world, disturbed, "--latency-ms", "300", restarts=0))
    killing.join()
    assert label(specified(world, disturbed))[0] == 0
    assert annotations_of(disturbed) == annotations_of(undisturbed)


# --- several ----------------------------------------------------------------------------------------------------------


def endpoints_of(results: Path) -> dict[str, dict[str, object]]:
    """What ``run.json`` says of each."""
    told: dict[str, dict[str, object]] = json.loads((results / "run.json").read_text())["endpoints"]
    return told


def tries_of(results: Path) -> set[int]:
    """How often questions were asked until they were answered."""
    files = [path for folder in results.glob("step_*") for path in folder.rglob("answers/*.parquet")]
    return {tries for path in files for tries in pq.read_table(path, columns=["tries"]).column("tries").to_pylist()}


def test_a_run_asks_all_of_its_servers_and_ends_them(world: World, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    label(specified(world, alone))
    code, said = label(specified(world, together, "--latency-ms", "200", replicas=3))
    assert code == 0
    told = endpoints_of(together)
    assert len(told) == 3
    assert all(each["requests"] for each in told.values())
    for number, name in itertools.product((1, 2, 3), told):
        assert f"http://{name}/v1" in said
        (pid,) = pids_of(together, number)
        assert not is_running(pid)
    assert annotations_of(together) == annotations_of(alone)


def test_one_that_is_killed_leaves_its_requests_to_the_others_and_is_started_again(
    world: World, tmp_path: Path
) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    label(specified(world, undisturbed))
    settings = specified(world, disturbed, "--latency-ms", "200", replicas=2)
    settings.image_grounding.workflow.max_workers = 4
    killing = kill_at_work(disturbed, times=1)
    code, said = label(settings)
    killing.join()
    assert code == 0
    assert said.count("the model server replica-1 was killed by SIGKILL; it is started again") == 1
    assert tries_of(disturbed) == {1}, "that one died is no try of any record"
    assert len(endpoints_of(disturbed)) == 2
    assert annotations_of(disturbed) == annotations_of(undisturbed)


def test_one_that_does_not_come_up_is_told_and_the_others_go_on(world: World, tmp_path: Path) -> None:
    results = tmp_path / "results"
    command = ["{python}", "-c", FIRST_ONLY, "--port", "{port}", "--model", "{model}", str(tmp_path / "taken")]
    code, said = label(specified(world, results, command=command, replicas=2))
    assert code == 0
    assert re.search(r"replica-[12] ended with code 1 before it was ready; .*FileExistsError.*; the others go on", said)
    assert said.count("is ready at") == 1


def test_where_none_of_several_comes_up_the_first_cause_is_told(world: World, tmp_path: Path) -> None:
    results = tmp_path / "results"
    settings = specified(world, results, command=["{python}", "-c", "raise MemoryError('8 GiB')", "{port}"], replicas=2)
    with pytest.raises(StartError, match="server replica-1 ended with code 1 before it was ready: out of memory"):
        label(settings)
    assert not (results / "annotations.jsonl").exists()


def test_a_run_ends_only_when_the_last_one_is_given_up(world: World, tmp_path: Path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    label(specified(world, undisturbed))
    settings = specified(world, disturbed, "--latency-ms", "200", replicas=2, restarts=0)
    settings.image_grounding.workflow.max_workers = 2
    killings = [kill_at_work(disturbed, times=1, number=number) for number in (1, 2)]
    with pytest.raises(ServerError, match=r"was killed by SIGKILL.*log: .*the same command continues"):
        label(settings)
    for killing in killings:
        killing.join()
    assert label(specified(world, disturbed))[0] == 0
    assert annotations_of(disturbed) == annotations_of(undisturbed)


class Scripted:
    """Servers of which a test says how they are."""

    are_followed = True

    def __init__(self, *statuses: ReplicaStatus) -> None:
        self.now: tuple[ReplicaStatus, ...] = statuses

    def standing(self) -> None:
        return None

    def begin(self) -> None:
        """They are as they are."""

    def statuses(self) -> tuple[ReplicaStatus, ...]:
        return self.now

    def stop(self) -> None:
        """There is nothing to stop."""


class Listening(InProcess):
    """Notes which endpoints it is told of, and goes on until it is stopped, though there is nothing to do."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[list[str]] = []

    def begin(self, work: Work, *more: object) -> None:
        self.budget = work.budget
        self.told.append([member.name for member in work.spec.members])
        super().begin(replace(work, shards=[]), lambda: None)

    def has_ended(self) -> bool:
        return False

    def set_members(self, members: MemberSet) -> None:
        self.told.append([member.name for member in members.members])
        super().set_members(members)


def ready(name: str, port: int) -> ReplicaStatus:
    return ReplicaStatus(name, State.READY, url=f"http://127.0.0.1:{port}/v1", log="/logs/a.log", ready=1)


def test_workers_are_told_of_servers_that_join_die_move_and_come_back(world: World, tmp_path: Path) -> None:
    settings = specified(world, tmp_path / "results", replicas=2)
    late = ReplicaStatus("replica-2", State.STARTING, "loading weights", 7.0)
    servers, executor = Scripted(ready("replica-1", 1), late), Listening()
    console = Console(file=io.StringIO(), width=200)
    results = Results(Folder(str(tmp_path / "results")))
    source = source_for(settings, [step.name for step in settings.selected_steps], results.root.location)
    spec = build_spec(settings, results, source, EndpointFacts(), None)
    budget = Budget({plan.step.name: plan.max_workers for plan in spec.selected}, find_in_flight=True)
    with Served(executor, OwnServers(settings, servers, console)) as served:
        served.begin(Work(spec, [], budget), lambda: None)
        assert executor.told == [["127.0.0.1:1"]], "the first is enough to begin with"
        assert executor.budget.most_in_flight == 2 * MOST_IN_FLIGHT
        assert executor.budget.most_at_one_endpoint == MOST_IN_FLIGHT, "however many are ready"
        servers.now = (ready("replica-1", 1), ready("replica-2", 2))
        served.status()
        gone = ReplicaStatus("replica-1", State.GONE, log="/logs/a.log", ready=1, deaths=1, trouble="was lost")
        servers.now = (gone, ready("replica-2", 2))
        served.status()
        servers.now = (gone, replace(late, deaths=1, ready=1, trouble="died", log="/logs/b.log"))
        status = served.status()
        assert status.limit == "waiting for a model server: starting (1), loading weights (1), 7 s"
        servers.now = (replace(ready("replica-1", 3), deaths=1, ready=2), replace(late, deaths=1, ready=1))
        served.status()
        servers.now = (replace(gone, state=State.FAILED, failure="serve: it is given up"),) * 2
        with pytest.raises(ServerError, match="serve: it is given up; what was answered is stored"):
            served.has_ended()
    assert executor.told[1:] == [["127.0.0.1:1", "127.0.0.1:2"], ["127.0.0.1:2"], [], ["127.0.0.1:3"]]
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "the model server replica-1 is ready at http://127.0.0.1:1/v1; its log is in /logs",
        "the model server replica-2 is ready at http://127.0.0.1:2/v1; its log is in /logs",
        "the model server replica-1 was lost; it is started again (log: /logs/a.log)",
        "the model server replica-2 died; it is started again (log: /logs/b.log)",
        "the model server replica-1 is ready again at http://127.0.0.1:3/v1",
    ]


def test_the_logs_of_servers_end_in_a_bucket_where_the_results_are(tmp_path: Path) -> None:
    serve = ServeSettings.model_validate({"model": "demo", "engine": "command", "command": DEMO})
    with S3Server() as s3:
        servers = ServersInBackground(serve, s3.uri("bucket/results"))
        servers.begin()
        wait_until(lambda: all(status.url for status in servers.statuses()))
        servers.stop()
        assert b'"pid": ' in s3.objects["bucket/results/servers/replica-1.log"][0]


def test_all_that_stand_are_used_and_left(world: World, tmp_path: Path) -> None:
    results = tmp_path / "results"
    settings = specified(world, results)
    with served_here("--model", "demo", "--latency-ms", "50") as one, served_here("--model", "demo") as other:
        addresses = [Address("127.0.0.1", server.server_address[1]) for server in (one, other)]
        with standing(settings.serve, [address.url for address in addresses]):
            code, said = label(settings)
            assert code == 0
            assert "the model servers at " in said
            assert "are up already (raylabel serve), and are used" in said
            for address in addresses:
                assert address.url in said
    assert len(endpoints_of(results)) == 2
    assert pids_of(results) == []


def test_calibrate_brings_its_server_too(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    specified(world, results)
    assert main(["calibrate", str(results.with_suffix(".yaml")), "--out", str(tmp_path / "drawn")]) == 0
    assert "xyxy, 0-1000" in capsys.readouterr().out
    assert not any(map(is_running, pids_of(results)))


def start_run(specification: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "raylabel", "run", str(specification)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=child_environment(),
        cwd=ROOT,
    )


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="ctrl-c"),
        pytest.param(signal.SIGTERM, 130, id="term"),
        pytest.param(signal.SIGKILL, -9, id="kill"),
    ],
)
@pytest.mark.parametrize("is_ready", [False, True], ids=["starting", "at-work"])
def test_however_a_run_ends_its_server_ends_with_it(
    world: World, tmp_path: Path, number: signal.Signals, code: int, is_ready: bool
) -> None:
    results = tmp_path / "results"
    options = ["--latency-ms", "400"] if is_ready else ["--faults", "hang 100% seconds=3600"]
    specified(world, results, *options)
    process = start_run(results.with_suffix(".yaml"))
    try:
        wait_until(lambda: len(pids_of(results)) == 1)
        if is_ready:
            wait_until(lambda: any((results / "step_0_expression_extraction").rglob("answers/*")))
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == code
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    (pid,) = pids_of(results)
    if number is not signal.SIGKILL:  # it waits until nothing is left
        assert not is_running(pid)
    wait_until(lambda: not is_running(pid), patience_s=60)
