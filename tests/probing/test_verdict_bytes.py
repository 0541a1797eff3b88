"""What is kept of an endpoint stays readable, and ``run.json`` keeps its words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raylabel.errors import InputError
from raylabel.geometry import SQUARE, Convention, Resize
from raylabel.probing.box_reading import OTHERWISE, BoxReading
from raylabel.probing.verdict import MEASURED, TRUSTED, Verdict, verdict_from_json, verdict_to_json
from raylabel.profiles import UNKNOWN, Profile

PROFILE = Profile(
    "own",
    Convention("yxyx", 1024.0, 0.5, 1023.0, SQUARE),
    ("a", "b"),
    "box",
    "list",
    "points",
    Resize(28, 3136, 1_003_520, 1568),
    True,
    False,
    True,
    ("<think>", "</think>"),
    False,
    Convention("xyxy", None),
    Convention("xywh", 1.0),
    "json",
    "P: somewhere",
)
READING = BoxReading(OTHERWISE, ("red", "none", ""), Convention("xyxy", 1000), 2, "read as others")
FULL = Verdict("höst", "my-vlm", ("my-vlm", "other"), PROFILE, MEASURED, 0.981, "yxyx", 0.2, 3, "note", READING)
BARE = Verdict("host", "m", (), UNKNOWN, TRUSTED)


STORED = json.loads((Path(__file__).parents[1] / "data/records/verdicts.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("what", "verdict"), [("full", FULL), ("bare", BARE)])
def test_a_verdict_keeps_its_words_and_comes_back(what: str, verdict: Verdict) -> None:
    assert json.dumps(verdict_to_json(verdict), ensure_ascii=False) == STORED[what]
    assert verdict_from_json(json.loads(STORED[what])) == verdict


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"profile": None}, id="no-profile"),
        pytest.param({"profile": {"name": "x"}}, id="half-a-profile"),
        pytest.param({"unheard": 1}, id="of-another-version"),
        pytest.param({"reading": {"kind": "as written", "convention": {"order": "xy", "scale": 1}}}, id="no-order"),
    ],
)
def test_what_is_no_verdict_says_so(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no verdict on a model's boxes"):
        verdict_from_json({**json.loads(json.dumps(verdict_to_json(FULL))), **change})
