"""One record, one step, and a client whose answers are made up, for the tests of asking."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from raylabel.clients.base import Finish, Picture, Reply, Request, Sampling, SchemaForm, Usage
from raylabel.clients.endpoints import Member
from raylabel.clients.retry import RetryPolicy
from raylabel.clients.scripted import Answer, ScriptedClient
from raylabel.errors import ClientError, Verdict
from raylabel.profiles import UNKNOWN
from raylabel.records import IMAGE_GROUNDING, Expression, ImageFacts, Record, Size
from raylabel.runtime.asking import Asker, AskSetup, StepEnd
from raylabel.runtime.endpoint import Endpoint
from raylabel.runtime.endpoint_pool import EndpointPool
from raylabel.runtime.tally import Tally
from raylabel.runtime.window import Window
from raylabel.settings import VlmSettings
from raylabel.steps.base import ModelTarget, StepSetup
from raylabel.steps.image_caption import ImageCaption
from raylabel.storage.folders import Folder
from raylabel.store.results import Results

SAMPLING = Sampling("tiny-vlm", 0.3, 1000, 5.0)
POLICY = RetryPolicy(attempts=2, backoff_s=0.0, max_backoff_s=0.0)
CAPTION = '{"caption": "Two red cars."}'
BOX = [100, 200, 300, 400]


def make_record(ident: int = 0, digest: str = "d" * 32, **fields: Any) -> Record:
    size = Size(640, 480)
    facts = ImageFacts(digest, size, 1, "image/jpeg", True)
    return Record(f"{ident:032x}", 0, ident, "image", "image.jpg", IMAGE_GROUNDING, image=facts, **fields)


def phrases(*texts: str) -> Record:
    return make_record(expressions=tuple(Expression(f"e{n}", text) for n, text in enumerate(texts)))


class Bench:
    """Askers over one results folder, as several runs would make them."""

    def __init__(self, tmp_path: Path) -> None:
        self.results = Results(Folder(str(tmp_path)))
        self.fatal: list[ClientError] = []
        self.checks = 0
        self.pictures: list[str] = []

    def asker(
        self,
        script,
        step=ImageCaption,
        size=8,
        picture=None,
        table=None,
        prompt=None,
        profile=UNKNOWN,
        is_alive=True,
        is_kept=False,
        **changes,
    ):
        """An asker of a new run: it knows what is stored, and its window is open.

        Args:
            is_alive: what a look at the endpoint shows that costs nothing.
            is_kept: it is a replica of the run's own.
        """
        sampling, recipe = changes.pop("sampling", SAMPLING), changes.pop("recipe", "recipe")
        target = ModelTarget(prompt or step.prompt, profile, recipe)
        setup = AskSetup(POLICY, (sampling,), 0, 3, "auto", SchemaForm.NATIVE)
        table = table or self.results.answers(step.directory)
        table.refresh()

        async def show(record, resize, by_file):
            self.pictures.append(record.record_id)
            return Picture.of(b"jpeg", "image/jpeg")

        client = script if isinstance(script, ScriptedClient) else ScriptedClient(script)
        looked_at = _LookedAt(client, self, is_alive)
        tally = Tally()
        self.pool = EndpointPool(lambda member: looked_at, sampling, tally, self.fatal.append)
        self.pool.set([Member("here", VlmSettings(), is_kept=is_kept)])
        window = Window(self.pool)
        window.resize(size)
        asker = Asker(
            step(StepSetup((target,))),
            dataclasses.replace(setup, **changes),
            self.pool,
            table,
            window,
            picture or show,
            tally,
            self.fatal.append,
            self.fatal.append,
        )
        return asker, client

    @property
    def endpoint(self) -> Endpoint:
        """The one that the last asker asks."""
        return self.pool._endpoints[0]

    def run_step(self, script, record, step=ImageCaption, **changes):
        """One run over one record: how the step ended, and what was asked."""
        asker, client = self.asker(script, step, **changes)
        return asyncio.run(asker.run_step(record)), client.requests

    def stored(self, step=ImageCaption):
        """All replies in the store, oldest first."""
        rows = []
        for path in sorted(Path((self.results.step(step.directory) / "answers").location).glob("*.parquet")):
            rows += pq.ParquetFile(path).read().to_pylist()
        return sorted(rows, key=lambda row: (row["seq"], row["uid"]))


class _LookedAt(ScriptedClient):
    """A scripted client that counts how often it is looked at, and is there the first time."""

    def __init__(self, client: ScriptedClient, bench: Bench, is_alive: bool) -> None:
        self._client, self._bench, self._is_alive = client, bench, is_alive

    async def ask(self, request: Request) -> Reply:
        return await self._client.ask(request)

    async def check(self) -> None:
        self._bench.checks += 1
        if not self._is_alive and self._bench.checks > 1:
            raise trouble(Verdict.RETRY, "nobody there")


def in_turn(*answers: Answer) -> Callable[[Request], Answer]:
    """The answers one after the other; the last one stays."""
    left = list(answers)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


def cut(text: str = "{") -> Reply:
    return Reply(text, Finish.LENGTH, Usage(), "tiny-vlm", 0.1, "length", False)


def trouble(verdict: Verdict, message: str = "trouble", **more: Any) -> ClientError:
    return ClientError(verdict, message, **more)


def violations(end: StepEnd) -> dict[str, int]:
    return dict(end.outcome.violations)
