"""Every kind of file a user may bring, as it is displayed and as it is sent."""

from __future__ import annotations

import io
import random
import struct
import threading
import zlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from raylabel.errors import ImageError
from raylabel.geometry import Resize
from raylabel.images import (
    Encoding,
    digest_bytes,
    displayed,
    encode_picture,
    encoding_of,
    inspect,
    prepare,
    recipe,
    upright_file,
)
from raylabel.records import Size
from raylabel.settings import ImageSettings

LIMITS = ImageSettings()
KEEP = Resize()
RED, GREEN, BLUE, GREY = (220, 20, 30), (10, 200, 40), (20, 40, 210), (128, 128, 128)


def corners(width: int = 62, height: int = 34) -> Image.Image:
    """Red top left, green top right, blue bottom left, grey bottom right: every turn shows."""
    image = Image.new("RGB", (width, height), GREY)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def with_orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = value
    exif[271] = "Maker"
    return exif


def at_corners(image: Image.Image) -> list[tuple[int, ...]]:
    rgb, (w, h) = image.convert("RGB"), image.size
    return [rgb.getpixel(p) for p in ((4, 4), (w - 5, 4), (4, h - 5), (w - 5, h - 5))]  # type: ignore[misc]


def close(found: Sequence[tuple[int, ...]], wanted: Sequence[tuple[int, ...]], by: int = 6) -> bool:
    return all(abs(a - b) <= by for f, w in zip(found, wanted, strict=True) for a, b in zip(f, w, strict=True))


STORED_TO_UPRIGHT = {
    1: [RED, GREEN, BLUE, GREY],
    2: [GREEN, RED, GREY, BLUE],
    3: [GREY, BLUE, GREEN, RED],
    4: [BLUE, GREY, RED, GREEN],
    5: [RED, BLUE, GREEN, GREY],
    6: [BLUE, RED, GREY, GREEN],
    7: [GREY, GREEN, BLUE, RED],
    8: [GREEN, GREY, RED, BLUE],
}
"""Colours of the displayed corners by EXIF orientation, written down from the table of tag 274."""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_sent_upright_and_without_the_tag(kind: str, orientation: int) -> None:
    data = encoded(corners(), kind, exif=with_orientation(orientation))
    facts = inspect(data, LIMITS)
    sent, media_type = encode_picture(data, facts, LIMITS, KEEP)
    with Image.open(io.BytesIO(sent)) as image:
        assert facts.orientation == orientation
        assert facts.size == (Size(34, 62) if orientation >= 5 else Size(62, 34))
        assert (image.size, Image.MIME[str(image.format)]) == ((facts.size.width, facts.size.height), media_type)
        assert close(at_corners(image), STORED_TO_UPRIGHT[orientation], by=14)
        assert image.getexif().get(274, 1) == 1
    assert close(at_corners(displayed(data, LIMITS)), STORED_TO_UPRIGHT[orientation], by=14)


