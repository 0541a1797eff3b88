"""Does a run come through? Servers that fail in passing, pictures that no request survives, servers that go away, and
SIGKILL in each of these.

The demo server answers for a drawn world, once undisturbed and then under each of the scenarios. Every run is a process
of its own with its worker in it, so that what is measured is how requests fare, whatever Ray does. What must come out
is checked: the labels of the undisturbed run, how many runs that took, the exit codes, and that nothing that was
answered is asked again.
"""

from __future__ import annotations

import hashlib
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raylabel.demo.world import World, build_world
from raylabel.pipelines import PIPELINES
from raylabel.probing.schema import probe_picture
from raylabel.records import IMAGE_GROUNDING
from speed.local_json import read_json
from speed.processes import say
from speed.table import Sheet

Json = dict[str, Any]

MODEL = "raylabel-demo-vlm"
WORKERS = 16
LATENCY_MS = 150
TIMEOUT_S = 6
"""Of a request: forty times the latency."""

MIXED = "500 5%; 429 5%; truncated 3%; garbage 2%; empty 1%; reset 2%; hang 1%"
HEAVY = "500 8%; 429 8%; truncated 5%; garbage 3%; empty 2%; reset 3%; hang 1%"
POISONED = 3
PATIENCE_S = 20
_LONGEST_RUN_S = 1800
_RUN = """
import sys
from pathlib import Path
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.run import run
from raylabel.settings import load_settings
raise SystemExit(run(load_settings(Path(sys.argv[1]), []), InProcess()))
"""


@dataclass(frozen=True)
class Scenario:
    """What goes wrong, and what must come of it.

    Args:
        faults: of the server, as ``--faults`` takes them; ``POISON`` stands for the poisoned pictures.
        records: at most so many; 0: all.
        codes: exit codes that runs must end with, one after the other.
        runs: so many at most for each of the codes.
        limits: settings of that block.
        kills: SIGKILLs, each at a random moment of a run.
        comes_back: the last run meets a server without faults.
    """

    name: str
    faults: str
    records: int = 0
    codes: Sequence[int] = (0,)
    runs: int = 1
    limits: Mapping[str, float] = field(default_factory=dict)
    kills: int = 0
    comes_back: bool = False

    @property
    def is_poisoned(self) -> bool:
        return "POISON" in self.faults


def scenarios(quick: bool) -> list[Scenario]:
    """All of them, or those that take no minutes."""
    away_s = 30 if quick else 300
    gone = f"away after 40 for {_LONGEST_RUN_S}"
    given_up = {"patience": float(PATIENCE_S)}
    return [
        Scenario("mixed", MIXED),
        Scenario("heavy", HEAVY, runs=2),
        *(Scenario(f"poison {kind}", f"poison {kind} POISON", 100, (3, 3)) for kind in ("reset", "hang", "502")),
        Scenario("poison, mixed", f"poison reset POISON; {MIXED}", 100, (3, 3)),
        *(
            Scenario(f"away {seconds} s{how and ', closing'}", f"away after 40 for {seconds}{how}", 200)
            for seconds, how in ((5, ""), (30, ""), (away_s, " how=close"))
        ),
        Scenario("gone for good", gone, 200, (1, 0), limits=given_up, comes_back=True),
        Scenario("gone, mixed, poison", f"poison reset POISON; {MIXED}; away after 90 for 20", 100, (3, 3)),
        Scenario("killed, mixed", MIXED, 200, kills=6),
        Scenario("killed, poison", "poison hang POISON", 100, (3, 3), kills=4),
        Scenario("killed, away", "away after 40 for 25", 100, kills=5),
        Scenario("killed, gone", gone, 100, kills=4, comes_back=True),
    ]


@dataclass(frozen=True)
class Came:
    """How a scenario ended in a pipeline; ``wrong`` names what did not come out as it must."""

    scenario: str
    pipeline: str
    codes: Sequence[int]
    kills: int
    wall_s: Sequence[float]
    requests: int
    faults: Mapping[str, int]
    repeated: int
    records: Mapping[str, int]
    wrong: Sequence[str]


def measure_faults(records: int, quick: bool, seed: int, wanted: Sequence[str] = ()) -> list[Came]:
    """Every scenario in both pipelines.

    Args:
        seed: of the faults and the moments of the kills.
        wanted: beginnings of the names of scenarios; none: all.
    """
    chosen = [s for s in scenarios(quick) if not wanted or s.name.startswith(tuple(wanted))]
    with tempfile.TemporaryDirectory(prefix="raylabel-faults-") as name:
        folder = Path(name)
        world = build_world(folder / "world", records, seed=7)
        came = []
        for pipeline in PIPELINES:
            calm = _Calm(world, pipeline, folder)
            for scenario in chosen:
                came.append(_Trial(scenario, calm, folder, random.Random(f"{seed} {scenario.name} {pipeline}")).go())
                one = came[-1]
                told = "; ".join(one.wrong) or "as it must be"
                say(f"{pipeline}, {one.scenario}: {sum(one.wall_s):.0f} s, {told}")
    return came


