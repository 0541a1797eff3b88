"""From the bytes of a file to the picture that requests show.

What is sent is upright, 8 bits a channel, grey or RGB, without metadata. A file that is all of this already goes out
byte for byte. Everything else is encoded anew: transparency is laid on white, 16-bit samples are scaled, of an
animation or a multi-picture file the first picture counts, colour profiles are dropped (their numbers are taken as
sRGB). Files of PNG and GIF stay lossless while they are small; the others become JPEG with full colour resolution.
All functions may be called from many threads.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

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
from raylabel.geometry import Resize, View
from raylabel.images import exif
from raylabel.records import ImageFacts, Size
from raylabel.settings import ImageSettings

LOSSLESS_PIXELS = 4_000_000
"""Pictures from PNG and GIF files up to this size stay lossless; larger ones would make requests of 10 MB and more."""

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
_JPEG_END = b"\xff\xd9"
_PNG_END = b"IEND\xaeB`\x82"
_MEDIA_TYPES = {_JPEG: "image/jpeg", _PNG: "image/png", _WEBP: "image/webp"}


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A decoded file: its image as stored, how it is turned, and whether its bytes can be sent as they are."""

    image: Image.Image
    format: str
    orientation: int
    turn: int
    plain: bool

    @property
    def size(self) -> Size:
        width, height = self.image.size
        return Size(height, width) if self.turn in (5, 6, 7, 8) else Size(width, height)


