"""The gallery: a folder of pages that opens from disk, without a server and without a network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image, ImageDraw

from raylabel.errors import ImageError, InputError
from raylabel.images import displayed, read_image
from raylabel.records import JsonObject, digest_of
from raylabel.review.colors import Rgb, color_of, dash_of, ink_on, look_of_side, to_css
from raylabel.review.outlines import outline, scaled
from raylabel.review.reading import Reviewed
from raylabel.review.shown import TRUTH, Phrase, Shown, ShownBox
from raylabel.review.statistics import Section, Statistics
from raylabel.settings import ImageSettings
from raylabel.store.judgements import Judgement

INDEX_CHUNK, RECORD_CHUNK = 500, 50
"""Records in a file: of what the grid and the filters need of all of them, and of what is shown of one."""
THUMB_WH, IMAGE_SIDE = (384, 288), 1600
"""Pixels: thumbnails are shown at half of it; pictures are made no larger."""
_OWN = ("assets", "data", "thumbs", "images")
_MARKER = "meta.js"
_SMALL_PX, _MEDIUM_PX = 32**2, 96**2
"""Areas. Source: COCO's size classes."""
_SCRIPT = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True)
class _Picture:
    """What was made of an image: files relative to the gallery, and its size as displayed."""

    image: str = ""
    size_wh: tuple[int, int] = (0, 0)
    trouble: str = ""
    small: Image.Image | None = None


def write_gallery(
    reviewed: Reviewed,
    out: Path,
    progress: Callable[[int], None] = lambda _: None,
    comparison: Sequence[Section] | None = None,
) -> Path:
    """Write the gallery of some records; a gallery that was there before is replaced.

    Memory holds one record's pictures and one chunk of data, whatever the number of records.

    Args:
        out: gets ``index.html``, ``statistics.html`` and folders of its own; other files in it stay.
        progress: told how many records are written.
        comparison: of two whose labels are shown together; it stands in the place of the records' statistics.

    Returns:
        The page to open.

    Raises:
        InputError: there is no record, or ``out`` has folders of these names that are no gallery's.
        OSError: it cannot be written.
    """
    _make_room(out)
    statistics = Statistics()
    index = _Chunks(out / "data", "index", INDEX_CHUNK)
    records = _Chunks(out / "data", "records", RECORD_CHUNK)
    replies = _Chunks(out / "data", "replies", RECORD_CHUNK)
    pictures = _Pictures(out)
    for number, shown in enumerate(reviewed.shown()):
        picture = pictures.of(shown.location, number)
        exchanges = shown.exchanges()
        index.add(_in_index(shown, pictures.thumb(picture, shown, number)))
        records.add(_in_full(shown, picture))
        replies.add(exchanges)
        statistics.add(shown, exchanges)
        progress(number + 1)
    for chunks in (index, records, replies):
        chunks.flush()
    if not index.count:
        raise InputError(f"{reviewed.annotations.parent}: holds no such record to review")
    second = ("Statistics", statistics.sections()) if comparison is None else ("Comparison", comparison)
    _write_pages(reviewed, out, index.count, index.files, *second)
    return out / "index.html"


def _make_room(out: Path) -> None:
    """Remove a gallery of before. Its marker goes last, so that what an interrupted call left is still known as one."""
    if any((out / name).exists() for name in _OWN) and not (out / "data" / _MARKER).is_file():
        raise InputError(
            f"{out}: holds a folder of a name that a gallery uses ({', '.join(_OWN)}) and is no gallery; name another "
            "folder with --out"
        )
    for name in ("thumbs", "images", "assets"):
        with suppress(FileNotFoundError):
            shutil.rmtree(out / name)
    (out / "data").mkdir(parents=True, exist_ok=True)
    for old in (out / "data").glob("*.js"):
        if old.name != _MARKER:
            old.unlink()
    (out / "data" / _MARKER).write_text("window.raylabelMeta = null;\n", encoding="utf-8")
    for name in ("thumbs", "images", "assets"):
        (out / name).mkdir()


