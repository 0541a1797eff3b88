"""Append-only tables: durable, ordered, merged while they are read."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raylabel.errors import StoreError
from raylabel.storage.filesystems import filesystem_of
from raylabel.storage.folders import Folder
from raylabel.store import tables
from raylabel.store.tables import Table

APPENDER = """
import sys
import pyarrow as pa
from raylabel.storage.folders import Folder
from raylabel.store.tables import Table
table = Table(Folder(sys.argv[1]), [pa.field("text", pa.string())])
for number in range(100_000):
    uids = table.append([{"key": f"{number:016x}" + "0" * 16, "text": "x" * 20_000} for _ in range(3)])
    print(number, *uids, flush=True)
"""


def texts(table, key):
    return [row["text"] for row in table.rows(key)]


def fragments(tmp_path):
    return sorted(p.name for p in (tmp_path / "table").iterdir())


def test_what_was_appended_is_read_by_key_oldest_first(open_table, key):
    table = open_table()
    uids = [table.append([{"key": key(1), "text": text}])[0] for text in ("a", "b", "c")]
    table.append([{"key": key(2), "text": "other"}])
    assert texts(table, key(1)) == ["a", "b", "c"]
    assert [row["uid"] for row in table.rows(key(1))] == uids
    assert table.last(key(1))["text"] == "c"
    assert table.last(key(3)) is None


def test_a_scan_gives_all_rows_or_the_newest_of_each_key_oldest_first_merged_or_not(open_table, key, tmp_path):
    table = open_table()
    for text in ("a", "b", "c"):
        table.append([{"key": key(1), "text": text}, {"key": key(2), "text": f"{text} other"}])
    table.append([{"key": key(2), "text": "last"}])
    for _ in range(2):
        reader = open_table()
        assert reader.scan(["text"])["text"].to_pylist() == ["a", "a other", "b", "b other", "c", "c other", "last"]
        newest = reader.scan(["text"], newest_only=True)
        assert newest.to_pydict() == {"key": [key(1), key(2)], "text": ["c", "last"]}
        table.merge(at_least=2)
    assert len(fragments(tmp_path)) == 1


def test_a_scan_of_a_table_that_was_never_written_is_empty(open_table):
    assert open_table().scan(["text"]).to_pydict() == {"key": [], "text": []}


def test_a_fold_takes_each_row_once_also_where_a_merge_was_broken_off(open_table, key, tmp_path):
    table = open_table()
    for number in range(6):
        table.append([{"key": key(number), "text": f"row {number}"}])

    def texts(rows):
        return rows["text"].to_pylist()

    whole = [f"row {number}" for number in range(6)]
    assert open_table().fold(["text"], texts) == [[text] for text in whole], "a fragment at a time"
    kept = {name: (tmp_path / "table" / name).read_bytes() for name in fragments(tmp_path)[:2]}
    table.merge(at_least=2)
    for name, data in kept.items():
        (tmp_path / "table" / name).write_bytes(data)
    assert len(fragments(tmp_path)) == 3
    assert open_table().fold(["text"], texts) == [whole]


def test_a_scan_beside_appends_and_merges_misses_nothing(open_table, key):
    table, ended = open_table(), threading.Event()
    table.append([{"key": key(number), "text": "old"} for number in range(50)])

    def disturb():
        number = 50
        while not ended.is_set():
            table.append([{"key": key(number), "text": "new"}])
            table.merge(at_least=3)
            number += 1

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        seen = 50
        for _ in range(30):
            try:
                found = open_table().scan(["text"]).num_rows
            except StoreError:
                continue  # merged every few milliseconds, and not every five seconds as in a run
            assert found >= seen
            seen = found
    finally:
        ended.set()
        thread.join()


def test_another_process_sees_it_after_a_refresh(open_table, key):
    reader, writer = open_table(), open_table()
    writer.append([{"key": key(1), "text": "a"}])
    assert reader.rows(key(1)) == []
    reader.refresh()
    assert texts(reader, key(1)) == ["a"]


def test_a_second_writer_orders_behind_all_it_could_see_whatever_its_clock_says(open_table, key):
    first, second, third = open_table(), open_table(), open_table()
    for writer, text in ((first, "a"), (second, "b"), (first, "c"), (third, "d")):
        writer.append([{"key": key(1), "text": text}])
    reader = open_table()
    reader.refresh()
    assert texts(reader, key(1)) == ["a", "b", "c", "d"]


def test_missing_columns_are_null_and_nothing_is_no_fragment(open_table, key, tmp_path):
    table = open_table()
    assert table.append([]) == []
    assert not (tmp_path / "table").exists()
    table.append([{"key": key(1)}])
    assert table.last(key(1))["text"] is None


def test_fragments_from_before_a_column_came_are_merged_with_newer_ones(open_table, key, tmp_path):
    older = open_table()
    wider = Table(Folder(str(tmp_path / "table")), [pa.field("note", pa.string()), pa.field("text", pa.string())])
    older.append([{"key": key(1), "text": "a"}])
    wider.append([{"key": key(2), "text": "b", "note": "n"}])
    assert wider.merge(at_least=2) == 2
    wider.refresh()
    rows = [wider.last(key(1)) or {}, wider.last(key(2)) or {}]
    assert [(row["text"], row["note"]) for row in rows] == [("a", None), ("b", "n")]


def test_many_rows_of_one_fragment_are_found(open_table, key):
    writer, reader = open_table(), open_table()
    writer.append([{"key": key(n), "text": str(n)} for n in range(1300)])
    reader.refresh()
    for table in (writer, reader):
        assert [table.last(key(n))["text"] for n in (0, 511, 512, 1023, 1024, 1299)] == [
            "0",
            "511",
            "512",
            "1023",
            "1024",
            "1299",
        ]


def test_keys_that_share_their_first_half_are_told_apart(open_table, key):
    table = open_table()
    twin = key(1)[:16] + "f" * 16
    table.append([{"key": key(1), "text": "a"}, {"key": twin, "text": "b"}])
    assert (texts(table, key(1)), texts(table, twin)) == (["a"], ["b"])


@pytest.mark.parametrize("text", ["half \ud83d", 7])
def test_a_row_that_fits_no_column_is_a_store_error_and_stores_nothing(open_table, key, tmp_path, text):
    table = open_table()
    with pytest.raises(StoreError):
        table.append([{"key": key(1), "text": "good"}, {"key": key(2), "text": text}])
    assert table.rows(key(1)) == []
    assert not (tmp_path / "table").exists()


def test_a_folder_that_cannot_be_written_is_a_store_error(open_table, key, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError):
        open_table(Folder(str(tmp_path / "file" / "table"))).append([{"key": key(1), "text": "a"}])


# --- damage ---------------------------------------------------------------------------------------------------------

DAMAGE = {
    "cut-off": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "no-parquet": lambda data: b"PAR1 and nothing else",
    "text": lambda data: b'{"key": "value"}\n' * 100,
    "a-flipped-bit": lambda data: flipped(data, 8 * (len(data) // 3)),
    "zeros": lambda data: bytes(len(data)),
    "something-added": lambda data: data + b"\0" * 100,
    "another-schema": lambda data: parquet(pa.table({"a": [1, 2]})),
    "a-column-of-another-type": lambda data: parquet(
        pa.table({"key": ["0" * 32], "seq": pa.array([1], pa.int64()), "uid": ["a"], "text": [1]})
    ),
    "no-keys": lambda data: parquet(
        pa.table({"key": ["x"], "seq": pa.array([1], pa.int64()), "uid": ["a"], "text": ["a"]})
    ),
}


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit >> 3] ^= 1 << (bit & 7)
    return bytes(changed)


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("opened", ["before", "after"])
def test_a_damaged_fragment_is_set_aside_and_the_others_are_read(open_table, key, tmp_path, damage, opened):
    writer, reader = open_table(), open_table()
    for number in range(3):
        writer.append([{"key": key(number), "text": str(number)}])
    name = fragments(tmp_path)[1]
    path = tmp_path / "table" / name
    if opened == "before":
        reader.refresh()
    path.write_bytes(damage(path.read_bytes()))
    reader.refresh()
    assert [texts(reader, key(number)) for number in range(3)] == [["0"], [], ["2"]]
    assert reader.damaged() == {name}
    assert not path.exists()
    reader.append([{"key": key(1), "text": "again"}])
    another = open_table()
    another.refresh()
    assert texts(another, key(1)) == ["again"]


def test_many_damaged_fragments_are_no_more_trouble_than_one(open_table, key, tmp_path):
    writer, reader = open_table(), open_table()
    for number in range(30):
        writer.append([{"key": key(number), "text": str(number)}])
    reader.refresh()
    for name in fragments(tmp_path)[:25]:
        (tmp_path / "table" / name).write_bytes(b"")
    assert sorted(reader.newest([key(n) for n in range(30)])) == [key(n) for n in range(25, 30)]
    assert len(reader.damaged()) == 25


def test_a_merge_leaves_out_what_is_damaged(open_table, key, tmp_path):
    table = open_table()
    for number in range(6):
        table.append([{"key": key(number), "text": str(number)}])
    (tmp_path / "table" / fragments(tmp_path)[2]).write_bytes(b"")
    assert table.merge(at_least=2) == 5
    table.refresh()
    assert [texts(table, key(number)) for number in range(6)] == [["0"], ["1"], [], ["3"], ["4"], ["5"]]


def test_damage_in_a_folder_that_nothing_can_be_moved_in_is_passed_over(open_table, key, tmp_path):
    writer, reader = open_table(), open_table()
    writer.append([{"key": key(1), "text": "a"}])
    writer.append([{"key": key(2), "text": "b"}])
    (tmp_path / "table" / "damaged").write_bytes(b"in the way")
    (tmp_path / "table" / fragments(tmp_path)[0]).write_bytes(b"")
    for _ in range(2):
        reader.refresh()
        assert (texts(reader, key(1)), texts(reader, key(2))) == ([], ["b"])


def test_fragments_from_before_there_were_checksums_are_read(open_table, key, tmp_path):
    table = open_table()
    rows = pa.table({"key": [key(1)], "seq": pa.array([1], pa.int64()), "uid": ["old"], "text": ["a"]})
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "0000000001-0123456789ab.parquet").write_bytes(parquet(rows))
    (tmp_path / "table" / "0000000001-m0123456789ab.parquet").write_bytes(parquet(rows))
    table.refresh()
    assert texts(table, key(1)) == ["a"]


@pytest.mark.parametrize("how", ["appended", "merged", "merged-and-large"])
def test_whatever_happens_to_its_bytes_no_fragment_gives_a_wrong_row(open_table, key, tmp_path, how):
    """Bits are flipped, and pieces cut out, at places drawn at random; the seed makes it repeatable."""
    seed = 20261126
    chance = random.Random(seed)
    numbers = range(1500 if how == "merged-and-large" else 40)
    size = 400 if how == "merged-and-large" else 20
    rows = [{"key": key(n), "text": f"{n}:" + "".join(chance.choices("abcdef", k=size))} for n in numbers]
    table = open_table()
    for start in range(0, len(rows), max(1, len(rows) // 2)):
        table.append(rows[start : start + len(rows) // 2])
    if how != "appended":
        table.merge(at_least=2)
    name = fragments(tmp_path)[0]
    path = tmp_path / "table" / name
    whole = path.read_bytes()
    want = open_table()
    want.refresh()
    keys = [row["key"] for row in rows]
    good = want.newest(keys)
    for round_ in range(200):
        bit = chance.randrange(8 * len(whole))
        cut = bit >> 3, min(len(whole), (bit >> 3) + chance.choice([1, 7, 400]))
        data = flipped(whole, bit) if round_ % 4 else whole[: cut[0]] + whole[cut[1] :]
        path.write_bytes(data)
        reader = open_table()
        reader.refresh()
        found = reader.newest(keys)
        assert found.items() <= good.items(), f"seed {seed}, round {round_}: a wrong row"
        if found != good:
            assert reader.damaged() == {name}, f"seed {seed}, round {round_}: rows were lost without a word"
            (tmp_path / "table" / "damaged" / name).unlink()


# --- merging --------------------------------------------------------------------------------------------------------


def test_merging_keeps_every_row_and_its_order(open_table, key, tmp_path):
    writer, reader, stale = open_table(), open_table(), open_table()
    for text in "abcde":
        writer.append([{"key": key(1), "text": text}, {"key": key(ord(text)), "text": text}])
    stale.refresh()
    before = writer.rows(key(1))
    assert open_table().merge(at_least=5) == 5
    assert len(fragments(tmp_path)) == 1
    reader.refresh()
    for table in (writer, reader, stale):
        assert table.rows(key(1)) == before
        assert texts(table, key(ord("c"))) == ["c"]


def test_few_fragments_are_left_alone(open_table, key, tmp_path):
    writer = open_table()
    for _ in range(4):
        writer.append([{"key": key(1), "text": "a"}])
    names = fragments(tmp_path)
    assert open_table().merge(at_least=5) == 0
    assert fragments(tmp_path) == names


def test_what_is_appended_after_a_merge_orders_behind_it(open_table, key):
    writer, late = open_table(), open_table()
    for text in "abc":
        writer.append([{"key": key(1), "text": text}])
    open_table().merge(at_least=1)
    late.append([{"key": key(1), "text": "d"}])
    writer.append([{"key": key(1), "text": "e"}])
    reader = open_table()
    reader.refresh()
    assert texts(reader, key(1)) == list("abcde")


def test_of_record_rows_only_the_newest_is_kept(open_table, key):
    writer, reader, stale = open_table(), open_table(), open_table()
    for number in range(3):
        writer.append([{"key": key(1), "text": f"a{number}"}, {"key": key(2), "text": f"b{number}"}])
    stale.refresh()
    open_table().merge(at_least=1, newest_only=True)
    for table in (reader, stale, writer):
        table.refresh()
        assert (texts(table, key(1)), texts(table, key(2))) == (["a2"], ["b2"])


def test_a_reader_that_knew_more_rows_than_the_merged_fragment_has_is_not_confused(open_table, key):
    writer, reader = open_table(), open_table()
    for text in "ab":
        writer.append([{"key": key(5), "text": text}, *({"key": key(7), "text": text} for _ in range(9))])
    reader.refresh()
    open_table().merge(at_least=1, newest_only=True)
    reader.refresh()
    assert (texts(reader, key(5)), texts(reader, key(7))) == (["b"], ["b"])


def test_a_crash_between_publishing_the_merged_fragment_and_deleting_the_old_ones_doubles_nothing(
    open_table, key, tmp_path
):
    writer = open_table()
    for text in "abc":
        writer.append([{"key": key(1), "text": text}])
    old = {p: p.read_bytes() for p in (tmp_path / "table").iterdir()}
    open_table().merge(at_least=1)
    for path, data in old.items():
        path.write_bytes(data)
    reader = open_table()
    reader.refresh()
    assert texts(reader, key(1)) == ["a", "b", "c"]
    assert open_table().merge(at_least=1) == 4
    reader.refresh()
    assert texts(reader, key(1)) == ["a", "b", "c"]
    assert len(fragments(tmp_path)) == 1


def test_merging_gets_on_when_fragments_with_many_small_rows_are_full(open_table, key, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_MERGED_ROWS", 50)
    writer = open_table()
    for number in range(40):
        writer.append([{"key": key(10 * number + n), "text": "x"} for n in range(10)])
        open_table().merge(at_least=4)
    assert len(fragments(tmp_path)) <= 400 // 50 + 4
    reader = open_table()
    reader.refresh()
    assert all(texts(reader, key(n)) == ["x"] for n in range(400))


class Overtaken(Folder):
    """A folder in which a merge runs to its end at a chosen moment of somebody's refresh."""

    moment: str | None = None
    merge: Callable[[], object]

    def arm(self, moment, merge):
        object.__setattr__(self, "moment", moment)
        object.__setattr__(self, "merge", merge)

    def fire(self, moment):
        if getattr(self, "moment", None) == moment:
            object.__setattr__(self, "moment", None)
            self.merge()

    def sizes(self):
        self.fire("before the listing")
        names = super().sizes()
        if getattr(self, "moment", None) == "during the listing":
            self.fire("during the listing")
            return {n: size for n, size in names.items() if n in super(Overtaken, self).sizes()}
        return names

    def read(self, name):
        self.fire("after the listing")
        return super().read(name)


