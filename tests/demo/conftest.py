from __future__ import annotations

import pytest

from raylabel.demo.world import World, build_world


@pytest.fixture(scope="session")
def demo_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Forty scenes of a seed that nothing was tuned on."""
    return build_world(tmp_path_factory.mktemp("demo") / "world", images=40, seed=20_771)
