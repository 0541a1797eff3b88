"""Text of every script on drawn pictures: each letter from a font that has it.

Pillow draws a text with one font and an empty square where that lacks a letter. Fonts are looked for in the packages
that ``raylabel[review]`` installs, then among those of the system (fontconfig where there is one). What no font has is
said in a warning, once for each letter.
"""

from __future__ import annotations

import logging
import subprocess
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageDraw, ImageFont

from raylabel.review.colors import Rgb

logger = logging.getLogger(__name__)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_PACKAGES = ("manimgx_fonts", "manimgx_fonts_cjk")
"""Noto, under the Open Font License: nearly every script, and Chinese, Japanese and Korean."""
_FIRST = ("NotoSans[wght].ttf", "DejaVuSans.ttf", "LiberationSans-Regular.ttf", "arial.ttf", "Arial.ttf")
"""The text font, the first that is found; Pillow knows where systems keep theirs."""
_SYSTEM = ("Arial Unicode.ttf", "PingFang.ttc", "msyh.ttc", "meiryo.ttc", "malgun.ttf", "NotoSansCJK-Regular.ttc")
"""What macOS and Windows have for many scripts, where no fontconfig tells."""
_NOBODYS = "\U0010ffff"
"""No font has it: it is drawn as the mark of a missing letter."""
_JOINERS = "\u200c\u200d"
"""Some scripts join letters by them, and some do not."""
_FONTCONFIG_S = 10.0


class Letters:
    """Draws texts, and knows how wide they are."""

    def __init__(self) -> None:
        self._texts = _text_font()
        self._files: dict[str, str | None] = {}
        self._missing: set[str] = set()

    def width(self, text: str, size: int) -> float:
        """Pixels that a line takes."""
        return sum(font.getlength(part) for font, part in self._runs(text, size))

    def draw(self, on: ImageDraw.ImageDraw, at: tuple[float, float], text: str, color: Rgb, size: int) -> float:
        """Write one line, its baseline the same for all fonts; returns where it ends."""
        x, y = at
        for font, part in self._runs(text, size):
            if isinstance(font, ImageFont.FreeTypeFont):
                on.text((x, y + size), part, color, font, anchor="ls")
            else:
                on.text((x, y), part, color, font)
            x += font.getlength(part)
        return x

    def shortened(self, text: str, size: int, room: float) -> str:
        """A text on one line that fits."""
        text = " ".join(text[:2000].split())
        if self.width(text, size) <= room:
            return text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.width(text[:middle] + "...", size) <= room else (low, middle - 1)
        return text[:low] + "..."

    def wrapped(self, text: str, size: int, room: float, most: int) -> list[str]:
        """A text in at most so many lines, broken at spaces or, where a word is too long, at any letter."""
        lines: list[str] = []
        left = " ".join(text[:2000].split())
        while left and len(lines) < most - 1 and self.width(left, size) > room:
            end = len(self.shortened(left, size, room)) - 3
            cut = left.rfind(" ", 0, end + 1)
            cut = cut if cut > end // 2 else max(1, end)
            lines.append(left[:cut])
            left = left[cut:].lstrip()
        return [*lines, self.shortened(left, size, room)] if left else lines

    def _runs(self, text: str, size: int) -> Iterator[tuple[Font, str]]:
        """Parts of a text that one font draws."""
        run, file = "", ""
        for letter in filter(None, map(_drawable, text)):
            found = file if run and _follows(letter) else self._file(letter)
            if run and found != file:
                yield _font(file, size), run
                run = ""
            file = found
            run += letter
        if run:
            yield _font(file, size), run

    def _file(self, letter: str) -> str:
        """The font for a letter; the text font where no font has it."""
        if letter not in self._files:
            found = self._find(letter) if letter.strip() else self._texts
            self._files[letter] = found
            if found is None:
                name = unicodedata.name(letter, "no name")
                logger.warning(
                    'no font here has %s (U+%04X, %s); it is drawn as a square. pip install "raylabel[review]" brings '
                    "fonts for most scripts",
                    letter,
                    ord(letter),
                    name.lower(),
                )
        return self._files[letter] or self._texts

    def _find(self, letter: str) -> str | None:
        known = dict.fromkeys([self._texts, *(f for f in self._files.values() if f), *_packaged(), *_SYSTEM])
        for file in known:
            if _has(file, letter):
                return file
        return next((file for file in _from_fontconfig(letter) if _has(file, letter)), None)


def _drawable(letter: str) -> str:
    """A letter as it is drawn: marks of direction are left out, what controls a terminal is shown as unknown."""
    category = unicodedata.category(letter)
    if category == "Cf":
        return letter if letter in _JOINERS else ""
    if category not in ("Cc", "Cs"):
        return letter
    return " " if letter in "\t\n\r" else "\ufffd"


def _follows(letter: str) -> bool:
    """Whether it takes the font of the letters before it: marks, joiners and spaces."""
    return letter in _JOINERS or unicodedata.category(letter)[0] in "MZ"


def _text_font() -> str:
    for name in _FIRST:
        for file in (*(f for f in _packaged() if Path(f).name == name), name):
            with suppress(OSError):
                ImageFont.truetype(file, 12)
                return file
    return ""


@lru_cache(1)
def _packaged() -> tuple[str, ...]:
    found = []
    for package in _PACKAGES:
        spec = find_spec(package)
        for folder in spec.submodule_search_locations or () if spec is not None else ():
            found += sorted(str(file) for file in Path(folder).iterdir() if file.suffix in (".ttf", ".otf", ".ttc"))
    return tuple(found)


def _from_fontconfig(letter: str) -> list[str]:
    """The system's fonts that have a letter, as fontconfig knows them."""
    words = ["fc-list", "--format", "%{file}\n", f":charset={ord(letter):x}"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_FONTCONFIG_S, check=False)
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return []
    return sorted(line for line in done.stdout.splitlines() if line.endswith((".ttf", ".otf", ".ttc")))


@lru_cache(512)
def _font(file: str, size: int) -> Font:
    """A font by its file; Pillow's own, which has the letters of English, where the file is none."""
    try:
        font = ImageFont.truetype(file, size)
    except OSError:
        return ImageFont.load_default(size)
    with suppress(OSError, ValueError, NotImplementedError):  # no variable font; its thinnest would be drawn
        font.set_variation_by_name("Regular")
    return font


@lru_cache(65_536)
def _has(file: str, letter: str) -> bool:
    font = _font(file, 16)
    if file not in ("", getattr(font, "path", file)) and not isinstance(font, ImageFont.FreeTypeFont):
        return False
    return _shape(font, letter) != _shape(font, _NOBODYS)


def _shape(font: Font, letter: str) -> tuple[bytes, tuple[int, int]]:
    mask = font.getmask(letter)
    return bytes(mask), mask.size
