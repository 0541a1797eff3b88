"""Files whose metadata is broken or huge, and pixels that are not what a camera makes: used, and named."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from raylabel.errors import ImageError
from raylabel.geometry import Resize
from raylabel.images import displayed, inspect, prepare
from raylabel.records import ImageFacts, Size, image_facts_to_json, read_image_facts
from raylabel.settings import ImageSettings

LIMITS, KEEP = ImageSettings(), Resize()
MIB = 1 << 20
SCENE = np.kron(np.random.default_rng(5).integers(0, 255, (5, 9, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))


def encoded(pixels: Any, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(out, kind, **options)
    return out.getvalue()


def exif(orientation: int, kind: int = 3) -> bytes:
    return b"MM\x00*\x00\x00\x00\x08\x00\x01" + struct.pack(">HHIHH", 274, kind, 1, orientation, 0) + bytes(4)


def chunk(name: bytes, body: bytes, crc: int | None = None) -> bytes:
    checksum = zlib.crc32(name + body) if crc is None else crc
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


PNG = encoded(SCENE, "PNG")
PIXELS, END = PNG.index(b"IDAT") - 4, PNG.index(b"IEND") - 4


def png(*before: bytes, after: tuple[bytes, ...] = ()) -> bytes:
    """The scene with further chunks before and after its pixels."""
    return PNG[:PIXELS] + b"".join(before) + PNG[PIXELS:END] + b"".join(after) + PNG[END:]


def packed(name: bytes, keyword: bytes, text: bytes) -> bytes:
    middle = b"\x01\x00\x00\x00" if name == b"iTXt" else b"\x00"
    return chunk(name, keyword + b"\x00" + middle + zlib.compress(text))


LONG = bytes(2 * MIB)
FULL = [packed(b"zTXt", b"Comment", bytes(MIB)) for _ in range(66)]


def jpeg(*segments: tuple[int, bytes], then: bytes = b"") -> bytes:
    """The scene as a JPEG with further segments (marker, body) at its beginning."""
    data = encoded(SCENE, "JPEG", quality=95)
    more = b"".join(b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return data[:2] + more + data[2:] + then


def webp(block: bytes, then: bytes = b"") -> bytes:
    return encoded(SCENE, "WEBP", lossless=True, exif=block) + then


def tiff(*entries: tuple[int, int, int, int], following: int = 0, then: bytes = b"") -> bytes:
    """The scene as an uncompressed TIFF, with further entries (tag, type, count, value) and a pointer to the next."""
    height, width, _ = SCENE.shape
    bits, pixels = 8, 14
    directory = pixels + SCENE.size
    own = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 3, bits),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, pixels),
    ]
    own += [(277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, SCENE.size)]
    rows = sorted([*own, *entries])
    ifd = (
        struct.pack("<H", len(rows))
        + b"".join(struct.pack("<HHII", *row) for row in rows)
        + struct.pack("<I", following)
    )
    head = struct.pack("<2sHIHHH", b"II", 42, directory, 8, 8, 8)
    return head + SCENE.tobytes() + ifd + then


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    ("data", "plain", "flags"),
    [
        pytest.param(png(packed(b"zTXt", b"Comment", LONG)), False, (), id="png-huge-ztxt"),
        pytest.param(png(after=(packed(b"zTXt", b"Comment", LONG),)), False, (), id="png-huge-ztxt-behind-the-pixels"),
        pytest.param(png(packed(b"iTXt", b"XML:com.adobe.xmp", LONG)), False, (), id="png-huge-xmp"),
        pytest.param(png(packed(b"iCCP", b"profile", LONG)), False, (), id="png-huge-profile"),
        pytest.param(png(*FULL), False, (), id="png-66-texts-of-1-MiB"),
        pytest.param(png(chunk(b"eXIf", exif(1) + LONG)), True, (), id="png-huge-exif"),
        pytest.param(png(chunk(b"tEXt", b"Comment\x00" + LONG)), True, (), id="png-huge-text"),
        pytest.param(png(chunk(b"zTXt", b"Comment\x00\x07abc")), False, (), id="png-unknown-compression"),
        pytest.param(png(chunk(b"zTXt", b"Comment\x00\x00abc")), True, (), id="png-broken-compression"),
        pytest.param(png(chunk(b"sRGB", b"")), False, (), id="png-empty-chunk"),
        pytest.param(png(chunk(b"gAMA", b"\x00\x00\xb1\x8f", crc=7)), False, (), id="png-wrong-checksum-of-gamma"),
        pytest.param(
            png(after=(chunk(b"tIME", bytes(7), crc=7),)), False, (), id="png-wrong-checksum-behind-the-pixels"
        ),
        pytest.param(png(chunk(b"tRNS", bytes(6), crc=7)), False, (), id="png-wrong-checksum-of-transparency"),
        pytest.param(
            png(chunk(b"eXIf", exif(6), crc=7)), False, ("orientation_lost",), id="png-wrong-checksum-of-exif"
        ),
        pytest.param(png(chunk(b"eXIf", b"MM\x00*")), False, ("orientation_lost",), id="png-exif-cut-off"),
        pytest.param(PNG + b"junk" * 999, True, (), id="png-junk-behind"),
        pytest.param(PNG[:END], False, (), id="png-without-its-end"),
        pytest.param(
            jpeg((0xE1, b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")), False, ("orientation_lost",), id="jpeg-exif-outside"
        ),
        pytest.param(
            jpeg((0xE1, b"Exif\x00\x00" + exif(6, kind=4))), False, ("orientation_lost",), id="jpeg-exif-wrong-type"
        ),
        pytest.param(jpeg((0xE1, b"Exif\x00\x00" + exif(0))), True, (), id="jpeg-exif-orientation-unknown"),
        pytest.param(jpeg((0xE1, b"Exif\x00\x00")), True, (), id="jpeg-exif-empty"),
        pytest.param(
            jpeg(*[(0xE2, b"ICC_PROFILE\x00\x09\x02" + bytes(65000))] * 80), True, (), id="jpeg-profile-of-5-MB"
        ),
        pytest.param(jpeg((0xED, b"Photoshop 3.0\x008BIM\xff\xff")), False, (), id="jpeg-photoshop-cut-off"),
        pytest.param(jpeg((0xFE, b"\xff\xd9\xff\xda")), True, (), id="jpeg-comment-with-markers"),
        pytest.param(jpeg(then=b"\x00" * 5000), True, (), id="jpeg-junk-behind"),
        pytest.param(webp(b"II*\x00\xff\xff\xff\x7f"), False, ("orientation_lost",), id="webp-exif-outside"),
        pytest.param(webp(b"", then=b"junk" * 99), True, (), id="webp-junk-behind"),
        pytest.param(encoded(SCENE, "BMP") + b"junk", False, (), id="bmp-junk-behind"),
        pytest.param(tiff(), False, (), id="tiff"),
        pytest.param(tiff(then=b"junk"), False, (), id="tiff-junk-behind"),
        pytest.param(tiff(following=0x7FFFFFF0), False, (), id="tiff-next-picture-outside"),
        pytest.param(tiff((34665, 4, 1, 0x7FFFFFF0)), False, (), id="tiff-exif-outside"),
        pytest.param(tiff((700, 1, 900_000, 0x7FFFFFF0)), False, (), id="tiff-xmp-outside"),
        pytest.param(tiff((34675, 7, 0xFFFFFFF0, 12)), False, (), id="tiff-profile-without-end"),
        pytest.param(tiff((65000, 99, 5, 5)), False, (), id="tiff-unknown-type"),
    ],
)
def test_metadata_never_decides_over_pixels(data: bytes, plain: bool, flags: tuple[str, ...]) -> None:
    facts, sent, _ = prepare(data, LIMITS, KEEP)
    assert (facts.size, facts.orientation, facts.flags, facts.plain) == (Size(72, 40), 1, flags, plain)
    if data[:2] != b"\xff\xd8":
        assert np.array_equal(np.asarray(displayed(data, LIMITS)), SCENE)
    with warnings.catch_warnings(), Image.open(io.BytesIO(sent)) as image:  # as servers do
        warnings.simplefilter("error")
        assert (image.convert("RGB").size, image.getexif().get(274, 1) in (0, 1)) == ((72, 40), True)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png(chunk(b"eXIf", exif(6)), packed(b"zTXt", b"Comment", LONG)), id="png-huge-text"),
        pytest.param(
            png(chunk(b"gAMA", bytes(4), crc=7), after=(chunk(b"eXIf", exif(6)),)), id="png-behind-the-pixels"
        ),
        pytest.param(jpeg((0xED, b"Photoshop 3.0\x008BIM\xff\xff"), (0xE1, b"Exif\x00\x00" + exif(6))), id="jpeg"),
        pytest.param(webp(exif(6), then=b"junk"), id="webp"),
        pytest.param(tiff((274, 3, 1, 6), (700, 1, 900_000, 0x7FFFFFF0)), id="tiff"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_an_orientation_that_can_be_read_is_kept_among_broken_metadata(data: bytes) -> None:
    facts, sent, _ = prepare(data, LIMITS, KEEP)
    assert (facts.size, facts.orientation, facts.flags, facts.plain) == (Size(40, 72), 6, (), False)
    with Image.open(io.BytesIO(sent)) as image:
        difference = np.asarray(image.convert("RGB"), int) - np.rot90(SCENE, -1)
        assert np.abs(difference).mean() < 12


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(png(packed(b"zTXt", b"Comment", LONG))[: -len(PNG) // 4], id="png-huge-text"),
        pytest.param(png(chunk(b"eXIf", exif(6), crc=7))[:-120], id="png-broken-exif"),
        pytest.param(jpeg((0xED, b"Photoshop 3.0\x008BIM\xff\xff"))[:-700], id="jpeg"),
        pytest.param(webp(b"II*\x00\xff\xff\xff\x7f")[:150], id="webp"),
        pytest.param(tiff((279, 4, 1, SCENE.size))[:4000], id="tiff"),
    ],
)
def test_pixels_that_are_cut_off_fail_whatever_the_metadata(data: bytes) -> None:
    with pytest.raises(ImageError, match="truncated or broken"):
        inspect(data, LIMITS)


# --- pixels ---------------------------------------------------------------------------------------------------------

WARM = np.add.outer(np.arange(40) * 30, np.arange(72) * 7).astype(np.uint16)
"""A scene of 1,667 neighbouring levels, as a thermal camera's."""


