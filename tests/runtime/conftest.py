"""What the tests of the runtime share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raylabel.clients.scripted import Script
from raylabel.runtime import worker
from tests.runtime.asking_bench import Bench
from tests.runtime.worker_bench import WorkerBench, answer


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., WorkerBench]:
    """A worker over so many records, whose client is the bench's."""

    def bench(records: int, script: Script = answer, **more: Any) -> WorkerBench:
        made = WorkerBench(tmp_path, records, script, **more)
        monkeypatch.setattr(worker, "build_client", lambda vlm, env: made.client)
        return made

    return bench
