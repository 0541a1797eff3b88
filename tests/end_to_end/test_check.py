"""``raylabel check``: everything that is wrong at once, each with its remedy, and no label stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from raylabel.cli import main
from raylabel.demo.world import World, build_world
from tests.end_to_end.running import Fault, Seen, WireServer, error, says

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 5, seed=6)


def write_spec(folder: Path, url: str, captions: Path, images: Path, **more: object) -> Path:
    path = folder / "spec.yaml"
    vlm = {
        "backend": "openai",
        "openai": {"base_url": f"{url}/v1", "model_name": "raylabel-demo-vlm", "temperature": 0},
        "boxes": {"order": "xyxy", "scale": 1000},
        "calibrate": "never",
    }
    data = {"input_jsonl": str(captions), "image_root": str(images)}
    spec = {"results_dir": str(folder / "results"), "image_grounding": {"vlm": vlm, "data": data}, **more}
    path.write_text(yaml.safe_dump(spec))
    return path


def checked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, list[str]]]:
    """The exit code, and the findings by mark."""
    capsys.readouterr()
    code = main(["check", *words])
    found: dict[str, list[str]] = {"ok": [], "BAD": [], "-": [], "->": []}
    for line in capsys.readouterr().out.splitlines():
        mark, _, rest = line.strip().partition(" ")
        found[mark].append(" ".join(rest.split()))
    assert len(found["BAD"]) == len(found["->"])
    assert all(found["->"])
    return code, found


def test_a_run_that_can_begin_is_all_green_and_stores_no_label(world, tmp_path, capsys):
    with WireServer() as server:
        spec = write_spec(tmp_path, server.url, world.captions_path, world.images_dir)
        code, found = checked(capsys, str(spec))
        assert server.asked() == {"expression_extraction": 1, "grounding": 1}
    assert (code, found["BAD"], found["-"]) == (0, [], [])
    said = "\n".join(found["ok"])
    assert "endpoint raylabel-demo-vlm is served" in said
    assert "boxes raylabel-demo-vlm: xyxy, 0-1000" in said
    assert "expression_extraction labeled" in said
    assert "grounding labeled" in said
    assert [p.name for p in (tmp_path / "results").rglob("*") if p.is_file()] == ["models.json"]


def test_everything_that_is_wrong_is_told_at_once(world, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    lines = world.captions_path.read_text(encoding="utf-8").splitlines()
    for line in lines:
        name = json.loads(line)["image_path"]
        (images / name).write_bytes((world.images_dir / name).read_bytes())
    (images / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    turned = Image.new("RGB", (60, 40), (200, 30, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(images / "turned.jpg", exif=exif)
    bad = ["{", '{"caption": "no image"}', *(f'{{"image_path": "{n}", "caption": "a cat"}}' for n in ("gone.png",))]
    odd = [f'{{"image_path": "{name}", "caption": "a cat"}}' for name in ("broken.png", "turned.jpg")]
    captions = tmp_path / "captions.jsonl"
    captions.write_text("\n".join([*lines, *bad, *odd]) + "\n")
    spec = write_spec(tmp_path, "http://127.0.0.1:9", captions, images)
    code, found = checked(capsys, str(spec))
    assert code == 2
    said = "\n".join(found["BAD"])
    assert f"lines line {len(lines) + 1}: not JSON" in said
    assert f'lines line {len(lines) + 2}: "image_path" is missing' in said
    assert "images 1 record has no image: " in said
    assert "broken.png" in said
    assert "nobody answers there" in said
    assert any("1 turned upright by EXIF" in line for line in found["ok"])
    assert any("40 x 60" in line for line in found["ok"])
    assert found["-"] == ["record not tried: the endpoint cannot be used"]


def test_settings_are_told_all_at_once_and_the_rest_is_looked_at_where_only_the_input_is_wrong(world, tmp_path, capsys):
    spec = write_spec(
        tmp_path, "http://127.0.0.1:9", world.captions_path, world.images_dir, limits={"patience": -3}, retri={}
    )
    code, found = checked(capsys, str(spec))
    assert (code, len(found["BAD"])) == (2, 2)
    spec = write_spec(tmp_path, "http://127.0.0.1:9", tmp_path / "none.jsonl", world.images_dir)
    code, found = checked(capsys, str(spec))
    assert (code, len(found["BAD"])) == (2, 2)
    assert "none.jsonl" in found["BAD"][0]
    assert "nobody answers" in found["BAD"][1]


def test_offline_asks_nothing(world, tmp_path, capsys):
    with WireServer() as server:
        spec = write_spec(tmp_path, server.url, world.captions_path, world.images_dir)
        code, found = checked(capsys, str(spec), "--offline")
        assert not server.asked()
    assert (code, found["BAD"], found["-"]) == (0, [], ["endpoint left out (--offline)"])


def chatter(seen: Seen) -> Fault | None:
    return says("Nice picture!") if seen.task == "grounding" else None


def turned_away(seen: Seen) -> Fault | None:
    return error(401, "wrong key")


@pytest.mark.parametrize(
    ("misbehave", "said"),
    [
        pytest.param(chatter, "grounding unreadable", id="unreadable"),
        pytest.param(turned_away, "wrong key", id="wrong-key"),
    ],
)
def test_a_step_that_does_not_work_is_red(world, tmp_path, capsys, misbehave, said):
    with WireServer(misbehave) as server:
        spec = write_spec(tmp_path, server.url, world.captions_path, world.images_dir)
        code, found = checked(capsys, str(spec))
    assert code == 2
    assert said in "\n".join([*found["BAD"], *found["-"]])
