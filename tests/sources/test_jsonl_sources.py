"""JSON lines, good and bad, become records and unusable lines; nothing vanishes."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from raylabel.errors import InputError
from raylabel.records import Outcome, Record, UnusableLine, digest_of, expression_id
from raylabel.sources import Shard, SourceSpec, read_shard, scan
from raylabel.sources.lines import LINE_LIMIT_BYTES

CAPTIONS = "captions"


def spec(path: Path, kind: str = CAPTIONS, root: str = "", pipeline: str = "image_grounding") -> SourceSpec:
    return SourceSpec(kind, pipeline, str(path), root=root, setting="image_grounding.data.input_jsonl")


def write(path: Path, lines: list[Any]) -> Path:
    path.write_bytes(b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines) + b"\n")
    return path


def read(source: SourceSpec, shard_size: int = 3) -> list[Record | UnusableLine]:
    shards = list(scan(source, shard_size, "unused"))
    items = [item for shard in shards for item in read_shard(source, shard)]
    assert [s.number for s in shards] == list(range(len(shards)))
    assert [(i.position, i.shard) for i in items] == [(n, n // shard_size) for n in range(len(items))]
    assert sum(s.count for s in shards) == len(items)
    return items


def records(source: SourceSpec, shard_size: int = 3) -> list[Record]:
    found = read(source, shard_size)
    assert all(isinstance(r, Record) for r in found)
    return [r for r in found if isinstance(r, Record)]


def line(n: int, **more: Any) -> dict[str, Any]:
    return {"image_path": f"images/{n:03d}.jpg", "caption": f"a dog and {n} cats", **more}


@pytest.mark.tao_row("anything else is carried through")
def test_a_line_becomes_a_record_with_its_unknown_fields(tmp_path: Path) -> None:
    source = spec(
        write(tmp_path / "c.jsonl", [line(7, width=1920, height=1080, split="train", nested={"a": [1, None]})]),
        root="/d",
    )
    (record,) = records(source)
    assert (record.image_id, record.image_path, record.caption) == ("007", "/d/images/007.jpg", "a dog and 7 cats")
    assert record.extra == {"split": "train", "nested": {"a": [1, None]}}
    assert (record.source, record.image, record.seeds, record.expressions) == ("image_grounding", None, None, None)


def test_fields_that_the_output_has_for_itself_are_kept_apart(tmp_path: Path) -> None:
    foreign = {"source": "camera 3", "flags": "blurred", "outcome": 7, "provenance": None, "record_id": "x", "width": 9}
    (record,) = records(spec(write(tmp_path / "c.jsonl", [line(7, **foreign)])))
    assert record.shadowed == foreign
    assert not foreign.keys() & record.extra.keys()
    own = {"record_id": digest_of("own"), "source": "image_grounding", "flags": ["a"], "input_flags": "blurred"}
    (record,) = records(spec(write(tmp_path / "d.jsonl", [line(7, **own)])))
    assert (record.shadowed, record.extra) == ({}, {"input_flags": "blurred"})


@pytest.mark.tao_row("image_path: absolute, relative to image_root, or a URI")
@pytest.mark.tao_row("image_path opens from where the run was started")
@pytest.mark.parametrize(
    ("root", "path", "resolved"),
    [
        pytest.param("/data", "a/b.jpg", "/data/a/b.jpg", id="relative"),
        pytest.param("data/", "a/b.jpg", "data/a/b.jpg", id="relative-root"),
        pytest.param("/data", "/else/b.jpg", "/else/b.jpg", id="absolute"),
        pytest.param("/data", "s3://bucket/b.jpg", "s3://bucket/b.jpg", id="uri"),
        pytest.param("s3://bucket/folder/", "a/b.jpg", "s3://bucket/folder/a/b.jpg", id="uri-root"),
        pytest.param("", "a/b.jpg", "a/b.jpg", id="no-root"),
        pytest.param("images", "images/b.jpg", "images/images/b.jpg", id="captions-always-join"),
    ],
)
def test_image_root_is_put_before_relative_paths(tmp_path: Path, root: str, path: str, resolved: str) -> None:
    source = spec(write(tmp_path / "c.jsonl", [{"image_path": path, "caption": "c"}]), root=root)
    assert [r.image_path for r in records(source)] == [resolved]


@pytest.mark.tao_row("image_id is derived from the file name where it is missing, and kept verbatim where it is not")
@pytest.mark.parametrize(
    ("given", "image_id", "extra"),
    [
        pytest.param("a/b c/../ü", "a/b c/../ü", {}, id="any-text"),
        pytest.param(42, "42", {"image_id": 42}, id="a-number-stays-a-number"),
        pytest.param(None, "007", {}, id="null-is-derived"),
        pytest.param("", "007", {}, id="empty-is-derived"),
    ],
)
def test_image_id_is_kept_verbatim(tmp_path: Path, given: Any, image_id: str, extra: dict[str, Any]) -> None:
    (record,) = records(spec(write(tmp_path / "c.jsonl", [line(7, image_id=given)])))
    assert (record.image_id, record.extra) == (image_id, extra)


def test_byte_order_mark_crlf_and_blank_lines_are_no_content(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    body = [json.dumps(line(n)).encode() for n in range(5)]
    path.write_bytes(
        b"\xef\xbb\xbf"
        + body[0]
        + b"\r\n\r\n  \n"
        + body[1]
        + b"\r\n\xef\xbb\xbf"
        + body[2]
        + b"\n\n{oops\n\n"
        + body[3]
    )
    found = read(spec(path), shard_size=2)
    assert [getattr(i, "image_id", None) for i in found] == ["000", "001", "002", None, "003"]
    (bad,) = [i for i in found if isinstance(i, UnusableLine)]
    assert (bad.line_number, bad.text, bad.where) == (7, "{oops", str(path))


@pytest.mark.tao_row("caption and image_path are required")
@pytest.mark.tao_row("unparsable input lines vanish uncounted")
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param(b'{"image_path": "a.jpg", ', "not JSON", id="cut-off"),
        pytest.param(b'["a.jpg", "c"]', "expected a JSON object, found a list", id="list"),
        pytest.param(b"null", "expected a JSON object, found null", id="null"),
        pytest.param(b'{"caption": "c"}', '"image_path" is missing', id="no-path"),
        pytest.param(b'{"image_path": "a.jpg"}', '"caption" is missing', id="no-caption"),
        pytest.param(b'{"image_path": " ", "caption": "c"}', '"image_path": expected a non-empty', id="blank-path"),
        pytest.param(
            b'{"image_path": "a.jpg", "caption": "  "}', '"caption": expected a non-empty', id="blank-caption"
        ),
        pytest.param(b'{"image_path": 7, "caption": "c"}', "expected a non-empty string, found 7", id="path-number"),
        pytest.param(b'{"image_path": "a.jpg", "caption": ["c"]}', '"caption": expected a string', id="caption-list"),
        pytest.param(b'{"image_path": "a.jpg", "caption": "c", "image_id": [1]}', '"image_id": expected', id="id-list"),
        pytest.param(b'{"image_path": "a.jpg", "caption": "c", "x": NaN}', "NaN is not a JSON number", id="nan"),
        pytest.param(b'{"image_path": "a.jpg", "caption": "c", "x": 1e999}', "1e999 is too large", id="infinite"),
        pytest.param(b'{"image_path": "a.jpg", "caption": "half \\ud83d"}', "surrogate", id="half-surrogate"),
        pytest.param(b'{"image_path": "a.jpg", "caption": "c\xff"}', "not valid UTF-8", id="latin-1"),
        pytest.param(b'{"image_path": "a.jpg", "caption": "c"} {}', "not JSON", id="two-objects"),
        pytest.param(
            b'{"image_path": "a.jpg", "caption": "c", "x": [{"y": -1e999}]}', "too large", id="infinite-inside"
        ),
        pytest.param(b"[" * 200_000, "nested too deeply", id="deep"),
        pytest.param(b'{"image_path": "a.jpg", "caption": "c", "x": ' + b"9" * 5000 + b"}", "not JSON", id="digits"),
    ],
)
def test_a_line_no_record_can_be_made_of_keeps_its_number_and_reason(tmp_path: Path, raw: bytes, reason: str) -> None:
    found = read(spec(write(tmp_path / "c.jsonl", [line(1), raw, line(2)])))
    assert isinstance(found[1], UnusableLine)
    assert reason in found[1].reason
    assert (found[1].line_number, len(found[1].text) <= 2000) == (2, True)
    assert found[1].text.encode().startswith(raw[:20].replace(b"\xff", "\ufffd".encode()))
    assert isinstance(found[0], Record)
    assert isinstance(found[2], Record)


def test_a_whole_surrogate_pair_is_text(tmp_path: Path) -> None:
    raw = b'{"image_path": "a.jpg", "caption": "a dog \\ud83d\\ude00"}'
    assert records(spec(write(tmp_path / "c.jsonl", [raw])))[0].caption == "a dog \U0001f600"


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        pytest.param("12345678901234567890123", 12345678901234567890123, id="a-number-of-23-digits-stays-whole"),
        pytest.param("-0", 0, id="minus-zero"),
        pytest.param("1e5", 100000.0, id="exponent"),
        pytest.param("0.1234567890123456789", 0.1234567890123456789, id="more-digits-than-a-float-has"),
        pytest.param("[" * 300 + "]" * 300, json.loads("[" * 300 + "]" * 300), id="300-levels"),
        pytest.param('{"b": 1, "a": 2, "b": 3}', {"b": 3, "a": 2}, id="the-last-of-two-equal-keys"),
    ],
)
def test_values_come_as_python_reads_them(tmp_path: Path, written: str, read_as: Any) -> None:
    raw = f'{{"image_path": "a.jpg", "caption": "c", "x": {written}}}'.encode()
    (record,) = records(spec(write(tmp_path / "c.jsonl", [raw])))
    assert repr(record.extra["x"]) == repr(read_as)


def test_a_line_longer_than_the_limit_is_passed_over_alone(tmp_path: Path) -> None:
    long = b'{"image_path": "a.jpg", "caption": "' + b"x" * (LINE_LIMIT_BYTES + 10) + b'"}'
    fine = b'{"image_path": "a.jpg", "caption": "' + b"x" * 2_000_000 + b'"}'
    found = read(spec(write(tmp_path / "c.jsonl", [line(1), long, fine, line(2)])))
    assert [type(i) for i in found] == [Record, UnusableLine, Record, Record]
    assert isinstance(found[1], UnusableLine)
    assert "longer than 50 MB" in found[1].reason


@pytest.mark.tao_row("several lines may name one image")
def test_equal_images_equal_ids_and_equal_lines_are_records_of_their_own(tmp_path: Path) -> None:
    lines = [
        line(1),
        line(1, caption="another caption"),
        {"image_path": "a/x.jpg", "caption": "c"},
        {"image_path": "b/x.jpg", "caption": "c"},
        {"image_path": "b/x.jpg", "caption": "c", "image_id": "../../x"},
        line(1),
        line(1),
    ]
    source = spec(write(tmp_path / "c.jsonl", lines))
    ids = [r.record_id for r in records(source)]
    assert len(set(ids)) == len(lines)
    assert ids == [r.record_id for r in records(source, shard_size=100)]
    shards = list(scan(source, 4, "unused"))
    assert [s.occurrences for s in shards] == [{}, {1: 1, 2: 2}]


def test_a_record_keeps_its_id_when_lines_are_put_before_it(tmp_path: Path) -> None:
    before = records(spec(write(tmp_path / "a.jsonl", [line(1), line(2)])))
    after = records(spec(write(tmp_path / "b.jsonl", [line(9), line(1, note="new"), line(2)]), root="/elsewhere"))
    assert [r.record_id for r in after][1:] == [r.record_id for r in before]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        pytest.param([b""], "is empty", id="empty"),
        pytest.param([b"", b"  "], "is empty", id="blank"),
        pytest.param([b"id,path,caption", b"1,a.jpg,c"], "holds no usable line; line 1: not JSON", id="csv"),
        pytest.param([{"path": "a.jpg"}], 'line 1: "image_path" is missing', id="other-fields"),
    ],
)
def test_an_input_without_one_usable_line_stops_the_run(tmp_path: Path, lines: list[Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        list(scan(spec(write(tmp_path / "c.jsonl", lines)), 10, "unused"))


def test_a_missing_input_names_its_setting(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"image_grounding\.data\.input_jsonl: no file"):
        list(scan(spec(tmp_path / "none.jsonl"), 10, "unused"))


def test_shards_are_the_same_however_many_lines_are_looked_up_together(tmp_path: Path) -> None:
    # Each of 3,000 lines stands there three times, the third time far behind the others, with broken ones between.
    lines: list[Any] = [b"{oops" if n % 7 == 3 else line(n // 2) for n in range(6_000)] + [
        line(n) for n in range(3_000)
    ]
    source = spec(write(tmp_path / "c.jsonl", lines))
    seen: dict[str, int] = {}
    expected = []
    for at in range(0, len(lines), 32):
        occurrences = {}
        for place, given in enumerate(lines[at : at + 32]):
            if isinstance(given, dict):
                if earlier := seen.get(given["caption"], 0):
                    occurrences[place] = earlier
                seen[given["caption"]] = earlier + 1
        expected.append(occurrences)
    shards = list(scan(source, 32, "unused"))
    assert [s.occurrences for s in shards] == expected


@pytest.mark.tao_row("all records in memory")
def test_the_first_shards_come_before_the_rest_was_read(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", [line(n) for n in range(5_000)])
    shards = scan(spec(path), 32, "unused")
    first = next(shards)
    with path.open("ab") as out:
        out.write(json.dumps(line(9_999)).encode())
    assert first.count + sum(s.count for s in shards) == 5_001


def digests(source: SourceSpec) -> list[str]:
    return [s.digest for s in scan(source, 2, "unused")]


def test_a_shard_digest_sees_lines_paths_and_image_files(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for n in range(4):
        (tmp_path / f"images/{n:03d}.jpg").write_bytes(b"image")
    path = write(tmp_path / "c.jsonl", [line(n) for n in range(4)])
    source = spec(path, root=str(tmp_path))
    first = digests(source)
    assert first == digests(source)

    os.utime(tmp_path / "images/003.jpg", ns=(1, 1))
    touched = digests(source)
    assert (touched[0] == first[0], touched[1] == first[1]) == (True, False)
    (tmp_path / "images/000.jpg").unlink()
    assert digests(source)[0] != first[0]
    assert digests(spec(path, root="/elsewhere"))[0] not in (first[0], digests(source)[0])

    write(path, [line(0), line(1), line(2), line(3, note="x")])
    assert digests(source)[1] != touched[1]


def test_an_input_that_changed_since_the_scan_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", [line(n) for n in range(4)])
    source = spec(path)
    shard = next(iter(scan(source, 4, "unused")))
    write(path, [line(0)])
    with pytest.raises(InputError, match="changed while it was being read"):
        list(read_shard(source, shard))


@pytest.mark.tao_row("all records in memory")
def test_a_scan_of_many_lines_does_not_hold_them(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    filler = "x" * 900
    with path.open("w") as out:
        out.writelines(f'{{"image_path": "{n}.jpg", "caption": "{n} {filler}"}}\n' for n in range(15_000))
    tracemalloc.start()
    try:
        shards: list[Shard] = list(scan(spec(path), 500, "unused"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(s.count for s in shards) == 15_000
    assert peak < path.stat().st_size / 10


# --- earlier annotations --------------------------------------------------------------------------------------------


def own_line(n: int, **more: Any) -> dict[str, Any]:
    """A line as raylabel's step 0 writes it."""
    ident = digest_of("own", n)
    return {
        "record_id": ident,
        "image_id": f"{n}",
        "image_path": f"data/{n}.jpg",
        "width": 620,
        "height": 340,
        "caption": "In this photo two red cars.",
        "cleaned_caption": "two red cars",
        "expressions": [
            {
                "expression_id": expression_id(ident, "red cars", 0),
                "text": "red cars",
                "char_span": [4, 12],
                "noun_chunk": "cars",
                "instances": [],
            }
        ],
        "source": "image_grounding",
        "pipeline_steps": ["step0_expression_extraction"],
        "outcome": "labeled",
        "outcomes": {"step0_expression_extraction": "labeled"},
        "flags": ["noted", "stretched"],  # the second is found out again when the image is opened
        "split": "train",
        **more,
    }


