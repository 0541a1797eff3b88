"""Whether a JPEG or PNG is whole and shows something, told by its structure: a tenth of what decoding it costs.

What is in doubt here is decoded: an answer of None says nothing against a file.

A JPEG's pixels carry no check. Decoders make grey of what is damaged or missing in them as long as the markers around
them are in order, so a decode proves little more than the markers do: both see a file that lost its end, neither one
that lost its middle. A PNG carries a checksum for every chunk: what was damaged on its way shows. Chunks that were
written wrong and then sealed do not show; inflating them all to find these would cost four times everything else.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from raylabel.records import Size

FLAT_LEVELS = 2
"""Of 255: a picture in which no channel varies by more shows nothing; encoders make so much of one colour."""

SMALL_PIXELS = 65_536
FLAT_BYTES_PER_PIXEL = ((1, 0.3), (2, 0.22), (6, 0.18), (15, 0.155), (24, 0.1), (36, 0.07), (65_535, 0.06))
"""What may be a flat JPEG, and is decoded: one of few pixels (this takes 0.2 ms), or of few coded bytes for each.

How many are few depends on the quantization, as small steps keep small differences. Rows: the largest step of the finer
table, and the coded bytes a pixel up to it. Measured with libjpeg-turbo on what decodes to a flat picture of 65,536
pixels or more: random noise of one level at any density, by pixels and by blocks, and 290 regular patterns (stripes,
waves, checkers, tiles) of one and two levels; grey, 4:4:4, 4:2:2, 4:2:0; plain and progressive.

    quality                 50     70     75     80     85     88     90     92     94     95     98     99    100
    step                    99     59     50     40     30     24     20     16     12     10      4      2      1
    most bytes a pixel   0.032  0.047  0.047  0.049  0.063  0.089  0.091  0.094  0.141  0.138  0.165  0.202  0.278
    photographs          0.07+         0.10+         0.15+                              0.27+