@pytest.mark.parametrize("known", [0, 2, 4], ids=["knew-nothing", "knew-half", "knew-all"])
@pytest.mark.parametrize("moment", ["before the listing", "during the listing", "after the listing"])
def test_a_merge_that_overtakes_a_refresh_hides_no_row(open_table, key, tmp_path, moment, known):
    folder = Overtaken(str(tmp_path / "table"))
    writer, reader = open_table(), open_table(folder)
    for number in range(4):
        if number == known:
            reader.refresh()
        writer.append([{"key": key(number), "text": str(number)}])
    if known == 4:
        reader.refresh()
    folder.arm(moment, lambda: open_table().merge(at_least=1))
    reader.refresh()
    if moment == "after the listing" and known == 4:
        assert folder.moment is not None, "there was nothing to read"
        folder.fire(moment)
    assert [texts(reader, key(n)) for n in range(4)] == [["0"], ["1"], ["2"], ["3"]]


def test_reading_goes_on_while_two_writers_append_and_a_merger_merges(open_table, key):
    ended = threading.Event()
    failures = []

    def guarded(work):
        def run():
            try:
                work()
            except Exception as error:
                failures.append(error)
                raise

        return threading.Thread(target=run)

    def merge():
        merger = open_table()
        while not ended.is_set():
            merger.merge(at_least=8)

    def read():
        reader, seen = open_table(), [0, 0]
        while not ended.is_set():
            reader.refresh()
            for who in (0, 1):
                found = [int(text) for text in texts(reader, key(who))]
                assert found == list(range(len(found))), "in order, without gaps or doubles"
                assert len(found) >= seen[who], "nothing seen before is lost"
                seen[who] = len(found)

    def write(who):
        writer = open_table()
        for number in range(60):
            writer.append([{"key": key(who), "text": str(number)}])

    watchers = [guarded(merge), guarded(read)]
    writers = [guarded(lambda: write(0)), guarded(lambda: write(1))]
    for thread in (*watchers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    ended.set()
    for thread in watchers:
        thread.join()
    assert failures == []
    reader = open_table()
    reader.refresh()
    assert [len(reader.rows(key(who))) for who in (0, 1)] == [60, 60]


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 2), st.lists(st.integers(0, 3), min_size=1, max_size=3)),
        st.tuples(st.just("merge"), st.integers(1, 4), st.none()),
        st.tuples(st.just("refresh"), st.integers(0, 2), st.none()),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OPERATIONS)
