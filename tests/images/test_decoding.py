"""Decoding in processes of their own: they may crash, be killed and be used from many threads."""

from __future__ import annotations

import io
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from raylabel.errors import ImageError
from raylabel.geometry import Resize
from raylabel.images import Decoders, prepare
from raylabel.images.decoding import DEATHS
from raylabel.settings import ImageSettings
from tests.crashing_decoder import CRASHES_WH, hook

LIMITS, RESIZE = ImageSettings(), Resize(max_pixels=3000)


def picture(size_wh: tuple[int, int] = (120, 70), kind: str = "BMP", shade: int = 200) -> bytes:
    out = io.BytesIO()
    drawn = Image.new("RGB", size_wh, (shade, 20, 20))
    drawn.putpixel((3, 2), (0, 255, 0))
    drawn.save(out, kind)
    return out.getvalue()


def children() -> set[int]:
    """Processes of this one that decode."""
    own = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                if parent == str(os.getpid()) and b"images.decoding" in (entry / "cmdline").read_bytes():
                    own.add(int(entry.name))
            except OSError:
                continue
    return own


@pytest.fixture
def decoders():
    made = Decoders(LIMITS, 2)
    yield made
    made.close()
    assert not children()


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF", "WebP", "PNG", "JPEG"])
@pytest.mark.parametrize("resize", [Resize(), RESIZE])
def test_pictures_made_apart_are_those_made_here(decoders: Decoders, kind: str, resize: Resize) -> None:
    data = picture(kind=kind)
    assert decoders.prepare(data, resize) == prepare(data, LIMITS, resize)


def test_what_is_sent_as_it_is_needs_no_process(decoders: Decoders) -> None:
    noise = Image.effect_noise((300, 300), 80).convert("RGB")
    out = io.BytesIO()
    noise.save(out, "JPEG")
    _, sent, _ = decoders.prepare(out.getvalue(), Resize())
    assert sent == out.getvalue()
    assert not children()


def test_a_broken_image_is_told_in_the_same_words(decoders: Decoders) -> None:
    data = picture()[:-4000]
    with pytest.raises(ImageError) as here:
        prepare(data, LIMITS, RESIZE)
    with pytest.raises(ImageError) as apart:
        decoders.prepare(data, RESIZE)
    assert str(apart.value) == str(here.value)


def test_an_image_that_crashes_the_decoder_is_one_that_cannot_be_used(
    decoders: Decoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", hook(tmp_path))
    assert decoders.prepare(picture(), RESIZE)
    with pytest.raises(ImageError, match=r"crashed the worker: .*SIGSEGV"):
        decoders.prepare(picture(CRASHES_WH), RESIZE)
    assert decoders.prepare(picture(shade=100), RESIZE) == prepare(picture(shade=100), LIMITS, RESIZE)


def test_crashes_beside_others_hit_nobody_else(
    decoders: Decoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", hook(tmp_path))
    shades = range(1, 25)

    def made(shade: int) -> bool:
        data = picture(CRASHES_WH if shade % 8 == 0 else (120, 70), shade=shade)
        try:
            return decoders.prepare(data, RESIZE) == prepare(data, LIMITS, RESIZE)
        except ImageError:
            return False

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(made, shades)) == [shade % 8 != 0 for shade in shades]


@pytest.mark.skipif(DEATHS < 2, reason="the first death counts")
def test_a_decoder_that_somebody_kills_is_no_fault_of_an_image(decoders: Decoders) -> None:
    decoders.prepare(picture(), RESIZE)
    for pid in children():
        os.kill(pid, signal.SIGKILL)
    assert decoders.prepare(picture(shade=100), RESIZE) == prepare(picture(shade=100), LIMITS, RESIZE)
