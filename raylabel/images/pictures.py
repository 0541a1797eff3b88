"""From the bytes of a file to the picture that requests show.

What is sent is upright, 8 bits a channel, grey or RGB, without metadata. A JPEG, PNG or WebP that is all of this goes
out byte for byte: these are what OpenAI, Gemini and servers that read with Pillow have in common. Everything else is
encoded anew: transparency is laid on white, more than 8 bits are scaled or stretched (see ``_in_8_bits``), of an
animation or a multi-picture file the first picture counts, colour profiles are dropped (their numbers are taken as
sRGB). Files of PNG and GIF stay lossless while they are small; the others become JPEG with full colour resolution.

Whether a file is used is decided by its pixels, never by its metadata. They are decoded where a picture has to be made,
and where the structure of the file leaves a doubt about them (see ``structure``); most files are sent undecoded. All
functions may be called from many threads.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from raylabel.errors import ImageError
from raylabel.geometry import Resize
from raylabel.images import exif, structure
from raylabel.records import ImageFacts, Size
from raylabel.settings import ImageSettings
from raylabel.validation import EXTREME_SHAPE, FIRST_FRAME, FLAT_IMAGE, ORIENTATION_LOST, STRETCHED

VERSION = "v2"
"""Of all that is made of a file here: its facts, and the picture. Another version knows and prepares images anew."""

LOSSLESS_PIXELS = 4_000_000
"""Pictures from PNG and GIF files up to this size stay lossless; larger ones would make requests of 10 MB and more."""

LONGEST_JPEG_SIDE = 65_500
"""Pixels; libjpeg writes no longer ones (JPEG_MAX_DIMENSION)."""

EXTREME_RATIO = 200
"""One side over the other. Source: Qwen's ``smart_resize`` refuses what is above (qwen-vl-utils, vision_process.py)."""

STRETCH_PERCENTILES = (0.1, 99.9)
"""What becomes black and white where samples are stretched; a sensor's dead pixels lie outside."""

_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,
)
"""What Pillow's readers raise on damaged files, as found by feeding them damaged files (tests/images).

Warnings are among them for runs that turn warnings into errors."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a stored image upright, by EXIF orientation."""

_JPEG, _PNG, _WEBP, _GIF, _BMP, _TIFF = "JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF"

# The readers are called directly: Image.open would hold every image against one process-wide pixel limit, and warn.
_READERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    _JPEG: JpegImagePlugin.JpegImageFile,
    _PNG: PngImagePlugin.PngImageFile,
    _WEBP: WebPImagePlugin.WebPImageFile,
    _GIF: GifImagePlugin.GifImageFile,
    _BMP: BmpImagePlugin.BmpImageFile,
    _TIFF: TiffImagePlugin.TiffImageFile,
}
_SPLIT = {_JPEG: exif.split_jpeg, _PNG: exif.split_png}
_JPEG_END = b"\xff\xd9"
_PNG_END = b"IEND\xaeB`\x82"
_PNG_BIT_DEPTH = 24
"""Where a PNG's header has it."""
_ORIENTATION, _BITS_PER_SAMPLE, _NEW_SUBFILE_TYPE, _COPY_OR_MASK = 274, 258, 254, 0b101
"""Tags of TIFF 6.0, and two bits of the last one."""
_HALF_OF_16_BITS = 32_768
_DARK_16_BIT = 63
"""Of 255: colours of 14 bits or fewer in 16 stay below."""
_MEDIA_TYPES = {_JPEG: "image/jpeg", _PNG: "image/png", _WEBP: "image/webp"}


@dataclass(frozen=True, slots=True)
class _File:
    """A file whose format is known: its bytes, and what they are made of."""

    data: bytes
    format: str
    parts: exif.Parts


