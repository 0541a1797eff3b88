"""Contact sheets: PNGs of twelve images each, with numbered boxes, their phrases in the same colors, and outcomes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from PIL import Image, ImageDraw

from raylabel.errors import ImageError, InputError
from raylabel.images import displayed, read_image
from raylabel.records import REJECTED
from raylabel.review.colors import Rgb, color_of, ink_on
from raylabel.review.letters import Letters
from raylabel.review.outlines import Corners, outline, scaled
from raylabel.review.reading import Reviewed, open_results
from raylabel.review.shown import Phrase, Shown, ShownBox
from raylabel.settings import ImageSettings
from raylabel.store.judgements import ACCEPT, REJECT

COLUMNS, ROWS = 4, 3
_TILE_WIDTH, _THUMB_HEIGHT, _CAPTION_LINES, _LINES = 420, 300, 3, 9
_LINE_HEIGHT, _MARGIN, _HEADER, _STRIP = 17, 10, 34, 4
_TILE_HEIGHT = _THUMB_HEIGHT + _STRIP + (_LINES + _CAPTION_LINES + 2) * _LINE_HEIGHT + _MARGIN
_SIZE, _SMALL, _TITLE = 13, 11, 16
_WHITE, _BLACK, _DARK_GRAY, _GRAY = (255, 255, 255), (20, 20, 20), (110, 110, 110), (190, 190, 190)
_RED, _GREEN, _BROWN = (190, 0, 0), (20, 110, 50), (140, 85, 0)
_OUTCOMES: dict[str, Rgb] = {
    "labeled": _GREEN,
    "nothing": (0, 90, 160),
    "skipped": _DARK_GRAY,
    "refused": _BROWN,
    "unreadable": _RED,
    "failed": _RED,
    "unfinished": (110, 50, 140),
}
_VERDICTS = {ACCEPT: "accepted by a person", REJECT: "rejected by a person"}
_NEST_PX = 4
"""Between the outlines of boxes that lie on each other."""
_SHEET_NAME = re.compile(r"sheet_\d{4,}\.png")


def write_contact_sheets(
    results: Path, out: Path | None = None, *, only: str | None = None, sample: int | None = None
) -> list[Path]:
    """Draw the records of a results folder in the order of the input, twelve on each sheet.

    Args:
        results: a run's ``results_dir``; the run may be at work.
        out: folder for ``sheet_0001.png``, ...; default ``results/review``. Sheets of an earlier call are removed.
        only: ``failed``, ``flagged`` or ``rejected`` ones.
        sample: so many of them at random, always the same ones.

    Returns:
        The files, in order.

    Raises:
        InputError: there is nothing to review, or a line of ``annotations.jsonl`` cannot be drawn.
    """
    reviewed = open_results(results).only(only, sample)
    return list(draw_sheets(reviewed, out or results / "review"))


def draw_sheets(reviewed: Reviewed, out: Path) -> Iterator[Path]:
    """The files of contact sheets, each as soon as it is written; see ``write_contact_sheets``."""
    records = reviewed.shown()
    first = next(records, None)
    if first is None:
        raise InputError(f"{reviewed.annotations}: holds no such record to review")
    out.mkdir(parents=True, exist_ok=True)
    for old in out.iterdir():
        if _SHEET_NAME.fullmatch(old.name):
            old.unlink()
    records = chain([first], records)
    letters = Letters()
    number = 0
    while part := list(islice(records, COLUMNS * ROWS)):
        number += 1
        path = out / f"sheet_{number:04d}.png"
        begin = (number - 1) * COLUMNS * ROWS
        title = f"{reviewed.name}: sheet {number}, records {begin + 1} to {begin + len(part)}"
        _sheet(part, title, letters).save(path)
        yield path


def _sheet(records: list[Shown], title: str, letters: Letters) -> Image.Image:
    rows = -(-len(records) // COLUMNS)
    width = COLUMNS * (_TILE_WIDTH + _MARGIN) + _MARGIN
    sheet = Image.new("RGB", (width, _HEADER + rows * (_TILE_HEIGHT + _MARGIN)), _WHITE)
    title = letters.shortened(title, _TITLE, width - 2 * _MARGIN)
    letters.draw(ImageDraw.Draw(sheet), (_MARGIN, 6), title, _BLACK, _TITLE)
    for n, record in enumerate(records):
        left = _MARGIN + n % COLUMNS * (_TILE_WIDTH + _MARGIN)
        top = _HEADER + n // COLUMNS * (_TILE_HEIGHT + _MARGIN)
        sheet.paste(_tile(record, letters), (left, top))
    return sheet


def _tile(record: Shown, letters: Letters) -> Image.Image:
    tile = Image.new("RGB", (_TILE_WIDTH, _TILE_HEIGHT), _WHITE)
    draw = ImageDraw.Draw(tile)
    try:
        image = displayed(read_image(record.location), ImageSettings()).convert("RGB")
    except ImageError as error:
        draw.rectangle((0, 0, _TILE_WIDTH - 1, _THUMB_HEIGHT - 1), fill=_GRAY)
        for n, line in enumerate(letters.wrapped(str(error), _SIZE, _TILE_WIDTH - 16, _LINES)):
            letters.draw(draw, (8, 8 + n * _LINE_HEIGHT), line, _RED, _SIZE)
    else:
        scale = min(_TILE_WIDTH / image.width, _THUMB_HEIGHT / image.height)
        shown = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        _draw_boxes(shown, record.phrases, scale, letters)
        tile.paste(shown, (0, 0))
    _write_texts(draw, record, letters)
    return tile


# --- boxes ----------------------------------------------------------------------------------------------------------


def _draw_boxes(image: Image.Image, phrases: list[Phrase], scale: float, letters: Letters) -> None:
    """Rejected boxes below, labels above them, numbers on top; a box that lies on another is drawn inside it."""
    draw = ImageDraw.Draw(image)
    every = [(n, box) for n, phrase in enumerate(phrases) for box in phrase.boxes]
    places: Counter[tuple[int, ...]] = Counter()
    tags = []
    for n, box in sorted(every, key=lambda one: not one[1].rejected):
        color = _GRAY if box.rejected else color_of(n)
        for other, dash in ((box.was, (2, 3)), (box.proposed, (7, 4))):
            if other is not None:
                _dashed(draw, scaled(other, scale), color_of(n), dash)
        corners = scaled(box.box, scale)
        place = tuple(round(v / _NEST_PX) for v in corners)
        tags.append((corners, n, box, places[place]))
        outline(draw, _inside(corners, places[place]), color)
        places[place] += 1
        if box.rejected:
            draw.line((corners[0], corners[3], corners[2], corners[1]), fill=color, width=2)
    for corners, n, box, turn in tags:
        _tag(draw, corners, n, box, turn, letters)


def _inside(corners: Corners, turn: int) -> Corners:
    x1, y1, x2, y2 = corners
    by = max(0.0, min(turn * _NEST_PX, (x2 - x1) / 3, (y2 - y1) / 3))
    return x1 + by, y1 + by, x2 - by, y2 - by


def _dashed(draw: ImageDraw.ImageDraw, corners: Corners, color: Rgb, dash: tuple[int, int]) -> None:
    x1, y1, x2, y2 = (min(max(v, -_TILE_WIDTH), 2 * _TILE_WIDTH) for v in corners)
    line, gap = dash
    for start in range(int(x1), int(x2), line + gap):
        for y in (y1, y2 - 1):
            draw.line((start, y, min(x2, start + line - 1), y), fill=color)
    for start in range(int(y1), int(y2), line + gap):
        for x in (x1, x2 - 1):
            draw.line((x, start, x, min(y2, start + line - 1)), fill=color)


def _tag(
    draw: ImageDraw.ImageDraw,
    corners: Corners,
    number: int,
    box: ShownBox,
    turn: int,
    letters: Letters,
) -> None:
    """The number of a box's phrase at its upper left corner, outside of it where there is room."""
    text = str(number + 1)
    width, height = letters.width(text, _SMALL) + 4, _SMALL + 3
    x, y = corners[0] + turn * (width + 1), corners[1] - height
    y = y if y >= 0 else corners[1] + 3
    x = x if corners[1] >= height else x + 3
    color = _GRAY if box.rejected else color_of(number)
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=color)
    letters.draw(draw, (x + 2, y), text, ink_on(color), _SMALL)
    if box.rejected:
        draw.line((x, y + height / 2, x + width - 1, y + height / 2), fill=_BLACK)


