"""Draw one record of a finished run: the image with its boxes, and below it the caption with the phrases underlined.

    python scripts/picture.py RESULTS OUT.png [RECORD_ID]

The picture at the top of the README is made from `raylabel demo`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

# Distinct for most eyes, also next to each other. Source: Okabe and Ito's palette, yellow and black left out.
COLORS = [(213, 94, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (230, 159, 0), (0, 114, 178)]
PAPER, INK = (255, 255, 255), (30, 30, 30)
WIDTH, MARGIN, FONT_SIZE, LINE_HEIGHT = 760, 16, 21, 38


def main(results: Path, out: Path, record_id: str = "") -> None:
    lines = (results / "annotations.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    chosen = next(r for r in records if not record_id or r["record_id"] == record_id)
    draw_record(chosen).save(out, optimize=True)
    print(out)


def draw_record(record: dict[str, Any]) -> Image.Image:
    picture = Image.open(record["image_path"]).convert("RGB")
    scale = WIDTH / picture.width
    picture = picture.resize((WIDTH, round(picture.height * scale)), Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(picture)
    colors: dict[int, tuple[int, int, int]] = {}
    for number, expression in enumerate(record["expressions"]):
        color = COLORS[number % len(COLORS)]
        start, end = expression["char_span"]
        colors.update(dict.fromkeys(range(start, end), color))
        for instance in expression["instances"]:
            # Around the object, not on it: the lines would hide the shape of a small one.
            left, top, right, bottom = (v * scale for v in instance["bbox"])
            pen.rectangle([left - 5, top - 5, right + 5, bottom + 5], outline=color, width=4)
    rows = wrapped(record["cleaned_caption"])
    sheet = Image.new("RGB", (WIDTH, picture.height + 2 * MARGIN + LINE_HEIGHT * len(rows)), PAPER)
    sheet.paste(picture, (0, 0))
    write_underlined(ImageDraw.Draw(sheet), rows, colors, picture.height + MARGIN)
    return sheet


def wrapped(text: str) -> list[tuple[int, str]]:
    """The lines of a text that fit the sheet, each with the place of its first character."""
    rows: list[tuple[int, str]] = []
    start = 0
    while start < len(text):
        end = len(text)
        while FONT.getlength(text[start:end]) > WIDTH - 2 * MARGIN:
            end = text.rindex(" ", start, end)
        rows.append((start, text[start:end]))
        start = end + 1
    return rows


def write_underlined(
    pen: ImageDraw.ImageDraw, rows: list[tuple[int, str]], colors: dict[int, tuple[int, int, int]], top: float
) -> None:
    for first, row in rows:
        pen.text((MARGIN, top), row, INK, FONT)
        for n in range(len(row)):
            if (color := colors.get(first + n)) is not None:
                left, right = (MARGIN + FONT.getlength(row[:end]) for end in (n, n + 1))
                pen.rectangle([left, top + FONT_SIZE + 6, right, top + FONT_SIZE + 10], color)
        top += LINE_HEIGHT


FONT = ImageFont.load_default(FONT_SIZE)

if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