@dataclass(frozen=True, slots=True)
class _Properties:
    """What a file is.

    Args:
        size: as displayed.
        turn: the EXIF orientation that is still to be undone.
        plain: the file's bytes can be sent as they are.
        flags: rules of ``raylabel.validation`` about the file as a whole.
    """

    size: Size
    orientation: int
    turn: int
    plain: bool
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A decoded file; its image is 8-bit grey or RGB, as stored: not turned."""

    image: Image.Image
    properties: _Properties


def digest_bytes(data: bytes) -> str:
    """32 hex digits that stand for the bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def recipe(limits: ImageSettings, resize: Resize) -> str:
    """Names how pictures are prepared; part of the question's key. Another version prepares other pictures.

    >>> recipe(ImageSettings(), Resize(multiple=28, max_pixels=1_003_520))
    'v2:max_pixels=1003520:q=95:multiple=28'
    """
    rules = {"multiple": resize.multiple - 1 and resize.multiple, "min": resize.min_pixels, "long": resize.long_edge}
    more = "".join(f":{name}={value}" for name, value in rules.items() if value)
    return f"{VERSION}:max_pixels={resize.max_pixels}:q={limits.jpeg_quality}{more}"


@dataclass(frozen=True, slots=True)
class Encoding:
    """How an image goes out: the picture's size, the media type of its bytes, and whether they are the file's own."""

    size: Size
    media_type: str
    passthrough: bool


def encoding_of(facts: ImageFacts, resize: Resize) -> Encoding:
    """How requests carry an image under a rule."""
    size = resize.apply(facts.size)
    if facts.plain and size == facts.size:
        return Encoding(size, facts.media_type, True)
    small = size.width * size.height <= LOSSLESS_PIXELS
    png = (facts.lossless and small) or max(size.width, size.height) > LONGEST_JPEG_SIDE
    return Encoding(size, "image/png" if png else "image/jpeg", False)


def inspect(data: bytes, limits: ImageSettings) -> ImageFacts:
    """Say what an image is, decoding it only where its structure leaves a doubt.

    Args:
        data: the whole file.

    Raises:
        ImageError: empty, not an image, truncated, broken, or larger than ``max_decode_pixels``.
    """
    file = _open(data)
    return _facts(file, _inspect_structure(file, limits) or _decode(file, limits).properties)


def inspect_undecoded(data: bytes, limits: ImageSettings) -> ImageFacts | None:
    """``inspect`` by the structure alone; None where that leaves a doubt.

    Raises:
        ImageError: empty, not an image, or larger than ``max_decode_pixels``.
    """
    file = _open(data)
    properties = _inspect_structure(file, limits)
    return None if properties is None else _facts(file, properties)


def encode_picture(data: bytes, facts: ImageFacts, limits: ImageSettings, resize: Resize) -> tuple[bytes, str]:
    """What requests carry: the bytes and their media type.

    Args:
        data: the very bytes that ``facts`` were taken from.

    Returns:
        ``data`` itself where they may go out untouched; else the same bytes for the same input and recipe.

    Raises:
        ImageError: as ``inspect``.
    """
    sent = encoding_of(facts, resize)
    return (data if sent.passthrough else _encode(_decode(_open(data), limits), sent, limits)), sent.media_type


def prepare(data: bytes, limits: ImageSettings, resize: Resize) -> tuple[ImageFacts, bytes, str]:
    """``inspect`` and ``encode_picture`` in one, decoding at most once.

    Raises:
        ImageError: as ``inspect``.
    """
    file = _open(data)
    properties, decoded = _inspect_structure(file, limits), None
    if properties is None:
        decoded = _decode(file, limits)
        properties = decoded.properties
    facts = _facts(file, properties)
    sent = encoding_of(facts, resize)
    if sent.passthrough:
        return facts, data, sent.media_type
    return facts, _encode(decoded or _decode(file, limits), sent, limits), sent.media_type


def displayed(data: bytes, limits: ImageSettings) -> Image.Image:
    """The image as displayed: upright, grey or RGB, full size; for drawing on and cropping.

    Raises:
        ImageError: as ``inspect``.
    """
    return _upright(_decode(_open(data), limits))


@dataclass(frozen=True, slots=True)
class UprightFile:
    """An image's file that looks the same whether its reader obeys EXIF or not.

    Args:
        suffix: of its name where it had to be made anew; empty: ``data`` are the file's own bytes.
    """

    data: bytes
    size: Size
    suffix: str = ""