def test_whatever_happens_a_key_has_every_row_once_and_in_order(open_table, key, tmp_path_factory, operations):
    folder = Folder(str(tmp_path_factory.mktemp("table")))
    views = [open_table(folder) for _ in range(3)]
    wanted: dict[int, list[str]] = {n: [] for n in range(4)}
    for step, (what, who, keys) in enumerate(operations):
        if what == "append":
            views[who].append([{"key": key(n), "text": f"{step}.{i}"} for i, n in enumerate(keys)])
            for i, n in enumerate(keys):
                wanted[n].append(f"{step}.{i}")
        elif what == "merge":
            open_table(folder).merge(at_least=who)
        else:
            views[who].refresh()
    for view in (*views, open_table(folder)):
        view.refresh()
        assert {n: texts(view, key(n)) for n in range(4)} == wanted


# --- remote and dead ------------------------------------------------------------------------------------------------


def test_a_table_lives_in_an_object_store_too(open_table, key, tmp_path):
    folder = Folder(f"mock://{tmp_path.name}/table")
    filesystem, path = filesystem_of(folder.location)
    filesystem.create_dir(path)
    writer, reader = open_table(folder), open_table(folder)
    for text in "abc":
        writer.append([{"key": key(1), "text": text}])
    assert open_table(folder).merge(at_least=2) == 3
    reader.refresh()
    assert texts(reader, key(1)) == texts(writer, key(1)) == ["a", "b", "c"]
    assert len(folder.sizes()) == 1


