"""What is refused from a look at a few records, in one sentence, and what is let through."""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from raylabel.errors import InputError
from raylabel.records import IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION, Record
from raylabel.runtime.first_look import look_at_input
from raylabel.settings import Settings, resolve_steps
from raylabel.sources import SourceSpec, scan
from raylabel.sources.sampling import sample
from raylabel.sources.spec import ANNOTATIONS, CAPTIONS, KITTI
from raylabel.storage import stamps
from raylabel.storage.credentials import without_credentials
from raylabel.storage.filesystems import filesystem_of
from raylabel.storage.folders import Folder
from raylabel.storage.writing import publish
from raylabel.store.results import Results
from tests.s3_server import S3Server

CAR = "Car 0 0 -1.57 100 120 220 210 1.5 1.6 3.7 1 2 3 0.1\n"
YOLO = "0 0.5 0.5 0.2 0.2\n"
INPUT = "image_grounding.data.input_jsonl"
EXPRESSIONS = [{"text": "a car"}]


def captions(folder: Path, lines: Sequence[Any], root: str = "", kind: str = CAPTIONS) -> SourceSpec:
    path = folder / "c.jsonl"
    path.write_text("".join(f"{x if isinstance(x, str) else json.dumps(x)}\n" for x in lines), encoding="utf-8")
    return SourceSpec(kind, IMAGE_GROUNDING, str(path), root=root, setting=INPUT)


def line(image: str, **more: Any) -> dict[str, Any]:
    return {"image_path": image, "caption": "a car", **more}


def look(source: SourceSpec, tmp_path: Path, steps: Sequence[str] = (), limit: int | None = None) -> str:
    """What is said of a source; empty if it is let through."""
    settings = Settings(results_dir=str(tmp_path / "res"), autolabel_type=source.pipeline)
    workflow = settings.pipeline.workflow
    workflow.steps = resolve_steps(source.pipeline, list(steps) or workflow.steps)
    path = next(scan(source, 64, tmp_path / "work")).path if source.kind == KITTI else source.path
    try:
        look_at_input(settings, Results(Folder(settings.results_dir)), source, path, limit)
    except InputError as error:
        return str(error)
    return ""


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


# --- which records are looked at ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "looked_at"), [(0, 0), (1, 1), (20, 20), (33, 33), (40, 40), (5000, 40)])
def test_the_first_twenty_and_twenty_of_the_rest_are_looked_at(tmp_path: Path, number: int, looked_at: int) -> None:
    source = captions(tmp_path, [line(f"{n}.jpg", note="x" * (n % 97)) for n in range(number)])
    found = [int(r.image_id) for r in sample(source, source.path) if isinstance(r, Record)]
    assert len(found) == looked_at
    assert found[:20] == list(range(min(number, 20)))
    assert found == sorted(set(found))
    if number == 5000:
        assert max(b - a for a, b in itertools.pairwise(found)) < 400
        assert found[-1] > 4500


def test_a_pilot_is_judged_by_its_own_records(tmp_path: Path) -> None:
    source = captions(tmp_path, [line(f"{n}.jpg") for n in range(100)])
    assert [r.image_path for r in sample(source, source.path, 5) if isinstance(r, Record)] == [
        f"{n}.jpg" for n in range(5)
    ]
    assert len(sample(source, source.path, 60)) == 20


def test_looks_stay_few_whatever_the_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = captions(tmp_path, [line(f"{n}.jpg") for n in range(30_000)], root=str(tmp_path / "images"))
    touch(tmp_path / "elsewhere", *(f"{n}/x.jpg" for n in range(300)))
    (tmp_path / "images").mkdir()
    asked: list[str] = []
    look_up = stamps._look_up

    def noted(path):
        asked.append(path)
        return look_up(path)

    monkeypatch.setattr(stamps, "_look_up", noted)
    assert "none of the first 20 images exists" in look(source, tmp_path)
    assert len(asked) < 500


# --- labels ---------------------------------------------------------------------------------------------------------


