"""For all tests."""

from __future__ import annotations

import signal

import pytest

# Where the tests were started in the background of a script, or by nohup, Ctrl-C is ignored: by what they start, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first: where several run at a time, the quick ones fill what is left at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