Noise alone stays below 0.07; denser noise does not decode to a flat picture but in small ones (0.10 at 64x64). Not
covered: such patterns in quantization tables that are fine in one corner only, or with wasteful Huffman tables; these
are not named as flat.
"""


class _UnsureError(Exception):
    """The structure does not say enough."""


def jpeg_size(data: bytes) -> Size | None:
    """The stored size of a JPEG that a decoder reads to its end and that is not flat; None where there is a doubt.

    Doubt is whatever is not an ordinary file: 8 bits, one or three components, Huffman-coded, baseline or progressive,
    every table that is used defined and valid, every scan in order and followed by a marker, the end mark behind.

    Source: ITU T.81 annexes B, C and G; what libjpeg refuses (jdmarker.c, jdinput.c, jdhuff.c, jdphuff.c).
    """
    try:
        return _Jpeg(data).read()
    except (_UnsureError, IndexError, ValueError, struct.error):
        return None


_SOF0, _SOF1, _SOF2, _DHT, _EOI, _SOS, _DQT, _DRI = 0xC0, 0xC1, 0xC2, 0xC4, 0xD9, 0xDA, 0xDB, 0xDD
_APPLICATION, _COMMENT = range(0xE0, 0xF0), 0xFE
_MARKER = re.compile(rb"\xff[^\x00]")
_MARKER_BUT_RESTART = re.compile(rb"\xff[^\x00\xd0-\xd7]")
_COEFFICIENTS = 64
_BLOCKS_IN_A_UNIT = 10
_DC, _AC = 0, 1


class _Jpeg:
    """What was read of a JPEG so far: its tables, its frame, its scans."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._largest_steps: dict[int, int] = {}
        self._codes: set[tuple[int, int]] = set()
        self._size: Size | None = None
        self._progressive = False
        self._components: dict[int, tuple[int, int]] = {}
        self._begun: set[int] = set()
        self._restarts = False
        self._coded_bytes = 0

    def read(self) -> Size:
        data, at = self._data, 2
        while True:
            if data[at] != 0xFF:
                raise _UnsureError
            marker = data[at + 1]
            if marker == _EOI:
                return self._checked_size()
            (length,) = struct.unpack_from(">H", data, at + 2)
            end = at + 2 + length
            if length < 2 or end > len(data):
                raise _UnsureError
            if not (marker in _APPLICATION or marker == _COMMENT):
                self._read_segment(marker, data[at + 4 : end])
            at = self._skip_scan(end) if marker == _SOS else end

    def _read_segment(self, marker: int, body: bytes) -> None:
        if marker == _DHT:
            self._read_codes(body)
        elif marker == _SOS:
            self._read_scan(body)
        elif marker == _DQT and not self._begun:
            self._read_steps(body)
        elif marker in (_SOF0, _SOF1, _SOF2) and self._size is None:
            self._progressive = marker == _SOF2
            self._read_frame(body)
        elif marker == _DRI and len(body) == 2:
            self._restarts = body != b"\x00\x00"
        else:
            raise _UnsureError

    def _read_steps(self, body: bytes) -> None:
        at = 0
        while at < len(body):
            wide, table = body[at] >> 4, body[at] & 15
            steps = struct.unpack_from(f">{_COEFFICIENTS}{'H' if wide else 'B'}", body, at + 1)
            if wide > 1 or table > 3 or not min(steps):
                raise _UnsureError
            self._largest_steps[table] = max(steps)
            at += 1 + _COEFFICIENTS * (1 + wide)

    def _read_codes(self, body: bytes) -> None:
        at = 0
        while at < len(body):
            kind, table = body[at] >> 4, body[at] & 15
            counts = body[at + 1 : at + 17]
            symbols = body[at + 17 : at + 17 + sum(counts)]
            if kind > 1 or table > 3 or len(counts) != 16 or len(symbols) != sum(counts) or len(symbols) > 256:
                raise _UnsureError
            free = 1
            for count in counts:  # of each length; each bit more doubles what is left
                free = 2 * free - count
                if free < 1:  # a code of ones only is none
                    raise _UnsureError
            if kind == _DC and symbols and max(symbols) > 15:
                raise _UnsureError
            self._codes.add((kind, table))
            at += 17 + len(symbols)

    def _read_frame(self, body: bytes) -> None:
        bits, height, width, count = struct.unpack_from(">BHHB", body)
        components = [struct.unpack_from("BBB", body, 6 + 3 * n) for n in range(count)]
        self._components = {name: (sampling, table) for name, sampling, table in components}
        (across, down), *others = [(sampling >> 4, sampling & 15) for _, sampling, _ in components]
        if (
            bits != 8
            or not (height and width)
            or count not in (1, 3)
            or len(body) != 6 + 3 * count
            or len(self._components) != count
            or across not in (1, 2, 4)
            or down not in (1, 2, 4)
            or any(sampling != (1, 1) for sampling in others)
            or (others and across * down + len(others) > _BLOCKS_IN_A_UNIT)
        ):
            raise _UnsureError
        self._size = Size(width, height)

    def _read_scan(self, body: bytes) -> None:
        count = body[0]
        chosen = [struct.unpack_from("BB", body, 1 + 2 * n) for n in range(count)]
        first, last, bits = struct.unpack_from("BBB", body, 1 + 2 * count)
        before, after = bits >> 4, bits & 15
        names = [name for name, _ in chosen]
        if (
            len(body) != 4 + 2 * count
            or not 0 < count <= len(self._components)
            or names != [name for name in self._components if name in names]
            or any(self._components[name][1] not in self._largest_steps for name in names)
        ):
            raise _UnsureError
        if not self._progressive:
            sound = (first, last, bits) == (0, _COEFFICIENTS - 1, 0) and self._begun.isdisjoint(names)
            needed = {_DC, _AC}
        elif first == 0:
            sound = last == 0 and (not before or self._begun.issuperset(names))
            needed = set() if before else {_DC}
        else:
            sound = first <= last < _COEFFICIENTS and count == 1 and self._begun.issuperset(names)
            needed = {_AC}
        if not sound or after > 13 or (before and after != before - 1):
            raise _UnsureError
        tables = {(_DC, table >> 4) for _, table in chosen} | {(_AC, table & 15) for _, table in chosen}
        if not self._codes.issuperset(table for table in tables if table[0] in needed):
            raise _UnsureError
        self._begun.update(names)

    def _skip_scan(self, at: int) -> int:
        """Where the marker behind a scan's coded bytes is."""
        found = (_MARKER_BUT_RESTART if self._restarts else _MARKER).search(self._data, at)
        if found is None:
            raise _UnsureError
        self._coded_bytes += found.start() - at
        return found.start()

    def _checked_size(self) -> Size:
        if self._size is None or self._begun != set(self._components):
            raise _UnsureError
        step = min(self._largest_steps[table] for _, table in self._components.values())
        few = next(few for largest, few in FLAT_BYTES_PER_PIXEL if step <= largest)
        pixels = self._size.width * self._size.height
        if pixels <= SMALL_PIXELS or self._coded_bytes < few * pixels:
            raise _UnsureError
        return self._size


