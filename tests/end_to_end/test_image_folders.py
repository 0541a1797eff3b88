"""A folder of images is input enough: captioned first, or asked for given phrases."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import skimage
import yaml
from PIL import Image

from raylabel.cli import main
from raylabel.demo.server.language import read_phrase
from raylabel.demo.server.seeing import look_at
from raylabel.demo.world import World, build_world
from raylabel.errors import ConfigError
from raylabel.runtime.sampled import Sample
from raylabel.settings import Settings, load_settings
from tests.end_to_end.cli_runs import CliRun, asked_twice, read_journal
from tests.end_to_end.running import (
    CAPTION,
    EXTRACTION,
    GROUNDING,
    REPOSITORY,
    WireServer,
    captions_override,
    endpoint,
    label,
    read_lines,
    write_lines,
)
from tests.exports.training.exporting import export
from tests.served_here import served_here
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

DATA, STEPS = "image_grounding.data", "image_grounding.workflow.steps"
CAPTIONED = "step_image_caption/annotations.jsonl"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"), 6, seed=9)


def specified(images: Path, results: Path, url: str, *overrides: str) -> Settings:
    given = [f"results_dir={results}", f"{DATA}.image_dir={images}"]
    return load_settings(None, [*endpoint("image_grounding", url), *given, *overrides])


def test_each_image_is_captioned_and_the_phrases_of_its_caption_get_their_boxes(world: World, tmp_path: Path) -> None:
    with WireServer() as server:
        ran = label(specified(world.images_dir, tmp_path / "r", server.url))
        assert ran.code == 0, ran.printed
        assert server.asked() == {CAPTION: 6, EXTRACTION: 6, GROUNDING: 6}
        again = label(specified(world.images_dir, tmp_path / "r", server.url))
        assert server.asked() == {}
    assert again.annotations == ran.annotations == read_lines(tmp_path / "r" / "step_1_grounding/annotations.jsonl")
    assert [line["image_path"] for line in ran.annotations] == sorted(map(str, world.images_dir.iterdir()))
    boxes = 0
    for line in ran.annotations:
        assert line["pipeline_steps"] == ["step_image_caption", "step0_expression_extraction", "step1_grounding"]
        assert set(line["provenance"]) == set(line["pipeline_steps"])
        assert line["caption"]
        scene = look_at(Path(line["image_path"]).read_bytes())
        for expression in line["expressions"]:
            start, end = expression["char_span"]
            assert line["cleaned_caption"][start:end] == expression["text"]
            assert len(expression["instances"]) == len(read_phrase(expression["text"]).all_of(scene))
            boxes += len(expression["instances"])
    assert boxes > 10


def test_captions_alone_are_corrected_and_taken_as_the_input(world: World, tmp_path: Path) -> None:
    results = tmp_path / "r"
    with WireServer() as server:
        first = label(specified(world.images_dir, results, server.url, f"{STEPS}=[image_caption]"))
        assert first.code == 0, first.printed
        assert server.asked() == {CAPTION: 6}
        lines = read_lines(results / CAPTIONED)
        lines[0]["caption"] = "A red circle."
        write_lines(results / CAPTIONED, lines)
        with pytest.raises(ConfigError, match=rf"make them the input: {DATA}\.input_jsonl=.*{CAPTIONED}"):
            label(specified(world.images_dir, results, server.url))
        edited = f"{DATA}.input_jsonl={results / CAPTIONED}"
        ran = label(specified(world.images_dir, results, server.url, edited))
        assert ran.code == 0, ran.printed
        assert server.asked() == {EXTRACTION: 6, GROUNDING: 6}
    assert [line["caption"] for line in ran.annotations] == [line["caption"] for line in lines]
    assert [line["record_id"] for line in ran.annotations] == [line["record_id"] for line in first.annotations]


def test_lines_without_a_caption_are_captioned_where_the_step_is_named(world: World, tmp_path: Path) -> None:
    names = sorted(image.name for image in world.images_dir.iterdir())[:3]
    lines: list[dict[str, Any]] = [
        {"image_path": names[0], "caption": "A red circle."},
        {"image_path": names[1]},
        {"image_path": names[2], "phrases": ["star"]},
    ]
    given = [captions_override(tmp_path / "in.jsonl", lines), f"{DATA}.image_root={world.images_dir}"]
    with WireServer() as server:
        wanted = f"{STEPS}=[image_caption,0,1]"
        ran = label(specified(world.images_dir, tmp_path / "r", server.url, *given, wanted))
        assert ran.code == 0, ran.printed
        assert server.asked() == {CAPTION: 1, EXTRACTION: 2, GROUNDING: 3}
    captioned = [line["outcomes"]["step_image_caption"] for line in ran.annotations]
    assert captioned == ["skipped", "labeled", "skipped"]
    assert ran.annotations[0]["caption"] == "A red circle."


def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_file(tmp_path: Path) -> None:
    world = build_world(tmp_path / "world", 60, seed=3)
    journal = tmp_path / "killed.jsonl"
    with WireServer() as calm:
        whole = label(specified(world.images_dir, tmp_path / "calm", calm.url))
    with served_here("--journal", str(journal)) as server:
        config = tmp_path / "folder.yaml"
        vlm = {
            "backend": "openai",
            "openai": {"base_url": f"{server.url}/v1", "model_name": "raylabel-demo-vlm", "temperature": 0.0},
            "boxes": {"order": "xyxy", "scale": 1000},
            "calibrate": "never",
        }
        block = {"vlm": vlm, "data": {"image_dir": str(world.images_dir)}, "workflow": {"max_workers": 8}}
        config.write_text(yaml.safe_dump({"results_dir": str(tmp_path / "killed"), "image_grounding": block}))
        run = CliRun(config)
        run.wait_until(lambda: len(read_journal(journal)) >= 70)
        death = run.kill_all()
        wait_until(lambda: server.ledger.stats()["in_flight"] == 0)  # answered into the void
        at_risk = sum(e["arrived"] <= death and e["answered"] > death - 0.5 for e in read_journal(journal))
        code, out = CliRun(config).finish()
        assert code == 0, out
        assert asked_twice(read_journal(journal)) <= at_risk
    assert (tmp_path / "killed/annotations.jsonl").read_bytes() == (whole.results / "annotations.jsonl").read_bytes()


# --- from the README alone ------------------------------------------------------------------------------------------

CLASSES = 12
SEEN = "orange thing"
"""In the place of a class for which the demo's model has no eye."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``photos`` in it: photographs, one of them turned by its EXIF tag alone, one in a sub-folder."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "photos" / "trip").mkdir(parents=True)
    source = Path(skimage.__file__).parent / "data"
    (folder / "photos" / "coffee.png").write_bytes((source / "coffee.png").read_bytes())
    (folder / "photos" / "trip" / "rocket.jpg").write_bytes((source / "rocket.jpg").read_bytes())
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(source / "chelsea.png") as image:
        image.transpose(Image.Transpose.ROTATE_90).save(folder / "photos" / "cat.jpg", quality=93, exif=exif)
    return folder


