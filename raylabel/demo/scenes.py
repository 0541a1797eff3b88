"""Drawing one scene: a muted ground, saturated objects that keep apart, and where each of them is."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raylabel.demo.looks import COLORS, KINDS, SIZE_BANDS, DrawnObject, IntBox, size_name
from raylabel.demo.shapes import SMALLEST_PX, Mask, outline

Pixels = npt.NDArray[np.uint8]

GAP_PX = 9
"""Between the boxes of two objects."""

EDGE_PX = 4
"""Between an object and the picture's edge."""

LARGEST_PX = 200
TEXTURED_FROM_PX = {"circle": 44, "square": 44, "triangle": 72, "bar": 90, "hexagon": 56}
"""Shorter side of the box from which a texture is drawn; other kinds are always solid."""

GROUNDS = ("plain", "gradient", "noise", "paper", "stripes")

SIZES_WH = (
    *((640, 480), (720, 540), (612, 408), (560, 420), (816, 544), (900, 560)),
    *((480, 640), (428, 642), (540, 800)),
    *((960, 300), (1242, 375), (880, 330)),
)
"""Base sizes in pixels, jittered by a few percent; never square, never 1000."""


@dataclass(frozen=True, slots=True)
class Style:
    """What scenes are like; the default is the demo's world.

    Args:
        sizes_wh: base sizes of pictures in pixels.
        jitter: sizes vary by so much either way, as a share.
        kinds: of objects.
        shares: of small, medium and large objects; None: mostly medium, and small ones in crowded scenes.
        turned: pictures are JPEG files stored on their side or head, with the EXIF orientation that says so.
    """

    sizes_wh: tuple[tuple[int, int], ...] = SIZES_WH
    jitter: float = 0.04
    kinds: tuple[str, ...] = KINDS
    shares: tuple[float, float, float] | None = None
    turned: bool = False


@dataclass(frozen=True, slots=True)
class DrawnScene:
    """A picture and what is in it."""

    rgb: Pixels
    ground: str
    objects: tuple[DrawnObject, ...]

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.rgb.shape[1], self.rgb.shape[0]


USUAL = Style()


def draw_scene(rng: np.random.Generator, style: Style = USUAL) -> DrawnScene:
    """One scene; equal generators draw equal scenes."""
    width, height = _picture_size(rng, style)
    ground = str(rng.choice(GROUNDS))
    rgb = _ground(ground, width, height, rng)
    crowded = rng.random() < 0.18
    wanted = int(rng.integers(16, 27)) if crowded else int(rng.integers(3, 11))
    shares = style.shares or ((0.25, 0.65, 0.1) if crowded else (0.15, 0.5, 0.35))
    objects: list[DrawnObject] = []
    for _ in range(4 * wanted):
        if len(objects) >= wanted:
            break
        kind, color, textured = _draw_look(rng, style.kinds)
        for _ in range(int(rng.choice([1, 1, 2, 3, 4, 5] if crowded else [1, 1, 2, 3]))):
            if (drawn := _place_object(rgb, kind, color, textured, shares, objects, rng)) is not None:
                objects.append(drawn)
    return DrawnScene(rgb, ground, tuple(objects))


def _picture_size(rng: np.random.Generator, style: Style) -> tuple[int, int]:
    width, height = style.sizes_wh[int(rng.integers(len(style.sizes_wh)))]
    if style.jitter == 0:
        return width, height
    low, high = 1 - style.jitter, 1 + style.jitter
    # Odd sides: no side is ever 1000, and rounding to a 0-1000 grid is never exact by luck.
    return int(width * rng.uniform(low, high)) | 1, int(height * rng.uniform(low, high)) | 1


def _draw_look(rng: np.random.Generator, kinds: tuple[str, ...]) -> tuple[str, str, str]:
    kind = kinds[int(rng.integers(len(kinds)))]
    color = list(COLORS)[int(rng.integers(len(COLORS)))]
    return kind, color, str(rng.choice(["solid", "solid", "striped", "dotted"]))


