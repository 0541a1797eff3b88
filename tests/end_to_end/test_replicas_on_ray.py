"""Model servers on the nodes of a Ray cluster: whatever dies, nothing is lost, and nothing is left."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from raylabel.demo.scenes import Style
from raylabel.demo.world import World, build_world
from raylabel.settings import load_settings
from tests.end_to_end.cli_runs import CliRun, read_journal, write_config
from tests.end_to_end.ray_nodes import Node, Nodes, ray_nodes
from tests.end_to_end.running import label
from tests.served_here import served_here
from tests.servers.serving import DEMO, is_running
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="Ray makes clusters of several nodes on Linux only"),
]

IMAGES = 50
GROUNDING = "image_grounding"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with ray_nodes(3) as three:
        yield three


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), IMAGES, style=Style(sizes_wh=((320, 240),)))


@pytest.fixture(scope="module")
def undisturbed(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, set[str]]:
    """The result file of a run against one server, and the questions that it asks."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with served_here("--journal", str(folder / "journal")) as server:
        config = write_config(folder / "config.yaml", folder / "results", GROUNDING, world, server.url)
        assert label(load_settings(config)).code == 0
    questions = {entry["question"] for entry in read_journal(folder / "journal")}
    return (folder / "results" / "annotations.jsonl").read_bytes(), questions


class Run:
    """A run on the nodes that brings two servers, which write one journal.

    Args:
        does: another command than ``run``.
        name: of its results.
        serve: settings of the block that are others than usual.
    """

    def __init__(
        self,
        nodes: Nodes,
        world: World,
        folder: Path,
        *,
        does: str = "run",
        name: str = "results",
        latency_ms: int = 400,
        **serve: Any,
    ) -> None:
        self._nodes = nodes
        self.results, self.journal = folder / name, folder / "journal"
        options = ["--host", "{host}", "--latency-ms", str(latency_ms), "--journal", str(self.journal)]
        block = {
            "model": "raylabel-demo-vlm",
            "engine": "command",
            "command": [*DEMO, *options],
            "replicas": 2,
            **serve,
        }
        changes = {f"serve__{name}": value for name, value in block.items()}
        changes |= {"ray__address": nodes.address, "image_grounding__vlm__openai__base_url": ""}
        changes |= {"image_grounding__workflow__max_workers": 4}  # there is time enough to be killed in
        self._config = write_config(folder / f"{name}.yaml", self.results, GROUNDING, world, "", **changes)
        self.start(does)

    def start(self, does: str = "run") -> None:
        """Start the run again, or another command with its specification."""
        self._cli = CliRun(self._config, env=self._nodes.env, command=does)

    @property
    def answers(self) -> int:
        return len(read_journal(self.journal))

    def wait_for_answers(self, count: int) -> None:
        self._cli.wait_until(lambda: self.answers >= count)

    def wait_for_log(self, text: str) -> None:
        log = self.results / "logs" / "raylabel.log"
        self._cli.wait_until(lambda: log.exists() and text in log.read_text())

    def finish(self) -> tuple[int, str]:
        return self._cli.finish()

    def kill_driver(self) -> None:
        self._cli.kill_driver()

    def interrupt(self) -> None:
        self._cli.process.send_signal(signal.SIGINT)

    def read_until(self, text: str) -> str:
        """What it said up to the line with this, and that line."""
        assert self._cli.process.stdout is not None
        said = ""
        while text not in said:
            line = self._cli.process.stdout.readline()
            assert line, said
            said += line
        return said

    def servers(self) -> dict[int, str]:
        """The servers that ever were, with the address of their node, by their logs."""
        logs = "".join(path.read_text() for path in sorted((self.results / "servers").glob("*.log")))
        return {int(pid): ip for ip, pid in re.findall(r'"url": "http://([\d.]+):\d+".*"pid": (\d+)', logs)}

    def wait_for_server_on(self, nodes: Sequence[Node]) -> Node:
        """The first of these nodes on which a server is at work."""
        found: list[Node] = []

        def is_there() -> bool:
            alive = {ip for pid, ip in self.servers().items() if is_running(pid)}
            found.extend(node for node in nodes if node.ip in alive)
            return bool(found)

        self._cli.wait_until(is_there)
        return found[0]

    def wait_for_end_of(self, pids: list[int]) -> None:
        wait_until(lambda: not any(map(is_running, pids)))

    @property
    def annotations(self) -> bytes:
        return (self.results / "annotations.jsonl").read_bytes()

    @property
    def tries(self) -> set[int]:
        """How often questions were asked until they were answered."""
        files = [path for folder in self.results.glob("step_*") for path in folder.rglob("answers/*.parquet")]
        return {n for path in files for n in pq.read_table(path, columns=["tries"]).column("tries").to_pylist()}


def owner_of(server: int) -> int:
    """The process that started a server, by what its watchdog was told."""
    watchdog = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1]
    words = Path(f"/proc/{watchdog}/cmdline").read_text().split("\0")
    return int(words[next(n for n, word in enumerate(words) if word.endswith("watchdog.py")) + 1])


