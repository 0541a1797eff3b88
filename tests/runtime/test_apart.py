"""Records that are worked on in a process of their own, for real."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from raylabel.demo.world import build_world
from raylabel.probing.facts import EndpointFacts
from raylabel.records import Record
from raylabel.runtime.apart import find_killers
from raylabel.runtime.preparing import build_spec
from raylabel.sources import read_shard, scan, source_for
from raylabel.storage.folders import Folder
from raylabel.store.results import Results
from tests.end_to_end.running import EXTRACTION, GROUNDING, WireServer, grounding

PATIENCE_S = 60


@pytest.mark.parametrize("endpoints", [1, 2])
def test_what_kills_nobody_is_settled_there_however_many_endpoints_there_are(tmp_path: Path, endpoints: int) -> None:
    world = build_world(tmp_path / "world", 4)
    with WireServer() as one, WireServer() as other:
        urls = [server.url + "/v1" for server in (one, other)][:endpoints]
        several = f"image_grounding.vlm.openai.base_url=[{','.join(urls)}]"
        settings = grounding(world, tmp_path / "results", one.url, several)
        results = Results(Folder(settings.results_dir))
        source = source_for(settings, [EXTRACTION, GROUNDING], settings.results_dir)
        (shard,) = scan(source, 32, tmp_path / "input")
        spec = build_spec(settings, results, source, EndpointFacts(), None)
        ids = [line.record_id for line in read_shard(source, shard) if isinstance(line, Record)]

        async def find() -> dict[str, str]:
            return await asyncio.wait_for(find_killers(spec, shard, ids[:3], lambda: False), PATIENCE_S)

        assert asyncio.run(find()) == {}
        asked = one.asked() + other.asked()
    assert asked[EXTRACTION] == 3
    for plan in spec.selected:
        rows = results.rows(plan.step.directory)
        rows.refresh()
        assert rows.newest(ids).keys() == set(ids[:3])