def faults_sheet(came: Sequence[Came]) -> Sheet:
    """A row for each scenario and pipeline."""
    headings = ["scenario", "pipeline", "exits", "kills", "s", "requests", "faults", "repeated", "records", "wrong"]
    rows = [
        [
            one.scenario,
            one.pipeline,
            " ".join(map(str, one.codes)),
            str(one.kills),
            " ".join(f"{s:.0f}" for s in one.wall_s),
            f"{one.requests:,}",
            str(sum(one.faults.values())),
            str(one.repeated),
            ", ".join(f"{count} {outcome}" for outcome, count in sorted(one.records.items())),
            str(len(one.wrong) or "-"),
        ]
        for one in came
    ]
    return Sheet("Runs under faults", headings, rows)


class _Calm:
    """The undisturbed labels of a pipeline: of all records, or of the first ones."""

    def __init__(self, world: World, pipeline: str, folder: Path) -> None:
        self.world, self.pipeline = world, pipeline
        self._folder = folder
        self._known: dict[int, list[Json]] = {}

    def labels(self, images: int) -> list[Json]:
        if images not in self._known:
            results = self._folder / f"calm {self.pipeline} {images}"
            with _server("none") as server:
                _finished(_start(self, images, results, server.url))
            self._known[images] = _labels(results)
        return self._known[images]

    def data(self, images: int) -> dict[str, str]:
        """The ``data`` block for the first so many images."""
        entries = self.world.truth["images"][:images]
        part = self._folder / f"first {images}"
        if not part.is_dir():
            for kind in ("images", "labels"):
                (part / kind).mkdir(parents=True)
            for entry in entries:
                (part / "images" / entry["file"]).symlink_to(self.world.images_dir / entry["file"])
                name = f"{entry['image_id']}.txt"
                (part / "labels" / name).symlink_to(self.world.labels_dir / name)
            known = {entry["file"] for entry in entries}
            lines = self.world.captions_path.read_text(encoding="utf-8").splitlines(keepends=True)
            of_them = "".join(line for line in lines if json.loads(line)["image_path"] in known)
            (part / "captions.jsonl").write_text(of_them, encoding="utf-8")
        if self.pipeline == IMAGE_GROUNDING:
            return {"input_jsonl": str(part / "captions.jsonl"), "image_root": str(part / "images")}
        return {"image_dir": str(part / "images"), "kitti_label_dir": str(part / "labels")}