def kitti(folder: Path, labels: Sequence[str | bytes | None]) -> SourceSpec:
    for n, text in enumerate(labels):
        touch(folder / "images", f"{n:03}.jpg")
        (folder / "labels").mkdir(exist_ok=True)
        if text is not None:
            (folder / "labels" / f"{n:03}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    images, pipeline = str(folder / "images"), IMAGE_REFERRING_EXPRESSION
    setting = f"{pipeline}.data.image_dir"
    return SourceSpec(KITTI, pipeline, images, root=images, label_dir=str(folder / "labels"), setting=setting)


@pytest.mark.parametrize(
    ("labels", "reason", "share"),
    [
        pytest.param([YOLO] * 4, "it looks like YOLO", "4 of 4", id="yolo"),
        pytest.param([YOLO], "it looks like YOLO", "1 of 1", id="one-file"),
        pytest.param([YOLO, YOLO, CAR, "", "", None], "it looks like YOLO", "2 of 3", id="empty-files-say-nothing"),
        pytest.param([CAR.encode("utf-16")] * 3, "UTF-16, expected UTF-8", "3 of 3", id="utf-16"),
        pytest.param([CAR.replace(" ", ",")] * 3, "it looks like CSV", "3 of 3", id="csv"),
        pytest.param(["Car 0 0 1 2 30 40\n"] * 3, "found 7 columns", "3 of 3", id="seven-columns"),
        pytest.param([f"0 1 {CAR}1 1 {CAR}"] * 3, "rows of several frames (0, 1)", "3 of 3", id="sequences"),
        pytest.param(["<annotation>\n<object>\n"] * 3, "it looks like XML", "3 of 3", id="voc"),
        pytest.param(['{\n "label": 1\n}'] * 3, "it looks like JSON", "3 of 3", id="json"),
    ],
)
def test_labels_of_another_format_are_refused(tmp_path: Path, labels: list[Any], reason: str, share: str) -> None:
    said = look(kitti(tmp_path, labels), tmp_path)
    assert said.startswith(f"image_referring_expression.data.kitti_label_dir: {tmp_path}/labels/000.txt, line 1: ")
    assert reason in said
    assert said.endswith(f". {share} files read so far are like that; nothing was asked.")


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param([YOLO, CAR], id="half"),
        pytest.param([YOLO + CAR] * 4, id="a-usable-row-in-each"),
        pytest.param(["", " \n", "DontCare -1 -1 -10 1 2 3 4", CAR], id="nothing-marked"),
        pytest.param([CAR, CAR, "{}", "a b"], id="few"),
    ],
)
def test_labels_that_are_mostly_usable_are_let_through(tmp_path: Path, labels: list[str]) -> None:
    assert look(kitti(tmp_path, labels), tmp_path) == ""


def test_files_that_are_useless_in_different_ways_are_told_by_one_of_each(tmp_path: Path) -> None:
    said = look(kitti(tmp_path, [YOLO, YOLO, "Car 0 0 0 9 9", CAR.encode("utf-16"), CAR]), tmp_path)
    assert "labels/000.txt, line 1" in said
    assert "labels/001.txt" not in said
    assert "4 of 5 files read so far" in said
    assert "Others: " in said
    for part in ("002.txt, line 1: ", "found 6 columns", "003.txt, line 1: ", "UTF-16"):
        assert part in said


def test_twins_in_most_places_are_refused(tmp_path: Path) -> None:
    source = kitti(tmp_path, [CAR] * 3)
    touch(tmp_path / "images", "000.png", "001.png", "002.png")
    said = look(source, tmp_path)
    assert "labels/000.txt: may be of 000.jpg or of 000.png" in said
    assert "6 of 6 files" in said


def test_seed_boxes_of_another_scale_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{n}.jpg" for n in range(3)))
    lines = [{"image_path": f"{n}.jpg", "kitti_bboxes": [[0.1, 0.2, 0.4, 0.5, "Car"]]} for n in range(3)]
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps(x) + "\n" for x in lines))
    setting = "image_referring_expression.data.input_annotations_jsonl"
    source = SourceSpec(ANNOTATIONS, IMAGE_REFERRING_EXPRESSION, str(path), root=str(tmp_path), setting=setting)
    said = look(source, tmp_path)
    assert said.startswith(f"{setting}: {path}, line 1: kitti_bboxes: expected a box of pixels, found [0.1, ")
    assert "3 of 3 lines read so far" in said
    path.write_text(json.dumps({"image_path": "0.jpg", "boxes": []}) + "\n")
    assert "none of the 1 lines read so far of" in look(source, tmp_path)
    assert '"kitti_bboxes"' in look(source, tmp_path)


