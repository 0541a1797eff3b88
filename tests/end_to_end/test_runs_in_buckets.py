"""Whole runs of which input, images and results lie in a bucket of a real S3 server that fails one request in ten."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raylabel.demo.launch import demo_server
from raylabel.demo.scenes import Style
from raylabel.demo.world import World, build_world
from tests.bucket_server import FAILS, FAILS_AFTERWARDS, BucketServer, Proxy, at_random, bucket_server
from tests.end_to_end.cli_runs import CliRun, read_journal, run_cli, write_config
from tests.end_to_end.running import grounding, journaled_server, label, referring

pytestmark = pytest.mark.slow

IMAGES = 10
PIPELINES = {"image_grounding": grounding, "image_referring_expression": referring}


def stock(server: BucketServer, world: World) -> None:
    """Put a world into the bucket: its captions, images and KITTI labels."""
    for file in (world.captions_path, *world.images_dir.iterdir(), *world.labels_dir.iterdir()):
        server.put(f"world/{file.relative_to(world.root)}", file.read_bytes())


def run_killed_and_resumed(folder: Path, pipeline: str, world: World, proxy: Proxy, rng: random.Random) -> Path:
    """Run in the bucket, killed at a random moment; returns the journal of what was asked."""
    journal = folder / f"{pipeline}.jsonl"
    places = {"image_dir": world.images_dir, "kitti_label_dir": world.labels_dir}
    if pipeline == "image_grounding":
        places = {"input_jsonl": world.captions_path, "image_root": world.images_dir}
    data = {key: proxy.uri(f"world/{path.relative_to(world.root)}") for key, path in places.items()}
    with demo_server("--journal", str(journal), "--latency-ms", "50") as server:
        changes = {"results_dir": proxy.uri(f"results/{pipeline} 1"), f"{pipeline}__data": data}
        config = write_config(folder / f"{pipeline}.yaml", Path(), pipeline, world, server.url, **changes)
        killed, moment = CliRun(config), rng.randrange(IMAGES, 2 * IMAGES)
        killed.wait_until(lambda: len(read_journal(journal)) >= moment)
        killed.kill_all()
        code, out = run_cli(config)
    assert code == 0, out
    return journal


def test_runs_in_a_bucket_that_are_killed_and_resumed_end_with_the_bytes_of_local_ones(tmp_path: Path) -> None:
    seed = random.randrange(1000)
    print(f"seed {seed}")
    world = build_world(tmp_path / "world", IMAGES, style=Style(sizes_wh=((320, 240),)))
    local, asked = {}, {}
    with journaled_server(tmp_path / "reference") as server:
        for pipeline, specified in PIPELINES.items():
            ran = label(specified(world, tmp_path / pipeline, server.url, "double_check.adjust=apply"))
            assert ran.code == 0
            local[pipeline] = (ran.results / "annotations.jsonl").read_bytes()
            asked[pipeline] = len(server.entries())

    # Requests are tried again after 0.2 s, and after 3 s where nothing was answered: both at once wait together.
    faults = at_random(seed, fails=0.07, fails_afterwards=0.025, hangs=0.005)
    with bucket_server() as bucket, Proxy(bucket, faults) as proxy, ThreadPoolExecutor(len(PIPELINES)) as pool:
        stock(bucket, world)
        begun = [
            pool.submit(run_killed_and_resumed, tmp_path, pipeline, world, proxy, random.Random(seed))
            for pipeline in PIPELINES
        ]
        journals = dict(zip(PIPELINES, [one.result() for one in begun], strict=True))
        before, behind = proxy.uri("world/images/X").replace("key:secret@", "").split("X")
        for pipeline, journal in journals.items():
            names = bucket.names(f"results/{pipeline} 1")
            assert {"annotations.jsonl", "failures.jsonl", "run.json"} <= set(names)
            assert not [name for name in names if "damaged" in name]
            labeled = bucket.get(f"results/{pipeline} 1/annotations.jsonl")
            here = f"{world.images_dir}/".encode()
            assert labeled.replace(before.encode(), here).replace(behind.encode(), b"") == local[pipeline]
            questions = Counter(entry["question"] for entry in read_journal(journal))
            assert len(questions) == asked[pipeline]
            assert max(questions.values()) <= 2  # before and after the kill
        assert proxy.faults.keys() >= {FAILS, FAILS_AFTERWARDS}
