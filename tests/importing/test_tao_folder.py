"""Old folders with whatever in them: what is found is of the right record, and nothing in them breaks an import."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from raylabel.cli import main
from raylabel.demo.world import World, build_world
from raylabel.importing.tao import UNKNOWN
from raylabel.importing.tao_folder import CHECKPOINT, LABELS, LINES, Subject, TaoFolder
from raylabel.pipelines import all_steps
from raylabel.records import IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION
from tests.importing.tao_original import ground, refer, write_lines
from tests.importing.truthful import Truthful

Json = dict[str, Any]
STEPS = all_steps()
EXTRACTION, GROUNDING = STEPS["expression_extraction"], STEPS["grounding"]
REGIONS, CAPTION = STEPS["region_expr"], STEPS["image_caption"]


def found(folder: Path, step: Any, *subjects: Subject, pipeline: str = IMAGE_GROUNDING) -> list[list[Any]]:
    with closing(TaoFolder(str(folder), pipeline)) as old:
        return [[(o.kind, o.is_own, o.fields.get("n", o.text)) for o in old.of(step, s)] for s in subjects]


def old_line(n: int, path: str, caption: str = "a") -> Json:
    return {"n": n, "image_path": path, "caption": caption}


def test_lines_are_found_by_image_and_caption(tmp_path: Path) -> None:
    lines = [
        old_line(0, "/d/a.png", "a"),
        old_line(1, "/d/a.png", "b"),
        old_line(2, "/d/more/a.png", "a"),
        old_line(3, "d/b.png"),
        old_line(4, "/x/c.png"),
        old_line(5, "/y/c.png"),
    ]
    write_lines(tmp_path / EXTRACTION.directory / LINES, lines)
    assert found(
        tmp_path,
        EXTRACTION,
        Subject("/d/a.png", "a.png", "a"),
        Subject("/d//a.png", "a.png", "b"),
        Subject("/d/more/a.png", "more/a.png", "a"),
        Subject("/d/a.png", "a.png", "c"),
        Subject("./d/b.png", "b.png", "a"),
        Subject("/elsewhere/b.png", "b.png", "a"),
        Subject("/elsewhere/c.png", "c.png", "a"),  # one of two, and nobody knows which
        Subject("/elsewhere/x/c.png", "x/c.png", "a"),
        Subject("/elsewhere/aa.png", "aa.png", "a"),
    ) == [[(LINES, True, n)] for n in (0, 1, 2)] + [
        [],
        [(LINES, True, 3)],
        [(LINES, True, 3)],
        [],
        [(LINES, True, 4)],
        [],
    ]


def test_own_files_come_first_then_later_steps_and_the_top(tmp_path: Path) -> None:
    subject = Subject("/d/a.png", "a.png", "a")
    for n, folder in enumerate(("", GROUNDING.directory, EXTRACTION.directory)):
        write_lines(tmp_path / folder / LINES, [old_line(n, "/d/a.png")])
    write_lines(tmp_path / EXTRACTION.directory / ".ckpt" / "a.json", [old_line(3, "/d/a.png")])
    assert found(tmp_path, EXTRACTION, subject) == [
        [(LINES, True, 2), (CHECKPOINT, True, 3), (LINES, False, 1), (LINES, False, 0)]
    ]
    assert found(tmp_path, GROUNDING, subject) == [[(LINES, True, 1), (LINES, False, 0)]]


def test_label_files_are_found_by_stem_unless_that_is_of_several_images(tmp_path: Path) -> None:
    labels = tmp_path / CAPTION.directory / "labels"
    labels.mkdir(parents=True)
    (labels / "a.b.txt.step1").write_text("A road.", encoding="utf-8-sig")
    (labels / "c.txt.step1").write_bytes(b"\xff\xfe")
    (labels / "d.txt.step1").mkdir()
    alone = [Subject(f"/d/{name}.png", f"{name}.png", None) for name in ("a.b", "c", "d")]
    twin = Subject("/d/a.b.png", "a.b.png", None, is_alone=False)
    assert found(tmp_path, CAPTION, *alone, twin, pipeline=IMAGE_REFERRING_EXPRESSION) == [
        [(LABELS, True, "A road.")],
        [(LABELS, True, "\ufffd\ufffd")],
        [],
        [],
    ]


def test_what_cannot_be_read_and_what_is_about_nothing_is_counted(tmp_path: Path) -> None:
    path = tmp_path / EXTRACTION.directory / LINES
    write_lines(path, [old_line(0, "/d/a.png"), old_line(1, "/d/b.png")])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b'[1]\n{"image_path": 7}\n{"image_path": "/d/c.png", "capt')
    checkpoints = path.parent / ".ckpt"
    checkpoints.mkdir()
    (checkpoints / "empty.json").touch()
    os.mkfifo(checkpoints / "pipe.json")
    with closing(TaoFolder(str(tmp_path), IMAGE_GROUNDING)) as old:
        old.expect(Subject("/d/a.png", "a.png", "a"))
        assert old.unreadable() == {str(path): 3, str(checkpoints): 2}
        assert old.unexpected() == {str(path): 1}
        assert old.example() == "/d/a.png"


# --- hostile folders ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 5, seed=3)


@pytest.fixture(scope="module")
def olds(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("olds")
    ground(world.captions_path, str(world.images_dir), folder / IMAGE_GROUNDING, Truthful(world))
    refer(world.images_dir, world.labels_dir, folder / IMAGE_REFERRING_EXPRESSION, Truthful(world), "both")
    vlm = {"backend": "openai", "openai": {"base_url": "http://127.0.0.1:9/v1", "model_name": "m"}}
    data = {
        IMAGE_GROUNDING: {"input_jsonl": str(world.captions_path), "image_root": str(world.images_dir)},
        IMAGE_REFERRING_EXPRESSION: {"image_dir": str(world.images_dir), "kitti_label_dir": str(world.labels_dir)},
    }
    for name, of_pipeline in data.items():
        specification = {"autolabel_type": name, name: {"vlm": vlm, "data": of_pipeline}}
        (folder / name / "experiment.yaml").write_text(json.dumps(specification))
    return {name: folder / name for name in data}


def truncate(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size + 1)])


def overwrite(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(rng.randrange(1, 40)):
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)


def fill(path: Path, rng: random.Random) -> None:
    path.write_bytes(
        rng.choice([b"", b"\n\n", b"[]", b"null\n" * 9, b"\x00" * 999, b"[" * 9999, b'{"image_path": "x"}\n'])
    )


def turn_into_folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def turn_into_pipe(path: Path, rng: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def turn_into_loop(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to(path)


def remove(path: Path, rng: random.Random) -> None:
    path.unlink()


def mix_up(path: Path, rng: random.Random) -> None:
    """Put another file of the folder there."""
    others = [p for p in path.parents[1].rglob("*") if p.is_file() and p != path]
    if others:
        shutil.copy(rng.choice(sorted(others)), path)


SPOILING: list[Callable[[Path, random.Random], None]] = [
    truncate, truncate, overwrite, overwrite, fill, turn_into_folder, turn_into_pipe, turn_into_loop, remove, mix_up,
]  # fmt: skip


@pytest.mark.parametrize("pipeline", [IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION])
@pytest.mark.parametrize("seed", range(12))
def test_a_spoilt_folder_is_taken_over_as_far_as_it_goes_or_gets_a_sentence(
    olds: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], pipeline: str, seed: int
) -> None:
    rng = random.Random(f"{pipeline} {seed}")
    old = tmp_path / "old"
    shutil.copytree(olds[pipeline], old)
    files = sorted(path for path in old.rglob("*") if path.is_file() and path.name != "experiment.yaml")
    lines = [path for path in files if path.name == LINES]
    for path in {rng.choice(lines), *rng.sample(files, rng.randrange(1, 6))}:
        rng.choice(SPOILING)(path, rng)
    code = main(["import-tao", str(old), "--out", str(tmp_path / "r"), "--boxes", "pixels"])
    said = capsys.readouterr()
    if code == 2:
        assert said.err.startswith("raylabel: ")
        assert said.err.count("\n") == 1
        assert len(said.err) < 1000
        return
    assert (code, said.err) == (0, "")
    note = json.loads((tmp_path / "r" / "import.json").read_text())
    for step in note["steps"].values():
        ended = sum(step["taken_over"].values()) + sum(step["left_open"].values())
        assert ended + step["nothing_to_ask"] + step["after_open_steps"] == note["records"]
    for line in map(json.loads, (tmp_path / "r" / "annotations.jsonl").read_text().splitlines()):
        for e in line.get("expressions", ()):
            for i in e["instances"]:
                x1, y1, x2, y2 = i["bbox"]
                assert 0 <= x1 < x2 <= line["width"]
                assert 0 <= y1 < y2 <= line["height"]


@pytest.mark.parametrize("pipeline", [IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION])
def test_nothing_is_taken_over_about_an_image_that_is_not_there(
    world: World, olds: dict[str, Path], tmp_path: Path, pipeline: str
) -> None:
    images = shutil.copytree(world.images_dir, tmp_path / "images")
    gone, broken, *_ = sorted(images.iterdir())
    if pipeline == IMAGE_GROUNDING:
        gone.unlink()
    else:  # a folder's images are those that are there
        gone.write_bytes(b"")
    broken.write_bytes(broken.read_bytes()[:100])
    key = "image_root" if pipeline == IMAGE_GROUNDING else "image_dir"
    words = ["--boxes", "pixels", f"{pipeline}.data.{key}={images}"]
    assert main(["import-tao", str(olds[pipeline]), "--out", str(tmp_path / "r"), *words]) == 0
    note = json.loads((tmp_path / "r" / "import.json").read_text())
    lines = list(map(json.loads, (tmp_path / "r" / "annotations.jsonl").read_text().splitlines()))
    bad = [line for line in lines if Path(line["image_path"]).name in (gone.name, broken.name)]
    assert {outcome for line in bad for outcome in line["outcomes"].values()} == {"failed"}
    first, *_ = note["steps"].values()
    assert sum(first["left_open"].values()) - first["left_open"].get(UNKNOWN, 0) == len(bad) >= 2
    for step in note["steps"].values():
        ended = sum(step["taken_over"].values()) + sum(step["left_open"].values())
        assert ended + step["nothing_to_ask"] + step["after_open_steps"] == note["records"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["old"], "--out: not given", id="no-out"),
        pytest.param(
            ["old", "--out", "r"], "--config: not given, and there is no experiment.yaml in old", id="no-config"
        ),
        pytest.param(["--out", "r"], "the following arguments are required: OLD_RESULTS", id="no-old"),
        pytest.param(["old", "--out", "r", "--boxes", "metres"], "invalid choice: 'metres'", id="no-unit"),
        pytest.param(["old", "--out", "r", "--config", "no.yaml"], "no.yaml", id="no-such-config"),
    ],
)
def test_a_command_line_that_lacks_something_gets_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    assert main(["import-tao", *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_out_is_a_new_folder(olds: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = shutil.copytree(olds[IMAGE_GROUNDING], tmp_path / "old")
    assert main(["import-tao", str(old), "--out", str(old), "--boxes", "pixels"]) == 2
    assert "is the old folder itself" in capsys.readouterr().err
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "mine.txt").touch()
    assert main(["import-tao", str(old), "--out", str(tmp_path / "r"), "--boxes", "pixels"]) == 2
    assert "is not empty" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["import-tao", str(old), "--out", str(tmp_path / "file"), "--boxes", "pixels"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