def digest_bytes(data: bytes) -> str:
    """32 hex digits that stand for the bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def recipe(limits: ImageSettings, resize: Resize) -> str:
    """Names how pictures are prepared; part of the question's key. Another version prepares other pictures.

    >>> recipe(ImageSettings(), Resize(multiple=28, max_pixels=1_003_520))
    'v1:max_pixels=1003520:q=95:multiple=28'
    """
    rules = {"multiple": resize.multiple - 1 and resize.multiple, "min": resize.min_pixels, "long": resize.long_edge}
    more = "".join(f":{name}={value}" for name, value in rules.items() if value)
    return f"v1:max_pixels={resize.max_pixels}:q={limits.jpeg_quality}{more}"


@dataclass(frozen=True, slots=True)
class Sending:
    """How an image goes out: the picture's size, the media type of its bytes, and whether they are the file's own."""

    size: Size
    media_type: str
    passthrough: bool


def sending(facts: ImageFacts, resize: Resize) -> Sending:
    """How requests carry an image under a rule."""
    size = resize.apply(facts.size)
    if facts.plain and size == facts.size:
        return Sending(size, facts.media_type, True)
    small = size.width * size.height <= LOSSLESS_PIXELS
    return Sending(size, "image/png" if facts.lossless and small else "image/jpeg", False)


def view_of(facts: ImageFacts, resize: Resize) -> View:
    """The view of an image that its prepared picture gives: all of it, resized."""
    return View(displayed=facts.size, sent=resize.apply(facts.size))


def inspect(data: bytes, limits: ImageSettings) -> ImageFacts:
    """Decode an image once and say what it is.

    Args:
        data: the whole file.

    Raises:
        ImageError: empty, not an image, truncated, broken, or larger than ``refuse_pixels``.
    """
    return _facts(data, _decode(data, limits))


def picture(data: bytes, facts: ImageFacts, limits: ImageSettings, resize: Resize) -> tuple[bytes, str]:
    """What requests carry: the bytes and their media type.

    Args:
        data: the very bytes that ``facts`` were taken from.

    Returns:
        ``data`` itself where they may go out untouched; else the same bytes for the same input and recipe.

    Raises:
        ImageError: as ``inspect``.
    """
    sent = sending(facts, resize)
    return (data if sent.passthrough else _encode(_decode(data, limits), sent, limits)), sent.media_type


def prepare(data: bytes, limits: ImageSettings, resize: Resize) -> tuple[ImageFacts, bytes, str]:
    """``inspect`` and ``picture`` in one, decoding once.

    Raises:
        ImageError: as ``inspect``.
    """
    decoded = _decode(data, limits)
    facts = _facts(data, decoded)
    sent = sending(facts, resize)
    return facts, data if sent.passthrough else _encode(decoded, sent, limits), sent.media_type


def displayed(data: bytes, limits: ImageSettings) -> Image.Image:
    """The image as displayed: upright, grey or RGB, full size; for drawing on and cropping.

    Raises:
        ImageError: as ``inspect``.
    """
    return _upright(_decode(data, limits))


def _facts(data: bytes, decoded: _Decoded) -> ImageFacts:
    return ImageFacts(
        digest=digest_bytes(data),
        size=decoded.size,
        orientation=decoded.orientation,
        media_type=_MEDIA_TYPES.get(decoded.format, f"image/{decoded.format.lower()}"),
        plain=decoded.plain,
        lossless=decoded.format in (_PNG, _GIF),
    )


def _decode(data: bytes, limits: ImageSettings) -> _Decoded:
    found = _format(data)
    parts = exif.take_apart(data) if found == _JPEG else exif.JpegParts(data, b"", b"", False)
    try:
        image = _READERS[found](io.BytesIO(parts.stripped))
        width, height = image.size
        if limits.refuse_pixels > 0 and width * height > limits.refuse_pixels:
            raise ImageError(
                f"the image has {width}x{height} pixels, more than image.refuse_pixels={limits.refuse_pixels} allows"
            )
        if found == _PNG:
            # Decoding alone does not compare the checksums of the pixel data.
            PngImagePlugin.PngImageFile(io.BytesIO(data)).verify()
        stored_turn = _tiff_orientation(image)
        image.load()
    except _BROKEN as error:
        raise ImageError(f"the {found} image is truncated or broken: {error}") from error
    if min(image.size) < 1:
        raise ImageError(f"the {found} image has no pixels")
    if found == _JPEG:
        block, xmp = parts.exif, parts.xmp
    else:
        block = image.info.get("exif") or b""
        xmp = _as_bytes(image.info.get("xmp") or image.info.get("XML:com.adobe.xmp"))
    turn = exif.orientation_in(block)
    return _Decoded(
        image=image,
        format=found,
        # Pillow turns TIFFs upright while it decodes them, and nothing else.
        orientation=stored_turn if found == _TIFF else turn or 1,
        turn=1 if found == _TIFF else turn or 1,
        plain=(turn or 1) == 1
        and not parts.several
        # Servers that use Pillow would obey these two where EXIF is silent.
        and not (turn is None and (exif.xmp_turns(xmp) or "Raw profile type exif" in image.info))
        and _is_plain(parts.stripped, found, image),
    )


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
    value = image.tag_v2.get(0x0112)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _is_plain(data: bytes, found: str, image: ImageFile.ImageFile) -> bool:
    """Whether every endpoint takes the file as it is, and sees in it what raylabel sees.

    A file that lost its end behind the last pixel is whole for Pillow, and broken for stricter readers.
    """
    if found not in _MEDIA_TYPES or getattr(image, "is_animated", False) or "transparency" in image.info:
        return False
    if found == _PNG:
        # Byte 24 of a PNG is its bit depth; Pillow shows 16-bit colour as 8-bit.
        return image.mode in ("L", "RGB", "P") and data[24] == 8 and _PNG_END in data
    return image.mode in ("L", "RGB") and (found != _JPEG or _JPEG_END in data)


def _upright(decoded: _Decoded) -> Image.Image:
    image = _flat(decoded.image)
    turn = _TURNS.get(decoded.turn)
    return image if turn is None else image.transpose(turn)


def _encode(decoded: _Decoded, sent: Sending, limits: ImageSettings) -> bytes:
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


def _flat(image: Image.Image) -> Image.Image:
    """The image in 8-bit grey or RGB, transparency laid on white."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ImageError("32-bit samples have no agreed range; convert the image to 8 or 16 bits a channel")
    if image.mode == "1":
        return image.convert("L")
    try:
        if image.has_transparency_data:
            seen = image.convert("RGBA")
            white = Image.new("RGB", seen.size, (255, 255, 255))
            white.paste(seen, mask=seen.getchannel("A"))
            return white
        return image.convert("RGB")
    except _BROKEN as error:
        raise ImageError(f"pixels of mode {image.mode} cannot be turned into RGB: {error}") from error


def _as_bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return value if isinstance(value, bytes) else b""