def upright_file(data: bytes, limits: ImageSettings) -> UprightFile:
    """The file itself where no orientation is to be undone; otherwise its upright pixels without the tag: a PNG of what
    is lossless, and a JPEG of the rest.

    Raises:
        ImageError: as ``inspect``.
    """
    file = _open(data)
    properties = _inspect_structure(file, limits)
    if properties is not None and properties.turn == 1:
        return UprightFile(data, properties.size)
    decoded = _decode(file, limits)
    if decoded.properties.orientation == 1:
        return UprightFile(data, decoded.properties.size)
    lossless = file.format in (_PNG, _GIF, _BMP, _TIFF) or max(decoded.image.size) > LONGEST_JPEG_SIDE
    sent = Encoding(decoded.properties.size, "image/png" if lossless else "image/jpeg", False)
    return UprightFile(_encode(decoded, sent, limits), sent.size, ".png" if lossless else ".jpg")


def _facts(file: _File, properties: _Properties) -> ImageFacts:
    return ImageFacts(
        digest=digest_bytes(file.data),
        size=properties.size,
        orientation=properties.orientation,
        media_type=_MEDIA_TYPES.get(file.format, f"image/{file.format.lower()}"),
        plain=properties.plain,
        lossless=file.format in (_PNG, _GIF),
        flags=properties.flags,
    )


def _open(data: bytes) -> _File:
    found = _format(data)
    return _File(data, found, _SPLIT[found](data) if found in _SPLIT else exif.Parts((data,)))


def _inspect_structure(file: _File, limits: ImageSettings) -> _Properties | None:
    """What a file is, where that can be known without decoding it."""
    if file.format == _JPEG:
        size = structure.jpeg_size(file.data)
    elif file.format == _PNG and file.parts.sound and not file.parts.has_more:
        size = structure.png_size(file.data)
    else:
        return None
    if size is None:
        return None
    _check_pixels(size, limits)
    metadata = _read_metadata(file, {})
    return _describe(file, metadata, size, plain=True) if metadata.readable else None


def _decode(file: _File, limits: ImageSettings) -> _Decoded:
    found, parts, stripped = file.format, file.parts, file.parts.stripped
    try:
        image = _READERS[found](io.BytesIO(stripped))
        _check_pixels(Size(*image.size), limits)
        if found == _PNG:
            # Decoding alone does not compare the checksums of the pixel data.
            PngImagePlugin.PngImageFile(io.BytesIO(stripped)).verify()
        stored_turn = _tiff_orientation(image)
        image.load()
    except _BROKEN as error:
        raise ImageError(f"the {found} image is truncated or broken: {error}") from error
    if min(image.size) < 1:
        raise ImageError(f"the {found} image has no pixels")
    if image.mode == "P" and image.palette is None:
        raise ImageError(f"the {found} image is truncated or broken: its palette is missing")
    has_more = _has_more_pages(file.data) if found == _TIFF else parts.has_more or getattr(image, "is_animated", False)
    shown, stretched = _shown(image, _has_16_bits(found, stripped, image))
    properties = _describe(
        file,
        _read_metadata(file, image.info),
        Size(*shown.size),
        plain=_is_plain(file.data, found, image),
        has_more=has_more,
        stretched=stretched,
        flat=_is_flat(shown),
        undone=stored_turn,
    )
    return _Decoded(shown, properties)


def _check_pixels(size: Size, limits: ImageSettings) -> None:
    if size.width * size.height > limits.max_decode_pixels > 0:
        raise ImageError(
            f"the image has {size.width}x{size.height} pixels, more than "
            f"image.max_decode_pixels={limits.max_decode_pixels} allows"
        )


@dataclass(frozen=True, slots=True)
class _Metadata:
    """What a file's metadata tells.

    Args:
        turns_else: something other than EXIF asks for a turn, which Pillow obeys and browsers do not.
        readable: Pillow reads the metadata.
    """

    exif: bytes
    turns_else: bool = False
    readable: bool = True


def _read_metadata(file: _File, info: dict[Any, Any]) -> _Metadata:
    """What a file's metadata tells; ``info`` is that of the decoded image, for formats that are not taken apart."""
    parts = file.parts
    if file.format in _SPLIT:
        try:
            info = _READERS[file.format](io.BytesIO(file.data if file.format == _JPEG else parts.metadata)).info
        except _BROKEN:
            return _Metadata(parts.exif, readable=False)
    xmp = parts.xmp or _as_bytes(info.get("xmp") or info.get("XML:com.adobe.xmp"))
    block = parts.exif if file.format in _SPLIT else info.get("exif") or b""
    return _Metadata(block, exif.xmp_rotates(xmp) or "Raw profile type exif" in info)


