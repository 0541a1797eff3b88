"""Answers near those of ``test_dev_answers``: other content, mixed damage, the owners' other shapes, hostile lengths.

The cases were written against the rules of the dev set by somebody who did not know the reader; where the rules leave
the outcome or a label open, the case is left out or its label is null.
"""

from __future__ import annotations

from typing import Any

import pytest

from raylabel.answers.reading import ReplyKind
from tests.answers.comparing import differences, load_cases, read_case, text_of

CASES = load_cases("neighbours.jsonl")


@pytest.mark.parametrize("case", [pytest.param(c, id=f"{c['id']} {c['shape']}") for c in CASES])
def test_an_answer_of_a_neighbouring_shape_is_read_as_expected(case: dict[str, Any]):
    reading = read_case(case)
    assert differences(case, reading) == []
    assert reading.kind is ReplyKind.BOXES or reading.reason


CUT = [c for c in CASES if "cut" in c["shape"] and c["outcome"] == "boxes" and "behind" not in c["shape"]]


@pytest.mark.parametrize("case", [pytest.param(c, id=f"{c['id']} {c['shape']}") for c in CUT])
def test_a_cut_answer_of_a_neighbouring_shape_is_marked_partial(case: dict[str, Any]):
    assert read_case(case).partial, text_of(case)[-60:]
