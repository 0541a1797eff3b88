"""What holds of labels and phrases for random answers in any dialect, whole or damaged.

Plain random numbers instead of hypothesis, so that a hundred thousand answers take minutes: ``ANSWERS`` in the
environment sets how many are tried a dialect (150 where it is not set). A failure names the seed.
"""

from __future__ import annotations

import json
import os
import random
import re

import pytest

from raylabel.answers.formats import FORMATS
from raylabel.answers.formats.clean import read_clean
from raylabel.answers.grounding import read_grounding
from raylabel.answers.reading import Reading, read_boxes
from raylabel.errors import AnswerError
from raylabel.geometry import View, iou, place
from raylabel.profiles import PROFILES, Profile
from raylabel.prompts.boxes import format_box
from raylabel.records import Box, Size
from tests.answers.comparing import absent_in, normalise
from tests.answers.evidence import stands_in
from tests.answers.writing import EACH_DIALECT, NOISE, Dialect, Entry

SEEDS = range(int(os.environ.get("ANSWERS", "150")))
LABELS = ("heron", "red boat", "old lamp", "tall wagon", "stone kerb", "Fähre", "灯塔")
"""None is part of another."""


def written_at(dice: random.Random) -> list[Entry]:
    """Up to four entries with different labels and boxes."""
    entries: dict[tuple[int, int, int, int], str] = {}
    for label in dice.sample(LABELS, dice.randint(1, 4)):
        x1, y1 = dice.randint(0, 930), dice.randint(0, 930)
        entries[x1, y1, dice.randint(x1 + 40, 999), dice.randint(y1 + 40, 999)] = label
    return [(label, box) for box, label in entries.items()]


def damaged(text: str, dice: random.Random) -> str:
    """The text with one thing done to it: cut, or letters deleted, doubled, replaced or added."""
    at, length = dice.randint(0, len(text)), dice.randint(1, 12)
    noise = "".join(dice.choices(NOISE, k=dice.randint(1, 4)))
    return dice.choice(
        (
            text[:at],
            text[:at] + text[at + length :],
            text[: at + length] + text[at:],
            text[:at] + noise + text[at:],
            text[:at] + noise + text[at + len(noise) :],
        )
    )


def answer_at(dialect: Dialect, seed: int) -> tuple[str, list[Entry]]:
    """An answer, damaged up to four times, and what it said before."""
    dice = random.Random(f"{dialect.name} {seed}")
    written = written_at(dice)
    text = dialect.write(written)
    for _ in range(dice.randint(0, 4)):
        text = damaged(text, dice)
    return text, written


@EACH_DIALECT
def test_a_label_stands_next_to_its_box_and_no_box_is_invented(dialect: Dialect):
    for seed in SEEDS:
        text, written = answer_at(dialect, seed)
        tolerance = 1 / 32 if dialect.name == "kosmos" else 1e-4
        entries = read_boxes(text, dialect.order, dialect.sides).entries
        for box in [box for entry in entries if not entry.broken for box in entry.boxes]:
            own = next(
                (t for t, b in written if box.corners == pytest.approx(dialect.expected(b), abs=tolerance)), None
            )
            assert own is not None or stands_in(text, box.corners, dialect), (seed, text, box)
            said = next((t for t in LABELS if normalise(t) == normalise(box.label or "")), None)
            if dialect.labelled and said is not None and own is not None and said != own:
                assert may_be_about(text, said, own), (seed, text, box)


def may_be_about(text: str, said: str, own: str) -> bool:
    """Whether damage took a box's own label away, or put another one there too."""
    return text.count(own) != 1 or text.count(said) > 1


@EACH_DIALECT
def test_no_phrase_is_settled_without_a_statement_about_it(dialect: Dialect):
    for seed in SEEDS if dialect.labelled else ():
        text, written = answer_at(dialect, seed)
        asked = dict(enumerate([label for label, _ in written] + ["grey seal", "kite"], 1))
        try:
            found = read_grounding(text, asked, dialect.order, dialect.sides)
        except AnswerError:
            continue
        silence_counts = found.shape in SILENT
        for number, boxes in found.settled.items():
            is_named = letters_of(asked[number]) in letters_of(text) or re.search(rf"(?<!\d){number}(?!\d)", text)
            assert is_named or (not boxes and (silence_counts or denies_all(text))), (seed, text, asked[number], boxes)


