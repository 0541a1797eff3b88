"""Boxes of a Label Studio export as seeds: the listing of its tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from raylabel.errors import InputError
from raylabel.sources.image_folder import is_image, listing_line
from raylabel.sources.json_lists import read_entries
from raylabel.sources.spec import SourceSpec
from raylabel.sources.yolo_rows import box_of_shares
from raylabel.storage.locations import join, join_name
from raylabel.storage.reading import open_input
from raylabel.storage.stamps import exists
from raylabel.storage.writing import WholeFile

_SIDES = ("x", "y", "width", "height")
_NO_SHAPES = ("relation", "choices", "textarea", "rating", "number", "datetime", "taxonomy", "pairwise", "labels")
_SHOWN = 120
_UPLOAD_PREFIX = 9
"""Eight characters and a dash, which Label Studio puts before the names of uploaded files."""


def write_listing(source: SourceSpec, work_dir: str, note: Callable[[str], None]) -> str:
    """Write a line a labeled task into ``work_dir``, as ``coco.write_listing`` does; boxes in shares of the sides.

    Of several annotations of a task the ground truth counts, or else the first that was not cancelled; where there is
    none, its first prediction.

    Args:
        note: told in one sentence of tasks that nobody labeled, which are left out.

    Raises:
        InputError: the file is no such export, or no task of it is labeled.
    """
    where = f"{source.label_setting}: {source.label_dir}"
    listing = join(work_dir, "label_studio_listing.jsonl")
    counts: Counter[str] = Counter()
    try:
        with open_input(source.label_dir) as stream, WholeFile(listing, durable=False) as out:
            for key, task in read_entries(stream):
                if key or not isinstance(task, dict) or not isinstance(task.get("data"), dict):
                    raise InputError(
                        'expected a list of tasks with "data": export them as JSON, not as JSON-MIN or COCO'
                    )
                if (line := _line(source, task, counts)) is not None:
                    out.write(listing_line(**line))
            if not counts["labeled"]:
                raise InputError(f"no task is labeled, of {sum(counts.values())}")
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    for what in ("unlabeled", "without an image"):
        if counts[what]:
            note(f"{where}: tasks that are {what} and left out: {counts[what]}")
    return listing


def _line(source: SourceSpec, task: dict[str, Any], counts: Counter[str]) -> dict[str, Any] | None:
    results = _results(task)
    if results is None:
        counts["unlabeled"] += 1
        return None
    image = _image(task["data"])
    if not image:
        counts["without an image"] += 1
        return None
    counts["labeled"] += 1
    seeds: list[list[Any]] = []
    ids: list[Any] = []
    unused: list[list[Any]] = []
    for place, result in enumerate(results, 1):
        try:
            seed = _seed(result)
        except ValueError as error:
            unused.append([place, f"result {_ident(result)!r}: {error}", _short(result)])
            continue
        if seed is not None:
            seeds.append(seed)
            ids.append(_ident(result))
    return {
        "image": image,
        "at": _location(source.root, image),
        "id": task.get("id"),
        "seeds": seeds,
        "ids": ids,
        "unused": unused,
    }


def _results(task: dict[str, Any]) -> list[Any] | None:
    """The regions of a task; None where nobody labeled it."""
    made = [one for one in _list(task.get("annotations")) if isinstance(one, dict) and not one.get("was_cancelled")]
    made.sort(key=lambda one: not one.get("ground_truth"))
    made += [one for one in _list(task.get("predictions")) if isinstance(one, dict)]
    return _list(made[0].get("result")) if made else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _ident(result: Any) -> Any:
    return result.get("id") if isinstance(result, dict) else None


def _seed(result: Any) -> list[Any] | None:
    """A region as a seed; None where it is no shape.

    Raises:
        ValueError: it is a shape that is no upright box.
    """
    kind = result.get("type") if isinstance(result, dict) else None
    value = result.get("value") if isinstance(result, dict) else None
    if not isinstance(value, dict):
        if kind in _NO_SHAPES:
            return None
        raise ValueError("expected an object with a type and a value")
    numbers: list[Any] = [value.get(side) for side in _SIDES]
    if None in numbers:
        if kind in _NO_SHAPES:
            return None
        raise ValueError(f"found {kind}, expected rectanglelabels")
    if kind == "rectangle":
        return None  # its label stands in a result of its own, with the same sides
    if any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise ValueError(f"found {_short(numbers)}, expected x, y, width and height in percent")
    if turn := value.get("rotation") or result.get("image_rotation"):
        raise ValueError(f"is turned by {turn:g} degrees, expected an upright box")
    x, y, width, height = (n / 100 for n in numbers)
    box = box_of_shares((x, y, x + width, y + height))
    labels = [str(label) for label in _list(value.get(str(kind)))]
    return [*box.as_tuple(), ", ".join(labels) or "object"]


def _image(data: dict[str, Any]) -> str:
    """The image of a task: what stands under "image", or else the only text that ends like the name of one."""
    if isinstance(image := data.get("image"), str):
        return image.strip()
    texts = [value.strip() for value in data.values() if isinstance(value, str)]
    images = [text for text in texts if is_image(_path_in(text))]
    return images[0] if len(images) == 1 else ""


def _path_in(address: str) -> str:
    """The path that an address names: of a local file, an upload, a bucket or a web server."""
    parts = urlsplit(address)
    if parts.path.endswith("/local-files/") and (found := parse_qs(parts.query).get("d")):
        return found[0]
    return unquote(parts.path) if parts.scheme or parts.path.startswith("/data/upload/") else address


def _location(root: str, address: str) -> str:
    """Where the image is: below ``root`` under the longest end of its path that is there, or as the address says."""
    path = _path_in(address)
    if root:
        for name in _endings(path):
            if exists(join_name(root, name)):
                return join_name(root, name)
    if path == address or urlsplit(address).scheme:
        return join(root, address)
    return join_name(root, path.lstrip("/"))


def _endings(path: str) -> Iterator[str]:
    names = [name for name in path.split("/") if name]
    for first in range(len(names)):
        yield "/".join(names[first:])
    if names and names[-1][_UPLOAD_PREFIX - 1 : _UPLOAD_PREFIX] == "-":
        yield names[-1][_UPLOAD_PREFIX:]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
