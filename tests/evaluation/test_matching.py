"""Which record of one result is which of another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from raylabel.evaluation.matching import ALONE, IMAGE, RECORD, RecordPair, pair_records
from raylabel.review.shown import Shown


def shown(record_id: str, image_id: str = "", path: str = "", **fields: Any) -> Shown:
    line = {"record_id": record_id, "image_id": image_id or record_id, "image_path": path or f"{record_id}.jpg"}
    return Shown(line | fields, "", [], [])


def names(pairs: Iterator[RecordPair]) -> list[tuple[str | None, str | None, str]]:
    def name(one: Shown | None) -> str | None:
        return None if one is None else one.line["record_id"]

    return sorted([(name(pair.a), name(pair.b), pair.by) for pair in pairs], key=str)


def test_the_same_input_in_any_order_pairs_by_record_id():
    a, b = [shown("1"), shown("2"), shown("3")], [shown("3"), shown("1"), shown("2")]
    assert names(pair_records(a, b)) == [(n, n, RECORD) for n in "123"]


def test_a_pilot_pairs_with_the_whole_run():
    every = [shown(str(n)) for n in range(9)]
    found = names(pair_records([every[2], every[5]], every))
    assert [pair for pair in found if pair[2] == RECORD] == [("2", "2", RECORD), ("5", "5", RECORD)]
    assert len([pair for pair in found if pair[2] == ALONE]) == 7


def test_records_without_a_partner_do_not_pile_up_where_nothing_waits_for_them():
    """What can be had of the longer one once the shorter one is matched comes at once."""
    pairs = pair_records([shown("0")], (shown(str(n)) for n in range(10**9)))
    assert [next(pairs).by for _ in range(5)] == [RECORD, ALONE, ALONE, ALONE, ALONE]


def test_other_paths_and_captions_pair_by_image():
    a = [shown("a1", "cat", "old/cat.jpg", caption="one"), shown("a2", "cat", "old/cat.jpg", caption="two")]
    b = [shown("b2", "cat", "new/cat.jpg", caption="two"), shown("b1", "cat", "new/cat.jpg", caption="one")]
    assert names(pair_records(a, b)) == [("a1", "b1", IMAGE), ("a2", "b2", IMAGE)]
    a, b = [shown("a1", "dog", "dog.jpg", caption="a dog")], [shown("b1", "dog", "C:\\pictures\\dog.jpg")]
    assert names(pair_records(a, b)) == [("a1", "b1", IMAGE)]


def test_what_could_be_either_is_not_guessed():
    a = [shown("a1", "cat", "cat.jpg", caption="one"), shown("a2", "cat", "cat.jpg", caption="two")]
    b = [shown("b1", "cat", "cat.jpg", caption="three")]
    assert {pair[2] for pair in names(pair_records(a, b))} == {ALONE}
    other_file = [shown("b1", "cat", "another.jpg", caption="one")]
    assert {pair[2] for pair in names(pair_records(a, other_file))} == {ALONE}


def test_lines_without_an_id_pair_by_image():
    a, b = [shown("", "1", "1.jpg"), shown("", "2", "2.jpg")], [shown("", "2", "2.jpg"), shown("", "1", "1.jpg")]
    pairs = list(pair_records(a, b))
    assert {pair.by for pair in pairs} == {IMAGE}
    assert all(pair.a and pair.b and pair.a.line["image_id"] == pair.b.line["image_id"] for pair in pairs)


def test_pictures_of_two_sizes_are_told():
    def pair(*widths: int | None) -> RecordPair:
        a, b = (shown("1", width=width, height=width and 10) for width in widths)
        return next(pair_records([a], [b]))

    assert pair(20, 20).is_of_one_picture
    assert pair(20, None).is_of_one_picture, "it may not have been opened"
    assert not pair(20, 30).is_of_one_picture