@pytest.fixture(scope="module")
def section() -> str:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return text.partition("### Without captions, or with classes of your own")[2].partition("\nComing from TAO")[0]


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


def specification(section: str, name: str, url: str) -> str:
    """The file that the section shows, with the address of a server that is there."""
    (text,) = re.findall(rf"```yaml\n(# {name}\n.*?)```", section, re.DOTALL)
    assert "http://127.0.0.1:8321" in text
    return str(text).replace("http://127.0.0.1:8321", url)


def commands(section: str, name: str) -> list[list[str]]:
    """What is called behind that file."""
    block = section.partition(f"# {name}\n")[2].partition("```\n\n```\n")[2].partition("```")[0]
    return [line.split()[1:] for line in block.splitlines()]


def test_twelve_classes_on_a_folder_of_photographs(
    photos: Path, section: str, server: WireServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").symlink_to(photos / "photos")
    text = specification(section, "classes.yaml", server.url)
    Path("classes.yaml").write_text(text.replace("stop sign", SEEN))
    called = commands(section, "classes.yaml")
    assert [words[0] for words in called] == ["check", "run", "export"]
    for words in called:
        assert main(words) == 0, words
    wanted = yaml.safe_load(Path("classes.yaml").read_text())["image_grounding"]["data"]["phrases"]
    assert len(wanted) == CLASSES
    lines = read_lines(Path("results/classes/annotations.jsonl"))
    assert [line["image_path"] for line in lines] == ["photos/cat.jpg", "photos/coffee.png", "photos/trip/rocket.jpg"]
    assert [(line["width"], line["height"]) for line in lines] == [(451, 300), (600, 400), (640, 427)]
    found = 0
    for line in lines:
        assert [e["text"] for e in line["expressions"]] == wanted
        assert all(e["outcome"] in ("labeled", "nothing") for e in line["expressions"])
        found += sum(len(e["instances"]) for e in line["expressions"])
    assert found > 0
    (exported,) = Path().rglob("data.yaml")
    assert SEEN in yaml.safe_load(exported.read_text())["names"].values()
    assert len(list(exported.parent.rglob("images/*/*"))) == 3


def test_a_folder_of_photographs_without_captions(
    photos: Path, section: str, server: WireServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").symlink_to(photos / "photos")
    Path("folder.yaml").write_text(specification(section, "folder.yaml", server.url))
    called = commands(section, "folder.yaml")
    assert [words[0] for words in called] == ["estimate", "run"]
    for words in called:
        assert main(words) == 0, words
    lines = read_lines(Path("results/folder/annotations.jsonl"))
    assert len(lines) == 3
    for line in lines:
        assert line["caption"]
        for expression in line["expressions"]:
            assert line["cleaned_caption"][slice(*expression["char_span"])] == expression["text"]


def test_photographs_get_boxes_at_their_upright_places(photos: Path, server: WireServer, tmp_path: Path) -> None:
    given = [f"{DATA}.phrases=[red thing, orange thing, small orange thing]"]
    pilot = label(specified(photos / "photos", tmp_path / "r", server.url, *given), sample=Sample(1))
    assert pilot.counts["not_reached"] == 2
    ran = label(specified(photos / "photos", tmp_path / "r", server.url, *given))
    assert server.asked() == {GROUNDING: 3}
    turned = ran.annotations[0]
    assert turned["exif_orientation"] == 6
    with Image.open(photos / "photos" / "cat.jpg") as stored:
        upright = stored.transpose(Image.Transpose.ROTATE_270)
    data = io.BytesIO()
    upright.save(data, "PNG")
    seen = look_at(data.getvalue())
    for expression in turned["expressions"]:
        boxes = [instance["bbox"] for instance in expression["instances"]]
        for box in boxes:
            assert 0 <= box[0] < box[2] <= 451
            assert 0 <= box[1] < box[3] <= 300
        assert abs(len(boxes) - len(read_phrase(expression["text"]).all_of(seen))) <= 3, "re-encoding moves a few"
    export(tmp_path / "r", "coco-grounding", tmp_path / "out", copy_images=True)
    (file,) = [p for p in (tmp_path / "out").rglob("*.json") if p.name != "export.json"]
    images = json.loads(file.read_text())["images"]
    assert {image["caption"] for image in images} == {"red thing . orange thing . small orange thing"}
