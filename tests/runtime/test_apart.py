"""Records that are worked on in a process of their own, for real."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from raylabel.demo.world import build_world
from raylabel.probing.facts import EndpointFacts
from raylabel.records import Record
from raylabel.runtime.apart import find_killers
from raylabel.runtime.preparing import build_spec
from raylabel.runtime.spec import RunSpec
from raylabel.sources import Shard, read_shard, scan, source_for
from raylabel.storage.folders import Folder
from raylabel.store.results import Results
from tests.end_to_end.running import EXTRACTION, GROUNDING, WireServer, grounding

PATIENCE_S = 60


def prepare(folder: Path, *urls: str) -> tuple[RunSpec, Shard, list[str]]:
    """A run over a few drawn images, its only shard, and the ids of three of its records."""
    world = build_world(folder / "world", 4)
    endpoints = f"image_grounding.vlm.openai.base_url=[{','.join(f'{url}/v1' for url in urls)}]"
    settings = grounding(world, folder / "results", urls[0], endpoints)
    source = source_for(settings, [EXTRACTION, GROUNDING], settings.results_dir)
    (shard,) = scan(source, 32, folder / "input")
    spec = build_spec(settings, Results(Folder(settings.results_dir)), source, EndpointFacts(), None)
    return spec, shard, [line.record_id for line in read_shard(source, shard) if isinstance(line, Record)][:3]


def find(spec: RunSpec, shard: Shard, ids: list[str]) -> dict[str, str]:
    async def find_in_time() -> dict[str, str]:
        return await asyncio.wait_for(find_killers(spec, shard, ids, lambda: False), PATIENCE_S)

    return asyncio.run(find_in_time())


@pytest.mark.parametrize("endpoints", [1, 2])
def test_what_kills_nobody_is_settled_there_however_many_endpoints_there_are(tmp_path: Path, endpoints: int) -> None:
    with WireServer() as one, WireServer() as other:
        spec, shard, ids = prepare(tmp_path, *(server.url for server in (one, other)[:endpoints]))
        assert find(spec, shard, ids) == {}
        asked = one.asked() + other.asked()
    assert asked[EXTRACTION] == 3
    for plan in spec.selected:
        rows = spec.results.rows(plan.step.directory)
        rows.refresh()
        assert rows.newest(ids).keys() == set(ids)


def test_a_process_that_breaks_off_was_killed_by_no_record(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with WireServer() as server:
        spec, shard, ids = prepare(tmp_path, server.url)
        nowhere = dataclasses.replace(spec, results=Results(Folder(str(tmp_path / "file"))))
        assert find(nowhere, shard, ids) == {}
        assert not server.asked()
