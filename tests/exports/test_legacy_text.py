"""The 2D Data Engine's text files, byte for byte."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from raylabel.exports.legacy import (
    LEGACY,
    caption_text,
    expression_lines_text,
    label_name,
    legacy_file,
    regions_text,
)
from raylabel.pipelines import PIPELINES
from raylabel.records import (
    IMAGE_REFERRING_EXPRESSION,
    Box,
    Expression,
    ImageFacts,
    Instance,
    Outcome,
    Record,
    Region,
    Size,
    StepOutcome,
)
from raylabel.steps.base import Step

SIZE = Size(1242, 375)
FACTS = ImageFacts("digest", SIZE, 1, "image/png", True)
STEPS = PIPELINES[IMAGE_REFERRING_EXPRESSION]


def record(**fields: Any) -> Record:
    return Record(
        **{
            "record_id": "a" * 32,
            "shard": 0,
            "position": 0,
            "image_id": "drive/000042",
            "image_path": "images/drive/000042.png",
            "source": "image_referring_expression",
            "image": FACTS,
            **fields,
        }
    )


def expression(text: str, *boxes: Box, verified: bool | None = None) -> Expression:
    instances = tuple(Instance(f"b{n}", box) for n, box in enumerate(boxes))
    return Expression("e", text, instances=instances, verified=verified)


STEP0 = """[
  {
    "bbox_2d": [
      80,
      320,
      177,
      560
    ],
    "type": "car",
    "color": "weiß",
    "description": "weißes Auto: links"
  },
  {
    "bbox_2d": [
      0,
      0,
      1000,
      999
    ],
    "type": "road",
    "color": "",
    "description": "the road"
  }
]"""


@pytest.mark.tao_row(".step0: a JSON array of four keys, indent 2, non-ASCII kept, no last newline, [] without regions")
def test_step0_is_a_json_array_with_four_keys_and_no_last_newline() -> None:
    regions = (
        Region(Box(100, 120, 220, 210), "car", "weiß", "weißes Auto: links", flags=("clipped",)),
        Region(Box(0, 0, 1242, 374.9), "road", "", "the road"),
    )
    assert regions_text(record(regions=regions)) == STEP0
    assert regions_text(record(regions=())) == regions_text(record()) == "[]"


@pytest.mark.tao_row(".step1: the caption and nothing else")
def test_step1_is_the_caption_alone() -> None:
    assert caption_text(record(caption="Zwei Autos.")) == "Zwei Autos."


@pytest.mark.tao_row(".step2 and .step3: a line an expression that has boxes; an empty phrase is object")
@pytest.mark.tao_row("a phrase containing a colon is dropped")
@pytest.mark.parametrize(
    ("expressions", "text"),
    [
        pytest.param((), "", id="none"),
        pytest.param(
            (expression("red car", Box(100, 120, 220, 210)),), "red car: [[80, 320, 177, 560]]\n", id="one-box"
        ),
        pytest.param(
            (
                expression("cars", Box(100, 120, 220, 210), Box(600.5, 30, 900, 300)),
                expression("Straße", Box(0, 0, 9, 9)),
            ),
            "cars: [[80, 320, 177, 560], [483, 80, 724, 800]]\nStraße: [[0, 0, 7, 24]]\n",
            id="two-expressions",
        ),
        pytest.param(
            (expression("sign: stop", Box(0, 0, 621, 375)),),
            "sign: stop: [[0, 0, 500, 1000]]\n",
            id="phrase-with-colon",
        ),
        pytest.param((expression("", Box(0, 0, 621, 375)),), "object: [[0, 0, 500, 1000]]\n", id="empty-phrase"),
        pytest.param((expression("nothing there"), Expression("e", "open")), "", id="without-boxes"),
        pytest.param((expression("a\nb", Box(0, 0, 621, 375)),), "a b: [[0, 0, 500, 1000]]\n", id="line-break"),
        pytest.param((expression("no", Box(0, 0, 621, 375), verified=False),), "", id="rejected"),
    ],
)
def test_expressions_are_lines_of_phrase_and_boxes(expressions: tuple[Expression, ...], text: str) -> None:
    assert expression_lines_text(record(expressions=expressions)) == text


@pytest.mark.tao_row("boxes on the 0-1000 grid, rounded down")
def test_grid_numbers_come_from_exact_boxes() -> None:
    # 372.6 of 1242 is 300 on the grid; the rounded 373 would be 300.32, the rounded 372 299.5.
    assert expression_lines_text(record(expressions=(expression("x", Box(372.6, 0, 745.1, 187.4)),))) == (
        "x: [[300, 0, 599, 499]]\n"
    )


@pytest.mark.tao_row("a failed or unreadable call is written as an empty result and never tried again")
@pytest.mark.parametrize(
    ("outcome", "step", "fields", "text"),
    [
        pytest.param(Outcome.LABELED, STEPS[1], {"caption": "A street."}, "A street.", id="caption"),
        pytest.param(Outcome.SKIPPED, STEPS[0], {"seeds": ()}, "[]", id="no-seeds"),
        pytest.param(Outcome.SKIPPED, STEPS[2], {}, "", id="nothing-to-group"),
        pytest.param(Outcome.NOTHING, STEPS[3], {"expressions": ()}, "", id="nothing-left"),
        pytest.param(Outcome.FAILED, STEPS[0], {}, None, id="failed"),
        pytest.param(Outcome.UNREADABLE, STEPS[2], {}, None, id="unreadable"),
        pytest.param(Outcome.REFUSED, STEPS[0], {}, None, id="refused"),
        pytest.param(Outcome.SKIPPED, STEPS[1], {}, None, id="caption-skipped"),
    ],
)
def test_only_a_settled_step_has_a_file(
    outcome: Outcome, step: type[Step], fields: dict[str, Any], text: str | None
) -> None:
    done = record(outcomes={step.label: StepOutcome(outcome)}, **fields)
    found = legacy_file(done, step) if LEGACY.includes_step(done, step) else None
    assert (None if found is None else found[1].decode()) == text
    assert found is None or found[0] == f"drive/000042.txt.step{step.number}"
    assert not LEGACY.includes_step(record(), step)


@pytest.mark.parametrize(
    "image_id",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "a/../../b",
        "..",
        ".",
        "",
        "a//b",
        "a/",
        "a\nb",
        "a\0b",
        "C:\\x",
        "%2E",
        "x" * 500,
        "ü" * 150,
        "\ud83d",
        "a/" + "ü" * 150,
    ],
)
def test_no_id_leads_out_of_the_labels_folder(tmp_path: Path, image_id: str) -> None:
    labels = tmp_path / "labels"
    path = labels / label_name(record(image_id=image_id), ".txt.step0")
    assert path.parent == labels
    assert path.resolve().parent == labels.resolve()
    labels.mkdir()
    path.write_text("[]")
    assert path.name.startswith("%")


@pytest.mark.tao_row("label files mirror the sub-folders of image_dir")
@pytest.mark.parametrize("image_id", ["000042", "a b/ü 1/x.y", "..x/y..", "100% sure", "a:b"])
def test_a_plain_id_names_its_file_and_mirrors_its_folders(image_id: str) -> None:
    assert label_name(record(image_id=image_id), ".txt.step2") == f"{image_id}.txt.step2"


@pytest.mark.tao_row("records with the same file stem overwrite each other")
def test_different_ids_never_share_a_file() -> None:
    ids = ["a/b", "a//b", "/a/b", "%2Fa%2Fb", "%%2Fa%2Fb", "../a", "a", "./a", "a ", " a", "\\a", "x" * 500, "x" * 501]
    names = [label_name(record(image_id=i), ".txt.step0") for i in ids]
    assert len({Path(name) for name in names}) == len(ids)
    twin = dataclasses.replace(record(image_id="a"), flags=("repeated_image_id",))
    assert label_name(twin, ".txt.step0") == "a~aaaaaaaaaaaa.txt.step0"