class _Trial:
    """One scenario in one pipeline."""

    def __init__(self, scenario: Scenario, calm: _Calm, folder: Path, rng: random.Random) -> None:
        self._scenario, self._calm, self._rng = scenario, calm, rng
        total = len(calm.world.truth["images"])
        self._images = min(scenario.records or total, total)
        self._results = folder / f"{scenario.name} {calm.pipeline}"
        self._poisoned = calm.world.truth["images"][5 : self._images : self._images // POISONED or 1][:POISONED]
        self._wrong: list[str] = []
        self._codes: list[int] = []
        self._wall_s: list[float] = []
        self._kills = 0

    def go(self) -> Came:
        """Run until the scenario is over, and look at what came out."""
        faults = f"{self._faults()}; seed {self._rng.randrange(10**6)}"
        with _server(faults) as server:
            self._be_killed(server)
            here = len(self._scenario.codes) - self._scenario.comes_back
            for number, code in enumerate(self._scenario.codes[:here]):
                self._run(server, code, asks_poisoned_only=self._scenario.is_poisoned and number > 0)
            stats = server.stats()
            server.end()
        for code in self._scenario.codes[here:]:
            with _server("none", server.port) as back:
                self._run(back, code)
        self._check_labels()
        answered = [question["answered"] for question in stats["questions"].values()]
        repeated = sum(count - 1 for count in answered if count > 1)
        if repeated > WORKERS * sum(not step.fills_in for step in PIPELINES[self._calm.pipeline]) * (1 + self._kills):
            self._wrong.append(f"{repeated} answers were paid for twice")
        outcomes = Counter(line["outcome"] for line in _lines(self._results / "annotations.jsonl"))
        return Came(
            self._scenario.name,
            self._calm.pipeline,
            self._codes,
            self._kills,
            self._wall_s,
            stats["requests"],
            stats["faults"],
            repeated,
            outcomes,
            self._wrong,
        )

    def _faults(self) -> str:
        clauses = []
        for clause in self._scenario.faults.split("; "):
            names = [entry["file"] for entry in self._poisoned] if "POISON" in clause else [""]
            for name in names:
                digest = hashlib.sha256((self._calm.world.images_dir / name).read_bytes()).hexdigest() if name else ""
                clauses.append(clause.replace("POISON", f"picture={digest}"))
        return "; ".join(clauses)

    def _be_killed(self, server: _Server) -> None:
        while self._kills < self._scenario.kills:
            process = _start(self._calm, self._images, self._results, server.url, self._scenario.limits)
            try:
                process.wait(self._rng.uniform(1.0, 8.0))
                return  # it was done before
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                self._kills += 1

    def _run(self, server: _Server, code: int, *, asks_poisoned_only: bool = False) -> None:
        """Run until that exit code, as often as the scenario allows."""
        before = server.stats()["questions"]
        for _ in range(self._scenario.runs):
            began = time.monotonic()
            self._codes.append(
                _finished(_start(self._calm, self._images, self._results, server.url, self._scenario.limits))
            )
            self._wall_s.append(time.monotonic() - began)
            if self._codes[-1] == code:
                break
        else:
            self._wrong.append(f"run {len(self._codes)} ended with {self._codes[-1]}, expected {code}")
        if asks_poisoned_only:
            files = [self._calm.world.images_dir / entry["file"] for entry in self._poisoned]
            meant = {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
            meant.add(hashlib.sha256(probe_picture().data).hexdigest())  # small questions: is anybody there?
            others = Counter[str]()
            for key, question in server.stats()["questions"].items():
                if question["asked"] > before.get(key, {"asked": 0})["asked"] and question["picture"] not in meant:
                    others[question["task"]] += 1
            if others:
                self._wrong.append(f"run {len(self._codes)} asked of others again: {dict(others)}")

    def _check_labels(self) -> None:
        """The labels are those of the undisturbed run, and nobody else's record is open."""
        bad = {entry["image_id"] for entry in self._poisoned} if self._scenario.is_poisoned else set()
        calm = self._calm.labels(self._images)
        found = {line["record_id"]: line for line in _labels(self._results)}
        for line in calm:
            other = found.pop(line["record_id"], None)
            if line["image_id"] in bad:
                if other is None or other["outcome"] != "failed":
                    self._wrong.append(f"{line['image_id']} must have failed, found {other and other['outcome']}")
            elif other != line:
                self._wrong.append(f"{line['image_id']}: {other and other['outcome']} instead of {line['outcome']}")
        if found:
            self._wrong.append(f"{len(found)} records more than there are")
        reasons = {line["reason"] for line in _lines(self._results / "failures.jsonl") if line["image_id"] in bad}
        if bad and not all("times, though the server answers others" in reason for reason in reasons):
            self._wrong.append(f"reasons of the poisoned: {sorted(reasons)}")
        self._wrong[6:] = [f"and {len(self._wrong) - 6} more"] if len(self._wrong) > 6 else []


class _Server:
    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port, self.url = port, f"http://127.0.0.1:{port}"
        self._process = process
        self._stats: Json = {}

    def stats(self) -> Json:
        """What it counted; the last of it where it is away."""
        try:
            self._stats = read_json(f"{self.url}/stats")
        except OSError:
            return self._stats or {"questions": {}, "requests": 0, "faults": {}}
        return self._stats

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def _server(faults: str, port: int = 0) -> Iterator[_Server]:
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    command = [sys.executable, "-m", "raylabel.demo.server", "--port", str(port), "--faults", faults]
    command += ["--latency-ms", str(LATENCY_MS), "--boxes", "xyxy1000", "--exit-with-parent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        server = _Server(port, process)
        try:
            yield server
        finally:
            server.end()


def _start(
    calm: _Calm, images: int, results: Path, url: str, limits: Mapping[str, float] | None = None
) -> subprocess.Popen[bytes]:
    vlm = {
        "backend": "openai",
        "openai": {"base_url": f"{url}/v1", "model_name": MODEL, "temperature": 0.0, "timeout": TIMEOUT_S},
        "boxes": {"order": "xyxy", "scale": 1000},
        "calibrate": "never",
    }
    specification = {
        "results_dir": str(results),
        "autolabel_type": calm.pipeline,
        calm.pipeline: {"vlm": vlm, "workflow": {"max_workers": WORKERS}, "data": calm.data(images)},
        "limits": dict(limits or {}),
    }
    config = results.with_name(f"{results.name}.yaml")
    config.write_text(json.dumps(specification), encoding="utf-8")  # JSON is YAML
    log = config.with_suffix(".log").open("ab")
    return subprocess.Popen([sys.executable, "-c", _RUN, str(config)], stdout=log, stderr=log)


def _finished(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(_LONGEST_RUN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _lines(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def _labels(results: Path) -> list[Json]:
    """What a result says, without how often it was asked for."""
    return [{k: v for k, v in line.items() if k != "attempts"} for line in _lines(results / "annotations.jsonl")]