_CHANNELS = {0: 1, 2: 3, 3: 1}
"""Of a PNG by its colour type: grey, RGB, palette."""
_HEADER_BYTES = 13
_CHUNK_STEP = 1024
"""Of the sizes up to which writers fill chunks: 8 KiB (libpng), 64 KiB (Pillow)."""
_WIDE = 65_536
"""Pixels; a first row of more is not inflated before the file's size is held against the limit."""
_PIECE_BYTES = 4096
_SUB, _PAETH = 1, 4


def png_size(data: bytes) -> Size | None:
    """The size of a PNG that a decoder reads to its end and that is not flat; None where there is a doubt.

    Doubt is whatever is not an ordinary file: 8-bit grey, RGB or palette, not interlaced, without transparency, its
    chunks in order up to the end, the first row of more than one colour.

    Args:
        data: a file whose chunks all have their lengths and checksums right.

    Source: PNG (third edition), sections 5, 9 and 11.
    """
    try:
        return _png_size(data)
    except (_UnsureError, IndexError, ValueError, struct.error, zlib.error):
        return None


def _png_size(data: bytes) -> Size:
    chunks = list(png_chunks(data))
    names = [name for name, _ in chunks]
    pixels = [body for name, body in chunks if name == b"IDAT"]
    start = names.index(b"IDAT") if pixels else 0
    width, height, bits, colour, *methods = struct.unpack_from(">IIBBBBB", chunks[0][1])
    before = [name for name in names[:start] if name[:1].isupper()]
    if (
        not pixels
        or (names[-1], len(chunks[-1][1])) != (b"IEND", 0)
        or before != [b"IHDR", b"PLTE"][: 2 if colour == 3 or b"PLTE" in before else 1]
        or set(names[start : start + len(pixels)]) != {b"IDAT"}
        or any(name[:1].isupper() for name in names[start + len(pixels) : -1])
        or b"tRNS" in names
        or len(chunks[0][1]) != _HEADER_BYTES
        or not (height and 0 < width < _WIDE)
        or (bits, any(methods)) != (8, False)
        or colour not in _CHANNELS
        or (colour == 0 and b"PLTE" in before)
    ):
        raise _UnsureError
    # Writers fill all chunks but the last up to one size: what ends with a full one may have lost others behind it.
    last = len(pixels[-1])
    if last % _CHUNK_STEP == 0 or (len(pixels) > 1 and last >= len(pixels[0])):
        raise _UnsureError
    row = _first_row(pixels, width, _CHANNELS[colour])
    if colour == 3:
        palette = np.frombuffer(chunks[names.index(b"PLTE")][1], np.uint8).reshape(-1, 3)
        row = palette[row[:, 0]]
    if int((row.max(axis=0).astype(int) - row.min(axis=0)).max()) <= FLAT_LEVELS:
        raise _UnsureError
    return Size(width, height)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Names and bodies of a PNG's chunks, as far as their lengths lead, up to the end chunk."""
    view, at, name = memoryview(data), 8, b""
    while at + 12 <= len(data) and name != b"IEND":
        (length,) = struct.unpack_from(">I", data, at)
        name = data[at + 4 : at + 8]
        yield name, view[at + 8 : at + 8 + length]
        at += 12 + length


def _first_row(pixels: list[memoryview], width: int, channels: int) -> np.ndarray:
    """The pixels of the first row, (width, channels)."""
    inflate, row = zlib.decompressobj(), b""
    needed = 1 + width * channels
    # In small pieces: what is left of each is copied.
    for piece in (part[at : at + _PIECE_BYTES] for part in pixels for at in range(0, len(part), _PIECE_BYTES)):
        row += inflate.decompress(piece, needed - len(row))
        if len(row) == needed:
            break
    else:
        raise _UnsureError
    samples = np.frombuffer(row, np.uint8, offset=1).reshape(width, channels)
    if row[0] in (_SUB, _PAETH):  # with nothing above, Paeth's predictor is the pixel to the left
        return np.cumsum(samples, axis=0, dtype=np.uint8)
    if row[0] > _PAETH or row[0] == 3:
        raise _UnsureError
    return samples
