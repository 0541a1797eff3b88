"""The pictures that are asked about: four solid rectangles each, whose places are known to the pixel.

None is square and one is wider than servers let through unresized, so that every scale and order shows; no rectangle
is where it would be with x and y swapped, and one reaches beyond 1000 pixels.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw

from raylabel.records import Box, Size

GROUND = (236, 235, 231)
COLORS: Mapping[str, tuple[int, int, int]] = {
    "red": (214, 28, 40),
    "yellow": (246, 208, 20),
    "green": (26, 150, 66),
    "blue": (34, 76, 214),
}
"""Saturated and far apart in hue: a model that cannot tell these apart can tell nothing."""

_LANDSCAPE, _PORTRAIT, _PANORAMA = Size(1600, 600), Size(600, 1400), Size(3000, 1000)

_PLACES: Mapping[Size, tuple[tuple[int, int, int, int], ...]] = {
    _LANDSCAPE: ((83, 251, 389, 470), (451, 43, 803, 207), (739, 377, 1075, 553), (1171, 61, 1523, 277)),
    _PORTRAIT: ((311, 115, 541, 379), (47, 531, 253, 811), (329, 503, 559, 771), (107, 1037, 337, 1303)),
    _PANORAMA: ((1801, 83, 2399, 379), (179, 553, 811, 881), (961, 51, 1589, 331), (2221, 479, 2849, 803)),
}
"""Displayed pixels, in the order of ``COLORS``; the far edges are not part of the rectangles."""

_ORIENTATION_TAG, _TURNED_RIGHT = 0x0112, 6


@dataclass(frozen=True, slots=True)
class Probe:
    """A picture and what is in it.

    Args:
        name: for messages.
        data: of the file, as a user's file would be.
        size: as displayed.
        boxes_px: by colour, in displayed pixels.
    """

    name: str
    data: bytes
    size: Size
    boxes_px: Mapping[str, Box]


def phrase_for(color: str) -> str:
    """What a rectangle is asked for by."""
    return f"the {color} rectangle"


@cache
def probes() -> tuple[Probe, ...]:
    """1600x600, 600x1400, 3000x1000 and a copy of the second that its EXIF data turns upright.

    >>> [(probe.name, len(probe.boxes_px)) for probe in probes()]
    [('1600x600', 4), ('600x1400', 4), ('3000x1000', 4), ('600x1400 turned by EXIF', 4)]
    """
    plain = tuple(Probe(f"{s.width}x{s.height}", png(_drawn(s)), s, _boxes(s)) for s in _PLACES)
    turned = Probe(f"{plain[1].name} turned by EXIF", _turned_jpeg(_drawn(_PORTRAIT)), _PORTRAIT, _boxes(_PORTRAIT))
    return (*plain, turned)


def widest() -> Probe:
    """The probe that tells most by itself: no order and scale fits it but the right one, and servers resize it."""
    return next(probe for probe in probes() if probe.size == _PANORAMA)


def _boxes(size: Size) -> dict[str, Box]:
    return {color: Box(*map(float, place)) for color, place in zip(COLORS, _PLACES[size], strict=True)}


def _drawn(size: Size) -> Image.Image:
    return drawn(size, zip(COLORS.values(), _PLACES[size], strict=True))


def drawn(size: Size, rectangles: Iterable[tuple[tuple[int, int, int], tuple[int, int, int, int]]]) -> Image.Image:
    """A picture of solid rectangles on the ground.

    Args:
        rectangles: colour and place of each in pixels; the far edges are not part of it.
    """
    image = Image.new("RGB", (size.width, size.height), GROUND)
    draw = ImageDraw.Draw(image)
    for color, (x1, y1, x2, y2) in rectangles:
        draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill=color)
    return image


def png(image: Image.Image) -> bytes:
    """The picture as a PNG file."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _turned_jpeg(upright: Image.Image) -> bytes:
    """A file as a phone writes it: stored lying, with the tag that says so."""
    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = _TURNED_RIGHT
    out = io.BytesIO()
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    stored.save(out, "JPEG", quality=97, subsampling=0, exif=exif)
    return out.getvalue()
