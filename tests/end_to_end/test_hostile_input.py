"""Inputs and servers that mean harm: no record hangs or costs others, and nothing they say steers a terminal."""

from __future__ import annotations

import io
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from raylabel.cli import main
from raylabel.errors import printable
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.run import run
from raylabel.settings import load_settings
from tests.end_to_end.running import endpoint
from tests.local_server import Exchange, LocalServer

ESCAPES = "\x1b[31mred\x1b]0;title\x07\x9b5n\x1bP1$q\x1b\\\u202egnp\r\x08"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Images: a good one, and what is none: a pipe, a socket, links to devices, a file of a terabyte."""
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(images / "good.png")
    os.mkfifo(images / "pipe.png")
    (images / "zero.png").symlink_to("/dev/zero")
    (images / "tty.png").symlink_to("/dev/tty")
    with (images / "huge.png").open("wb") as huge:
        huge.truncate(1 << 40)
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        os.chdir(images)  # a socket's path is short
        try:
            bound.bind("socket.png")
        finally:
            os.chdir(here)
        yield images


def turned_away(exchange: Exchange) -> None:
    if exchange.command == "GET":
        exchange.send(200, {"data": [{"id": f"m{ESCAPES}", "root": f"{ESCAPES}x"}]})
        return
    exchange.send(400, {"error": {"message": f"no {ESCAPES}", "code": [ESCAPES], "type": f"t{ESCAPES}"}})


def results_of(folder: Path, url: str, overrides: list[str]) -> tuple[int, str, dict[str, str]]:
    """Exit code and screen of a run, and the reason of each open record by the name of its image."""
    screen = io.StringIO()
    pipeline = overrides[0].partition(".")[0]
    settings = load_settings(None, [f"results_dir={folder.parent}/out", *endpoint(pipeline, url), *overrides])
    code = run(settings, InProcess(), console=Console(file=screen, width=200))
    lines = (folder.parent / "out" / "failures.jsonl").read_text().splitlines()
    failed = [json.loads(line) for line in lines]
    return code, screen.getvalue(), {Path(f["image_path"]).name: f["reason"] for f in failed if "image_path" in f}


def test_an_image_or_a_label_file_that_has_no_end_fails_alone(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    lines = "".join(json.dumps({"image_path": name, "caption": "a red square"}) + "\n" for name in names)
    (folder.parent / "lines.jsonl").write_text(lines)
    with LocalServer(turned_away) as server:
        data = "image_grounding.data"
        given = [f"{data}.input_jsonl={folder.parent}/lines.jsonl", f"{data}.image_root={folder}"]
        _, _, reasons = results_of(folder, server.url, given)
    for name in ("pipe.png", "socket.png", "zero.png", "tty.png"):
        assert "regular file" in reasons[name] or "No such device" in reasons[name], reasons
    assert "longer than 1,000 MB" in reasons["huge.png"]
    assert "HTTP 400" in reasons["good.png"]


def test_a_label_file_that_has_no_end_fails_its_record_alone(folder: Path) -> None:
    labels = folder.parent / "labels"
    labels.mkdir()
    for path in list(folder.iterdir()):
        if path.name != "good.png":
            path.unlink()
    for n in range(5):
        Image.new("RGB", (64, 48), (200, 30, n)).save(folder / f"{n}.png")
        (labels / f"{n}.txt").write_text("Car 0 0 0 10 10 40 40 0 0 0 0 0 0 0\n")
    (labels / "good.txt").symlink_to("/dev/zero")
    (labels / "0.txt").unlink()
    os.mkfifo(labels / "0.txt")
    with LocalServer(turned_away) as server:
        data = "image_referring_expression.data"
        given = [f"{data}.image_dir={folder}", f"{data}.kitti_label_dir={labels}"]
        _, _, reasons = results_of(folder, server.url, given)
    assert "expected a regular file" in reasons["good.png"]
    assert "expected a regular file" in reasons["0.png"]
    assert "HTTP 400" in reasons["1.png"]


def test_no_text_of_others_steers_a_terminal(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = [
        {"image_path": "good.png", "caption": f"a {ESCAPES}"},
        {"image_path": f"{ESCAPES}.png", "caption": "a red square"},
        {"image_path": "good.png", "caption": [ESCAPES]},
        {"image_path": "good.png", "caption": "b", "image_id": ESCAPES, "flags": [ESCAPES]},
    ]
    path = folder.parent / f"lines{ESCAPES}.jsonl".replace("/", "")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with LocalServer(turned_away) as server:
        given = [f"image_grounding.data.input_jsonl={path}", f"image_grounding.data.image_root={folder}"]
        _, screen, _ = results_of(folder, server.url, given)
        config = folder.parent / "x.yaml"
        config.write_text("results_dir: out")
        for command in ("run", "calibrate"):
            main([command, str(config), f"results_dir={folder.parent}/out2", *endpoint("image_grounding", server.url),
                  *given, "image_grounding.vlm.calibrate=always", "image_grounding.vlm.boxes.order=auto"])  # fmt: skip
    (folder.parent / "answers.jsonl").write_text(json.dumps({"raw": f"[1, 2, 3, 4] {ESCAPES}", "id": ESCAPES}))
    main(["read-answers", str(folder.parent / "answers.jsonl")])
    main(["review", str(folder / ESCAPES.replace("/", "")), "--png"])
    captured = capfd.readouterr()
    for text in (screen, captured.out, captured.err):
        for line in text.split("\n"):
            assert line.split() == printable(line).split(), ascii(line)