def with_dead_pixels(levels: np.ndarray) -> np.ndarray:
    levels = levels.copy()
    levels[3, 5], levels[20, 60] = 0, 65535
    return levels


def in_16_bits(samples: np.ndarray, colour_type: int) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write in colour."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(WARM + 7000, "PNG"), id="14-bits-png"),
        pytest.param(encoded(WARM, "PNG"), id="12-bits-png"),
        pytest.param(encoded(with_dead_pixels(WARM + 7000), "PNG"), id="dead-pixels"),
        pytest.param(encoded(WARM + 60_000, "TIFF"), id="bright-end-tiff"),
        pytest.param(encoded(Image.fromarray(WARM.astype(">u2")), "TIFF"), id="big-endian-tiff"),
        pytest.param(encoded(WARM.astype(np.int32) - 900, "TIFF"), id="32-bit-whole-numbers"),
        pytest.param(encoded(WARM.astype(np.float32) / 100 - 20, "TIFF"), id="degrees"),
        pytest.param(encoded(WARM.astype(np.float32) * 1e30, "TIFF"), id="huge-numbers"),
    ],
)
def test_a_sensors_numbers_are_stretched_and_named(data: bytes) -> None:
    facts, sent, _ = prepare(data, LIMITS, KEEP)
    shown = np.asarray(displayed(data, LIMITS)).astype(int)
    expected = np.rint(WARM / WARM.max() * 255).astype(int)
    alive = np.ones(WARM.shape, bool)
    alive[3, 5] = alive[20, 60] = False
    assert facts.flags == ("stretched",)
    assert not facts.plain
    assert np.abs(shown - expected)[alive].max() <= 6
    assert sent == prepare(data, LIMITS, KEEP)[1]