def test_raylabels_own_lines_come_back_as_they_were(tmp_path: Path) -> None:
    source = spec(write(tmp_path / "a.jsonl", [own_line(1)]), kind="annotations", root="data")
    (record,) = records(source)
    assert (record.record_id, record.image_path) == (digest_of("own", 1), "data/1.jpg")
    assert record.outcomes["step0_expression_extraction"].outcome is Outcome.LABELED
    assert (record.flags, record.extra) == (("noted",), {"split": "train"})
    assert record.expressions is not None
    assert record.expressions[0].expression_id == expression_id(record.record_id, "red cars", 0)
    assert (record.expressions[0].char_span, record.expressions[0].instances) == ((4, 12), None)


def test_a_captions_run_on_own_lines_starts_them_anew_under_their_ids(tmp_path: Path) -> None:
    source = spec(write(tmp_path / "a.jsonl", [own_line(1, caption="edited by hand")]), root="data")
    (record,) = records(source)
    assert (record.record_id, record.image_path) == (digest_of("own", 1), "data/1.jpg")
    assert (record.caption, record.expressions, record.outcomes) == ("edited by hand", None, {})
    assert record.extra == {"split": "train"}


def test_an_id_that_occurs_twice_is_told_apart_with_all_its_expressions(tmp_path: Path) -> None:
    found = records(spec(write(tmp_path / "a.jsonl", [own_line(1), own_line(1), own_line(1)]), kind="annotations"))
    assert [r.record_id for r in found] == [
        digest_of("own", 1),
        digest_of(digest_of("own", 1), 1),
        digest_of(digest_of("own", 1), 2),
    ]
    assert len({e.expression_id for r in found for e in r.expressions or ()}) == 3


