"""Generations: ``force_reprocess`` asks everything again exactly once, even if that takes several runs."""

from __future__ import annotations

from collections.abc import Sequence

from raylabel.store.results import Results

_FILE = "generations.json"


def open_generations(results: Results, directories: Sequence[str], *, force: bool) -> dict[str, int]:
    """The generation of each step for this run, by step directory; stored before this returns.

    With ``force``, a finished generation is followed by a new one, and an unfinished one (of a forced run that was
    interrupted) is continued. Answers and rows of older generations are kept but no longer used.

    Raises:
        StoreError: what was stored cannot be read; without it, older generations would be used again.
    """
    state = results.read_json(results.checkpoints, _FILE, replaceable=False) or {}
    for directory in directories:
        current = state.get(directory, {"number": 0, "finished": True})
        if force and current["finished"]:
            current = {"number": current["number"] + 1, "finished": False}
        state[directory] = current
    if force:
        results.write_json(results.checkpoints, _FILE, state)
    return {d: int(state[d]["number"]) for d in directories}


def current_generations(results: Results) -> dict[str, int]:
    """The generation of each step that ever was forced, by step directory; of all others it is 0."""
    return {d: int(s["number"]) for d, s in (results.read_json(results.checkpoints, _FILE) or {}).items()}


def finish_generations(results: Results, directories: Sequence[str]) -> None:
    """Record that these steps are done with the whole input in their current generation."""
    state = results.read_json(results.checkpoints, _FILE, replaceable=False)
    if state is None or all(state[d]["finished"] for d in directories if d in state):
        return
    for directory in directories:
        if directory in state:
            state[directory]["finished"] = True
    results.write_json(results.checkpoints, _FILE, state)
