"""Why records are open, in a few lines."""

from __future__ import annotations

import tracemalloc

import pytest

from raylabel.exports.failures import Reasons, shorten


def counted(*reasons: str) -> list[tuple[int, str, bool]]:
    made = Reasons()
    for reason in reasons:
        made.add(reason)
    return [(kind.count, kind.example, kind.equal) for kind in made.most_frequent(3)[0]]


@pytest.mark.parametrize(
    ("reasons", "kinds"),
    [
        pytest.param(["cut off", "cut off"], [(2, "cut off", True)], id="the-same"),
        pytest.param(
            ["no such file: a/b.jpg", "no such file: a/c.jpg"], [(2, "no such file: a/b.jpg", False)], id="paths"
        ),
        pytest.param(
            [r"no such file: a\b.jpg", r"no such file: a\c.jpg"], [(2, r"no such file: a\b.jpg", False)], id="windows"
        ),
        pytest.param(["item 3 is missing", "item 12 is missing"], [(2, "item 3 is missing", False)], id="numbers"),
        pytest.param(["'car': no box", "'red van': no box"], [(2, "'car': no box", False)], id="quotations"),
        pytest.param(
            ["HTTP 500: oops", "cut off", "cut off"], [(2, "cut off", True), (1, "HTTP 500: oops", True)], id="order"
        ),
        pytest.param(["a", "b", "a", "b"], [(2, "a", True), (2, "b", True)], id="first-come-first-among-equals"),
    ],
)
def test_reasons_that_differ_in_what_is_particular_are_one_kind(reasons, kinds):
    assert counted(*reasons) == kinds


def test_the_path_of_the_image_makes_no_kind_of_its_own_whatever_its_name():
    made = Reasons()
    for name in ("a b.jpg", "c.jpg", "ü.png"):
        made.add(f"no such file: {name}", name)
    assert [kind.count for kind in made.most_frequent(3)[0]] == [3]


def test_what_does_not_fit_is_counted_as_others():
    made = Reasons()
    for letter in "abcdef":
        made.add(f"trouble with {letter * 3}")
    first, others = made.most_frequent(2)
    assert (len(first), others, made.total) == (2, 4, 6)


def test_a_million_reasons_take_no_room_and_none_is_lost():
    made = Reasons()
    tracemalloc.start()
    for number in range(20_000):
        word = "".join(chr(97 + int(digit)) for digit in f"{number:05}")
        made.add(f"trouble {word}")
        made.add("cut off")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    (first,), others = made.most_frequent(1)
    assert (first.example, first.count, others, made.total) == ("cut off", 20_000, 20_000, 40_000)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("a\nb\tc\r\n", "a b c", id="one-line"),
        pytest.param("red \x1b[31mtext\x07", "red text", id="no-control-characters"),
        pytest.param("a\u202eb\u2028c\x00d", "a b c d", id="no-invisible-ones"),
        pytest.param("ü 红车", "ü 红车", id="letters-of-any-script"),
        pytest.param("", "", id="empty"),
    ],
)
def test_a_reason_is_one_line_of_what_can_be_seen(text, shown):
    assert shorten(text) == shown


def test_a_long_reason_is_cut_in_the_middle():
    shown = shorten("start " + "x" * 10_000_000 + " end")
    assert len(shown) <= 120
    assert shown.startswith("start x")
    assert " ... " in shown


def test_secrets_are_masked_before_a_reason_is_cut():
    made = Reasons(lambda text: text.replace("sk-" + "s" * 200, "***"))
    made.add("x" * 50 + " sk-" + "s" * 200)
    assert made.most_frequent(1)[0][0].example == "x" * 50 + " ***"


def test_input_lines_are_named_the_first_three_of_a_kind():
    made = Reasons()
    for number in (4, 9, 12, 13):
        made.add('"image_path" is missing', line_number=number)
    (kind,), _ = made.most_frequent(1)
    assert (kind.count, kind.line_numbers) == (4, (4, 9, 12))
