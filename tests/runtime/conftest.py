"""What the tests of the runtime share."""

from __future__ import annotations

import pytest

from raylabel.runtime import worker
from tests.runtime.asking_bench import Bench
from tests.runtime.worker_bench import WorkerBench, answer


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def make(tmp_path, monkeypatch):
    def bench(records, script=None, **more):
        made = WorkerBench(tmp_path, records, script or answer, **more)
        monkeypatch.setattr(worker, "build_client", lambda vlm, env: made.client)
        return made

    return bench
