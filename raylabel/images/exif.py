"""Metadata, read without a library: broken or huge metadata is common, and must cost neither an image nor a warning."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

_ORIENTATION = 0x0112
_SHORT = 3
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([0-9])")


class DamagedError(ValueError):
    """An EXIF block that cannot be read as far as its orientation would be, or whose orientation is no such number."""


def orientation_in(exif: bytes) -> int | None:
    """The orientation in an EXIF block, 1 to 8; None where it has none, or 0: not known.

    Args:
        exif: a TIFF structure, with or without the ``Exif\\0\\0`` before it.

    Raises:
        DamagedError: see there.

    Source: EXIF 2.32 (CIPA DC-008), tag 274 of the first directory.
    """
    block = exif.removeprefix(b"Exif\x00\x00")
    if not block.strip(b"\x00"):
        return None
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(block[:4])
    if order is None:
        raise DamagedError("no TIFF structure")
    try:
        (directory,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, directory)
        for entry in range(count):
            tag, kind, values, value = struct.unpack_from(order + "HHIH", block, directory + 2 + 12 * entry)
            if tag == _ORIENTATION:
                if kind != _SHORT or values != 1 or value > 8:
                    raise DamagedError(f"orientation {value} of type {kind}")
                return value or None
    except struct.error as error:
        raise DamagedError("cut off") from error
    return None


def xmp_rotates(xmp: bytes) -> bool:
    """Whether an XMP packet asks for a turn; Pillow obeys it where EXIF is silent, browsers do not."""
    match = _XMP_ORIENTATION.search(xmp)
    return match is not None and match[1] != b"1"


@dataclass(frozen=True, slots=True)
class Parts:
    """An image file taken apart.

    Args:
        kept: the file without what its pixels do not need, in pieces: most files are not decoded.
        exif: the first EXIF block, or empty.
        xmp: the first XMP packet, or empty.
        has_more: the file holds further pictures behind the first.
        damaged: there was an EXIF block that cannot be trusted.
        metadata: of a PNG: another one with its metadata and no pixels.
        sound: of a PNG: all chunks up to its end are there and have the right checksums.
    """

    kept: tuple[bytes | memoryview, ...]
    exif: bytes = b""
    xmp: bytes = b""
    has_more: bool = False
    damaged: bool = False
    metadata: bytes = b""
    sound: bool = False

    @property
    def stripped(self) -> bytes:
        """What a decoder is given."""
        return b"".join(self.kept)


_APP0, _APP1, _APP2, _APP14, _APP15, _COMMENT, _SCAN = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE, 0xDA


def split_jpeg(data: bytes) -> Parts:
    """Separate a JPEG's metadata from its picture. A malformed header is left for the decoder to judge.

    Source: ITU T.81 annex B (markers), CIPA DC-007 (MPO). APP14 tells the decoder how colours were changed.
    """
    view = memoryview(data)
    kept, exif, xmp, has_more = [view[:2]], b"", b"", False
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD9:
            step = 1 if marker == 0xFF else 2
            kept.append(view[at : at + step])
            at += step
            continue
        if marker == _SCAN:
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : end]
        if marker == _APP1:
            if body.startswith(b"Exif\x00\x00"):
                exif = exif or body
            elif body.startswith(b"http://ns.adobe.com/xap/1.0/"):
                xmp = xmp or body
        elif marker == _APP2:
            has_more = has_more or body.startswith(b"MPF\x00")
        elif marker in (_APP0, _APP14) or not (marker == _COMMENT or _APP0 < marker <= _APP15):
            kept.append(view[at:end])
        at = end
    kept.append(view[at:])
    return Parts(tuple(kept), exif, xmp, has_more)


_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NO_PIXELS, _END = (struct.pack(">I4sI", 0, name, zlib.crc32(name)) for name in (b"IDAT", b"IEND"))


def split_png(data: bytes) -> Parts:
    """Separate a PNG's metadata from its picture, which is the critical chunks and transparency.

    A chunk of metadata with a wrong checksum is left out, as libpng does. Damage in what the pixels need, or in the
    lengths of chunks, is left for the decoder to judge.

    Source: PNG (third edition), sections 5 and 11.
    """
    view = memoryview(data)
    kept: list[bytes | memoryview] = [_SIGNATURE]
    metadata: list[bytes | memoryview] = [_SIGNATURE]
    exif, has_more, damaged, all_sound, name = b"", False, False, True, b""
    at = len(_SIGNATURE)
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        name, body, chunk = data[at + 4 : at + 8], view[at + 8 : end - 4], view[at:end]
        sound = chunk[-4:] == zlib.crc32(chunk[4:-4]).to_bytes(4, "big")
        all_sound = all_sound and sound
        if name == b"IEND":
            break
        if name[:1].isupper() or (name == b"tRNS" and sound):
            kept.append(chunk)
        if name == b"acTL":
            has_more = int.from_bytes(body[:4], "big") > 1
        elif name == b"eXIf" and sound:
            exif = exif or bytes(body)
        elif name == b"eXIf":
            damaged = True
        if name not in (b"IDAT", b"acTL", b"fcTL", b"fdAT"):
            metadata.append(chunk)
        at = end
    return Parts(
        kept=(*kept, _END),
        exif=exif,
        has_more=has_more,
        damaged=damaged,
        metadata=b"".join([*metadata, _NO_PIXELS, _END]),
        sound=all_sound and name == b"IEND",
    )