class _Chunks:
    """Values in numbered scripts, since a page on disk may load scripts and nothing else."""

    def __init__(self, folder: Path, name: str, size: int) -> None:
        self._folder = folder
        self._name = name
        self._size = size
        self._values: list[str] = []
        self.count = 0
        self.files = 0

    def add(self, value: Any) -> None:
        # ASCII: no text can end a line or a script, and half a surrogate pair needs no encoding.
        self._values.append(_SCRIPT.encode(value).replace("<", "\\u003c"))
        self.count += 1
        if len(self._values) == self._size:
            self.flush()

    def flush(self) -> None:
        if not self._values:
            return
        number = "" if self._name == "index" else f"{self.files},"
        text = f"raylabel.{self._name}({number}[\n" + ",\n".join(self._values) + "\n]);\n"
        (self._folder / f"{self._name}-{self.files:05d}.js").write_text(text, encoding="ascii")
        self.files += 1
        self._values = []


# --- pictures -------------------------------------------------------------------------------------------------------


class _Pictures:
    """Copies of images; one that the last record showed too (several captions of one image) is made once."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._last: tuple[str, _Picture] = ("", _Picture(trouble="the record names no image"))

    def of(self, location: str, number: int) -> _Picture:
        if location != self._last[0]:
            self._last = (location, self._made(location, number))
        return self._last[1]

    def _made(self, location: str, number: int) -> _Picture:
        try:
            image = displayed(read_image(location), ImageSettings()).convert("RGB")
        except ImageError as error:
            return _Picture(trouble=str(error))
        size = image.size
        image.thumbnail((IMAGE_SIDE, IMAGE_SIDE))
        name = self._place("images", number, "jpg")
        image.save(self._out / name, quality=88)
        small = image.copy()
        small.thumbnail(THUMB_WH)
        return _Picture(name, size, small=small)

    def thumb(self, picture: _Picture, shown: Shown, number: int) -> str:
        """The file of a thumbnail with the record's boxes; empty where there is no picture."""
        if picture.small is None:
            return ""
        small = picture.small.copy()
        drawing = ImageDraw.Draw(small)
        scale = small.width / picture.size_wh[0]
        for place, phrase in enumerate(shown.phrases):
            for box in (box for box in phrase.kept if box.side != TRUTH):
                outline(drawing, scaled(box.box, scale), _look(box.side, place, shown)[0])
        name = self._place("thumbs", number, "webp")
        small.save(self._out / name, quality=75, method=0)
        return name

    def _place(self, folder: str, number: int, ending: str) -> str:
        """Folders of a thousand files: some systems are slow with more."""
        part = f"{folder}/{number // 1000:05d}"
        (self._out / part).mkdir(exist_ok=True)
        return f"{part}/{number:08d}.{ending}"


# --- data -----------------------------------------------------------------------------------------------------------


def _look(side: str, number: int, shown: Shown) -> tuple[Rgb, tuple[int, ...]]:
    """Color and dashes: by phrase, and by whose it is where two are shown together."""
    return look_of_side(side, shown.sides) if shown.sides else (color_of(number), dash_of(number))


def _in_index(shown: Shown, thumb: str) -> JsonObject:
    """What the grid and the filters need; names are short, since this is held for all records at once."""
    boxes = shown.boxes
    compared = {"d": shown.differences, "w": round(shown.apart, 3)} if shown.sides else {}
    return compared | {
        "i": str(shown.line.get("record_id", "")),
        "m": str(shown.line.get("image_id", "")),
        "o": shown.outcome,
        "s": {step["label"]: step["outcome"] for step in shown.steps},
        "f": shown.flags,
        "r": shown.rules,
        "c": sorted({round(box.score, 2) for box in boxes if box.score is not None}),
        "b": len(boxes),
        "z": "".join(sorted({_size_class(box) for box in boxes})),
        "p": [phrase.text for phrase in shown.phrases],
        "x": shown.changes,
        "k": list(dict.fromkeys(step["model"] for step in shown.steps if step["model"])),
        "t": thumb,
        "l": shown.labels,
        "j": _verdict(shown.judgements.record if shown.verdict else None),
    }


def _size_class(box: ShownBox) -> str:
    x1, y1, x2, y2 = box.box
    area = (x2 - x1) * (y2 - y1)
    return "s" if area < _SMALL_PX else "m" if area < _MEDIUM_PX else "l"


def _verdict(judgement: Judgement | None) -> JsonObject | None:
    return None if judgement is None else {"verdict": judgement.verdict, "note": judgement.note}


