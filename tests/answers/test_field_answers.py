"""Answers that people met in the field, and others of the same kinds.

The first 19 are faults as they were reported; the rest was written from the rules by somebody who did not know the
reader: absence of something else, keys that come again, other scales and turned boxes, closing tags and cuts, odd
wrappers, errors. Where the rules leave an outcome open (``weight`` 0), reading the answer must only not fail.
"""

from __future__ import annotations

from typing import Any

import pytest

from raylabel.answers.reading import ReplyKind
from tests.answers.comparing import differences, load_cases, read_case

CASES = load_cases("field.jsonl")


@pytest.mark.parametrize("case", [pytest.param(c, id=f"{c['id']} {c['kind']}") for c in CASES])
def test_an_answer_of_a_kind_met_in_the_field_is_read_as_expected(case: dict[str, Any]):
    reading = read_case(case)
    assert reading.kind is ReplyKind.BOXES or reading.reason
    if case.get("weight") != 0:
        assert differences(case, reading) == []