def test_what_is_no_number_is_black_and_a_picture_of_nothing_else_fails() -> None:
    depths = WARM.astype(np.float32)
    depths[:10] = np.nan
    depths[39, 71] = np.inf
    data = encoded(depths, "TIFF")
    shown = np.asarray(displayed(data, LIMITS))
    assert inspect(data, LIMITS).flags == ("stretched",)
    assert (shown[:10].max(), shown[39, 70], shown[39, 71]) == (0, 255, 255)
    with pytest.raises(ImageError, match="none of the image's samples is a number"):
        inspect(encoded(np.full((40, 72), np.nan, np.float32), "TIFF"), LIMITS)


@pytest.mark.parametrize(
    ("samples", "colour_type", "flags"),
    [
        pytest.param(np.stack([WARM, WARM // 2, WARM * 2], 2), 2, ("stretched",), id="12-bit-colours"),
        pytest.param(np.stack([WARM * 9] * 3, 2), 2, ("stretched",), id="14-bit-colours"),
        pytest.param(np.stack([WARM * 39] * 3, 2), 2, (), id="16-bit-colours"),
        pytest.param(WARM * 39, 0, (), id="16-bit-grey"),
    ],
)
def test_16_bits_that_are_used_are_left_as_they_are(
    samples: np.ndarray, colour_type: int, flags: tuple[str, ...]
) -> None:
    data = in_16_bits(samples, colour_type)
    shown = np.asarray(displayed(data, LIMITS))
    assert inspect(data, LIMITS).flags == flags
    if flags:
        assert shown.max() == 255
    else:
        assert np.abs(shown.astype(int) - np.rint(samples / 257.0)).max() <= 1


def transparent(levels: int) -> Image.Image:
    image = Image.fromarray(SCENE).convert("RGBA")
    image.putalpha(levels)
    return image


FLAT = np.full((40, 72, 3), (90, 140, 30), np.uint8)


@pytest.mark.parametrize(
    ("data", "flags"),
    [
        pytest.param(encoded(FLAT, "PNG"), ("flat_image",), id="png"),
        pytest.param(encoded(FLAT, "JPEG"), ("flat_image",), id="jpeg"),
        pytest.param(encoded(FLAT, "WEBP", quality=90), ("flat_image",), id="webp"),
        pytest.param(encoded(Image.fromarray(FLAT).quantize(4), "GIF"), ("flat_image",), id="gif"),
        pytest.param(encoded(Image.new("1", (72, 40), 1), "PNG"), ("flat_image",), id="1-bit"),
        pytest.param(encoded(np.full((40, 72), 7000, np.uint16), "PNG"), ("flat_image",), id="16-bit"),
        pytest.param(encoded(np.full((40, 72), 36.6, np.float32), "TIFF"), ("flat_image",), id="float"),
        pytest.param(encoded(transparent(0), "PNG"), ("flat_image",), id="wholly-transparent"),
        pytest.param(encoded(transparent(0), "WEBP"), ("flat_image",), id="wholly-transparent-webp"),
        pytest.param(encoded(transparent(90), "PNG"), (), id="half-transparent"),
        pytest.param(encoded(SCENE // 20 + 100, "PNG"), (), id="low-contrast"),
        pytest.param(
            encoded(np.where(np.arange(72 * 40).reshape(40, 72) == 777, 200, 90).astype(np.uint8), "PNG"),
            (),
            id="a-dot",
        ),
    ],
)
def test_a_picture_of_one_colour_is_named(data: bytes, flags: tuple[str, ...]) -> None:
    assert inspect(data, LIMITS).flags == flags


OTHER = Image.fromarray(SCENE[::-1].copy())
SEVERAL: dict[str, Any] = {"save_all": True, "append_images": [OTHER]}


def pyramid(kind: int) -> bytes:
    """A TIFF whose second image is half as large and says what it is."""
    small = TiffImagePlugin.ImageFileDirectory_v2()
    small[254] = kind
    out = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(out, True) as writer:
        Image.fromarray(SCENE).save(writer, "TIFF")
        writer.newFrame()
        Image.fromarray(SCENE[::2, ::2].copy()).save(writer, "TIFF", tiffinfo=small)
        writer.newFrame()
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "flags"),
    [
        pytest.param(encoded(SCENE, "GIF", **SEVERAL), ("first_frame",), id="gif"),
        pytest.param(encoded(SCENE, "WEBP", lossless=True, **SEVERAL), ("first_frame",), id="webp"),
        pytest.param(encoded(SCENE, "PNG", **SEVERAL), ("first_frame",), id="png"),
        pytest.param(encoded(SCENE, "TIFF", **SEVERAL), ("first_frame",), id="tiff-pages"),
        pytest.param(pyramid(0), ("first_frame",), id="tiff-pages-of-two-sizes"),
        pytest.param(pyramid(1), (), id="tiff-with-a-smaller-copy"),
        pytest.param(pyramid(4), (), id="tiff-with-a-mask"),
        pytest.param(encoded(SCENE, "MPO", **SEVERAL), (), id="jpeg-of-a-phone"),
        pytest.param(encoded(SCENE, "GIF"), (), id="gif-of-one-picture"),
        pytest.param(encoded(SCENE, "TIFF"), (), id="tiff-of-one-page"),
    ],
)
def test_of_several_pictures_the_first_is_sent_and_named(data: bytes, flags: tuple[str, ...]) -> None:
    facts, sent, _ = prepare(data, LIMITS, KEEP)
    assert (facts.flags, facts.size) == (flags, Size(72, 40))
    with Image.open(io.BytesIO(sent)) as image:
        assert getattr(image, "n_frames", 1) == 1
        assert np.abs(np.asarray(image.convert("RGB"), int) - SCENE).mean() < 12


@pytest.mark.parametrize(
    ("size", "flags", "media_type"),
    [
        pytest.param((1, 20_000), ("extreme_shape",), "image/jpeg", id="a-line"),
        pytest.param((70_000, 8), ("extreme_shape",), "image/png", id="longer-than-a-jpeg"),
        pytest.param((2000, 10), (), "image/jpeg", id="a-strip"),
    ],
)
def test_extreme_sides_are_sent_and_named(size: tuple[int, int], flags: tuple[str, ...], media_type: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (size[1], size[0]), dtype=np.uint8)
    facts, sent, told = prepare(encoded(pixels, "BMP"), LIMITS, KEEP)
    assert (facts.flags, told) == (flags, media_type)
    with Image.open(io.BytesIO(sent)) as image:
        assert (image.size, Image.MIME[str(image.format)]) == (size, media_type)
    shrunk = prepare(encoded(pixels, "BMP"), LIMITS, Resize(max_pixels=500))[1]
    with Image.open(io.BytesIO(shrunk)) as image:
        assert min(image.size) >= 1


def with_palette_transparency() -> Image.Image:
    image = Image.fromarray(SCENE).quantize(32)
    image.info["transparency"] = bytes([0] + [255] * 31)
    return image


@pytest.mark.parametrize(
    ("data", "by"),
    [
        pytest.param(encoded(Image.fromarray(SCENE).convert("LA"), "PNG"), 80, id="grey-with-alpha"),
        pytest.param(encoded(Image.fromarray(SCENE).convert("1"), "PNG"), 160, id="1-bit-png"),
        pytest.param(encoded(Image.fromarray(SCENE).convert("1"), "TIFF", compression="group4"), 160, id="fax-tiff"),
        pytest.param(encoded(Image.fromarray(SCENE).convert("CMYK"), "JPEG", quality=95), 12, id="inverted-cmyk-jpeg"),
        pytest.param(encoded(Image.fromarray(SCENE).convert("CMYK"), "TIFF"), 1, id="cmyk-tiff"),
        pytest.param(encoded(Image.fromarray(SCENE).convert("LAB"), "TIFF"), 60, id="lab-tiff"),
        pytest.param(encoded(Image.fromarray(SCENE).convert("YCbCr"), "TIFF"), 6, id="ycbcr-tiff"),
        pytest.param(encoded(SCENE, "TIFF", compression="jpeg", quality=95), 12, id="jpeg-in-tiff"),
        pytest.param(encoded(SCENE, "TIFF", compression="tiff_adobe_deflate"), 1, id="deflate-tiff"),
        pytest.param(encoded(with_palette_transparency(), "PNG"), 60, id="palette-with-transparency"),
        pytest.param(encoded(Image.fromarray(SCENE).quantize(64), "BMP"), 40, id="palette-bmp"),
        pytest.param(encoded(Image.fromarray(SCENE).convert("RGBA"), "BMP"), 1, id="32-bit-bmp"),
    ],
)
def test_every_way_to_write_colours_is_shown_as_it_is_meant(data: bytes, by: int) -> None:
    facts, sent, _ = prepare(data, LIMITS, KEEP)
    assert facts.flags == ()
    shown = np.asarray(displayed(data, LIMITS).convert("RGB"), int)
    assert np.abs(shown - SCENE).mean() < by
    with Image.open(io.BytesIO(sent)) as image:
        assert image.mode in ("L", "RGB")


def test_the_facts_of_an_image_keep_its_flags() -> None:
    facts = inspect(encoded(FLAT, "GIF", save_all=True, append_images=[OTHER]), LIMITS)
    assert facts.flags == ("first_frame", "flat_image")
    assert read_image_facts(json.dumps(image_facts_to_json(facts))) == facts
    before: dict[str, Any] = {k: v for k, v in image_facts_to_json(facts).items() if k != "flags"}
    assert read_image_facts(json.dumps(before)) == ImageFacts(**{**before, "size": facts.size})
