"""What is known of a file without decoding it, and that a decode would say the same."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raylabel.errors import ImageError
from raylabel.geometry import Resize
from raylabel.images import displayed, encode_picture, inspect, prepare
from raylabel.images.structure import jpeg_size, png_chunks, png_size
from raylabel.records import Size
from raylabel.settings import ImageSettings

LIMITS, KEEP = ImageSettings(), Resize()
SIZE = Size(330, 240)
"""Of more pixels than a file that is always decoded."""


def scene() -> np.ndarray:
    """Hills of colour with a camera's noise."""
    down, across = np.mgrid[: SIZE.height, : SIZE.width]
    hills = np.stack([np.sin(across / 17 + n) + np.cos(down / (11 + n)) for n in range(3)], 2)
    noise = np.random.default_rng(4).normal(0, 6, hills.shape)
    return np.clip(128 + 50 * hills + noise, 0, 255).astype(np.uint8)


SCENE = Image.fromarray(scene())
THUMBNAIL = SCENE.resize((66, 48))


def encoded(pixels: Any, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(out, kind, **options)
    return out.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def without(data: bytes, marker: int, count: int = 1) -> bytes:
    """A JPEG without its first segments of a kind."""
    for _ in range(count):
        at = data.index(bytes([0xFF, marker]))
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    return data


def patched(data: bytes, marker: int, offset: int, value: int) -> bytes:
    """A JPEG with one byte of its first segment of a kind changed; 0 is the marker's 0xFF."""
    at = data.index(bytes([0xFF, marker])) + offset
    return data[:at] + bytes([value]) + data[at + 1 :]


JPEG = encoded(SCENE, "JPEG")
PROGRESSIVE = encoded(SCENE, "JPEG", progressive=True)
WITH_THUMBNAIL = (
    JPEG[:2] + segment(0xE1, b"Exif\x00\x00MM\x00*\x00\x00\x00\x08" + bytes(6) + encoded(THUMBNAIL, "JPEG")) + JPEG[2:]
)
CODED = JPEG.index(b"\xff\xda") + 2000
"""Within the coded pixels."""


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(JPEG, id="baseline"),
        pytest.param(encoded(SCENE, "JPEG", quality=97, subsampling=0), id="fine"),
        pytest.param(encoded(SCENE, "JPEG", quality=40, subsampling=1, optimize=True), id="coarse-and-optimized"),
        pytest.param(PROGRESSIVE, id="progressive"),
        pytest.param(encoded(SCENE.convert("L"), "JPEG"), id="grey"),
        pytest.param(encoded(SCENE, "JPEG", restart_marker_rows=1), id="restart-markers"),
        pytest.param(WITH_THUMBNAIL, id="thumbnail"),
        pytest.param(JPEG + b"junk" * 99, id="junk-behind"),
        pytest.param(encoded(SCENE, "JPEG", comment=b"\xff\xd9\xff\xda", icc_profile=bytes(70_000)), id="metadata"),
    ],
)
def test_an_ordinary_jpeg_is_known_without_decoding_it(data: bytes) -> None:
    assert jpeg_size(data) == SIZE
    assert displayed(data, LIMITS).size == (SIZE.width, SIZE.height)
    assert (inspect(data, LIMITS).size, inspect(data, LIMITS).plain) == (SIZE, True)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(JPEG[:-2], id="no-end-mark"),
        pytest.param(JPEG[: len(JPEG) // 2], id="cut"),
        pytest.param(WITH_THUMBNAIL[: len(WITH_THUMBNAIL) - 4000], id="cut-and-the-thumbnail-has-an-end-mark"),
        pytest.param(PROGRESSIVE[: len(PROGRESSIVE) * 2 // 3], id="cut-progressive"),
        pytest.param(JPEG[:CODED] + b"\xff\x5a" + JPEG[CODED:], id="marker-that-means-nothing-among-pixels"),
        pytest.param(JPEG[:CODED] + b"\xff\xd3" + JPEG[CODED:], id="restart-marker-that-was-not-announced"),
        pytest.param(without(JPEG, 0xC4, 4), id="no-huffman-tables"),
        pytest.param(without(JPEG, 0xDB, 2), id="no-quantization-tables"),
        pytest.param(without(JPEG, 0xC0), id="no-frame"),
        pytest.param(without(JPEG, 0xDA), id="no-scan"),
        pytest.param(patched(JPEG, 0xC4, 5, 2), id="huffman-table-without-codes-left"),
        pytest.param(patched(JPEG, 0xC0, 1, 0xC9), id="arithmetic"),
        pytest.param(patched(JPEG, 0xC0, 4, 12), id="12-bits"),
        pytest.param(patched(JPEG, 0xC0, 11, 0x33), id="sampling-of-3"),
        pytest.param(patched(JPEG, 0xDA, 6, 0x33), id="table-that-is-not-there"),
        pytest.param(patched(PROGRESSIVE, 0xDA, 11, 0x5F), id="scan-of-impossible-bits"),
        pytest.param(encoded(SCENE.convert("CMYK"), "JPEG"), id="cmyk"),
        pytest.param(encoded(THUMBNAIL, "JPEG"), id="small"),
        pytest.param(JPEG[: CODED + 500] + b"\xff\xd9", id="few-bytes-and-an-end-mark"),
    ],
)
def test_a_jpeg_that_leaves_a_doubt_is_left_to_the_decoder(data: bytes) -> None:
    assert jpeg_size(data) is None


# --- PNG ------------------------------------------------------------------------------------------------------------


def chunk(name: bytes, body: bytes | memoryview) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def png_of(*chunks: tuple[bytes, bytes | memoryview]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, body) for name, body in chunks)


PNG = encoded(SCENE, "PNG")
HEADER, *_ = (body for _, body in png_chunks(PNG))
CODES = b"".join(body for name, body in png_chunks(PNG) if name == b"IDAT")
PARTS = [(b"IDAT", CODES[at : at + 8192]) for at in range(0, len(CODES), 8192)]
END = (b"IEND", b"")
BAR = np.vstack([np.full((1, SIZE.width, 3), 90, np.uint8), scene()[1:]])


def filtered(kind: int) -> bytes:
    """The scene with all rows filtered in one way; Pillow's reader undoes it."""
    pixels = scene().astype(int)
    left = np.pad(pixels, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    above = np.pad(pixels, ((1, 0), (0, 0), (0, 0)))[:-1]
    predicted = [0, left, above, (left + above) // 2][kind]
    rows = ((pixels - predicted) % 256).astype(np.uint8).reshape(SIZE.height, -1)
    codes = zlib.compress(b"".join(bytes([kind]) + row.tobytes() for row in rows))
    return png_of((b"IHDR", HEADER), (b"IDAT", codes), END)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(PNG, id="rgb"),
        pytest.param(encoded(SCENE.convert("L"), "PNG"), id="grey"),
        pytest.param(encoded(SCENE.quantize(200), "PNG"), id="palette"),
        pytest.param(png_of((b"IHDR", HEADER), *PARTS, END), id="many-chunks"),
        pytest.param(png_of((b"IHDR", HEADER), (b"tEXt", b"a\x00b"), *PARTS, (b"tIME", bytes(7)), END), id="metadata"),
        pytest.param(filtered(0), id="no-filter"),
        pytest.param(filtered(1), id="filter-sub"),
        pytest.param(filtered(2), id="filter-up"),
        pytest.param(encoded(SCENE, "PNG", compress_level=0), id="not-compressed"),
        pytest.param(encoded(THUMBNAIL, "PNG"), id="small"),
        pytest.param(PNG + b"junk", id="junk-behind"),
    ],
)
def test_an_ordinary_png_is_known_without_decoding_it(data: bytes) -> None:
    size = png_size(data)
    assert size is not None
    assert displayed(data, LIMITS).size == (size.width, size.height)
    assert (inspect(data, LIMITS).size, inspect(data, LIMITS).plain) == (size, True)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(PNG[: len(PNG) // 2], id="cut"),
        pytest.param(PNG[:-12], id="no-end"),
        pytest.param(png_of((b"IHDR", HEADER), *PARTS[:-1], END), id="chunks-lost-behind-full-ones"),
        pytest.param(png_of((b"IHDR", HEADER), PARTS[0], END), id="chunks-lost-behind-the-first"),
        pytest.param(
            png_of((b"IHDR", HEADER), PARTS[0], (b"tIME", bytes(7)), *PARTS[1:], END), id="pixels-in-two-places"
        ),
        pytest.param(png_of((b"IHDR", HEADER), END), id="no-pixels"),
        pytest.param(png_of(*PARTS, END), id="no-header"),
        pytest.param(png_of((b"IHDR", HEADER), (b"IHDR", HEADER), *PARTS, END), id="two-headers"),
        pytest.param(filtered(3), id="filter-average"),
        pytest.param(encoded(BAR, "PNG"), id="first-row-of-one-colour"),
        pytest.param(encoded(SCENE.convert("RGBA"), "PNG"), id="alpha"),
        pytest.param(encoded(SCENE.convert("LA"), "PNG"), id="grey-with-alpha"),
        pytest.param(encoded(SCENE.quantize(32), "PNG", transparency=0), id="palette-with-transparency"),
        pytest.param(encoded(SCENE.quantize(16), "PNG"), id="4-bits"),
        pytest.param(encoded(scene()[..., 0].astype(np.uint16) * 257, "PNG"), id="16-bits"),
    ],
)
def test_a_png_that_leaves_a_doubt_is_left_to_the_decoder(data: bytes) -> None:
    assert png_size(data) is None


def test_a_palette_image_without_its_palette_is_broken() -> None:
    chunks = [part for part in png_chunks(encoded(SCENE.quantize(200), "PNG")) if part[0] != b"PLTE"]
    with pytest.raises(ImageError, match="its palette is missing"):
        inspect(png_of(*chunks), LIMITS)


def test_a_png_sealed_after_it_lost_its_middle_fails_where_a_picture_is_made_of_it() -> None:
    # No file is damaged so on its way: the checksums are right, a whole chunk is gone. To see it, all pixels would have
    # to be inflated, at four times the cost of everything else. Sent as it is, the server's answer decides.
    data = png_of((b"IHDR", HEADER), *PARTS[:3], *PARTS[4:], END)
    facts = inspect(data, LIMITS)
    assert facts.plain
    with pytest.raises(ImageError, match="truncated or broken"):
        encode_picture(data, facts, LIMITS, Resize(max_pixels=5000))


# --- as a decode would say ------------------------------------------------------------------------------------------


def damaged(data: bytes, dice: random.Random) -> bytes:
    """The file cut, or with bits flipped, bytes set, a range of it zeroed, gone or twice there."""
    at, length = dice.randrange(3, len(data)), dice.choice([1, 16, 512, 4096])
    early = dice.randrange(3, 700)
    match dice.randrange(8):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + (b"\xff\xd9" if data[:2] == b"\xff\xd8" else PNG[-12:])
        case 2:
            return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
        case 3:
            return data[:at] + bytes(len(data[at : at + length])) + data[at + length :]
        case 4:
            return data[:at] + bytes(len(data) - at)
        case 5:
            return data[:at] + data[at + length :]
        case 6:
            return data[: at + length] + data[at:]
        case _:
            return data[:early] + bytes([dice.randrange(256)]) + data[early + 1 :]


def verdict(size_of: Callable[[bytes, ImageSettings], Size], data: bytes) -> Size | str:
    """A file's size, or why it is refused."""
    try:
        return size_of(data, LIMITS)
    except ImageError as error:
        return str(error)


def size_known(data: bytes, limits: ImageSettings) -> Size:
    return inspect(data, limits).size


def size_decoded(data: bytes, limits: ImageSettings) -> Size:
    return Size(*displayed(data, limits).size)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(JPEG, id="jpeg"),
        pytest.param(PROGRESSIVE, id="progressive"),
        pytest.param(WITH_THUMBNAIL, id="thumbnail"),
        pytest.param(encoded(SCENE, "JPEG", restart_marker_rows=1), id="restart-markers"),
        pytest.param(png_of((b"IHDR", HEADER), *PARTS, END), id="png"),
        pytest.param(encoded(SCENE.quantize(200), "PNG"), id="palette-png"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_damaged_file_is_refused_exactly_where_decoding_it_fails(data: bytes) -> None:
    dice = random.Random(len(data))
    for _ in range(60):
        broken = damaged(data, dice)
        assert verdict(size_known, broken) == verdict(size_decoded, broken)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_picture_made_of_a_file_that_was_not_decoded_before_is_the_same(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(SCENE, "JPEG", exif=exif)
    smaller = Resize(max_pixels=20_000)
    facts, sent, media_type = prepare(data, LIMITS, smaller)
    assert (facts, encode_picture(data, facts, LIMITS, smaller)) == (inspect(data, LIMITS), (sent, media_type))
    assert facts.size == (SIZE if orientation == 1 else Size(SIZE.height, SIZE.width))
    with Image.open(io.BytesIO(sent)) as image:
        upright = displayed(data, LIMITS).resize(image.size, Image.Resampling.LANCZOS)
        assert np.abs(np.asarray(image, int) - np.asarray(upright)).mean() < 3


def test_a_bomb_in_one_row_is_refused_by_its_header() -> None:
    header = struct.pack(">IIBBBBB", 300_000_000, 1, 8, 0, 0, 0, 0)
    data = png_of((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1 << 20))), END)
    assert png_size(data) is None
    with pytest.raises(ImageError, match="300000000x1 pixels, more than"):
        inspect(data, LIMITS)


def test_a_large_file_is_refused_without_decoding_it() -> None:
    for data in (JPEG, PNG):
        with pytest.raises(ImageError, match=r"330x240 pixels, more than image\.max_decode_pixels=70000"):
            inspect(data, ImageSettings(max_decode_pixels=70_000))


DICE = np.random.default_rng(8)
ROWS, COLUMNS = np.mgrid[: SIZE.height, : SIZE.width]


@pytest.mark.parametrize(
    "levels",
    [
        pytest.param(ROWS * 0, id="one-colour"),
        pytest.param((DICE.random(ROWS.shape) < 0.1) * 1, id="noise"),
        pytest.param((DICE.random(ROWS.shape) < 0.01) * 2, id="dots"),
        pytest.param(ROWS % 2 * 2, id="stripes"),
        pytest.param((ROWS + COLUMNS) % 2, id="checker"),
        pytest.param((COLUMNS + 2 * ROWS) % 8 // 4 * 2, id="slanted-stripes"),
        pytest.param(COLUMNS // 111, id="steps"),
    ],
)
@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_picture_of_one_colour_is_named_at_every_quality(levels: np.ndarray, subsampling: int) -> None:
    pixels = (np.array([90, 140, 30]) + levels[..., None]).astype(np.uint8)
    for quality in (60, 75, 85, 90, 94, 95, 97, 98, 99, 100):
        for progressive in (False, True):
            data = encoded(pixels, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
            varies = max(high - low for low, high in displayed(data, LIMITS).getextrema())  # type: ignore[misc]
            assert inspect(data, LIMITS).flags == (("flat_image",) if varies <= 2 else ())
    for level in (0, 1, 9):
        assert inspect(encoded(pixels, "PNG", compress_level=level), LIMITS).flags == ("flat_image",)
