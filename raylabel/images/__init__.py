"""Images: read, verify, turn upright, resize, encode; each once a record.

``read_image`` fetches a file, ``inspect`` says what it is, ``encode_picture`` makes what requests
carry, ``Decoders`` do both where a crash costs no more than the picture, ``PictureCache`` keeps the pictures that had
to be made. ``upright_file`` is for exports.
"""

from raylabel.images.cache import PictureCache
from raylabel.images.decoding import Decoders
from raylabel.images.files import read_image
from raylabel.images.pictures import (
    VERSION,
    Encoding,
    UprightFile,
    digest_bytes,
    displayed,
    encode_picture,
    encoding_of,
    inspect,
    prepare,
    recipe,
    upright_file,
)

__all__ = [
    "VERSION",
    "Decoders",
    "Encoding",
    "PictureCache",
    "UprightFile",
    "digest_bytes",
    "displayed",
    "encode_picture",
    "encoding_of",
    "inspect",
    "prepare",
    "read_image",
    "recipe",
    "upright_file",
]
