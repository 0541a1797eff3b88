"""What the tests of whole runs share: specifications, a run in this process, and a server that misbehaves on order."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from raylabel.demo.server import openai_api
from raylabel.demo.server.model import Model
from raylabel.demo.server.questions import read_question
from raylabel.demo.world import World
from raylabel.runtime.executor import Executor
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.run import run
from raylabel.settings import Settings, load_settings
from tests.local_server import Exchange, LocalServer
from tests.served_here import served_here

Json = dict[str, Any]
REPOSITORY = Path(__file__).parents[2]
MODEL = "raylabel-demo-vlm"
EXTRACTION, GROUNDING = "expression_extraction", "grounding"
REGIONS, CAPTION, GROUPING, CHECK = "region_expr", "image_caption", "grounding_expr", "double_check"

# --- specifications -------------------------------------------------------------------------------------------------


def endpoint(pipeline: str, url: str, backend: str = "openai") -> list[str]:
    """Overrides that name a server of 127.0.0.1, with few and quick retries, and say how it writes boxes."""
    vlm = f"{pipeline}.vlm"
    if backend == "gemini":
        where = [f"{vlm}.gemini.base_url={url}", f"{vlm}.gemini.model={MODEL}", f"{vlm}.gemini.temperature=0"]
    elif backend == "anthropic":
        where = [f"{vlm}.anthropic.base_url={url}", f"{vlm}.anthropic.model={MODEL}"]
    else:
        where = [f"{vlm}.openai.base_url={url}/v1", f"{vlm}.openai.model_name={MODEL}", f"{vlm}.openai.temperature=0"]
    return [
        f"autolabel_type={pipeline}",
        f"{vlm}.backend={backend}",
        *where,
        f"{vlm}.boxes.order={'yxyx' if backend == 'gemini' else 'xyxy'}",
        f"{vlm}.boxes.scale=1000",
        f"{vlm}.calibrate=never",
        f"{pipeline}.workflow.max_workers=8",
        "retry.attempts=2",
        "retry.backoff=0.05",
        "retry.max_backoff=0.1",
    ]


def grounding(world: World, results: Path, url: str, *overrides: str, backend: str = "openai") -> Settings:
    """image_grounding over a world's captions."""
    data = {"input_jsonl": world.captions_path, "image_root": world.images_dir}
    return _loaded("image_grounding", data, results, url, overrides, backend)


def referring(world: World, results: Path, url: str, *overrides: str, backend: str = "openai") -> Settings:
    """image_referring_expression over a world's images and labels."""
    data = {"image_dir": world.images_dir, "kitti_label_dir": world.labels_dir}
    return _loaded("image_referring_expression", data, results, url, overrides, backend)


def _loaded(
    pipeline: str, data: dict[str, Path], results: Path, url: str, overrides: Sequence[str], backend: str
) -> Settings:
    given = [f"{pipeline}.data.{key}={path}" for key, path in data.items()]
    return load_settings(None, [f"results_dir={results}", *endpoint(pipeline, url, backend), *given, *overrides])


def unknown(settings: Settings) -> Settings:
    """The same specification without a word on how the model writes boxes."""
    vlm = settings.pipeline.vlm
    vlm.boxes.order, vlm.boxes.scale, vlm.calibrate = "auto", "auto", "auto"
    vlm.openai.model_name = vlm.gemini.model = "a-model-nobody-knows"
    settings.double_check.adjust = "apply"
    return settings


def served_as(settings: Settings, name: str) -> Settings:
    """The same specification for a model of that name, whatever the protocol."""
    settings.pipeline.vlm.openai.model_name = settings.pipeline.vlm.gemini.model = name
    return settings


def captions_override(path: Path, lines: Sequence[Json | str]) -> str:
    """Write an input file (text goes in as it is) and name it."""
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return f"image_grounding.data.input_jsonl={path}"


# --- runs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    """A run that ended, and what stood in its files then; empty where a file was not written."""

    code: int
    printed: str
    results: Path
    annotations: list[Json]
    failures: list[Json]
    manifest: Json

    @property
    def counts(self) -> Json:
        """Of ``run.json``; every input line must be in them once."""
        counts: Json = self.manifest["counts"]
        assert (
            counts["input_lines"] == sum(counts["records"].values()) + counts["unusable_lines"] + counts["unfinished"]
        )
        return counts


def label(settings: Settings, limit: int | None = None, executor: Executor | None = None, **how: Any) -> Ran:
    """Run in this process, without Ray unless an executor says so: what Ray adds has tests of its own.

    Args:
        how: what else ``run`` is told.
    """
    said = io.StringIO()
    code = run(settings, executor or InProcess(), limit, Console(file=said, width=200), **how)
    results = Path(settings.results_dir)
    manifest = results / "run.json"
    return Ran(
        code,
        said.getvalue(),
        results,
        read_lines(results / "annotations.jsonl"),
        read_lines(results / "failures.jsonl"),
        json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {},
    )


