"""Old and new results may lie in a bucket, and come to the same there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raylabel.demo.world import build_world
from raylabel.importing import Manner, import_tao
from raylabel.records import IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION
from raylabel.settings import load_settings
from raylabel.storage.folders import Folder
from tests.importing.tao_original import ground, refer
from tests.importing.truthful import Truthful
from tests.s3_server import S3Server


@pytest.mark.parametrize("pipeline", [IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION])
def test_an_old_folder_in_a_bucket_becomes_the_same_results(tmp_path: Path, pipeline: str) -> None:
    world, old = build_world(tmp_path / "world", 4, seed=2), tmp_path / "old"
    if pipeline == IMAGE_GROUNDING:
        ground(world.captions_path, str(world.images_dir), old, Truthful(world))
        data = {"input_jsonl": world.captions_path, "image_root": world.images_dir}
    else:
        refer(world.images_dir, world.labels_dir, old, Truthful(world), "both")
        (old / "step_0_region_expr" / "annotations.jsonl").unlink()  # its text files are read
        data = {"image_dir": world.images_dir, "kitti_label_dir": world.labels_dir}
    vlm = f"{pipeline}.vlm"
    words = [f"autolabel_type={pipeline}", f"{vlm}.backend=openai", f"{vlm}.openai.base_url=http://127.0.0.1:9/v1"]
    words += [f"{vlm}.openai.model_name=m", *(f"{pipeline}.data.{key}={path}" for key, path in data.items())]
    with S3Server() as server:
        for path in sorted(p for p in old.rglob("*") if p.is_file()):
            name = path.relative_to(old).as_posix()
            folder, _, file = f"bucket/old/{name}".rpartition("/")
            Folder(server.uri(folder)).publish(file, path.read_bytes())
        found = {}
        for out, source in ((str(tmp_path / "r"), str(old)), (server.uri("bucket/r"), server.uri("bucket/old"))):
            settings = load_settings(None, [*words, f"results_dir={out}"])
            found[out] = import_tao(settings, source, Manner("pixels"), lambda text: None).to_json()
        here, there = found.values()
        assert there == here | {"unreadable": there["unreadable"], "about_no_record": there["about_no_record"]}
        assert sum(step["taken_over"].get("labeled", 0) for step in here["steps"].values()) >= 6
        for name in ("annotations.jsonl", "failures.jsonl"):
            assert Folder(server.uri("bucket/r")).read(name) == (tmp_path / "r" / name).read_bytes()
        assert json.loads(Folder(server.uri("bucket/r")).read("import.json") or b"")["finished"] is True
