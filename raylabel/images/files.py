"""The files of images."""

from __future__ import annotations

from raylabel.errors import ImageError
from raylabel.storage.reading import read_bytes


def read_image(location: str) -> bytes:
    """The bytes of an image's file.

    Raises:
        ImageError: missing, a folder, not allowed, or unreachable; the message names the location.
    """
    try:
        return read_bytes(location)
    except OSError as error:
        raise ImageError(str(error)) from error