# --- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "there", "hint"),
    [
        pytest.param("a.jpg", "data/images/a.jpg", "; it exists in {0}/data/images", id="in-a-folder-below"),
        pytest.param("images/a.jpg", "images/a.jpg", "; it exists in {0}", id="in-the-folder-above"),
        pytest.param("a.jpg", "pictures/a.jpg", "; it exists in {0}/pictures", id="in-a-folder-beside"),
        pytest.param("data/a.jpg", "data/a.jpg", "; it exists in {0}", id="root-named-twice"),
        pytest.param("old/train/a.jpg", "data/train/a.jpg", "; train/a.jpg exists in {0}/data", id="under-less"),
        pytest.param("old\\train\\a.jpg", "data/a.jpg", "; a.jpg exists in {0}/data", id="windows"),
        pytest.param("a.jpg", "data/A.JPG", "; there is {0}/data/A.JPG (the case of letters matters)", id="other-case"),
        pytest.param("a.jpg", "far/off/a.jpg", "", id="nowhere-near"),
    ],
)
def test_a_wrong_image_root_names_where_the_images_are(tmp_path: Path, image: str, there: str, hint: str) -> None:
    touch(tmp_path, there)
    (tmp_path / "data").mkdir(exist_ok=True)
    said = look(captions(tmp_path, [line(image)] * 3, root=f"{tmp_path}/data"), tmp_path)
    assert said == (
        f'image_grounding.data.image_root: found "{tmp_path}/data"; none of the first 3 images exists there ({image})'
        f"{hint.format(tmp_path)}; nothing was asked."
    )


def test_without_a_root_the_folder_that_paths_start_in_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    touch(tmp_path, "images/a.jpg")
    said = look(captions(tmp_path, [line("images/a.jpg")]), tmp_path)
    assert said == (
        f"image_grounding.data.image_root: not given; the first image does not exist in {tmp_path}/here (images/a.jpg)"
        "; it exists in ..; nothing was asked."
    )


def test_absolute_paths_that_lead_nowhere_are_a_matter_of_the_input(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg")
    said = look(captions(tmp_path, [line("/old/images/a.jpg")] * 2, root=f"{tmp_path}/images"), tmp_path)
    assert said == (
        f"{INPUT}: {tmp_path}/c.jsonl: none of the first 2 images exists (/old/images/a.jpg); images/a.jpg exists in "
        f"{tmp_path}; nothing was asked."
    )


@pytest.mark.parametrize("root", ["{0}", "", "/elsewhere"], ids=["root", "no-root", "absolute-paths"])
def test_one_image_that_exists_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "30.jpg")
    last = f"{tmp_path}/30.jpg" if root == "/elsewhere" else "30.jpg"
    lines = [*(line(f"{n}.jpg") for n in range(30)), line(last)]
    assert look(captions(tmp_path, lines, root=root.format(tmp_path)), tmp_path) == ""


@pytest.mark.parametrize(
    ("written", "there"),
    [
        pytest.param("sub\\win.jpg", "sub/win.jpg", id="windows-separators"),
        pytest.param(unicodedata.normalize("NFD", "é.jpg"), unicodedata.normalize("NFC", "é.jpg"), id="decomposed"),
        pytest.param(unicodedata.normalize("NFC", "ö/é.jpg"), unicodedata.normalize("NFD", "ö/é.jpg"), id="composed"),
    ],
)
def test_other_spellings_of_a_path_are_the_same_path(tmp_path: Path, written: str, there: str) -> None:
    touch(tmp_path, there)
    assert look(captions(tmp_path, [line(written)], root=str(tmp_path)), tmp_path) == ""


def test_a_store_that_cannot_be_asked_is_left_to_the_run(tmp_path: Path) -> None:
    assert look(captions(tmp_path, [line("a.jpg")] * 3, root="nosuchstore://bucket"), tmp_path) == ""


def test_images_of_a_bucket_are_looked_up(tmp_path: Path) -> None:
    filesystem, _ = filesystem_of("mock://bucket")
    filesystem.create_dir("train")
    publish("mock://bucket/train/a.jpg", b"12345")
    assert look(captions(tmp_path, [line("a.jpg")] * 3, root="mock://bucket/train"), tmp_path) == ""
    said = look(captions(tmp_path, [line("train/a.jpg")] * 3, root="mock://bucket/train"), tmp_path)
    assert (
        'found "mock://bucket/train"; none of the first 3 images exists there (train/a.jpg); it exists in mock://bucket;'
        in said
    )


def test_the_options_of_a_bucket_hold_for_its_neighbours_and_are_no_part_of_a_path(tmp_path: Path) -> None:
    with S3Server() as s3:
        s3.objects["bucket/train/a.jpg"] = (b"12345", 1.7e9)
        good, deeper = s3.uri("bucket/train"), s3.uri("bucket/train/images")
        assert look(captions(tmp_path, [line("a.jpg")] * 3, root=good), tmp_path) == ""
        said = look(captions(tmp_path, [line("a.jpg")] * 3, root=deeper), tmp_path)
    good, deeper = without_credentials(good), without_credentials(deeper)
    assert f'found "{deeper}"; none of the first 3 images exists there (a.jpg); it exists in {good};' in said