def _describe(
    file: _File,
    metadata: _Metadata,
    stored: Size,
    *,
    plain: bool,
    has_more: bool = False,
    stretched: bool = False,
    flat: bool = False,
    undone: int = 1,
) -> _Properties:
    """What a file is, by its metadata and its pixels.

    Args:
        stored: not turned, but for TIFFs.
        plain: the pixels are such that the file may be sent as it is.
        undone: the orientation that Pillow turned a TIFF by while it decoded it; it does so with nothing else.
    """
    turn, damaged = (None, False) if file.format == _TIFF else _turn(metadata.exif, file.parts.damaged)
    has_more = has_more or file.parts.has_more
    flags = {
        FIRST_FRAME: has_more
        and file.format != _JPEG,  # there it is a preview, a map of highlights, or the other eye's picture
        STRETCHED: stretched,
        FLAT_IMAGE: flat,
        EXTREME_SHAPE: max(stored.width, stored.height) > EXTREME_RATIO * min(stored.width, stored.height),
        ORIENTATION_LOST: damaged,
    }
    return _Properties(
        size=Size(stored.height, stored.width) if turn in (5, 6, 7, 8) else stored,
        orientation=turn or undone,
        turn=turn or 1,
        plain=plain
        and (turn or 1) == 1
        and not (has_more or damaged)
        # Servers that use Pillow would stumble over the metadata, or turn the image where EXIF is silent.
        and metadata.readable
        and not (turn is None and metadata.turns_else),
        flags=tuple(name for name, holds in flags.items() if holds),
    )


def _turn(block: bytes, damaged: bool) -> tuple[int | None, bool]:
    """The EXIF orientation, None where EXIF is silent; and whether one may have been lost."""
    try:
        turn = exif.orientation_in(block)
    except exif.DamagedError:
        return None, True
    return turn, damaged and turn is None


def _format(data: bytes) -> str:
    if not data:
        raise ImageError("the image file is empty (0 bytes)")
    head = data[:32]
    if head.startswith(b"\xff\xd8\xff"):
        return _JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _PNG
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _WEBP
    if head.startswith((b"GIF87a", b"GIF89a")):
        return _GIF
    if head.startswith(b"BM"):
        return _BMP
    if head.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        return _TIFF
    if head[4:8] == b"ftyp":
        raise ImageError("HEIC and AVIF images are not read; convert the file to JPEG or PNG")
    if not data.strip(b"\x00"):
        raise ImageError("the image file holds only zero bytes")
    raise ImageError(
        f"not an image in a known format (JPEG, PNG, WebP, GIF, BMP, TIFF); the file starts with {head[:12]!r}"
    )