def letters_of(text: str) -> str:
    """Without the blanks and marks that a comparison of labels overlooks."""
    return "".join(c for c in text.casefold() if c.isalnum())


def denies_all(text: str) -> bool:
    """Whether an answer, or what damage left of one, holds a list with nothing in it."""
    return re.search(r"\[\s*\]|\(\s*\)|\{\s*\}|null", text) is not None


KNOWN = {"paligemma": "location_tokens", "florence": "location_tokens", "kosmos": "patches", "deepseek": "tags"}


@EACH_DIALECT
def test_a_model_whose_format_is_known_is_read_like_any_other(dialect: Dialect):
    for seed in SEEDS if dialect.name in KNOWN else ():
        text, written = answer_at(dialect, seed)
        asked = [label for label, _ in written]
        found = read_boxes(text, dialect.order, dialect.sides, asked)
        known = read_boxes(text, dialect.order, dialect.sides, asked, KNOWN[dialect.name])
        assert (known.kind, known.boxes, known.partial) == (found.kind, found.boxes, found.partial), (seed, text)


def test_the_formats_that_profiles_name_are_those_of_the_table():
    named = {profile.answers_in for profile in PROFILES if profile.answers_in}
    assert named == set(KNOWN.values()) <= set(FORMATS)


# --- the short way --------------------------------------------------------------------------------------------------

BOXES: tuple[list[float] | None, ...] = (
    None,
    [],
    [1, 2, 3],
    [10, 20, 30, 40],
    [30, 20, 10, 40],
    [0.1, 0.2, 0.3, 0.4],
    [5, 5, 5, 9],
    [1, 2, 3, 4e300],
)
IDS = (1, 2, 3, 7, -1, 0, None, "2", True, 1.0)
TEXTS = (
    "heron",
    "Heron.",
    "the red boat",
    "",
    " lamp ",
    "none",
    "12",
    "a {b}",
    "[EXIT]",
    "x: y",
    "a\tb",
    None,
    3,
    "灯塔",
)
SCORES = (0.5, 1, 0, None, 1.5, -0.1, True, "0.5", [0.5])


def item_at(dice: random.Random) -> dict[str, object]:
    item: dict[str, object] = {}
    for key, values in (("id", IDS), ("label", TEXTS), ("score", SCORES), ("angle", (0, 30)), ("note", ("so", 3))):
        if dice.random() < (0.1 if key in ("angle", "note") else 0.6):
            item[key] = dice.choice(values[:2] if dice.random() < 0.5 else values)
    box = [dice.randint(-50, 1200) for _ in range(4)] if dice.random() < 0.6 else dice.choice(BOXES)
    fields = [*item.items(), (dice.choice(("bbox_2d", "box_2d", "box")), box)]
    dice.shuffle(fields)
    return dict(fields)


def long_way(text: str, order: str, asked: tuple[str, ...]) -> Reading:
    """As ``read_boxes`` without its short way: a letter that nobody sees keeps an answer off it."""
    return read_boxes(f"\u200b{text}", order, (1000, 1000), asked)


def test_the_short_way_reads_what_the_long_way_reads():
    forms = (
        "%s",
        "Here they are:\n```json\n%s\n```\nI hope that helps.",
        "No red car:\n```\n%s\n```",
        "```json\n%s\n```",
        '{"boxes": %s}',
        '{"objects": %s}',
        " %s\n",
        '{"found": %s}',
    )
    short_ones = 0
    for seed in range(20 * len(SEEDS)):
        dice = random.Random(seed)
        items = [item_at(dice) for _ in range(dice.randint(0, 3))]
        text = dice.choice(forms) % json.dumps(items, indent=dice.choice((None, 2)), ensure_ascii=dice.random() < 0.5)
        asked = ("heron", "the red boat", "lamp")[: dice.randint(0, 3)]
        order = dice.choice(("xyxy", "yxyx", "xywh"))
        short_ones += read_clean(text, asked) is not None
        short, long = read_boxes(text, order, (1000, 1000), asked), long_way(text, order, asked)
        for part in ("kind", "boxes", "partial", "left_out"):
            assert getattr(short, part) == getattr(long, part), (seed, text, part)
        assert absent_in(short) == absent_in(long), (seed, text)
        assert [e.phrase for e in short.entries] == [e.phrase for e in long.entries], (seed, text)
    assert short_ones > len(SEEDS)


