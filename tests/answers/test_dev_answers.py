"""The hundred answers that stand for the shapes models are known to return."""

from __future__ import annotations

from typing import Any

import pytest

from tests.answers.comparing import differences, load_cases, read_case


@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in load_cases("answers_dev.jsonl")])
def test_an_answer_of_a_known_shape_is_read_as_expected(case: dict[str, Any]):
    assert differences(case, read_case(case)) == [], case["shape"]