def command(*words: str, cwd: Path, under: Sequence[str] = (), **variables: str) -> subprocess.CompletedProcess[str]:
    """``python -m raylabel ...`` in a process of its own, with a Ray of its own; see ``python``."""
    return python("-m", "raylabel", *words, cwd=cwd, under=under, **variables)


def python(*words: str, cwd: Path, under: Sequence[str] = (), **variables: str) -> subprocess.CompletedProcess[str]:
    """An interpreter of its own.

    Args:
        under: the command that runs this one.
        variables: of the environment.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_") and not k.endswith("_API_KEY")}
    return subprocess.run(
        [*under, sys.executable, *words],
        cwd=cwd,
        env={**env, "PYTHONPATH": str(REPOSITORY), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )


def read_lines(path: Path) -> list[Json]:
    """The objects of a file; none where there is no file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def write_lines(path: Path, lines: Sequence[Json]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


# --- servers --------------------------------------------------------------------------------------------------------


@dataclass
class JournaledServer:
    """The demo server, with its journal."""

    url: str
    journal: Path
    stats: Callable[[], Json]
    _read: int = 0

    def asked(self) -> Counter[str]:
        """Questions by task since the last look."""
        return Counter(line["task"] for line in self.entries())

    def entries(self) -> list[Json]:
        """Lines of the journal since the last look."""
        lines = read_lines(self.journal)
        new, self._read = lines[self._read :], len(lines)
        return new


@contextmanager
def journaled_server(folder: Path, *options: str) -> Iterator[JournaledServer]:
    """The demo server with a journal in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with served_here("--journal", str(folder / "journal.jsonl"), *options) as server:
        yield JournaledServer(server.url, folder / "journal.jsonl", server.ledger.stats)


@dataclass(frozen=True)
class Seen:
    """One question as it came over the wire; ``number`` counts from 0."""

    number: int
    task: str
    text: str
    body: Json


@dataclass(frozen=True)
class Fault:
    """What is sent instead of an answer."""

    status: int
    body: Json
    headers: dict[str, str] = field(default_factory=dict)


def error(status: int, message: str = "the server failed", **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(status, openai_api.write_error(status, message), named)


def says(text: str, finish: str = "stop") -> Fault:
    """A completed answer with this text."""
    message = {"role": "assistant", "content": text, "refusal": None}
    return Fault(
        200,
        {
            "id": "chatcmpl-0",
            "object": "chat.completion",
            "created": 0,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        },
    )


def nothing_found(seen: Seen, finish: Any) -> Fault:
    """An answer by which nothing that was asked for is there."""
    ids = [json.loads(line)["id"] for line in seen.text.splitlines() if line.startswith('{"id"')]
    none = json.dumps([{"id": number, "bbox_2d": None, "label": ""} for number in ids])
    return says(none, finish) if ids else says('{"cleaned_caption": "A caption.", "expressions": []}', finish)


class WireServer(LocalServer):
    """Speaks the OpenAI protocol, writes down every question, and answers as the demo model does unless told otherwise.

    Args:
        misbehave: what to send instead of the answer to a question, or None.
        latency_s: every answer takes so long at least.
    """

    def __init__(self, misbehave: Callable[[Seen], Fault | None] = lambda seen: None, latency_s: float = 0.0) -> None:
        super().__init__(self._respond)
        self.misbehave = misbehave
        self.seen: list[Seen] = []
        self.most_in_flight: Counter[str] = Counter()
        self._latency_s = latency_s
        self._in_flight: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._model = Model()

    def asked(self) -> Counter[str]:
        """Questions by task since the last look."""
        with self._lock:
            tasks = Counter(seen.task for seen in self.seen)
            self.seen.clear()
        return tasks

    def _respond(self, exchange: Exchange) -> None:
        if exchange.command == "GET":
            exchange.send(200, openai_api.write_models(MODEL))
            return
        fault = self._answer(json.loads(exchange.body))
        exchange.send(fault.status, fault.body, fault.headers)

    def _answer(self, body: Json) -> Fault:
        ask = openai_api.read_request(body, "xyxy1000")
        task = read_question(ask.after).name
        with self._lock:
            seen = Seen(len(self.seen), task, ask.after, body)
            self.seen.append(seen)
            for name in (task, "all"):
                self._in_flight[name] += 1
                self.most_in_flight[name] = max(self.most_in_flight[name], self._in_flight[name])
        try:
            time.sleep(self._latency_s)
            fault = self.misbehave(seen)
            if fault is not None:
                return fault
            return Fault(200, openai_api.write_reply(self._model.answer(ask), str(body["model"]), 0))
        finally:
            with self._lock:
                self._in_flight.subtract((task, "all"))
