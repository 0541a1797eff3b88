"""The names of classes that label files know by numbers."""

from __future__ import annotations

import yaml

from raylabel.errors import InputError
from raylabel.storage.reading import open_input
from raylabel.storage.regular import read_up_to

_LIMIT_BYTES = 10_000_000


def read_class_names(where: str, path: str) -> tuple[str, ...]:
    """The names of classes, by number: those of a data set's YAML file (``names``), or the lines of a text file.

    Args:
        where: the setting that names the file, for messages.

    Raises:
        InputError: it cannot be read, or holds no names.
    """
    try:
        with open_input(path) as stream:
            text = read_up_to(stream, _LIMIT_BYTES).decode("utf-8-sig")
        if not path.lower().endswith((".yaml", ".yml")):
            names: object = text.rstrip().splitlines()
        else:
            value = yaml.safe_load(text)
            names = value.get("names") if isinstance(value, dict) else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{where}: {path} cannot be read ({' '.join(str(error).split())})") from error
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names or not all(str(name).strip() for name in names):
        raise InputError(f"{where}: {path} has no names of classes, expected names: [car, dog], or one a line")
    return tuple(str(name).strip() for name in names)
