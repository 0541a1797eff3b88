"""The specification file: read, merged with overrides, checked; and a complete one written.

``load`` reads and merges, ``check`` judges the values, ``generate`` writes the default file; ``keys`` is what all three
know of the settings. Every mistake is a ``ConfigError`` of one sentence: key, what was found, what is allowed.
"""

from raylabel.specification.generate import default_specification
from raylabel.specification.load import load_settings

__all__ = ["default_specification", "load_settings"]
