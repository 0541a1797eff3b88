"""Tables and results folders in a temporary place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from raylabel.storage.folders import Folder
from raylabel.store.results import Results
from raylabel.store.tables import Table


def hex_key(number: int) -> str:
    """A key as the digests of questions and records are: 32 hexadecimal digits."""
    return f"{number:016x}" + "0" * 16


@pytest.fixture
def key() -> Callable[[int], str]:
    return hex_key


@pytest.fixture
def open_table(tmp_path: Path) -> Callable[..., Table]:
    """Another process's view of one table with a column ``text``."""

    def make(folder: Folder | None = None) -> Table:
        return Table(folder or Folder(str(tmp_path / "table")), [pa.field("text", pa.string())])

    return make


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(Folder(str(tmp_path / "results")))
