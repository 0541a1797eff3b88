"""Whole runs among other people's Ray: under ``uv run``, and with an address that nobody answers at."""

from __future__ import annotations

from pathlib import Path

import pytest

from raylabel.demo.launch import demo_server
from raylabel.demo.world import build_world
from tests.end_to_end.running import captions_override, command, endpoint, read_lines

pytestmark = pytest.mark.slow

LARGE = 600 << 20
"""Bytes; Ray copies no working folder of more than 512 MiB to a cluster's nodes."""


def test_a_run_under_uv_does_not_copy_the_working_folder(tmp_path: Path) -> None:
    # Ray knows "uv run" by the name and the first word of an ancestor; to this shell "run" is a script.
    uv, project = tmp_path / "uv", tmp_path / "project"
    uv.symlink_to("/bin/sh")
    world = build_world(project, 2)
    (project / "run").write_text('"$@"\nexit $?\n')
    with (project / "video.bin").open("wb") as large:
        large.truncate(LARGE)
    (project / "config.yaml").write_text("results_dir: results\n")
    with demo_server() as server:
        data = [f"image_grounding.data.input_jsonl={world.captions_path}"]
        data += [f"image_grounding.data.image_root={world.images_dir}"]
        words = ["run", "config.yaml", *endpoint("image_grounding", server.url), *data]
        ended = command(*words, cwd=project, under=[str(uv), "run"])
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(read_lines(project / "results" / "annotations.jsonl")) == len(read_lines(world.captions_path))


@pytest.mark.parametrize("address", ["127.0.0.2:1", "ray://127.0.0.2:10001"])
def test_a_cluster_that_is_gone_ends_a_run_before_anything_is_asked(tmp_path: Path, address: str) -> None:
    (tmp_path / "config.yaml").write_text("results_dir: results\n")
    (tmp_path / "a.jpg").write_bytes(b"")
    lines = captions_override(tmp_path / "captions.jsonl", [{"image_path": "a.jpg", "caption": "a cup"}])
    nobody = endpoint("image_grounding", "http://127.0.0.2:1")
    ended = command("run", "config.yaml", *nobody, lines, cwd=tmp_path, RAY_ADDRESS=address)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert ended.stderr.startswith("raylabel: RAY_ADDRESS: ")
    assert address in ended.stderr