@pytest.mark.parametrize(
    "exif",
    [
        pytest.param(b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x05\x01", id="cut-off"),
        pytest.param(b"Exif\x00\x00II*\x00\xff\xff\xff\x7f", id="points-outside"),
        pytest.param(b"Exif\x00\x00not a directory at all", id="nonsense"),
        pytest.param(
            b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00" + struct.pack("<HHIHH", 274, 3, 1, 9, 0), id="nine"
        ),
        pytest.param(
            b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00" + struct.pack("<HHII", 274, 4, 1, 6), id="wrong-type"
        ),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_counts_as_upright_and_costs_nothing(kind: str, exif: bytes) -> None:
    facts = inspect(encoded(corners(), kind, exif=exif), LIMITS)
    assert (facts.orientation, facts.size) == (1, Size(62, 34))


def test_a_turn_that_only_xmp_asks_for_is_not_left_to_the_server() -> None:
    xmp = b'<x:xmpmeta xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"></x:xmpmeta>'
    data = encoded(corners(), "JPEG", xmp=xmp)
    facts, sent, _ = prepare(data, LIMITS, KEEP)
    assert (facts.orientation, facts.size, facts.plain) == (1, Size(62, 34), False)
    assert b"Orientation" not in sent
    assert inspect(encoded(corners(), "JPEG", xmp=xmp.replace(b'"6"', b'"1"')), LIMITS).plain


NOISE = np.random.default_rng(3).integers(0, 255, (34, 62, 3), dtype=np.uint8)
GRADIENT = np.add.outer(np.arange(34) * 900, np.arange(62) * 560).astype(np.uint16)


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        pytest.param(encoded(corners(), "JPEG"), "image/jpeg", id="jpeg"),
        pytest.param(encoded(corners(), "JPEG", progressive=True), "image/jpeg", id="progressive"),
        pytest.param(encoded(corners().convert("L"), "JPEG"), "image/jpeg", id="grey-jpeg"),
        pytest.param(encoded(corners(), "JPEG", exif=with_orientation(1)), "image/jpeg", id="jpeg-with-upright-exif"),
        pytest.param(encoded(corners(), "PNG"), "image/png", id="png"),
        pytest.param(encoded(Image.fromarray(NOISE).quantize(64), "PNG"), "image/png", id="palette-png"),
        pytest.param(encoded(corners(), "WEBP", quality=90), "image/webp", id="webp"),
    ],
)
def test_what_every_endpoint_takes_passes_through_byte_for_byte(data: bytes, media_type: str) -> None:
    facts = inspect(data, LIMITS)
    assert (facts.plain, facts.media_type) == (True, media_type)
    assert encoding_of(facts, KEEP) == Encoding(facts.size, media_type, passthrough=True)
    assert encode_picture(data, facts, LIMITS, KEEP)[0] is data
    assert facts.digest == digest_bytes(data)


@pytest.mark.parametrize(
    ("data", "media_type", "mode"),
    [
        pytest.param(encoded(corners().convert("CMYK"), "JPEG"), "image/jpeg", "RGB", id="cmyk-jpeg"),
        pytest.param(encoded(corners().quantize(16, kmeans=1), "GIF"), "image/png", "RGB", id="gif"),
        pytest.param(encoded(corners(), "BMP"), "image/jpeg", "RGB", id="bmp"),
        pytest.param(encoded(corners(), "TIFF", compression="tiff_lzw"), "image/jpeg", "RGB", id="tiff"),
        pytest.param(encoded(corners().convert("RGBA"), "PNG"), "image/png", "RGB", id="opaque-alpha"),
        pytest.param(
            encoded(corners(), "MPO", save_all=True, append_images=[corners()]), "image/jpeg", "RGB", id="mpo"
        ),
        pytest.param(
            encoded(corners(), "WEBP", save_all=True, append_images=[corners().rotate(180)], quality=95),
            "image/jpeg",
            "RGB",
            id="animated-webp",
        ),
        pytest.param(
            encoded(corners(), "GIF", save_all=True, append_images=[corners().rotate(180)]),
            "image/png",
            "RGB",
            id="animated-gif",
        ),
        pytest.param(
            encoded(corners(), "PNG", save_all=True, append_images=[corners().rotate(180)]),
            "image/png",
            "RGB",
            id="animated-png",
        ),
    ],
)
def test_what_some_endpoints_refuse_is_sent_as_a_plain_picture_of_its_first_frame(
    data: bytes, media_type: str, mode: str
) -> None:
    facts, sent, told = prepare(data, LIMITS, KEEP)
    with Image.open(io.BytesIO(sent)) as image:
        assert (facts.plain, told, facts.size) == (False, media_type, Size(62, 34))
        assert (image.mode, getattr(image, "n_frames", 1)) == (mode, 1)
        assert close(at_corners(image), [RED, GREEN, BLUE, GREY], by=25)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(Image.fromarray(GRADIENT), "PNG"), id="png"),
        pytest.param(encoded(Image.fromarray(GRADIENT), "TIFF"), id="tiff"),
    ],
)
def test_16_bit_grey_is_scaled_not_clipped(data: bytes) -> None:
    shown = np.asarray(displayed(data, LIMITS))
    assert np.array_equal(shown, np.rint(GRADIENT / 257.0).astype(np.uint8))
    assert not inspect(data, LIMITS).plain


