"""User and password of an object store's URL: they open it, and stand nowhere else."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from raylabel.cli import main
from raylabel.demo.world import build_world
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.run import run
from raylabel.settings import load_settings
from raylabel.storage.folders import Folder
from tests.end_to_end.running import REPOSITORY, endpoint, journaled_server
from tests.s3_server import S3Server

PIPELINE = "image_grounding"
USER, SECRET = "AKIAEXAMPLE", "wJalrXUtnFEMI"
LINE_USER, LINE_SECRET = "AKIAOFALINE", "bPxRfiCYEXAMPLEKEY"


def with_user(uri: str, user: str = USER, secret: str = SECRET) -> str:
    return uri.replace("key:secret@", f"{user}:{secret}@")


def stored(s3: S3Server) -> str:
    """All that the results hold as text; tables are compressed."""
    files = [data for key, (data, _) in s3.objects.items() if key.startswith("results/")]
    tables = [pq.read_table(io.BytesIO(data)).to_pylist() for data in files if data.startswith(b"PAR1")]
    assert tables
    return str(tables) + b"\n".join(files).decode("utf-8", "replace")


@pytest.mark.slow
def test_they_open_the_store_and_are_written_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world = build_world(tmp_path / "world", 4, seed=3)
    console = io.StringIO()
    with S3Server() as s3, journaled_server(tmp_path / "server") as server:
        lines = [json.loads(line) for line in world.captions_path.read_text().splitlines()]
        for line in lines:
            image = (world.images_dir / line["image_path"]).read_bytes()
            s3.objects[f"data/images/{line['image_path']}"] = s3.objects[f"own/{line['image_path']}"] = (image, 1.7e9)
        own = with_user(s3.uri(f"own/{lines[0]['image_path']}"), LINE_USER, LINE_SECRET)
        lines[0]["image_path"] = own
        lines += [{"image_path": own + "&x", "caption": ""}, {"image_path": "gone.png", "caption": "a red car"}]
        s3.objects["data/lines.jsonl"] = ("".join(f"{json.dumps(line)}\n" for line in lines).encode(), 1.7e9)
        given = [
            f"results_dir={with_user(s3.uri('results/a'))}",
            *endpoint(PIPELINE, server.url),
            f"{PIPELINE}.data.image_root={with_user(s3.uri('data/images'))}",
        ]
        first = load_settings(None, [*given, f"{PIPELINE}.data.input_jsonl={with_user(s3.uri('data/lines.jsonl'))}"])
        assert run(first, InProcess(), console=Console(file=console)) == 3
        again = load_settings(None, [*given, f"{PIPELINE}.workflow.steps=[1]", "steps.grounding.temperature=0.1"])
        server.entries()
        assert run(again, InProcess(), console=Console(file=console)) == 3
        assert server.entries(), "the images are read by what the first run wrote"

        annotations = [json.loads(line) for line in s3.objects["results/a/annotations.jsonl"][0].splitlines()]
        assert s3.users == {USER, LINE_USER}
        assert {a["image_path"].partition("?")[0] for a in annotations} >= {
            f"s3://own/{Path(own.partition('?')[0]).name}",
            f"s3://data/images/{lines[1]['image_path']}",
        }
        assert b"gone.png" in s3.objects["results/a/failures.jsonl"][0]
        for secret in (SECRET, LINE_SECRET):
            assert secret not in stored(s3)
            assert secret not in console.getvalue() + "".join(capfd.readouterr())


@pytest.mark.parametrize("secret", ["ab/cd+ef0123", "abcdef0123"])
def test_no_sentence_shows_them(tmp_path: Path, capsys: pytest.CaptureFixture[str], secret: str) -> None:
    images = f"s3://{USER}:{secret}@no-bucket/x?scheme=http&region=here&endpoint_override=127.0.0.1:1"
    for key in ("input_jsonl", "image_root") if "/" in secret else ("input_jsonl",):
        (tmp_path / "lines.jsonl").write_text('{"image_path": "a.png", "caption": "a"}\n')
        config = tmp_path / "x.yaml"
        config.write_text(
            f"results_dir: {tmp_path}/out\n{PIPELINE}: {{data: {{input_jsonl: {tmp_path}/lines.jsonl}}}}\n"
        )
        vlm = [f"{PIPELINE}.vlm.backend=openai", f"{PIPELINE}.vlm.openai.base_url=http://127.0.0.1:1/v1"]
        model = f"{PIPELINE}.vlm.openai.model_name=m"
        main(["run", str(config), *vlm, model, f"{PIPELINE}.data.{key}={images}"])
        captured = capsys.readouterr()
        assert secret not in captured.out + captured.err


def test_they_travel_with_a_results_folder_alone() -> None:
    folder = Folder(f"s3://{USER}:{SECRET}@bucket/results?region=here") / "a"
    assert SECRET not in repr(folder) + folder.location_of("b")
    script = (
        "import pickle, sys\n"
        "from raylabel.storage.credentials import with_credentials\n"
        "folder = pickle.load(sys.stdin.buffer)\n"
        "print(folder.location, with_credentials(folder.location))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=pickle.dumps(folder), cwd=REPOSITORY, capture_output=True, check=True
    )
    shown, opened = done.stdout.decode().split()
    assert shown == "s3://bucket/results/a?region=here"
    assert opened == f"s3://{USER}:{SECRET}@bucket/results/a?region=here"