def _in_full(shown: Shown, picture: _Picture) -> JsonObject:
    width, height = picture.size_wh
    caption = shown.caption
    return {
        "image": picture.image,
        "width": width,
        "height": height,
        "trouble": picture.trouble,
        "caption": caption,
        "sides": shown.sides,
        "phrases": [_phrase(p, n, caption, shown) for n, p in enumerate(shown.phrases)],
        "steps": shown.steps,
        "flags": shown.flags,
        "line_number": shown.line_number,
        "line": _plain(shown.line),
    }


def _phrase(phrase: Phrase, number: int, caption: str, shown: Shown) -> JsonObject:
    color, dash = _look(phrase.side, number, shown)
    return {
        "side": phrase.side,
        "other": phrase.other,
        "text": phrase.text,
        "was": phrase.was,
        "outcome": phrase.outcome,
        "verified": phrase.verified,
        "by": phrase.by,
        "flags": list(phrase.flags),
        "span": _span_in(phrase, caption),
        **_drawn(color, dash),
        "boxes": [_box(box, number, shown) for box in phrase.boxes],
    }


def _drawn(color: Rgb, dash: tuple[int, ...]) -> JsonObject:
    return {"color": to_css(color), "ink": to_css(ink_on(color)), "dash": " ".join(map(str, dash))}


def _box(box: ShownBox, number: int, shown: Shown) -> JsonObject:
    judged = shown.judgements.boxes.get(box.bbox_id)
    if judged is not None and not judged.is_about(box.box):
        judged = None
    return {
        "id": box.bbox_id,
        "box": box.box,
        "score": box.score,
        "verified": box.verified,
        "by": box.by,
        "rejected": box.rejected,
        "was": box.was,
        "proposed": box.proposed,
        "flags": list(box.flags),
        "judged": _verdict(judged),
        "side": box.side,
        "iou": None if box.iou is None else round(box.iou, 3),
        **_drawn(*_look(box.side, number, shown)),
    }


def _span_in(phrase: Phrase, caption: str) -> list[int] | None:
    """Where a phrase stands in the caption: where its span says, else where its words are found."""
    if phrase.span is not None and phrase.span[1] <= len(caption):
        return list(phrase.span)
    text = phrase.was or phrase.text
    at = caption.lower().find(text.lower()) if text.strip() and len(caption.lower()) == len(caption) else -1
    return None if at < 0 else [at, at + len(text)]


def _plain(value: Any) -> Any:
    """JSON as browsers read it: no NaN, and no number beyond what a float holds."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    if isinstance(value, int) and value.bit_length() > 53:
        return str(value) if value.bit_length() < 10_000 else "a number with very many digits"
    return value


# --- pages ----------------------------------------------------------------------------------------------------------


def _write_pages(
    reviewed: Reviewed, out: Path, records: int, chunks: int, subject: str, sections: Sequence[Section]
) -> None:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    page = files("raylabel.review") / "page"
    for name in ("app.js", "style.css"):
        (out / "assets" / name).write_bytes((page / name).read_bytes())
    environment = Environment(
        loader=PackageLoader("raylabel.review", "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    common = {"name": reviewed.name, "records": f"{records:,}", "origin": reviewed.origin, "subject": subject}
    for name in ("index.html", "statistics.html"):
        text = environment.get_template(f"{name}.j2").render(
            **common, sections=sections, plotted=any(section.svg for section in sections)
        )
        (out / name).write_text(text, encoding="utf-8", errors="replace")
    meta = {
        "id": digest_of(str(reviewed.annotations.parent.resolve())),
        "records": records,
        "index_chunks": chunks,
        "per_chunk": RECORD_CHUNK,
        "annotations": _link(out, reviewed.annotations),
    }
    text = _SCRIPT.encode(meta).replace("<", "\\u003c")
    (out / "data" / _MARKER).write_text(f"window.raylabelMeta = {text};\n", encoding="ascii")


def _link(out: Path, annotations: Path) -> str:
    """From the gallery to the file, so that a results folder that is moved keeps it."""
    try:
        relative = Path(os.path.relpath(annotations.resolve(), out.resolve()))
    except ValueError:  # another drive
        return annotations.resolve().as_uri()
    return quote(relative.as_posix())