def test_whatever_is_killed_nothing_is_lost_and_no_server_is_left(
    nodes: Nodes, world: World, undisturbed: tuple[bytes, set[str]], tmp_path: Path
) -> None:
    run = Run(nodes, world, tmp_path)

    run.wait_for_answers(20)
    one, other = run.servers()
    os.kill(one, signal.SIGKILL)
    run.wait_for_log("was killed by SIGKILL; it is started again")

    run.wait_for_answers(35)
    actor = owner_of(other)
    assert actor in nodes.processes("ReplicaActor")
    os.kill(actor, signal.SIGKILL)
    run.wait_for_end_of([other])
    run.wait_for_log("was lost with its Ray actor on 127.0.0.")

    run.wait_for_answers(60)
    victim = run.wait_for_server_on(nodes.nodes[1:])
    there = [pid for pid, ip in run.servers().items() if ip == victim.ip]
    victim.kill_raylet()
    run.wait_for_end_of(there)
    run.wait_for_answers(run.answers + 5)  # it goes on: nothing that it cannot do without was on that node

    run.kill_driver()
    run.wait_for_end_of(list(run.servers()))

    run.start()
    code, said = run.finish()
    assert code == 0, said
    assert len(set(run.servers().values())) > 1, "they are spread over the nodes"
    assert run.annotations == undisturbed[0]
    assert undisturbed[1] <= {entry["question"] for entry in read_journal(run.journal)}
    assert run.tries == {1}, "what was in flight at a server that died was no try of any record"
    assert json.loads((run.results / "run.json").read_text())["endpoints"]
    run.wait_for_end_of(list(run.servers()))


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        pytest.param(
            {"command": ["{python}", "-c", "raise MemoryError('8 GiB')", "{port}"]},
            r"raylabel: serve: the command server replica-1 ended with code 1 before it was ready: out of memory; .*"
            r"log: \S+/servers/replica-1\.log",
            id="out-of-memory",
        ),
        pytest.param(
            {"cpus_per_replica": 64, "startup_timeout": 2},
            r"raylabel: serve: no node of the Ray cluster had 64 CPUs free for replica-1 within 2 s "
            r"\(serve\.startup_timeout\)",
            id="no-such-node",
        ),
    ],
)
def test_servers_that_do_not_come_up_end_the_run_with_the_cause_before_anything_is_marked(
    nodes: Nodes, world: World, tmp_path: Path, serve: dict[str, Any], said: str
) -> None:
    run = Run(nodes, world, tmp_path, **serve)
    code, printed = run.finish()
    assert code == 2, printed
    assert re.search(said, printed), printed
    assert not (run.results / "annotations.jsonl").exists()
    assert list(run.results.rglob("answers/*")) == []


def test_servers_that_stand_on_the_cluster_are_used_by_its_runs_wherever_they_move_and_as_long_as_they_stand(
    nodes: Nodes, world: World, undisturbed: tuple[bytes, set[str]], tmp_path: Path
) -> None:
    # There is time enough for a server to be started again.
    serve = Run(nodes, world, tmp_path, does="serve", name="serve", latency_ms=2000)
    said = serve.read_until("Ctrl-C ends the servers")
    one, _ = serve.servers()
    for ip in serve.servers().values():
        assert f"ready at http://{ip}:" in said
    assert "A run on this cluster with the same block serve asks http://127.0.0." in said

    run = Run(nodes, world, tmp_path, latency_ms=2000)
    run.wait_for_answers(10)
    actor = owner_of(one)
    assert actor in nodes.processes("ReplicaActor")
    os.kill(actor, signal.SIGKILL)
    assert re.search(r"replica-[12]: was lost with its Ray actor", serve.read_until("was lost"))
    serve.read_until("ready at")
    assert len(serve.servers()) == 3, "it was started again in another actor"

    run.wait_for_answers(run.answers + 5)
    serve.kill_driver()
    run.wait_for_end_of(list(serve.servers()))
    code, printed = run.finish()
    assert code == 1, printed
    assert re.search(r"the model servers at \S+ and \S+ are up already \(raylabel serve\), and are used", printed)
    assert re.search(r"which raylabel serve kept up, has been gone for .*the same command continues", printed)
    assert run.servers() == {}, "it started none"

    run.start()
    code, printed = run.finish()
    assert code == 0, printed
    assert "up already" not in printed
    assert run.annotations == undisturbed[0]
    assert run.tries == {1}


def test_check_has_its_server_on_the_cluster_too_and_serve_ends_with_ctrl_c(
    nodes: Nodes, world: World, tmp_path: Path
) -> None:
    run = Run(nodes, world, tmp_path, does="check")
    code, printed = run.finish()
    assert code == 0, printed
    assert "the model server is ready at http://127.0.0." in printed
    assert len(run.servers()) == 1
    run.wait_for_end_of(list(run.servers()))

    serve = Run(nodes, world, tmp_path, does="serve", replicas=1)
    serve.read_until("Ctrl-C ends the server")
    serve.interrupt()
    assert serve.finish()[0] == 0
    assert not any(map(is_running, serve.servers()))