def test_the_shape_that_is_asked_for_takes_the_short_way():
    entry = '{"id": 1, "bbox_2d": [10, 20, 30, 40], "label": "cup", "score": 0.5}'
    for text in (
        f"[{entry}]",
        f"```json\n[{entry}, {entry}]\n```",
        f'{{"boxes": [{entry}]}}',
        '[{"id": 2, "box": null}]',
    ):
        assert read_clean(text, ["cup"]) is not None, text
    for text in (f"[{entry}", f"[{entry}] or so", f'[{entry[:-1]}, "angle": 3}}]', f'[{entry[:-1]}, "id": 2}}]'):
        assert read_clean(text, ["cup"]) is None, text


# --- every profile ----------------------------------------------------------------------------------------------------

SIZE = Size(1242, 375)
PIXELS = [Box(10 + 60 * n, 20 + 9 * n, 10 + 60 * n + 220, 20 + 9 * n + 170) for n in range(12)]
NATIVE = {
    "list": lambda t, b, p: json.dumps({p.key: b, "label": t}),
    "object": lambda t, b, p: json.dumps({p.key: b, "label": t}),
    "ref": lambda t, b, p: f"<ref>{t}</ref><box>[{b}]</box>",
    "ref_box": lambda t, b, p: f"<ref>{t}</ref><box>{b}</box>",
    "det": lambda t, b, p: f"<|ref|>{t}<|/ref|><|det|>[{b}]<|/det|>",
    "detect": lambda t, b, p: f"{b} {t}" if isinstance(b, str) else json.dumps({"label": t, **b}),
    "open_vocabulary": lambda t, b, p: f"{t}{b}",
    "phrase": lambda t, b, p: f"<phrase>{t}</phrase><object>{b}</object>",
    "point_out": lambda t, b, p: f"{t}: [{b}]",
    "all_instances": lambda t, b, p: f"<ref>{t}</ref><box>{''.join(f'<{v:g}>' for v in b)}</box>",
}
JOINTS = {"list": ", ", "object": ", ", "detect": " ; ", "point_out": "\n"}


def told_as(profile: Profile, entries: list[tuple[str, Box]]) -> str:
    """Entries as a model of the family answers them."""
    view = View(SIZE, SIZE)
    told = [NATIVE[profile.question_style](text, format_box(box, profile, view), profile) for text, box in entries]
    text = JOINTS.get(profile.question_style, "").join(told)
    return (
        f"[{text}]"
        if profile.question_style == "list"
        else f'{{"boxes": [{text}]}}'
        if profile.question_style == "object"
        else text
    )


@pytest.mark.parametrize("profile", [pytest.param(p, id=p.name) for p in PROFILES if p.localises])
def test_no_family_settles_a_phrase_with_the_box_of_another(profile: Profile):
    convention, view = profile.convention, View(SIZE, SIZE)
    read_right = 0
    for seed in SEEDS:
        dice = random.Random(f"{profile.name} {seed}")
        entries = list(zip(dice.sample(LABELS, dice.randint(1, 4)), dice.sample(PIXELS, 4), strict=False))
        text = told_as(profile, entries)
        whole = seed % 3 == 0
        for _ in range(0 if whole else dice.randint(1, 3)):
            text = damaged(text, dice)
        asked = dict(enumerate([label for label, _ in entries] + ["grey seal"], 1))
        try:
            found = read_grounding(
                text, asked, convention.order, convention.sides(view), numbered=False, known=profile.answers_in
            )
        except AnswerError:
            assert not whole, (seed, text)
            continue
        own = dict(entries)
        for number, boxes in found.settled.items():
            label = asked[number]
            for box in boxes:
                placed = place(box.corners, convention, view)
                near = [t for t, b in entries if iou(placed, b) > 0.85]
                if near and label not in near:
                    assert may_be_about(text, label, near[0]), (seed, text, label, near)
                if whole:
                    assert iou(placed, own[label]) > 0.7, (seed, text, label, placed)
            if not boxes and number <= len(entries):
                assert letters_of(label) in letters_of(text) or found.shape in SILENT or denies_all(text), (seed, text)
        if whole:
            read_right += {asked[n] for n in found.settled if found.settled[n]} == set(own)
    assert read_right == len([seed for seed in SEEDS if seed % 3 == 0])


SILENT = ("loc1024", "loc", "patch", "det")
