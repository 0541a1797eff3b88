"""The probes show what they say, and no wrong reading of a right answer fits them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from raylabel.geometry import Resize, iou
from raylabel.images import prepare
from raylabel.probing.probes import COLORS, Probe, probes, widest
from raylabel.records import Box, Size
from raylabel.settings import ImageSettings


@pytest.fixture(params=probes(), ids=["landscape", "portrait", "panorama", "turned"])
def probe(request: pytest.FixtureRequest) -> Probe:
    probe: Probe = request.param
    return probe


def test_there_are_the_four_probes_of_the_specification() -> None:
    assert [p.size for p in probes()] == [Size(1600, 600), Size(600, 1400), Size(3000, 1000), Size(600, 1400)]
    assert widest().size == Size(3000, 1000)


def test_the_turned_probe_is_stored_lying() -> None:
    stored = Image.open(io.BytesIO(probes()[3].data))

    assert stored.size == (1400, 600)
    assert stored.getexif()[0x0112] == 6


def test_every_rectangle_is_where_it_is_said_to_be(probe: Probe) -> None:
    facts, sent, _ = prepare(probe.data, ImageSettings(), Resize())
    pixels = np.asarray(Image.open(io.BytesIO(sent)).convert("RGB")).astype(int)

    assert facts.size == probe.size
    for color, box in probe.boxes_px.items():
        near = np.abs(pixels - np.array(COLORS[color])).max(axis=2) < 40
        rows, columns = np.nonzero(near)
        seen = Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert iou(seen, box) > 0.99, color


def test_no_rectangle_lies_where_swapped_coordinates_would_put_it(probe: Probe) -> None:
    width, height = probe.size.width, probe.size.height
    for box in probe.boxes_px.values():
        swapped = Box(
            box.y1 / height * width, box.x1 / width * height, box.y2 / height * width, box.x2 / width * height
        )
        assert iou(box, swapped) < 0.15


def test_every_probe_reaches_beyond_1000_pixels(probe: Probe) -> None:
    assert max(max(box.x2, box.y2) for box in probe.boxes_px.values()) > 1000


def test_rectangles_do_not_overlap(probe: Probe) -> None:
    boxes = list(probe.boxes_px.values())
    assert all(iou(a, b) == 0 for n, a in enumerate(boxes) for b in boxes[:n])