def _tiff_orientation(image: ImageFile.ImageFile) -> int:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 1
    value = image.tag_v2.get(_ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _has_more_pages(data: bytes) -> bool:
    """Whether a TIFF's second image is a page of its own, and not a smaller copy or a mask of the first."""
    image = TiffImagePlugin.TiffImageFile(io.BytesIO(data))
    try:
        image.seek(1)
        return not image.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & _COPY_OR_MASK
    except _BROKEN:
        return False  # there is none, or nobody can read it


def _has_16_bits(found: str, data: bytes, image: ImageFile.ImageFile) -> bool:
    """Whether the file has 16 bits a channel; of such colours Pillow gives the upper 8."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return bool(max(image.tag_v2.get(_BITS_PER_SAMPLE, (8,))) > 8)
    return found == _PNG and data[_PNG_BIT_DEPTH] == 16


def _is_plain(data: bytes, found: str, image: ImageFile.ImageFile) -> bool:
    """Whether every endpoint takes the file's pixels as they are, and sees in them what raylabel sees.

    A file that lost its end behind the last pixel is whole for Pillow, and broken for stricter readers.
    """
    # Ends are looked for from behind, where they are: 700 times as fast as from the front.
    if found not in _MEDIA_TYPES or "transparency" in image.info:
        return False
    if found == _PNG:
        return image.mode in ("L", "RGB", "P") and data[_PNG_BIT_DEPTH] == 8 and data.rfind(_PNG_END) >= 0
    return image.mode in ("L", "RGB") and (found != _JPEG or data.rfind(_JPEG_END) >= 0)


def _upright(decoded: _Decoded) -> Image.Image:
    turn = _TURNS.get(decoded.properties.turn)
    return decoded.image if turn is None else decoded.image.transpose(turn)


def _encode(decoded: _Decoded, sent: Encoding, limits: ImageSettings) -> bytes:
    image = _upright(decoded)
    wanted = (sent.size.width, sent.size.height)
    if image.size != wanted:
        image = image.resize(wanted, Image.Resampling.LANCZOS)
    # Pillow writes comments, profiles and resolutions that it finds here into the new file.
    image.info = {}
    out = io.BytesIO()
    if sent.media_type == "image/png":
        image.save(out, "PNG")
    else:
        image.save(out, "JPEG", quality=limits.jpeg_quality, subsampling=0)
    return out.getvalue()


def _shown(image: Image.Image, deep: bool) -> tuple[Image.Image, bool]:
    """The image in 8-bit grey or RGB, transparency laid on white; and whether its samples were stretched."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _in_8_bits(image)
    try:
        shown = _without_transparency(image)
    except _BROKEN as error:
        raise ImageError(f"pixels of mode {image.mode} cannot be turned into RGB: {error}") from error
    brightest = max(high for _, high in _extrema(shown)) if deep else 255
    if not 0 < brightest <= _DARK_16_BIT:
        return shown, False
    levels = [min(255, round(255 * level / brightest)) for level in range(256)]
    return shown.point(levels * len(shown.getbands())), True


def _without_transparency(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode == "1":
        return image.convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    seen = image.convert("RGBA")
    white = Image.new("RGB", seen.size, (255, 255, 255))
    white.paste(seen, mask=seen.getchannel("A"))
    return white


def _in_8_bits(image: Image.Image) -> tuple[Image.Image, bool]:
    """Grey of 16 or 32 bits in 8, and whether it was stretched.

    16-bit samples that use half of their range are scaled by 257. Others are a sensor's numbers (12 and 14 bits of
    thermal cameras and scanners, counts, depths), of which a picture would be flat grey: what lies between two
    percentiles is spread from black to white. 32-bit samples have no range of their own. What is no number is black.
    """
    samples = np.asarray(image)
    is_16_bit = image.mode.startswith("I;16")
    finite = samples if is_16_bit else samples[np.isfinite(samples)]
    if not finite.size:
        raise ImageError("none of the image's samples is a number")
    low, high = (float(v) for v in np.percentile(finite, STRETCH_PERCENTILES, method="nearest"))
    if low == high:  # but for a few
        low, high = float(finite.min()), float(finite.max())
    stretched = low < high and not (is_16_bit and high - low > _HALF_OF_16_BITS)
    if is_16_bit:
        low, high = (low, high) if stretched else (0.0, 65535.0)
        return Image.fromarray(_spread(np.arange(65536), low, high)[samples]), stretched
    return Image.fromarray(_spread(samples, low, high)), stretched


def _spread(samples: np.ndarray, low: float, high: float) -> np.ndarray:
    """8-bit levels of samples between black and white; black also for what is no number."""
    share = np.clip((samples.astype(np.float64) - low) / ((high - low) or 1.0), 0.0, 1.0)
    return np.rint(np.nan_to_num(share, nan=0.0) * 255.0).astype(np.uint8)


def _is_flat(shown: Image.Image) -> bool:
    # A few pixels tell most pictures at once.
    few = shown.resize((8, 8), Image.Resampling.NEAREST)
    return all(high - low <= structure.FLAT_LEVELS for picture in (few, shown) for low, high in _extrema(picture))


def _extrema(image: Image.Image) -> list[tuple[int, int]]:
    """Lowest and highest level of each channel."""
    found: Any = image.getextrema()
    return [found] if isinstance(found[0], int) else list(found)


def _as_bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return value if isinstance(value, bytes) else b""
