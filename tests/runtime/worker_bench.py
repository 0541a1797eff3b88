"""A worker over drawn records, with a scripted model."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from raylabel.clients.base import Request
from raylabel.clients.scripted import Script, ScriptedClient
from raylabel.pipelines import PIPELINES
from raylabel.probing.facts import EndpointFacts
from raylabel.records import IMAGE_GROUNDING
from raylabel.runtime.coordinator import Budget, Coordinator, Directive, Report, Status
from raylabel.runtime.preparing import build_spec
from raylabel.runtime.worker import Worker
from raylabel.settings import load_settings
from raylabel.sources import Shard, scan, source_for
from raylabel.storage.folders import Folder
from raylabel.store.results import Results
from raylabel.store.tables import Table

_, EXTRACTION, GROUNDING = (step.name for step in PIPELINES[IMAGE_GROUNDING])
GROUNDED = '[{"id": 1, "bbox_2d": [10, 10, 500, 500], "score": 0.9}]'


class WorkerBench:
    """A worker with a scripted client, and a coordinator in the same loop."""

    def __init__(self, folder: Path, records: int, script: Script, shard: int = 4, **workflow: Any) -> None:
        Image.new("RGB", (60, 40), (200, 30, 30)).save(folder / "plain.png")
        lines = [{"image_path": "plain.png", "caption": f"a red car, number {n}"} for n in range(records)]
        (folder / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "unused").touch()
        name = "image_grounding"
        self.settings = load_settings(
            None,
            [
                f"results_dir={folder / 'results'}",
                f"{name}.vlm.backend=scripted",
                f"{name}.vlm.scripted.answers={folder / 'unused'}",
                f"{name}.data.input_jsonl={folder / 'in.jsonl'}",
                f"{name}.data.image_root={folder}",
                f"{name}.workflow.max_workers={workflow.pop('max_workers', 4)}",
                *(f"{key}={value}" for key, value in workflow.items()),
            ],
        )
        self.results = Results(Folder(str(folder / "results")))
        source = source_for(self.settings, [EXTRACTION, GROUNDING], folder / "results")
        self.shards = list(scan(source, shard, folder / "results" / "checkpoints" / "input"))
        self.spec = build_spec(self.settings, self.results, source, EndpointFacts(), None)
        self.client = ScriptedClient(script)
        self.coordinator = Coordinator(
            Budget({p.step.name: p.max_workers for p in self.spec.selected}), self.spec.driver
        )

    async def work(
        self, during: Callable[[Worker], Awaitable[None]] | None = None, shards: Sequence[Shard] | None = None
    ) -> Status:
        """Settle the shards; ``during`` may look at the worker meanwhile."""

        async def tell(report: Report) -> Directive | None:
            return self.coordinator.beat(report)

        worker = Worker(self.spec, tell, "here")
        await worker.open()
        settling = asyncio.ensure_future(worker.process(self.shards if shards is None else shards))
        try:
            if during is not None:
                await during(worker)
            await settling
        finally:
            await worker.close()
        return self.coordinator.driver_beat()

    def rows(self, step: str) -> Table:
        """What a step left in the store."""
        directory = next(p.step.directory for p in self.spec.selected if p.step.name == step)
        table = self.results.rows(directory)
        table.refresh()
        return table


def answer(request: Request) -> str:
    """Extraction gives back the caption, which is another one for each record."""
    if "extract the referring" not in request.question:
        return GROUNDED
    (caption,) = re.findall(r'Caption: "(.*)"', request.question)
    return json.dumps({"cleaned_caption": caption, "expressions": [{"text": caption}]})
