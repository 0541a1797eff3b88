"""Input that is not what it seems, through whole runs: said before anything starts, or counted and told by line."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from raylabel.errors import InputError
from raylabel.runtime.in_process import InProcess
from raylabel.settings import Settings, load_settings
from tests.end_to_end.running import Ran, WireServer, command, endpoint, label, read_lines

pytestmark = pytest.mark.slow

REFERRING, GROUNDING = "image_referring_expression", "image_grounding"
BEHIND = "0 0 -1.57 100 120 220 210"
IN_SPACE = "1.5 1.6 3.7 1 2 3 0.1"
CAR = f"Car {BEHIND} {IN_SPACE}\n"
RIGHT = [100, 120, 220, 210]


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as running:
        yield running


class Watched(InProcess):
    """Knows whether it was entered."""

    entered = False

    def __enter__(self) -> InProcess:
        self.entered = True
        return super().__enter__()


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (640, 400), (120, 120, 110))
    ImageDraw.Draw(picture).rectangle((100, 120, 220, 210), fill=(220, 20, 20))
    picture.save(path)


def folders(place: Path, labels: dict[str, str | bytes], suffix: str = ".png") -> list[str]:
    """Draw an image for each label file; overrides that name the folders."""
    for name, text in labels.items():
        draw(place / "images" / f"{Path(name).stem}{suffix}")
        (place / "labels").mkdir(exist_ok=True)
        (place / "labels" / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    data = f"{REFERRING}.data"
    return [f"{data}.image_dir={place / 'images'}", f"{data}.kitti_label_dir={place / 'labels'}"]


def settings(place: Path, server: WireServer, pipeline: str, *overrides: str) -> Settings:
    return load_settings(None, [f"results_dir={place / 'res'}", *endpoint(pipeline, server.url), *overrides])


# --- said before anything starts ------------------------------------------------------------------------------------


def test_a_folder_of_yolo_labels_ends_with_one_sentence(tmp_path: Path, server: WireServer) -> None:
    words = folders(tmp_path, {f"{n}.txt": "0 0.5 0.5 0.2 0.2\n" for n in "abcd"})
    ended = command("run", str(specification(tmp_path)), *endpoint(REFERRING, server.url), *words, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        f'raylabel: {REFERRING}.data.kitti_label_dir: {tmp_path}/labels/a.txt, line 1: "0 0.5 0.5 0.2 0.2" is no KITTI '
        "row (type truncated occluded alpha x1 y1 x2 y2 ...); it looks like YOLO. 4 of 4 files read so far are like "
        "that; nothing was asked.\n"
    )
    assert not server.seen


def specification(place: Path) -> Path:
    (place / "spec.yaml").write_text(f"results_dir: {place / 'res'}\n")
    return place / "spec.yaml"


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        pytest.param(
            ["image_grounding.data.image_root={0}"],
            ["image_root: found", "none of the first 3 images exists there (a.png); it exists in {0}/images"],
            id="images-elsewhere",
        ),
        pytest.param(
            ['image_grounding.workflow.steps=["1"]'],
            ['steps: found ["1"], but {0}/res/step_0_expression_extraction/annotations.jsonl', 'or write ["0", "1"]'],
            id="step-0-missing",
        ),
        pytest.param(
            ["image_grounding.data.input_jsonl={0}/list.json"], ["list.json is one JSON list", "jq -c"], id="list"
        ),
        pytest.param(
            ["image_grounding.data.input_jsonl={0}/names.jsonl"],
            ['line 1: "image_path" is missing; found: image, text'],
            id="other-names",
        ),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(
    tmp_path: Path, server: WireServer, overrides: list[str], parts: list[str]
) -> None:
    draw(tmp_path / "images" / "a.png")
    lines = [{"image_path": "a.png", "caption": "a red car"}] * 3
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "list.json").write_text(json.dumps(lines, indent=1))
    (tmp_path / "names.jsonl").write_text('{"image": "a.png", "text": "a red car"}\n')
    data = [
        f"image_grounding.data.input_jsonl={tmp_path}/c.jsonl",
        f"image_grounding.data.image_root={tmp_path}/images",
    ]
    executor = Watched()
    words = (o.format(tmp_path) for o in overrides)
    given = settings(tmp_path, server, GROUNDING, *data, *words)
    with pytest.raises(InputError) as caught:
        label(given, executor=executor)
    for part in parts:
        assert part.format(tmp_path) in str(caught.value)
    assert not server.seen
    assert not executor.entered
    assert not (tmp_path / "res" / "annotations.jsonl").exists()


# --- runs -----------------------------------------------------------------------------------------------------------

USED: dict[str, str | bytes] = {
    "blank.txt": f"Towed Object {BEHIND} {IN_SPACE}\n",
    "quoted.txt": f'"Traffic Light" {BEHIND}\n',
    "words.txt": f"red traffic light {BEHIND} {IN_SPACE} 0.9\n",
    "0007.txt": f"7 3 Cyclist {BEHIND} {IN_SPACE}\n",
    "bom.txt": CAR.replace("\n", "\r\n").encode("utf-8-sig"),
    "capital.TXT": CAR,
}
TYPES = ["Towed Object", "Traffic Light", "red traffic light", "Cyclist", "Car", "Car"]
PARTLY: dict[str, str | bytes] = {
    "some.txt": f"{CAR}Car 0 0 1 2 30 40\nCar {BEHIND} 0.9\nCar 0,5 0 0 1,5 2 30 40\n0 0.5 0.5 0.2 0.2\n"
    f"Car 0 0 0 0.1 0.2 0.4 0.5\nCar 0 0 0 30 2 1 40\n",
}
USELESS: dict[str, str | bytes] = {
    "wide.txt": CAR.encode("utf-16"),
    "sequence.txt": f"0 1 {CAR}1 1 {CAR}",
    "yolo.txt": "0 0.5 0.5 0.2 0.2\n",
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    place = tmp_path_factory.mktemp("labels")
    words = folders(place, {**USED, **PARTLY, **USELESS, "empty.txt": ""})
    draw(place / "images" / "unlabeled.webp")
    (place / "images" / "film.mp4").touch()
    (place / "labels" / "alone.txt").write_text(CAR)
    with WireServer() as server:
        return label(settings(place, server, REFERRING, *words))


def test_every_box_is_right_or_reported_by_line(ran: Ran) -> None:
    by_id = {line["image_id"]: line for line in ran.annotations}
    for name, kind in zip([*USED, *PARTLY], [*TYPES, "Car"], strict=True):
        line = by_id[Path(name).stem]
        assert line["kitti_bboxes"] == [[*RIGHT, kind]]
        assert [region["bbox"] for region in line["regions"]] == [RIGHT]
    dropped = [line for line in ran.failures if line["outcome"] == "dropped"]
    assert [Path(line["file"]).name for line in dropped] == ["some.txt"] * 6
    assert [line["line_number"] for line in dropped] == [2, 3, 4, 5, 6, 7]
    for line, found in zip(dropped, ["7 columns", "9 columns", "commas", "YOLO", "0.3 x 0.3", "reversed"], strict=True):
        assert found in line["reason"]
    assert (by_id["some"]["flags"], by_id["some"]["dropped"]) == (["seeds_skipped:6"], {"seeds_skipped": 6})


def test_files_without_a_usable_row_are_failed_records(ran: Ran) -> None:
    failed = {line["image_id"]: line for line in ran.failures if line["outcome"] == "failed"}
    assert set(failed) == {"wide", "sequence", "yolo"}
    for name, found in (("wide", "UTF-16"), ("sequence", "several frames (0, 1)"), ("yolo", "it looks like YOLO")):
        assert f"labels/{name}.txt, line 1: " in failed[name]["reason"]
        assert found in failed[name]["reason"]
    for line in ran.annotations:
        if line["image_id"] in failed:
            assert line["outcome"] == "failed"
            assert "kitti_bboxes" not in line
    seeds = {line["image_id"]: line.get("kitti_bboxes") for line in read_lines(ran.results / "seed_annotations.jsonl")}
    assert [seeds[name] for name in ("wide", "sequence", "yolo", "empty", "unlabeled")] == [None, None, None, [], []]


def test_all_of_it_is_counted_and_the_run_says_so(ran: Ran) -> None:
    assert ran.code == 3
    assert ran.counts["records"]["failed"] == 3
    violations = ran.counts["violations"]
    assert (violations["seeds_skipped"], violations["no_label_file"]) == (6 + 1 + 2 + 1, 1)
    assert "10 seeds_skipped (dropped)" in ran.printed
    assert "1 no_label_file (flagged)" in ran.printed
    assert "that are no images by their names: 1 (film.mp4)" in ran.printed
    assert "without an image: 1 (alone.txt)" in ran.printed


def test_names_as_another_system_writes_them_are_labeled_and_other_cases_are_named(
    tmp_path: Path, server: WireServer
) -> None:
    there = [unicodedata.normalize("NFC", "é.png"), unicodedata.normalize("NFD", "ö/ü.png"), "sub/win.png", "IMG.PNG"]
    written = [
        unicodedata.normalize("NFD", there[0]),
        unicodedata.normalize("NFC", there[1]),
        "sub\\win.png",
        "img.png",
    ]
    for name in there:
        draw(tmp_path / name)
    lines = [
        json.dumps({"image_path": name, "caption": "In this photo we can see a red rectangle."}) for name in written
    ]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    data = [f"image_grounding.data.input_jsonl={tmp_path}/c.jsonl", f"image_grounding.data.image_root={tmp_path}"]
    ran = label(settings(tmp_path, server, GROUNDING, *data))
    assert [line["outcome"] for line in ran.annotations] == ["labeled"] * 3 + ["failed"]
    (failure,) = ran.failures
    assert f"there is {tmp_path}/IMG.PNG (the case of letters matters)" in failure["reason"]
