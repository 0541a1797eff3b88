"""Which way should a picture take from step to step: in the block, or by its path through the page cache?

Runs the same two-stage plan both ways in one Ray and prints wall time, their ratio, and the most bytes the object store
held. Run: ``.venv/bin/python scripts/benchmarks/image_route.py [--images 400] [--kilobytes 800]``
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy

from raylabel.engine.session import ray_session
from raylabel.settings import RaySettings

BLOCK = 16


class Stage:
    """Stands for a step: has every picture's bytes in hand once, and passes the block on."""

    def __init__(self, by_path: bool) -> None:
        self._by_path = by_path

    def __call__(self, block: pa.Table) -> pa.Table:
        held = 0
        for row in range(block.num_rows):
            data = Path(block["path"][row].as_py()).read_bytes() if self._by_path else block["data"][row].as_buffer()
            held += len(data)
        assert held > 0
        return block


def read(numbers: pa.Table, paths: list[str], by_path: bool) -> pa.Table:
    """The first stage opens every picture once in either case: it has to verify it."""
    chosen = [p for n in numbers["id"].to_pylist() for p in paths[n * BLOCK : (n + 1) * BLOCK]]
    data = [Path(p).read_bytes() for p in chosen]
    return pa.table({"path": chosen}) if by_path else pa.table({"path": chosen, "data": pa.array(data, pa.binary())})


def measure(paths: list[str], by_path: bool) -> tuple[float, int]:
    """Wall seconds of the plan, and the most bytes the object store held meanwhile."""
    blocks = -(-len(paths) // BLOCK)
    plan = ray.data.range(blocks, override_num_blocks=blocks).map_batches(
        read, batch_size=None, batch_format="pyarrow", fn_kwargs={"paths": paths, "by_path": by_path}
    )
    for _ in range(2):
        plan = plan.map_batches(
            Stage,
            fn_constructor_args=(by_path,),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=0.01,
            compute=ActorPoolStrategy(size=1, max_concurrent_calls_per_actor=4, enable_true_multi_threading=True),
        )
    most, ended = [0], threading.Event()

    def watch() -> None:
        total = ray.cluster_resources()["object_store_memory"]
        while not ended.wait(0.05):
            most[0] = max(most[0], int(total - ray.available_resources().get("object_store_memory", total)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    for block in plan.iter_batches(batch_size=None, batch_format="pyarrow"):
        assert block.num_rows
    wall = time.perf_counter() - started
    ended.set()
    watcher.join()
    return wall, most[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--kilobytes", type=int, default=800)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ray_session(RaySettings(object_store_mb=512)):
        paths = []
        for number in range(options.images):
            path = Path(folder) / f"{number}.bin"
            path.write_bytes(os.urandom(options.kilobytes << 10))
            paths.append(str(path))
        measure(paths[:BLOCK], by_path=True)  # warm up
        in_block = [measure(paths, by_path=False) for _ in range(3)]
        by_path = [measure(paths, by_path=True) for _ in range(3)]
    best_block, best_path = min(w for w, _ in in_block), min(w for w, _ in by_path)
    print(
        json.dumps(
            {
                "images": options.images,
                "megabytes": options.images * options.kilobytes / 1024,
                "in_block_s": round(best_block, 2),
                "by_path_s": round(best_path, 2),
                "in_block_over_by_path": round(best_block / best_path, 2),
                "object_store_mb_in_block": max(m for _, m in in_block) >> 20,
                "object_store_mb_by_path": max(m for _, m in by_path) >> 20,
            }
        )
    )


if __name__ == "__main__":
    main()
