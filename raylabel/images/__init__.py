"""Images: read, verify, turn upright, resize, encode; each once a record.

``read_image`` fetches a file, ``inspect`` says what it is, ``picture`` makes what requests
carry, ``PictureCache`` keeps the pictures that had to be made.
"""

from raylabel.images.cache import PictureCache
from raylabel.images.files import read_image
from raylabel.images.pictures import (
    VERSION,
    Sending,
    digest_bytes,
    displayed,
    inspect,
    picture,
    prepare,
    recipe,
    sending,
)

__all__ = [
    "VERSION",
    "PictureCache",
    "Sending",
    "digest_bytes",
    "displayed",
    "inspect",
    "picture",
    "prepare",
    "read_image",
    "recipe",
    "sending",
]
