"""The sheet shows what was expected and what was answered."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from raylabel.probing.box_reading import AS_WRITTEN, BoxReading
from raylabel.probing.color_probe import ASKED
from raylabel.probing.measurement import Measurement, Shown
from raylabel.probing.probes import probes
from raylabel.probing.sheet import write_sheet
from raylabel.profiles import UNKNOWN
from raylabel.records import Box


def measured(shift_px: float, problem: str = "") -> Measurement:
    shown = [
        Shown(p, c, (Box(b.x1 + shift_px, b.y1, b.x2 + shift_px, b.y2),), 0.9, together)
        for p in probes()
        for together in (False, True)
        for c, b in p.boxes_px.items()
    ]
    return Measurement(UNKNOWN, 0.9, "yxyx, 0-1000", 0.2, 20, problem=problem, shown=tuple(shown))


def test_a_sheet_changes_with_the_answers(tmp_path: Path) -> None:
    write_sheet(tmp_path / "right.png", measured(0), "some-vlm")
    write_sheet(tmp_path / "wrong.png", measured(90), "some-vlm")

    with Image.open(tmp_path / "right.png") as right, Image.open(tmp_path / "wrong.png") as wrong:
        assert right.size == wrong.size
        assert right.tobytes() != wrong.tobytes()


def test_a_box_far_outside_and_one_without_area_do_not_hinder_a_sheet(tmp_path: Path) -> None:
    strange = (Box(-1e12, 3, 1e12, 4), Box(5, 5, 5, 5), Box(1e9, 1e9, 2e9, 2e9))
    shown = (
        Shown(probes()[0], "red", strange, 0.0, together=False),
        Shown(probes()[0], "blue", (), 0.0, together=True),
    )

    write_sheet(tmp_path / "sheet.png", Measurement(UNKNOWN, 0.0, "", 0.0, 2, "a note", "a problem", shown), "some-vlm")

    assert (tmp_path / "sheet.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(ASKED, id="all-right"),
        pytest.param(("red", *["none"] * 5), id="wrong"),
        pytest.param(("red", "", "", "", "", ""), id="unclear"),
        pytest.param((), id="no-answer"),
    ],
)
def test_a_sheet_shows_what_was_seen_in_the_boxes_handed_over(said: tuple[str, ...], tmp_path: Path) -> None:
    usual = measured(0)
    write_sheet(tmp_path / "without.png", usual, "some-vlm")
    write_sheet(tmp_path / "with.png", dataclasses.replace(usual, reading=BoxReading(AS_WRITTEN, said)), "some-vlm")
    other = BoxReading(AS_WRITTEN, ("blue", *(said or [""] * 6)[1:]))
    write_sheet(tmp_path / "other.png", dataclasses.replace(usual, reading=other), "some-vlm")

    with Image.open(tmp_path / "without.png") as without, Image.open(tmp_path / "with.png") as with_it:
        assert with_it.height > without.height
        with Image.open(tmp_path / "other.png") as differing:
            assert differing.tobytes() != with_it.tobytes()
