"""The text files of the 2D Data Engine, byte for byte as it writes them.

Boxes in these files are integers on the 0-1000 grid of the displayed image.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from urllib.parse import quote

from raylabel.errors import GeometryError
from raylabel.exports.base import ExportFormat, FilePerImage
from raylabel.geometry import px_to_legacy1000
from raylabel.records import REPEATED_IMAGE_ID, Box, Record, digest_of
from raylabel.steps.base import Kind, Step

_NAME_LIMIT_BYTES = 200


def regions_text(record: Record) -> str:
    """``.txt.step0``: the described regions as a JSON array; ``[]`` without regions.

    Raises:
        GeometryError: the image's size is not known.
    """
    regions = [
        {
            "bbox_2d": _to_grid(r.box, record),
            "type": r.type,
            "color": r.color,
            "description": r.description,
        }
        for r in record.regions or ()
    ]
    return json.dumps(regions, indent=2, ensure_ascii=False)


def caption_text(record: Record) -> str:
    """``.txt.step1``: the caption and nothing else."""
    return record.caption or ""


def expression_lines_text(record: Record) -> str:
    """``.txt.step2`` and ``.txt.step3``: a line ``<phrase>: [[x1, y1, x2, y2], ...]`` for each expression with boxes.

    What the double check rejected is left out. An empty phrase is written as ``object``, a line break as a space.

    Raises:
        GeometryError: the image's size is not known.
    """
    lines = []
    for expression in record.expressions or ():
        boxes = [_to_grid(instance.box, record) for instance in expression.kept]
        if boxes:
            phrase = " ".join(expression.text.splitlines())
            lines.append(f"{phrase if phrase.strip() else 'object'}: {json.dumps(boxes)}\n")
    return "".join(lines)


_TEXTS: Mapping[Kind, Callable[[Record], str]] = {
    "regions": regions_text,
    "captions": caption_text,
    "expressions": expression_lines_text,
    "boxes": expression_lines_text,
}


def legacy_file(record: Record, step: type[Step]) -> tuple[str, bytes] | None:
    """The legacy file of a record after a settled step: its name (see ``label_name``), and its content.

    Returns:
        None for a caption that was skipped.
    """
    if step.finds == "captions" and not record.caption:
        return None
    text = _TEXTS[step.finds](record)
    return label_name(record, f".txt.step{step.number}"), text.encode("utf-8", "surrogatepass")


LEGACY = ExportFormat((FilePerImage("labels", legacy_file),), note="legacy writes the JSONL files as well")


def label_name(record: Record, suffix: str) -> str:
    """A record's legacy file by its path in the folder of labels: the image_id, sub-folders mirrored, never outside it.

    An id that is not a plain relative path (absolute, with ``..``, control characters, ...) becomes ``%`` and the
    percent-encoded id, as one name. Where image_ids repeat, the start of the record's id makes the name unique.
    """
    ident = record.image_id
    parts = ident.split("/")
    plain = not ident.startswith("%") and "\\" not in ident and ident.isprintable()
    if not plain or any(p in ("", ".", "..") or len(p.encode()) > _NAME_LIMIT_BYTES for p in parts):
        name = "%" + quote(ident, safe=" ", errors="surrogatepass")
        if len(name) > _NAME_LIMIT_BYTES:
            name = f"{name[:120]}%{digest_of(ident)}"
        parts = [name]
    distinction = f"~{record.record_id[:12]}" if REPEATED_IMAGE_ID in record.flags else ""
    return "/".join(parts) + distinction + suffix


def _to_grid(box_px: Box, record: Record) -> list[int]:
    if record.image is None:
        raise GeometryError("boxes cannot be written on the 0-1000 grid: the image's size is not known")
    return list(px_to_legacy1000(box_px, record.image.size))
