"""A whole run of which everything lies in an object store."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from raylabel.demo.score import missed_targets, score_referring
from raylabel.demo.world import build_world
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.run import run
from raylabel.settings import load_settings
from raylabel.sources.kitti_rows import read_labels
from tests.end_to_end.running import endpoint, journaled_server
from tests.s3_server import S3Server

pytestmark = pytest.mark.slow

PIPELINE = "image_referring_expression"


def test_images_input_and_results_may_lie_in_a_bucket(tmp_path: Path) -> None:
    world = build_world(tmp_path / "world", 4, seed=3)
    lines = []
    with S3Server() as s3, journaled_server(tmp_path / "server") as server:
        for entry in world.truth["images"]:
            s3.objects[f"data/images/{entry['file']}"] = ((world.images_dir / entry["file"]).read_bytes(), 1.7e9)
            seeds, _ = read_labels((world.labels_dir / f"{entry['image_id']}.txt").read_bytes())
            boxes = [[*seed.box.as_tuple(), seed.type] for seed in seeds]
            lines.append({"image_id": entry["image_id"], "image_path": entry["file"], "kitti_bboxes": boxes})
        s3.objects["data/lines.jsonl"] = ("".join(f"{json.dumps(line)}\n" for line in lines).encode(), 1.7e9)
        settings = load_settings(
            None,
            [
                f"results_dir={s3.uri('results/a b')}",
                *endpoint(PIPELINE, server.url),
                f"{PIPELINE}.data.input_annotations_jsonl={s3.uri('data/lines.jsonl')}",
                f"{PIPELINE}.data.image_dir={s3.uri('data/images')}",
                f"{PIPELINE}.workflow.output_format=both",
                "double_check.adjust=apply",
            ],
        )

        assert run(settings, InProcess(), console=Console(file=io.StringIO())) == 0
        asked = len(server.entries())
        annotations = s3.objects["results/a b/annotations.jsonl"][0]
        labeled = [json.loads(line) for line in annotations.splitlines()]
        for line in labeled:
            assert line["image_path"].startswith("s3://")
            line["image_path"] = line["image_path"].partition("?")[0]  # the truth is found by the file's name
        legacy = sorted(key for key in s3.objects if key.endswith(".txt.step3"))

        assert asked > 0
        assert missed_targets(score_referring(world.truth, labeled)) == []
        assert legacy == [
            f"results/a b/step_3_double_check/labels/{line['image_id']}.txt.step3"
            for line in sorted(lines, key=lambda line: str(line["image_id"]))
        ]

        assert run(settings, InProcess(), console=Console(file=io.StringIO())) == 0
        assert server.entries() == []
        assert s3.objects["results/a b/annotations.jsonl"][0] == annotations
