"""Images: read, verify, turn upright, resize, encode; each once a record.

``read_image`` fetches a file, ``inspect`` says what it is, ``encode_picture`` makes what requests
carry, ``Decoders`` do both where a crash costs no more than the picture, ``PictureCache`` keeps the pictures that had
to be made, ``PictureFiles`` are for servers that read pictures themselves. ``upright_file`` is for exports.
"""

from raylabel.images.cache import PictureCache
from raylabel.images.decoding import Decoders
from raylabel.images.files import read_image
from raylabel.images.picture_files import PictureFile, PictureFiles, image_file, readable_folder
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
    "PictureFile",
    "PictureFiles",
    "UprightFile",
    "digest_bytes",
    "displayed",
    "encode_picture",
    "encoding_of",
    "image_file",
    "inspect",
    "prepare",
    "read_image",
    "readable_folder",
    "recipe",
    "upright_file",
]