def test_16_bit_colour_png_does_not_pass_through() -> None:
    rows = b"".join(b"\x00" + struct.pack(">6H", 65535, 0, 32768, 1000, 2000, 3000) for _ in range(3))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 2, 3, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    facts, sent, _ = prepare(data, LIMITS, KEEP)
    with Image.open(io.BytesIO(sent)) as image:
        assert (facts.plain, image.mode, image.getpixel((0, 0))) == (False, "RGB", (255, 0, 128))


def half_transparent() -> Image.Image:
    image = corners().convert("RGBA")
    image.putalpha(Image.new("L", image.size, 255))
    image.paste((0, 0, 0, 0), (0, 0, 31, 17))
    return image


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(half_transparent(), "PNG"), id="alpha"),
        pytest.param(encoded(half_transparent().quantize(32), "PNG"), id="palette-with-transparency"),
        pytest.param(encoded(half_transparent(), "WEBP", lossless=True), id="webp-alpha"),
        pytest.param(encoded(half_transparent(), "GIF"), id="gif-transparency"),
    ],
)
def test_transparency_is_laid_on_white(data: bytes) -> None:
    facts, sent, _ = prepare(data, LIMITS, KEEP)
    with Image.open(io.BytesIO(sent)) as image:
        assert not facts.plain
        assert close(at_corners(image), [(255, 255, 255), GREEN, BLUE, GREY], by=25)


def test_only_a_limit_makes_a_picture_smaller() -> None:
    data = encoded(corners(620, 340), "JPEG", quality=95)
    smaller = Resize(max_pixels=50_000)
    facts, made, _ = prepare(data, LIMITS, smaller)
    sent = encoding_of(facts, smaller)
    with Image.open(io.BytesIO(made)) as image:
        assert image.size == (sent.size.width, sent.size.height)
        assert close(at_corners(image), [RED, GREEN, BLUE, GREY], by=10)
    assert sent.size.width * sent.size.height <= 50_000
    assert encoding_of(facts, Resize(max_pixels=620 * 340)).passthrough


def test_a_picture_made_twice_is_the_same_and_holds_no_metadata() -> None:
    noisy = corners()
    noisy.info["comment"] = b"somewhere"
    data = encoded(
        noisy, "JPEG", exif=with_orientation(6), comment=b"taken at home", icc_profile=b"profile", dpi=(300, 300)
    )
    facts = inspect(data, LIMITS)
    sent = encode_picture(data, facts, LIMITS, KEEP)[0]
    assert sent == encode_picture(data, facts, LIMITS, KEEP)[0] == prepare(data, LIMITS, KEEP)[1]
    for trace in (b"Exif", b"Maker", b"taken at home", b"somewhere", b"profile", b"ICC_PROFILE"):
        assert trace not in sent
    png = encoded(half_transparent(), "PNG", exif=with_orientation(8), icc_profile=b"profile", dpi=(300, 300))
    with Image.open(io.BytesIO(prepare(png, LIMITS, KEEP)[1])) as image:
        image.load()
        assert image.info == {}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(bytes(400), "only zero bytes", id="zeroes"),
        pytest.param(b"<html>404 not found</html>", "not an image", id="text"),
        pytest.param(b"\x00\x00\x00\x20ftypheic" + bytes(30), "HEIC", id="heic"),
        pytest.param(b"\xff\xd8\xff\xe0", "JPEG image is truncated or broken", id="jpeg-header-only"),
        pytest.param(b"BM" + bytes(60), "BMP image is truncated or broken", id="bmp-header-only"),
        pytest.param(encoded(corners(), "PNG")[:60], "PNG image is truncated or broken", id="png-beginning"),
    ],
)
def test_what_is_no_image_fails_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        inspect(data, LIMITS)


