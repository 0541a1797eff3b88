"""A picture of the probes with the boxes that were expected and those that were answered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from raylabel.images import displayed
from raylabel.probing.box_reading import BoxReading
from raylabel.probing.color_probe import ASKED, color_probe
from raylabel.probing.color_probe import COLORS as ALL_COLORS
from raylabel.probing.measurement import Measurement, Shown
from raylabel.probing.probes import COLORS, Probe
from raylabel.probing.verdict import describe_profile
from raylabel.records import Box
from raylabel.settings import ImageSettings

WIDTH = 1240
_MARGIN, _GAP = 24, 18
_HEAD_LINE, _LINE = 26, 20
_TILE_HEIGHT = 330
_BORDER = 0.06
"""Around each probe, as a share of its longer side: boxes may leave the picture."""
_PAPER, _INK, _FAINT, _BAD, _GOOD = (255, 255, 255), (24, 24, 24), (110, 110, 110), (186, 0, 0), (0, 110, 50)
_PALE = 0.65
"""The probes are drawn so much paler than they are, so that lines show on them."""
_DARK = {color: tuple(round(v * 0.45) for v in rgb) for color, rgb in COLORS.items()}
"""Inks of the answered boxes, by the colour that was asked for."""
_DASH, _SPACE = 8, 6
_FAIR = 0.6
_LINE_WIDTH = 2

_Ink = tuple[int, int, int]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def write_sheet(path: Path, measured: Measurement, model: str) -> None:
    """Draw every probe that was asked about, as PNG.

    Rectangles that were expected have a solid outline, answered ones a dashed one, with the IoU of each beside it. What
    was answered for a rectangle alone and together with the others is drawn on one picture. Where the model was asked
    for the colors in boxes, the last picture has each answer at the box that it was given for.

    Args:
        path: the file; its folder is there.
        model: for the heading.
    """
    probes = list(dict.fromkeys(s.probe.name for s in measured.shown))
    tiles = [_tile([s for s in measured.shown if s.probe.name == name]) for name in probes]
    if measured.reading is not None:
        tiles.append(_reading_tile(measured.reading))
    rows = list(_rows(tiles))
    heading = _heading(measured, model)
    top = _MARGIN + sum(len(_wrapped(text, size)) * _HEAD_LINE for text, _, size in heading) + _LINE + _GAP
    height = top + sum(max(t.height for t in row) + _GAP for row in rows) + _MARGIN
    sheet = Image.new("RGB", (WIDTH, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    y = _MARGIN
    for text, ink, size in heading:
        for line in _wrapped(text, size):
            draw.text((_MARGIN, y), line, fill=ink, font=_font(size))
            y += _HEAD_LINE
    _legend(draw, y)
    y = top
    for row in rows:
        x = _MARGIN
        for tile in row:
            sheet.paste(tile, (x, y))
            x += tile.width + _GAP
        y += max(t.height for t in row) + _GAP
    sheet.save(path, "PNG")


def _heading(measured: Measurement, model: str) -> list[tuple[str, _Ink, int]]:
    """Lines with ink and font size."""
    words = describe_profile(measured.profile)
    next_best = f"; next: {measured.runner_up} with {measured.runner_up_iou:.2f}" if measured.runner_up else ""
    if measured.problem:
        verdict = [(measured.problem, _BAD, 16), (f"drawn as {words}", _FAINT, 15)]
    else:
        verdict = [(f"{words}: mean IoU {measured.mean_iou:.2f}{next_best}", _GOOD, 16)]
    reading = []
    if measured.reading is not None:
        reading = [(measured.reading.describe(), _GOOD if measured.reading.is_trusted else _BAD, 16)]
    return [(model, _INK, 20), *verdict, *reading, *([(measured.note, _FAINT, 15)] if measured.note else [])]


def _legend(draw: ImageDraw.ImageDraw, y: int) -> None:
    x = _MARGIN
    for text, dashed in (("expected", False), ("answered", True)):
        if dashed:
            _dashed(draw, (x, y + 2, x + 34, y + 16), _DARK["blue"])
        else:
            draw.rectangle((x, y + 2, x + 34, y + 16), outline=COLORS["blue"], width=_LINE_WIDTH)
        draw.text((x + 42, y), text, fill=_FAINT, font=_font(13))
        x += 130


def _tile(shown: Sequence[Shown]) -> Image.Image:
    """One probe with all that was said of it; its caption below."""
    probe = shown[0].probe
    plane, border, scale = _plane(probe)
    draw = ImageDraw.Draw(plane)
    for color, box_px in probe.boxes_px.items():
        draw.rectangle(_on_plane(box_px, border, scale), outline=COLORS[color], width=_LINE_WIDTH)
    for color, box_px in dict.fromkeys((one.color, box_px) for one in shown for box_px in one.placed_px):
        _dashed(draw, _on_plane(box_px, border, scale), _DARK[color])
    return _captioned(plane, probe, shown)


def _reading_tile(reading: BoxReading) -> Image.Image:
    """The picture whose colors were asked for, with each answer at its box; its caption below."""
    probe = color_probe()
    plane, border, scale = _plane(probe)
    draw = ImageDraw.Draw(plane)
    for color, answered in zip(ASKED, reading.said or [""] * len(ASKED), strict=True):
        x1, y1, x2, y2 = _on_plane(probe.boxes_px[color], border, scale)
        draw.rectangle((x1, y1, x2, y2), outline=ALL_COLORS[color], width=_LINE_WIDTH)
        draw.text((x1 + 4, y1 + 3), answered or "unclear", fill=_INK if answered == color else _BAD, font=_font(13))
    lines = [(f"{probe.name}: answered for each box", _INK), (f"{reading.right} of {len(ASKED)} right", _FAINT)]
    return _with_lines(plane, lines)


def _plane(probe: Probe) -> tuple[Image.Image, int, float]:
    """A probe, paler than it is, with a border around it; the border in its pixels, and the scale of the tile."""
    border = round(_BORDER * max(probe.size.width, probe.size.height))
    wide, high = probe.size.width + 2 * border, probe.size.height + 2 * border
    scale = min((WIDTH - 2 * _MARGIN - _GAP) / 2 / wide, _TILE_HEIGHT / high)
    plane = Image.new("RGB", (round(wide * scale), round(high * scale)), (206, 206, 206))
    picture = displayed(probe.data, ImageSettings()).convert("RGB")
    size = (round(probe.size.width * scale), round(probe.size.height * scale))
    picture = Image.blend(picture, Image.new("RGB", picture.size, _PAPER), _PALE)
    plane.paste(picture.resize(size, Image.Resampling.LANCZOS), (round(border * scale), round(border * scale)))
    return plane, border, scale


def _captioned(plane: Image.Image, probe: Probe, shown: Sequence[Shown]) -> Image.Image:
    lines = [(probe.name, _INK)]
    for together in (False, True):
        these = [s for s in shown if s.together is together]
        if these:
            words = ", ".join(f"{s.color} {_iou_words(s)}" for s in these[: len(COLORS)])
            worst = min(s.overlap for s in these)
            lines.append((f"{'together' if together else 'alone'}: {words}", _BAD if worst < _FAIR else _FAINT))
    return _with_lines(plane, lines)


def _with_lines(plane: Image.Image, lines: Sequence[tuple[str, _Ink]]) -> Image.Image:
    """The tile with lines of text below."""
    width = max(plane.width, *(round(_font(13).getlength(text)) + 2 for text, _ in lines))
    tile = Image.new("RGB", (width, plane.height + 6 + len(lines) * _LINE), _PAPER)
    tile.paste(plane, (0, 0))
    draw = ImageDraw.Draw(tile)
    for n, (text, ink) in enumerate(lines):
        draw.text((0, plane.height + 6 + n * _LINE), text, fill=ink, font=_font(13))
    return tile


def _iou_words(shown: Shown) -> str:
    return f"{shown.overlap:.2f}" if shown.placed_px else "none"


def _rows(tiles: Sequence[Image.Image]) -> Iterator[list[Image.Image]]:
    row: list[Image.Image] = []
    for tile in tiles:
        if row and sum(t.width + _GAP for t in row) + tile.width > WIDTH - 2 * _MARGIN:
            yield row
            row = []
        row.append(tile)
    if row:
        yield row


def _on_plane(box_px: Box, border: int, scale: float) -> tuple[float, float, float, float]:
    """A box of displayed pixels on the tile; what lies far outside ends at a place that is still far outside."""
    x1, y1, x2, y2 = (max(-1e4, min(1e4, (v + border) * scale)) for v in box_px.as_tuple())
    return x1, y1, max(x1 + 1, x2 - 1), max(y1 + 1, y2 - 1)


def _dashed(draw: ImageDraw.ImageDraw, edges: tuple[float, float, float, float], ink: tuple[int, ...]) -> None:
    x1, y1, x2, y2 = edges
    for (ax, ay), (bx, by) in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x1, y2), (x2, y2)), ((x1, y1), (x1, y2))):
        length = max(bx - ax, by - ay)
        dashes = min(math.ceil(length / (_DASH + _SPACE)), 1000)
        for at in (n * (_DASH + _SPACE) for n in range(dashes)):
            end = min(at + _DASH, length)
            along_x, along_y = (bx - ax) / length, (by - ay) / length
            dash = (ax + along_x * at, ay + along_y * at, ax + along_x * end, ay + along_y * end)
            draw.line(dash, fill=ink, width=_LINE_WIDTH)


def _wrapped(text: str, size: int) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and _font(size).getlength(longer) > WIDTH - 2 * _MARGIN:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line]


@cache
def _font(size: int) -> _Font:
    return ImageFont.load_default(size)
