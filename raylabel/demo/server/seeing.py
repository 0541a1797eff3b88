"""From pixels to objects: segment, then tell kind, colour and texture of each piece.

The one assumption: objects are saturated (largest minus smallest channel above ``OBJECT_CHROMA``), grounds are not.
"""

from __future__ import annotations

import colorsys
import io
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from raylabel.demo.server.dialects import PixelBox
from raylabel.demo.server.pieces import Mask, Window, find_pieces, without_edge, without_holes

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]
"""(width, height) in pixels."""

OBJECT_CHROMA = 75
"""Out of 255. JPEG at quality 95 moves edge pixels by about 15 either way."""

SMALLEST_SIDE_PX = 5
SMALLEST_AREA_PX = 25
MOST_OBJECTS = 300
"""Photographs fall into thousands of pieces; the largest ones are kept."""

MOST_PIXELS = 120_000_000

HUES = {
    "red": 358.0,
    "orange": 29.0,
    "yellow": 54.0,
    "green": 135.0,
    "turquoise": 180.0,
    "blue": 230.0,
    "purple": 276.0,
    "pink": 322.0,
}
"""Centres of the colour names in degrees; magenta (300) is nearer to pink than to purple."""


class UnreadableImage(Exception):
    """The bytes are not a picture this model can decode."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One object: kind ("circle"), colour ("red"), texture ("solid", "striped", "dotted"), box in pixels.

    Args:
        size: "small", "medium" or "large": its longer side against the square root of the picture's area.
    """

    kind: str
    color: str
    texture: str
    size: str
    box_px: PixelBox


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture as the model sees it: size in pixels, ground in one word, objects from left to right."""

    width_px: int
    height_px: int
    ground: str
    objects: tuple[Seen, ...]


def look_at(data: bytes, view: Callable[[Size], Size] | None = None) -> Scene:
    """See what is in an encoded picture; metadata (EXIF orientation too) is not read.

    Args:
        view: the size the picture is resized to before anything is looked for.

    Raises:
        UnreadableImage: not a picture, cut off, or too large.
    """
    rgb = _decode(data, view)
    height_px, width_px = rgb.shape[:2]
    # Channel by channel: a reduction over the last axis takes eight times as long.
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    brightness = np.maximum(np.maximum(red, green), blue)
    foreground: Mask = brightness - np.minimum(np.minimum(red, green), blue) > OBJECT_CHROMA
    labels, windows = find_pieces(foreground, diagonal=True)
    pieces = []
    for number, window in enumerate(windows, 1):
        if min(s.stop - s.start for s in window) < SMALLEST_SIDE_PX:
            continue
        mask = labels[window] == number
        if (area := int(mask.sum())) >= SMALLEST_AREA_PX:
            pieces.append((area, window, mask))
    pieces.sort(key=lambda piece: -piece[0])
    objects = [_tell(rgb[w], brightness[w], mask, w, width_px * height_px) for _, w, mask in pieces[:MOST_OBJECTS]]
    objects.sort(key=lambda seen: seen.box_px)
    return Scene(width_px, height_px, _tell_ground(brightness[~foreground]), tuple(objects))


def _decode(data: bytes, view: Callable[[Size], Size] | None) -> Pixels:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > MOST_PIXELS:
                raise UnreadableImage(f"the image has {image.width}x{image.height} pixels; at most {MOST_PIXELS}")
            picture = image.convert("RGB")
            if view is not None and (size_wh := view(picture.size)) != picture.size:
                picture = picture.resize(size_wh, Image.Resampling.BICUBIC)
            return np.asarray(picture, dtype=np.uint8)
    # Pillow's decoders raise all of these for damaged files.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, EOFError, IndexError) as error:
        raise UnreadableImage("unable to process the input image") from error


def _tell(rgb: Pixels, brightness: Pixels, mask: Mask, window: Window, picture_area: int) -> Seen:
    rows, columns = window
    box_px = (float(columns.start), float(rows.start), float(columns.stop), float(rows.stop))
    longer = max(columns.stop - columns.start, rows.stop - rows.start) / math.sqrt(picture_area)
    size = "small" if longer < 0.07 else "large" if longer > 0.175 else "medium"
    return Seen(_tell_kind(mask), _tell_color(rgb, mask), _tell_texture(brightness, mask), size, box_px)


def _tell_color(rgb: Pixels, mask: Mask) -> str:
    red, green, blue = (float(rgb[..., channel][mask].mean()) / 255 for channel in range(3))
    hue = colorsys.rgb_to_hsv(red, green, blue)[0] * 360
    return min(HUES, key=lambda name: abs((hue - HUES[name] + 180) % 360 - 180))


def _tell_texture(brightness: Pixels, mask: Mask) -> str:
    """Solid: one brightness inside. Striped: its gradients share one direction. Dotted: they do not."""
    inside = without_edge(without_edge(mask))
    if inside.sum() < 60:
        return "solid"
    dark, light = (float(np.percentile(brightness[inside], percent)) for percent in (4, 96))
    if dark > 0.84 * light:
        return "solid"
    slopes: list[npt.NDArray[np.float32]] = list(np.gradient(brightness.astype(np.float32)))
    down, across = slopes
    xx, yy, xy = (float((a * b)[inside].sum()) for a, b in ((across, across), (down, down), (across, down)))
    coherence = math.hypot(xx - yy, 2 * xy) / max(xx + yy, 1e-9)
    return "striped" if coherence > 0.55 else "dotted"


def _tell_kind(mask: Mask) -> str:
    """By holes, by how much of its box and of its outer circle a piece fills, and by how often its edge comes near."""
    height, width = mask.shape
    area = float(mask.sum())
    filled = without_holes(mask)
    if filled.sum() - area > 0.12 * filled.sum():
        return "ring"
    if area > 0.92 * width * height:
        return "bar" if max(width, height) > 1.7 * min(width, height) else "square"
    radii = _radii(mask)
    furthest = float(radii.max())
    share_of_circle = area / (math.pi * furthest**2)
    near = float(radii.min()) / furthest
    waves = np.abs(np.fft.rfft(radii / radii.mean()))[:9] / (len(radii) / 2)
    fold = int(np.argmax(waves[3:7])) + 3
    if share_of_circle > 0.9 or waves[3:7].max() < 0.03:
        return "circle"
    if fold == 3:
        return "triangle"
    if fold == 4:
        return "cross" if near < 0.58 else "square"
    if fold == 5:
        return "star"
    return "hexagon"


def _radii(mask: Mask, directions: int = 72) -> npt.NDArray[np.float64]:
    """How far the piece reaches from its centre of mass in each direction, in pixels."""
    rows, columns = np.nonzero(mask)
    centre_y, centre_x = rows.mean(), columns.mean()
    reach = math.hypot(*mask.shape)
    steps = np.arange(0.0, reach, 0.25)
    angles = np.arange(directions) * (2 * math.pi / directions)
    ys = np.rint(centre_y + np.outer(np.sin(angles), steps)).astype(int)
    xs = np.rint(centre_x + np.outer(np.cos(angles), steps)).astype(int)
    within = (ys >= 0) & (ys < mask.shape[0]) & (xs >= 0) & (xs < mask.shape[1])
    on = np.zeros(within.shape, dtype=bool)
    on[within] = mask[ys[within], xs[within]]
    furthest: npt.NDArray[np.float64] = np.where(on, steps, 0.0).max(axis=1) + 0.25
    return furthest


def _tell_ground(brightness: Pixels) -> str:
    if brightness.size == 0:
        return "colourful"
    typical = float(np.median(brightness[::17]))
    return "dark" if typical < 96 else "grey" if typical < 180 else "light"