def test_ids_that_raylabel_did_not_make_are_made_anew_and_unique(tmp_path: Path) -> None:
    boxes = [{"bbox": [1, 2, 30, 40], "bbox_id": "1", "bbox_score": 0.5}, {"bbox": [1, 2, 30, 40], "bbox_id": "1"}]
    texts = [
        {"expression_id": "0", "text": "a cat", "instances": boxes},
        {"expression_id": "0", "text": "a cat"},
        {"text": "a cat"},
    ]
    tao = [line(n, expressions=texts, source="image_grounding", pipeline_steps=["step1_grounding"]) for n in range(2)]
    found = records(spec(write(tmp_path / "a.jsonl", tao), kind="annotations"))
    expressions = [e for r in found for e in r.expressions or ()]
    assert len({e.expression_id for e in expressions}) == 6
    assert len({i.bbox_id for e in expressions for i in e.instances or ()}) == 4
    assert expressions[0].instances is not None
    assert expressions[0].instances[0].score == 0.5
    assert [s for s, o in found[0].outcomes.items() if o.outcome is Outcome.LABELED] == ["step1_grounding"]


def test_an_expression_added_by_hand_never_takes_an_id_in_use(tmp_path: Path) -> None:
    own = own_line(1)
    own["expressions"] = [{"text": "red cars"}, *own["expressions"]]
    (record,) = records(spec(write(tmp_path / "a.jsonl", [own]), kind="annotations"))
    first, second = record.expressions or ()
    assert second.expression_id == expression_id(record.record_id, "red cars", 0) != first.expression_id


