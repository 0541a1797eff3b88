"""Which shards are written behind a run, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from raylabel.errors import StoreError
from raylabel.runtime import exporting
from raylabel.runtime.delivery import Counts, Delivery
from raylabel.runtime.exporting import Exporter, Publishing
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
        self.branches: list[Noted] = []
        self.published = self.is_abandoned = False
        self.left_out: list[int] = []
        self.counts = Counts()

    def branch(self) -> Noted:
        """Notes the same."""
        self.branches.append(Noted())
        self.branches[-1].added += self.added
        return self.branches[-1]

    def __enter__(self) -> Noted:
        return self

    def __exit__(self, *_: object) -> None:
        self.published = not self.is_abandoned

    def abandon(self) -> None:
        self.is_abandoned = True

    def leave_out(self, shard: Shard) -> None:
        self.left_out.append(shard.number)

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


def test_in_between_everything_is_published_and_the_rest_goes_on_as_before():
    delivery = Noted()
    told: list[Counts] = []
    exporter = Exporter(delivery, SHARDS, [], publishing=Publishing(0.05, told.append))
    end(exporter, delivery, 0, 3)
    exporter.note_progress(2)
    wait_until(lambda: len(told) == 1)
    (branch,) = delivery.branches
    assert branch.added == [0, 1, 2, 3, 4]
    assert branch.published
    assert delivery.added == [0]
    exporter.finish()
    assert delivery.added == [0, 1, 2, 3, 4]


def test_while_nothing_ends_nothing_is_published_again():
    delivery = Noted()
    told: list[Counts] = []
    exporter = Exporter(delivery, SHARDS, [0], publishing=Publishing(0.02, told.append))
    time.sleep(0.1)
    assert told == []
    exporter.note_progress(1)
    wait_until(lambda: len(told) == 1)
    time.sleep(0.1)
    assert len(told) == 1
    exporter.note_progress(2)
    wait_until(lambda: len(told) == 2)
    exporter.close()


def test_what_nothing_is_known_of_is_left_out_where_it_would_take_long(monkeypatch):
    monkeypatch.setattr(exporting, "UNFINISHED_S", 0.0)
    delivery = Noted()
    told: list[Counts] = []
    exporter = Exporter(delivery, SHARDS, [1, 3], publishing=Publishing(0.02, told.append))
    exporter.note_progress(1)
    wait_until(lambda: len(told) == 1)
    assert delivery.branches[0].added == [1, 3]
    assert delivery.branches[0].left_out == [0, 2, 4]
    exporter.close()


def test_what_takes_long_is_done_rarely(monkeypatch):
    delivery = Noted()
    told: list[Counts] = []
    delivery.while_looking = lambda: time.sleep(0.3)
    monkeypatch.setattr(exporting, "REST_FACTOR", 1000)
    exporter = Exporter(delivery, SHARDS, [], publishing=Publishing(0.02, told.append))
    for records in range(1, 40):
        exporter.note_progress(records)
        time.sleep(0.02)
    assert len(told) == 1
    exporter.close()


def test_a_run_that_ends_does_not_wait_for_what_is_being_published():
    delivery = Noted()
    told: list[Counts] = []
    exporter = Exporter(delivery, SHARDS, [], publishing=Publishing(0.02, told.append))
    began, closes = threading.Event(), threading.Event()

    def waits() -> None:
        began.set()
        closes.wait(10)

    delivery.while_looking = waits
    exporter.note_progress(1)
    assert began.wait(10)
    closing = threading.Thread(target=exporter.close)
    closing.start()
    wait_until(exporter._closing.is_set)
    closes.set()
    closing.join()
    assert told == []
    assert not any(branch.published for branch in delivery.branches)