def test_damage_is_set_aside_in_an_object_store_too(open_table, key, tmp_path):
    folder = Folder(f"mock://{tmp_path.name}-2/table")
    filesystem, path = filesystem_of(folder.location)
    filesystem.create_dir(f"{path}/damaged")  # of this store alone: others know no folders
    writer, reader = open_table(folder), open_table(folder)
    for text in "abc":
        writer.append([{"key": key(1), "text": text}])
    name = sorted(folder.sizes())[1]
    folder.publish(name, (folder.read(name) or b"")[:-50])
    reader.refresh()
    assert texts(reader, key(1)) == ["a", "c"]
    assert reader.damaged() == {name}


def test_a_writer_killed_in_mid_append_leaves_whole_fragments_only_and_all_it_promised(open_table, key, tmp_path):
    run = [sys.executable, "-c", APPENDER, str(tmp_path / "table")]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(random.randint(3, 12))]
        os.kill(writer.pid, signal.SIGKILL)
        lines += writer.stdout.readlines()
    promised = [line.split() for line in lines if line.endswith("\n")]
    for path in (tmp_path / "table").glob("[!.]*"):
        assert pq.read_table(path).num_rows == 3
    reader = open_table()
    reader.refresh()
    for number, *uids in promised:
        assert [row["uid"] for row in reader.rows(key(int(number)))] == uids
