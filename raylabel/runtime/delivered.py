"""What was delivered last, so that a run which finds nothing changed need not write it again."""

from __future__ import annotations

from collections.abc import Sequence

from raylabel.runtime.delivery import Counts
from raylabel.runtime.spec import RunSpec
from raylabel.settings import mask_of
from raylabel.storage.stamps import stamp
from raylabel.store.results import Results

_FILE = "delivered.json"


def note_delivery(spec: RunSpec, key: str, counts: Counts, paths: Sequence[str]) -> None:
    """Remember that these files were written for a plan.

    Args:
        key: digest of everything that decides about what stands in them.
    """
    state = {"key": key, "counts": counts.to_state(), "files": {_name(spec, path): stamp(path) for path in paths}}
    spec.results.write_json(spec.results.checkpoints, _FILE, state)


def recall_delivery(spec: RunSpec, key: str) -> Counts | None:
    """The counts of the last delivery if it was of the same plan and its files were not touched since."""
    state = spec.results.read_json(spec.results.checkpoints, _FILE)
    if not state or state["key"] != key:
        return None
    root = spec.results.root
    marks = {root.location_of(name) if root.is_local else name: mark for name, mark in state["files"].items()}
    if any(mark is None or stamp(path) != mark for path, mark in marks.items()):
        return None
    return Counts.from_state(state["counts"], mask_of(spec.vlm))


def forget_delivery(results: Results) -> None:
    """Rows are about to be stored that no delivery holds yet."""
    results.checkpoints.delete(_FILE)


def _name(spec: RunSpec, path: str) -> str:
    """Relative to a local results folder: of one that was copied, not the files of the other one are looked at."""
    root = spec.results.root
    return path.removeprefix(f"{root.location}/") if root.is_local else path