@pytest.mark.tao_row("a missing or corrupt image turns into a text-only request")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_truncated_image_is_never_sent(kind: str) -> None:
    data = encoded(Image.fromarray(NOISE), kind)
    for kept in (20, len(data) // 3, len(data) // 2, len(data) * 9 // 10):
        with pytest.raises(ImageError):
            inspect(data[:kept], LIMITS)


def test_a_png_with_a_flipped_pixel_byte_is_broken() -> None:
    data = bytearray(encoded(Image.fromarray(NOISE), "PNG", compress_level=0))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ImageError, match="truncated or broken"):
        inspect(bytes(data), LIMITS)


def test_a_file_that_lost_only_its_end_mark_is_made_whole() -> None:
    data = encoded(corners(), "PNG")[:-3]
    facts, sent, _ = prepare(data, LIMITS, KEEP)
    assert not facts.plain
    assert sent.endswith(b"IEND\xaeB`\x82")


def test_damaged_files_of_every_kind_raise_image_errors_only() -> None:
    files = {
        kind: encoded(corners(), kind, **({"exif": with_orientation(6)} if kind in ("JPEG", "PNG", "WEBP") else {}))
        for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
    }
    for kind, data in files.items():
        dice = random.Random(kind)
        for _ in range(120):
            damaged = bytearray(data)
            for _ in range(dice.choice([1, 3, 20])):
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
            with suppress(ImageError):
                prepare(bytes(damaged[: dice.randrange(1, len(damaged) + 1)]), LIMITS, KEEP)


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 50_000, 8, 2, 0, 0, 0)
    bomb = encoded(corners(), "PNG")
    bomb = bomb[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + bomb[33:]
    with pytest.raises(ImageError, match=r"60000x50000 pixels, more than image\.max_decode_pixels=200000000"):
        inspect(bomb, LIMITS)


def test_a_large_image_below_the_limit_is_no_bomb() -> None:
    # 96 megapixels: Pillow's own limit would warn here, and warnings are errors in this test run.
    data = encoded(Image.new("L", (12_000, 8_000), 7), "PNG")
    assert inspect(data, LIMITS).size == Size(12_000, 8_000)
    with pytest.raises(ImageError, match=r"more than image\.max_decode_pixels"):
        inspect(data, ImageSettings(max_decode_pixels=95_000_000))


def test_many_threads_prepare_the_same_pictures_as_one() -> None:
    files = [encoded(corners(62 + n, 34), "JPEG", exif=with_orientation(1 + n % 8)) for n in range(16)]
    alone = [prepare(data, LIMITS, KEEP) for data in files]
    together: list[Any] = [None] * len(files)

    def work(n: int) -> None:
        together[n] = prepare(files[n], LIMITS, KEEP)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_the_recipe_names_what_changes_the_picture() -> None:
    recipes = [recipe(LIMITS, rule) for rule in (KEEP, Resize(multiple=28), Resize(28, 3136), Resize(max_pixels=500))]
    recipes += [recipe(LIMITS, Resize(long_edge=500)), recipe(ImageSettings(jpeg_quality=80), KEEP)]
    assert len(set(recipes)) == len(recipes)
    assert recipe(ImageSettings(max_decode_pixels=5, cache_mb=3), KEEP) == recipe(LIMITS, KEEP)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_upright_file_looks_the_same_to_readers_that_ignore_exif(kind: str, orientation: int) -> None:
    stored = Image.new("RGB", (48, 32), (255, 255, 255))
    stored.paste((200, 0, 0), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[274] = orientation
    out = io.BytesIO()
    stored.save(out, kind, exif=exif)
    upright = upright_file(out.getvalue(), ImageSettings())
    with Image.open(io.BytesIO(out.getvalue())) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    with Image.open(io.BytesIO(upright.data)) as image:
        assert image.getexif().get(274, 1) == 1
        assert image.size == expected.size == (upright.size.width, upright.size.height)
        assert np.abs(np.asarray(image.convert("RGB"), int) - np.asarray(expected, int)).mean() < 4
    assert (upright.data == out.getvalue()) == (orientation == 1) == (upright.suffix == "")