# --- steps ----------------------------------------------------------------------------------------------------------


def test_grounding_alone_needs_expressions_from_somewhere(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    source = captions(tmp_path, [line("a.jpg")] * 3, root=str(tmp_path), kind=ANNOTATIONS)
    left = f"{tmp_path}/res/step_0_expression_extraction"
    assert look(source, tmp_path, ["grounding"]) == (
        f'image_grounding.workflow.steps: found ["1"], but {left}/annotations.jsonl does not exist; run step 0 first, '
        'or write ["0", "1"].'
    )
    assert look(source, tmp_path, ["expression_extraction", "grounding"]) == ""
    with_own = captions(tmp_path, [line("a.jpg"), line("a.jpg", expressions=EXPRESSIONS)], str(tmp_path), ANNOTATIONS)
    assert look(with_own, tmp_path, ["grounding"]) == ""


def test_steps_that_an_interrupted_run_stored_count(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "res/step_0_expression_extraction/records/1.parquet")
    source = captions(tmp_path, [line("a.jpg")], root=str(tmp_path), kind=ANNOTATIONS)
    assert look(source, tmp_path, ["grounding"]) == ""


@pytest.mark.parametrize(
    ("steps", "found", "missing", "together"),
    [
        (["grounding_expr"], '["2"]', "step_0_region_expr", '["0", "2"]'),
        (["grounding_expr", "double_check"], '["2", "3"]', "step_0_region_expr", '["0", "2", "3"]'),
        (["double_check"], '["3"]', "step_2_grounding_expr", '["2", "3"]'),
        (["image_caption", "double_check"], '["1", "3"]', "step_2_grounding_expr", '["1", "2", "3"]'),
    ],
)
def test_every_step_that_lacks_one_before_it_says_which(
    tmp_path: Path, steps: list[str], found: str, missing: str, together: str
) -> None:
    said = look(kitti(tmp_path, [CAR]), tmp_path, steps)
    assert f"workflow.steps: found {found}, but {tmp_path}/res/{missing}/annotations.jsonl does not exist" in said
    assert said.endswith(f"or write {together}.")


def test_all_steps_or_the_first_ones_need_nothing_from_before(tmp_path: Path) -> None:
    source = kitti(tmp_path, [CAR])
    for steps in ([], ["region_expr"], ["image_caption"], ["region_expr", "grounding_expr"]):
        assert look(source, tmp_path, steps) == ""


# --- formats --------------------------------------------------------------------------------------------------------

ROW = '{"image_path": "a.jpg", "caption": "a car"}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            f"[{ROW}, {ROW}]", "is one JSON list, expected one object a line; convert: jq -c '.[]'", id="list"
        ),
        pytest.param(json.dumps([json.loads(ROW)] * 3, indent=2), "is one JSON list", id="pretty-list"),
        pytest.param(f"[\n{ROW},\n{ROW},\n{ROW}\n]", "is one JSON list", id="list-with-a-line-an-entry"),
        pytest.param(json.dumps(json.loads(ROW), indent=2), "has JSON objects over several lines", id="pretty-object"),
        pytest.param("image_path,caption\na.jpg,a car\n", "looks like CSV (image_path,caption)", id="csv"),
        pytest.param("image_path;caption\na.jpg;a car\n", "looks like CSV (image_path;caption)", id="semicolons"),
        pytest.param("a.jpg\ta car\n", "looks like CSV", id="tabs"),
        pytest.param(f"{ROW}\n".encode("utf-16"), "is no UTF-8 text; save it as UTF-8", id="utf-16"),
        pytest.param(b"PAR1\x15\x04\x15", "is a Parquet file", id="parquet"),
        pytest.param(b"\x1f\x8b\x08\x00\x01", "gzip", id="gzip"),
    ],
)
def test_files_of_other_formats_are_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = tmp_path / "in.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    touch(tmp_path, "a.jpg")
    found = look(SourceSpec(CAPTIONS, IMAGE_GROUNDING, str(path), root=str(tmp_path), setting=INPUT), tmp_path)
    assert found.startswith(f"{INPUT}: {path} ")
    assert said in found


@pytest.mark.parametrize("first", ["[1, 2]", "", "# exported, today", "{"])
def test_a_strange_first_line_among_good_ones_is_only_a_bad_line(tmp_path: Path, first: str) -> None:
    touch(tmp_path, "a.jpg")
    assert look(captions(tmp_path, [first, ROW, ROW, ROW], root=str(tmp_path)), tmp_path) == ""
