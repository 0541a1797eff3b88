"""Results that all readers of exports are tested with."""

from __future__ import annotations

import pytest

from tests.exports.training.results import Made, demo_results, described_results


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """More than 500 records with known truth."""
    return demo_results(tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Records of the referring pipeline, with described regions."""
    return described_results(tmp_path_factory.mktemp("described"))
