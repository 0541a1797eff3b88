"""A decoder that really crashes: Pillow's, made to read address 0 when it decodes a picture of a certain size."""

from __future__ import annotations

import sys
from pathlib import Path

CRASHES_WH = (13, 7)
"""Pictures of this size crash whoever decodes them, in every interpreter that starts with the hook."""

_SITE = f"""
import ctypes
from PIL import ImageFile

real = ImageFile.ImageFile.load

def load(self):
    if self.size == {CRASHES_WH}:
        ctypes.string_at(0)
    return real(self)

ImageFile.ImageFile.load = load
"""


def hook(folder: Path) -> str:
    """A ``PYTHONPATH`` under which decoders crash; the folder is filled."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SITE)
    return ":".join([str(folder), *filter(None, sys.path)])
