"""EXIF orientation, read without a library: broken metadata is common, and must cost neither an image nor a warning."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

_ORIENTATION = 0x0112
_SHORT = 3
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([0-9])")


def orientation_in(exif: bytes) -> int | None:
    """The orientation in an EXIF block, 1 to 8; None where it has none or is broken.

    Args:
        exif: a TIFF structure, with or without the ``Exif\\0\\0`` before it.

    Source: EXIF 2.32 (CIPA DC-008), tag 274 of the first directory.
    """
    block = exif.removeprefix(b"Exif\x00\x00")
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(block[:4])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, directory)
        for entry in range(count):
            tag, kind, values, value = struct.unpack_from(order + "HHIH", block, directory + 2 + 12 * entry)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and values == 1 and 1 <= value <= 8 else None
    except struct.error:
        return None
    return None


def xmp_turns(xmp: bytes) -> bool:
    """Whether an XMP packet asks for a turn; Pillow obeys it where EXIF is silent, browsers do not."""
    match = _XMP_ORIENTATION.search(xmp)
    return match is not None and match[1] != b"1"


@dataclass(frozen=True, slots=True)
class JpegParts:
    """A JPEG taken apart.

    Args:
        stripped: the file without its metadata (APP1, APP2): what a decoder needs.
        exif: the first EXIF block, or empty.
        xmp: the first XMP packet, or empty.
        several: the file holds further pictures behind the first (MPO).
    """

    stripped: bytes
    exif: bytes
    xmp: bytes
    several: bool


def take_apart(data: bytes) -> JpegParts:
    """Separate a JPEG's metadata from its picture. A malformed header is left for the decoder to judge.

    Source: ITU T.81 annex B (markers), CIPA DC-007 (MPO).
    """
    kept, exif, xmp, several = [data[:2]], b"", b"", False
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD9:
            step = 1 if marker == 0xFF else 2
            kept.append(data[at : at + step])
            at += step
            continue
        if marker == 0xDA:
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : end]
        if marker == 0xE1:
            if body.startswith(b"Exif\x00\x00"):
                exif = exif or body
            elif body.startswith(b"http://ns.adobe.com/xap/1.0/"):
                xmp = xmp or body
        elif marker == 0xE2:
            several = several or body.startswith(b"MPF\x00")
        else:
            kept.append(data[at:end])
        at = end
    kept.append(data[at:])
    return JpegParts(b"".join(kept), exif, xmp, several)