@pytest.mark.tao_row("char_span: cleaned_caption[a:b] == text, or null and flagged")
@pytest.mark.parametrize(
    ("text", "span", "found", "flags"),
    [
        pytest.param("red cars", [4, 12], (4, 12), (), id="right"),
        pytest.param("red cars", [0, 3], (4, 12), (), id="wrong-span"),
        pytest.param("red cars", None, (4, 12), (), id="no-span"),
        pytest.param("red cars", [90, 99], (22, 30), (), id="nearest"),
        pytest.param("blue cars", [4, 12], None, ("not_in_caption",), id="not-there"),
        pytest.param("red cars", "4-12", (4, 12), (), id="nonsense"),
    ],
)
def test_spans_of_earlier_files_are_checked(
    tmp_path: Path, text: str, span: Any, found: tuple[int, int] | None, flags: tuple[str, ...]
) -> None:
    caption = "two red cars, and two red cars"
    lines = [line(1, cleaned_caption=caption, expressions=[{"text": text, "char_span": span}])]
    (record,) = records(spec(write(tmp_path / "a.jsonl", lines), kind="annotations"))
    assert record.expressions is not None
    assert (record.expressions[0].char_span, record.expressions[0].flags) == (found, flags)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"expressions": "none"}, id="text"),
        pytest.param({"expressions": [7]}, id="number"),
        pytest.param({"expressions": [{"text": ""}]}, id="no-text"),
        pytest.param({"expressions": [{"text": "a", "instances": 5}]}, id="instances-number"),
        pytest.param({"expressions": [{"text": "a", "instances": [5]}]}, id="instance-number"),
        pytest.param({"expressions": [{"text": "a", "instances": [{"bbox": [9, 9, 1, 1]}]}]}, id="inverted"),
        pytest.param({"expressions": [{"text": "a", "flags": 5}]}, id="flags"),
        pytest.param({"expressions": [{"text": "a", "instances": [{"bbox": [0, 0, 1, 10**400]}]}]}, id="huge"),
    ],
)
def test_a_broken_earlier_annotation_is_an_unusable_line(tmp_path: Path, fields: dict[str, Any]) -> None:
    found = read(spec(write(tmp_path / "a.jsonl", [line(1, **fields), line(2)]), kind="annotations"))
    assert [type(i) for i in found] == [UnusableLine, Record]


def test_grounding_carries_boxes_of_others_through_untouched(tmp_path: Path) -> None:
    brought = {"kitti_bboxes": [[1, 2, 3, 4, "Car"]], "regions": "whatever"}
    for kind in ("captions", "annotations"):
        (record,) = records(spec(write(tmp_path / "a.jsonl", [line(1, **brought)]), kind=kind))
        assert (record.extra, record.seeds, record.regions) == (brought, None, None)


@pytest.mark.tao_row("caption and image_path are required")
def test_grounding_needs_a_caption_or_expressions(tmp_path: Path) -> None:
    lines = [{"image_path": "a.jpg"}, {"image_path": "a.jpg", "expressions": [{"text": "a cat"}]}]
    found = read(spec(write(tmp_path / "a.jsonl", lines), kind="annotations"))
    assert [type(i) for i in found] == [UnusableLine, Record]
