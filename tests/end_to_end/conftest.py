"""What the end-to-end tests share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _own_surroundings() -> Iterator[None]:
    """Servers of this machine are asked directly, and no picture that an earlier program prepared is used again."""
    # Processes of a Ray that is just ending may still write there.
    own = tempfile.TemporaryDirectory(prefix="rl-", ignore_cleanup_errors=True)
    with pytest.MonkeyPatch.context() as patch, own as folder:
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        # The node's cache of prepared pictures lies there. Ray stays where it was: names of its sockets must be short.
        patch.setenv("RAY_TMPDIR", tempfile.gettempdir())
        patch.setenv("TMPDIR", folder)
        yield
