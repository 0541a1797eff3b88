"""What is stored and delivered keeps its bytes: rows of earlier releases are compared with new ones as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raylabel.exports.annotations import to_line
from raylabel.exports.json_lines import to_json_line
from raylabel.pipelines import PIPELINES
from raylabel.records import (
    IMAGE_REFERRING_EXPRESSION,
    Box,
    Changes,
    Expression,
    ImageFacts,
    Instance,
    Outcome,
    Record,
    Region,
    Seed,
    Size,
    StepOutcome,
)
from raylabel.runtime.asking import StepEnd
from raylabel.runtime.rows import build_row, inputs_digest, restore

STORED = json.loads((Path(__file__).parent / "data/records/stored.json").read_text(encoding="utf-8"))
"""Written by raylabel 0.1.0 before pydantic read any of it."""

CHECK = PIPELINES[IMAGE_REFERRING_EXPRESSION][-1]

BARE = Expression("e1", "bus")
FULL = Expression(
    "e2",
    "weißer Bus",
    (3, 13),
    "Bus",
    (
        Instance("b1", Box(1, 2, 30.5, 1e22), 0.1 + 0.2, True, flags=("clipped",)),
        Instance("b2", Box(1e-7, 2.0, 3.0, 4.0), None, False, Box(0, 1, 2, 3), Box(5.5, 6, 7, 8)),
    ),
    True,
    'the "bus"\n\\ \u2028\U0001f600',
    ("rewritten", "unknown_finish:abc"),
)
EVERY_EXPRESSION = (
    BARE,
    FULL,
    Expression("e3", "nothing", instances=()),
    Expression("e4", "all rejected", instances=(Instance("b3", Box(1, 2, 3, 4), 1, False),)),
    Expression("e5", "rejected", None, "", (Instance("b4", Box(1, 2, 3, 4), verified=None),), False),
)
REGIONS = (
    Region(Box(1, 2, 3, 4), "car", "", "the car"),
    Region(Box(0.5, 2, 3, 4), "bus", "rot", "Größe", ("clipped",)),
)
SIZE = Size(1242, 375)
FACTS = ImageFacts("d" * 32, SIZE, 1, "image/jpeg", True)
TURNED = ImageFacts("ü", SIZE, 6, "image/png", False, True, ("truncated",))


def row_of(changes, image=FACTS, **fields):
    record = Record("1" * 32, 3, 70, "i", "i.jpg", IMAGE_REFERRING_EXPRESSION, image=image, **fields)
    end = StepEnd(StepOutcome(Outcome.LABELED), changes, ("w-1", "w-2"))
    return record, build_row(CHECK, record, end, 2, "prompt x, reader 1")


CHANGES = {
    "none": Changes(),
    "texts, and nothing found": Changes("ein Bild", 'a \U0001f600 "q"', (), ()),
    "regions": Changes(regions=REGIONS),
    "expressions": Changes(expressions=EVERY_EXPRESSION),
}
IMAGES = {"never opened": None, "plain": FACTS, "turned and flagged": TURNED}
READ: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no image": {"image": None},
    "seeds": {"seeds": (Seed(Box(1, 2, 3.5, 4), "Car"), Seed(Box(1, 2, 3, 4), ""))},
    "regions": {"regions": REGIONS},
    "everything": {"regions": REGIONS, "expressions": EVERY_EXPRESSION},
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_changes_of_a_step_are_stored_as_ever_and_come_back(what):
    record, row = row_of(CHANGES[what])
    assert row["changes"] == STORED["changes"][what]
    restored, stale = restore(record, [CHECK], {CHECK.directory: {record.record_id: row}}, {CHECK.directory: 2})
    assert (restored, stale) == (record.apply(CHECK.label, StepOutcome(Outcome.LABELED), CHANGES[what]), [])


@pytest.mark.parametrize("what", IMAGES)
def test_the_facts_of_an_image_are_stored_as_ever(what):
    assert row_of(Changes(), IMAGES[what])[1]["image"] == STORED["images"][what]


@pytest.mark.parametrize("what", READ)
def test_the_digest_of_what_a_step_needs_stays_what_it_was(what):
    record, _ = row_of(Changes(), **READ[what])
    digests = [inputs_digest(step, record) for step in PIPELINES[IMAGE_REFERRING_EXPRESSION]]
    assert digests == STORED["digests"][what]


def full_line():
    record = Record(
        "0" * 32,
        0,
        0,
        "000042",
        "images/000042.jpg",
        IMAGE_REFERRING_EXPRESSION,
        image=TURNED,
        caption="c",
        cleaned_caption="c",
        seeds=(Seed(Box(1, 2, 3.5, 4), "Car"),),
        regions=REGIONS[1:],
        expressions=(BARE, FULL),
        outcomes={step.label: StepOutcome(Outcome.LABELED) for step in PIPELINES[IMAGE_REFERRING_EXPRESSION]},
        flags=("repeated_image_id",),
        extra={"split": "train", "image_id": 42},
    )
    return to_json_line(to_line(record, [step.label for step in PIPELINES[IMAGE_REFERRING_EXPRESSION]])).decode()


def test_a_line_that_holds_every_kind_of_value_keeps_its_bytes():
    assert full_line() == STORED["line"]
