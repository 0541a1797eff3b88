"""Where ``runtime.surveying`` still looks for what is in ``raylabel.storage``; goes with that file's import."""

from raylabel.storage.folders import Folder
from raylabel.storage.locations import absolute

__all__ = ["Folder", "absolute"]