def _place_object(
    rgb: Pixels,
    kind: str,
    color: str,
    texture: str,
    shares: tuple[float, float, float],
    objects: list[DrawnObject],
    rng: np.random.Generator,
) -> DrawnObject | None:
    height, width = rgb.shape[:2]
    low, high = SIZE_BANDS[str(rng.choice(list(SIZE_BANDS), p=shares))]
    side = min(round(rng.uniform(low, high) * math.sqrt(width * height)), LARGEST_PX)
    if side < SMALLEST_PX[kind]:
        kind = "circle" if rng.random() < 0.5 else "square"
        side = max(side, SMALLEST_PX[kind])
    mask = outline(kind, side, rng)
    for _ in range(30):
        tall, wide = mask.shape
        if wide > width - 2 * EDGE_PX or tall > height - 2 * EDGE_PX:
            return None
        x = int(rng.integers(EDGE_PX, width - EDGE_PX - wide + 1))
        y = int(rng.integers(EDGE_PX, height - EDGE_PX - tall + 1))
        box = (x, y, x + wide, y + tall)
        if all(keeps_apart(box, other.box, GAP_PX) for other in objects):
            if min(mask.shape) < TEXTURED_FROM_PX.get(kind, LARGEST_PX + 1):
                texture = "solid"
            _paint(rgb[y : y + tall, x : x + wide], mask, color, texture, rng)
            return DrawnObject(kind, color, texture, size_name(box, (width, height)), box)
    return None


def keeps_apart(a: IntBox, b: IntBox, gap_px: int) -> bool:
    """Whether at least ``gap_px`` pixels lie between two boxes in one direction."""
    return a[2] + gap_px <= b[0] or b[2] + gap_px <= a[0] or a[3] + gap_px <= b[1] or b[3] + gap_px <= a[1]


def _paint(window: Pixels, mask: Mask, color: str, texture: str, rng: np.random.Generator) -> None:
    light = _jittered(COLORS[color], rng)
    window[mask] = np.round(light)
    if texture == "solid":
        return
    tall, wide = mask.shape
    ys, xs = np.mgrid[0:tall, 0:wide].astype(np.float64)
    period = max(10.0, min(tall, wide) / rng.uniform(4.5, 6.5))
    if texture == "striped":
        angle = math.pi / 4 * int(rng.integers(4))
        shade = ((xs * math.cos(angle) + ys * math.sin(angle)) / period) % 1.0 < 0.45
    else:
        dx = (xs + period / 3) % period - period / 2
        dy = (ys + period / 3) % period - period / 2
        shade = dx**2 + dy**2 < (0.32 * period) ** 2
    window[mask & shade] = np.round(light * 0.66)


def _jittered(rgb: tuple[int, int, int], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    hue, saturation, value = colorsys.rgb_to_hsv(*(c / 255 for c in rgb))
    hue = (hue + rng.uniform(-4, 4) / 360) % 1.0
    value = min(1.0, value * rng.uniform(0.94, 1.06))
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value)) * 255


# --- grounds --------------------------------------------------------------------------------------------------------


def _ground(kind: str, width: int, height: int, rng: np.random.Generator) -> Pixels:
    """A ground whose channels differ by less than 40 everywhere."""
    base = rng.uniform(55, 225) + rng.uniform(-9, 9, 3)
    ys = np.linspace(0, 1, height)[:, None]
    xs = np.linspace(0, 1, width)[None, :]
    if kind == "gradient":
        slope = rng.uniform(-1, 1, 2)
        brightness = 35 * (slope[0] * (xs - 0.5) + slope[1] * (ys - 0.5))
    elif kind == "noise":
        coarse = rng.normal(0, 9, (height // 6 + 2, width // 6 + 2))
        brightness = np.kron(coarse, np.ones((6, 6)))[:height, :width] + rng.normal(0, 2.5, (height, width))
    elif kind == "paper":
        coarse = rng.normal(0, 2.5, (height // 3 + 2, width // 3 + 2))
        brightness = np.kron(coarse, np.ones((3, 3)))[:height, :width]
        spacing = int(rng.integers(22, 40))
        brightness[spacing // 2 :: spacing] -= 22
    elif kind == "stripes":
        period = rng.uniform(30, 80)
        angle = rng.uniform(0, math.pi)
        wave = (xs * width * math.cos(angle) + ys * height * math.sin(angle)) / period % 1.0
        brightness = np.where(wave < 0.5, -9.0, 9.0)
    else:
        brightness = np.zeros((height, width))
    pixels = base + np.broadcast_to(brightness, (height, width))[:, :, None]
    ground: Pixels = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
    return ground