# --- words ----------------------------------------------------------------------------------------------------------


def _write_texts(draw: ImageDraw.ImageDraw, record: Shown, letters: Letters) -> None:
    color, top = _OUTCOMES.get(record.outcome, _BLACK), _THUMB_HEIGHT
    draw.rectangle((0, top, _TILE_WIDTH - 1, top + _STRIP - 1), fill=color)
    top += _STRIP + 2

    def write(text: str, ink: Rgb, size: int = _SIZE, left: float = 0) -> float:
        return letters.draw(draw, (left, top), letters.shortened(text, size, _TILE_WIDTH - left), ink, size)

    after = write(record.outcome, color)
    if verdict := _VERDICTS.get(record.verdict):
        after = write(verdict, _RED if record.verdict == REJECT else _GREEN, left=after + 8)
    write(str(record.line.get("image_id", "")), _BLACK, left=after + 8)
    top += _LINE_HEIGHT
    write(", ".join(f"{step['label']}: {step['outcome']}" for step in record.steps), _DARK_GRAY, _SMALL)
    top += _LINE_HEIGHT
    for line in letters.wrapped(record.caption, _SIZE, _TILE_WIDTH, _CAPTION_LINES):
        write(line, _BLACK)
        top += _LINE_HEIGHT
    left = _LINES
    for step in record.steps:
        if step["reason"] and step["outcome"] not in ("labeled", "nothing"):
            write(f"{step['label']}: {step['reason']}", _OUTCOMES.get(step["outcome"], _BLACK), _SMALL)
            top += _LINE_HEIGHT
            left -= 1
    phrases = record.phrases if len(record.phrases) <= left else record.phrases[: max(0, left - 1)]
    for n, phrase in enumerate(phrases):
        draw.rectangle((0, top + 3, 10, top + 13), fill=color_of(n))
        gone = phrase.outcome == REJECTED
        end = write(f"{n + 1}. {_words(phrase)}", _DARK_GRAY if gone else _BLACK, left=16)
        if gone:
            draw.line((16, top + 9, end, top + 9), fill=_DARK_GRAY)
        top += _LINE_HEIGHT
    if len(phrases) < len(record.phrases):
        write(f"and {len(record.phrases) - len(phrases)} more", _DARK_GRAY, left=16)


def _words(phrase: Phrase) -> str:
    kept = phrase.kept
    rejected = len(phrase.boxes) - len(kept)
    notes = [phrase.outcome] if not phrase.boxes and phrase.outcome else []
    notes += ["verified" + (f" by {phrase.by}" if phrase.by else "")] if phrase.verified else []
    notes += [f"{rejected} rejected"] if rejected else []
    scores = [box.score for box in kept if box.score is not None]
    notes += [f"score {min(scores):.2f}"] if scores else []
    notes += [f'was "{phrase.was}"'] if phrase.was else []
    notes += phrase.flags
    notes += dict.fromkeys(flag for box in phrase.boxes for flag in box.flags)
    said = f" ({', '.join(notes)})" if notes else ""
    return f"{phrase.text} [{len(kept)}]{said}"
