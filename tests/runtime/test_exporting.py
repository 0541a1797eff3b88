"""Which shards are written behind a run, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from raylabel.errors import StoreError
from raylabel.runtime import exporting
from raylabel.runtime.delivery import Delivery
from raylabel.runtime.exporting import Exporter
from raylabel.sources import Shard
from tests.waiting import wait_until

SHARDS = [Shard(number, "lines.jsonl", number, 1, number + 1, number, 1, str(number)) for number in range(5)]


class Noted(Delivery):
    """Notes for each shard how many had ended when the store was looked at before it was added."""

    def __init__(self) -> None:
        self.ended: set[int] = set()
        self.added: list[int] = []
        self.unseen: list[int] = []
        self.while_looking: Callable[[], None] = lambda: None
        self._seen: set[int] = set()

    def refresh(self) -> None:
        self._seen = set(self.ended)
        self.while_looking()

    def add(self, shard: Shard) -> None:
        self.added.append(shard.number)
        if shard.number in self.ended and shard.number not in self._seen:
            self.unseen.append(shard.number)


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(exporting, "EVERY_S", 0.01)


def end(exporter, delivery, *numbers) -> None:
    delivery.ended.update(numbers)
    exporter.note_ended(numbers)


def test_shards_are_written_in_order_as_soon_as_all_before_them_have_ended():
    delivery = Noted()
    exporter = Exporter(delivery, SHARDS, [])
    end(exporter, delivery, 1, 2)
    time.sleep(0.1)
    assert delivery.added == []
    end(exporter, delivery, 0)
    wait_until(lambda: delivery.added == [0, 1, 2])
    exporter.finish()
    assert delivery.added == [0, 1, 2, 3, 4], "those that never ended come last"


def test_a_shard_that_ends_while_the_store_is_looked_at_waits_for_the_next_look():
    delivery = Noted()
    exporter = Exporter(delivery, SHARDS, [])
    delivery.while_looking = lambda: end(exporter, delivery, 1, 2)
    end(exporter, delivery, 0)
    wait_until(lambda: 2 in delivery.added)
    exporter.finish()
    assert delivery.unseen == [], "its rows would be missing from the files"
    assert delivery.added == [0, 1, 2, 3, 4]


def test_what_goes_wrong_behind_the_run_is_told_at_its_end():
    delivery = Noted()

    def breaks() -> None:
        raise StoreError("the disk is full")

    delivery.while_looking = breaks
    exporter = Exporter(delivery, SHARDS, [0])
    wait_until(lambda: not any(thread.name == "export" for thread in threading.enumerate()))
    with pytest.raises(StoreError, match="disk is full"):
        exporter.finish()
