"""What the tests of the runtime share."""

from __future__ import annotations

import pytest
from asking_bench import Bench


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)
