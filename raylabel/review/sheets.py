"""Contact sheets: PNGs of twelve images each, with boxes, their phrases in the same colors, and the outcome."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from raylabel.errors import ImageError, InputError
from raylabel.images import displayed, read_image
from raylabel.records import JsonObject
from raylabel.settings import ImageSettings

COLUMNS, ROWS = 4, 3
_TILE_WIDTH, _THUMB_HEIGHT, _LINES = 420, 300, 8
_LINE_HEIGHT, _MARGIN, _HEADER = 17, 10, 34
_TILE_HEIGHT = _THUMB_HEIGHT + (_LINES + 2) * _LINE_HEIGHT + _MARGIN
_WHITE, _BLACK, _DARK_GRAY, _GRAY = (255, 255, 255), (20, 20, 20), (110, 110, 110), (190, 190, 190)
_RED = (190, 0, 0)
# Distinct for most eyes, also next to each other. Source: Okabe and Ito's palette, yellow and black left out.
_COLORS = [(230, 159, 0), (86, 180, 233), (0, 158, 115), (0, 114, 178), (213, 94, 0), (204, 121, 167)]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_SHEET_NAME = re.compile(r"sheet_\d{4,}\.png")


@dataclass(frozen=True, slots=True)
class _Label:
    """Boxes drawn in one color, in displayed pixels, and the text below the image; rejected ones are gray."""

    text: str
    boxes: list[list[float]]
    rejected: list[list[float]] = field(default_factory=list)


def write_contact_sheets(results: Path, out: Path | None = None) -> list[Path]:
    """Draw the records of ``results/annotations.jsonl`` in their order, twelve on each sheet.

    Args:
        results: a run's ``results_dir``.
        out: folder for ``sheet_0001.png``, ...; default ``results/review``. Sheets of an earlier call are removed.

    Returns:
        The files, in order.

    Raises:
        InputError: there is no readable ``annotations.jsonl``, or it has no records.
    """
    annotations = results / "annotations.jsonl"
    if not annotations.is_file():
        raise InputError(f"{results}: no annotations.jsonl to review; expected the results_dir of a finished run")
    total = sum(1 for _ in _records(annotations))
    if not total:
        raise InputError(f"{annotations}: holds no record to review")
    per_sheet = COLUMNS * ROWS
    sheets = -(-total // per_sheet)
    folder = out or results / "review"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if _SHEET_NAME.fullmatch(old.name):
            old.unlink()
    written = []
    records = _records(annotations)
    for number in range(1, sheets + 1):
        path = folder / f"sheet_{number:04d}.png"
        title = f"{results.name or results}: {total} records, sheet {number} of {sheets}"
        _sheet(list(islice(records, per_sheet)), title).save(path)
        written.append(path)
    return written


def _records(annotations: Path) -> Iterator[JsonObject]:
    with annotations.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                try:
                    value = json.loads(line)
                except ValueError as error:
                    raise InputError(f"{annotations}: line {number} is not JSON ({error})") from error
                if not isinstance(value, dict):
                    raise InputError(f"{annotations}: line {number} is not a JSON object")
                yield value


def _sheet(records: list[JsonObject], title: str) -> Image.Image:
    rows = -(-len(records) // COLUMNS)
    width = COLUMNS * (_TILE_WIDTH + _MARGIN) + _MARGIN
    sheet = Image.new("RGB", (width, _HEADER + rows * (_TILE_HEIGHT + _MARGIN)), _WHITE)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_MARGIN, 8), title, _BLACK, _font(16), width)
    for n, record in enumerate(records):
        left = _MARGIN + n % COLUMNS * (_TILE_WIDTH + _MARGIN)
        top = _HEADER + n // COLUMNS * (_TILE_HEIGHT + _MARGIN)
        sheet.paste(_tile(record), (left, top))
    return sheet


def _tile(record: JsonObject) -> Image.Image:
    tile = Image.new("RGB", (_TILE_WIDTH, _TILE_HEIGHT), _WHITE)
    draw = ImageDraw.Draw(tile)
    labels = _labels_of(record)
    try:
        image = displayed(read_image(str(record.get("image_path", ""))), ImageSettings()).convert("RGB")
    except ImageError as error:
        draw.rectangle((0, 0, _TILE_WIDTH - 1, _THUMB_HEIGHT - 1), fill=_GRAY)
        for n, line in enumerate(_wrapped(draw, str(error), _font(13))[:_LINES]):
            _write(draw, (8, 8 + n * _LINE_HEIGHT), line, _RED, _font(13))
    else:
        scale = min(_TILE_WIDTH / image.width, _THUMB_HEIGHT / image.height)
        shown = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        drawing = ImageDraw.Draw(shown)
        for n, label in enumerate(labels):
            outlines = [*((box, _GRAY) for box in label.rejected), *((box, _color(n)) for box in label.boxes)]
            for box, outline in outlines:
                x1, y1, x2, y2 = (v * scale for v in box)
                drawing.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=outline, width=2)
        tile.paste(shown, (0, 0))
    _write_texts(draw, record, labels)
    return tile


def _write_texts(draw: ImageDraw.ImageDraw, record: JsonObject, labels: list[_Label]) -> None:
    font, top = _font(13), _THUMB_HEIGHT + 4
    outcome = str(record.get("outcome", ""))
    steps = ", ".join(f"{k}: {v}" for k, v in (record.get("outcomes") or {}).items())
    bad = outcome in ("failed", "unreadable", "refused")
    _write(draw, (0, top), f"{record.get('image_id', '')}  {outcome}", _RED if bad else _BLACK, font)
    _write(draw, (0, top + _LINE_HEIGHT), steps, _DARK_GRAY, _font(11))
    shown = labels if len(labels) <= _LINES else labels[: _LINES - 1]
    for n, label in enumerate(shown):
        y = top + (n + 2) * _LINE_HEIGHT
        draw.rectangle((0, y + 3, 10, y + 13), fill=_color(n))
        _write(draw, (16, y), label.text, _BLACK, font)
    if len(shown) < len(labels):
        _write(draw, (16, top + (_LINES + 1) * _LINE_HEIGHT), f"and {len(labels) - len(shown)} more", _DARK_GRAY, font)


def _labels_of(record: JsonObject) -> list[_Label]:
    """What to draw: the expressions, or else the regions, or else the seed boxes."""
    if expressions := record.get("expressions"):
        return [_label_of_expression(e) for e in expressions]
    if regions := record.get("regions"):
        return [_Label(str(r.get("description") or r.get("type")), [r["bbox"]]) for r in regions]
    return [_Label(str(s[4]), [s[:4]]) for s in record.get("kitti_bboxes") or ()]


def _label_of_expression(expression: Any) -> _Label:
    instances = expression.get("instances") or []
    outcome, checked = expression.get("outcome"), expression.get("verified")
    boxes: list[list[float]] = []
    rejected: list[list[float]] = []
    for instance in instances:
        (rejected if False in (checked, instance.get("verified")) else boxes).append(instance["bbox"])
    notes = [str(outcome)] if not instances and outcome else []
    notes += ["verified"] if checked else []
    notes += [f"{len(rejected)} rejected"] if rejected else []
    notes += expression.get("flags") or []
    note = f" ({', '.join(notes)})" if notes else ""
    return _Label(f"{expression.get('text', '')} [{len(boxes)}]{note}", boxes, rejected)


def _color(number: int) -> tuple[int, int, int]:
    return _COLORS[number % len(_COLORS)]


@lru_cache
def _font(size: int) -> _Font:
    return ImageFont.load_default(size)


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    color: tuple[int, int, int],
    font: _Font,
    width: int = _TILE_WIDTH,
) -> None:
    """Write one line, shortened to ``width``."""
    text = " ".join(text.split())
    room = width - at[0]
    if draw.textlength(text, font) > room:
        while text and draw.textlength(text + "...", font) > room:
            text = text[:-1] if len(text) < 200 else text[:199]
        text += "..."
    draw.text(at, text, color, font)


def _wrapped(draw: ImageDraw.ImageDraw, text: str, font: _Font) -> list[str]:
    """The text in lines that fit a tile, broken at any character, since paths have no spaces."""
    lines, line = [], ""
    for letter in text:
        if draw.textlength(line + letter, font) > _TILE_WIDTH - 16:
            lines.append(line)
            line = ""
        line += letter
    return [*lines, line]
