"""Each promise made to users of TAO is held by tests that name it; and the documented defaults of its specification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from raylabel.settings import GroundingPipeline, ReferringPipeline
from tests.tao_rows import ROWS, TESTS, holders_of_rows, markers_in, table

ALL_ROWS = [row for rows in ROWS.values() for row in rows]


@pytest.mark.parametrize(("row", "tests"), holders_of_rows().items(), ids=ALL_ROWS)
def test_every_row_is_held_by_a_test(row: str, tests: list[str]) -> None:
    assert tests, f"nothing is marked with {row!r}"


def test_every_marker_stands_on_a_test_and_names_a_row() -> None:
    assert [marker for marker in markers_in(TESTS) if not marker.on_test or marker.row not in ALL_ROWS] == []
    assert len(set(ALL_ROWS)) == len(ALL_ROWS)


def test_a_marker_counts_on_a_test_or_one_of_its_cases_and_nowhere_else(tmp_path: Path) -> None:
    first, second, *others = ALL_ROWS
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "test_it.py").write_text(
        f"""
import pytest

@pytest.mark.tao_row({first!r})
@pytest.mark.parametrize("case", [pytest.param(1, marks=pytest.mark.tao_row({second!r}))])
def test_one(case): ...

@pytest.mark.tao_row("no row")
async def test_two(): ...

@pytest.mark.tao_row({first!r})
def helper(): ...
"""
    )
    (tmp_path / "helping.py").write_text(f"import pytest\nheld = pytest.mark.tao_row({first!r})\n")

    assert holders_of_rows(tmp_path) == {
        first: ["deep/test_it.py::test_one"],
        second: ["deep/test_it.py::test_one"],
        **{row: [] for row in others},
    }
    assert sorted((marker.row, marker.place) for marker in markers_in(tmp_path)) == sorted(
        [
            (first, "deep/test_it.py::test_one"),
            (second, "deep/test_it.py::test_one"),
            ("no row", "deep/test_it.py::test_two"),
            (first, "deep/test_it.py:11"),
            (first, "helping.py:2"),
        ]
    )
    assert f"| {first} | deep/test_it.py::test_one |" in table(tmp_path)


# --- the documented specification -----------------------------------------------------------------------------------

VLM = """
backend: gemini
gemini:
  api_key: ""
  model: gemini-3.1-flash-lite-preview
  media_resolution: MEDIA_RESOLUTION_HIGH
  temperature: 0.3
  max_output_tokens: 8192
  timeout: 120
openai:
  api_key: ""
  base_url: ""
  model_name: ""
  temperature: 0.7
  max_tokens: 4096
  timeout: 60
"""

DOCUMENTED = [
    (
        GroundingPipeline,
        """
workflow: {steps: [expression_extraction, grounding], max_workers: 4, force_reprocess: false}
data: {input_jsonl: "", image_root: ""}
""",
    ),
    (
        ReferringPipeline,
        """
workflow:
  steps: [region_expr, image_caption, grounding_expr, double_check]
  max_workers: 4
  force_reprocess: false
  output_format: jsonl
data: {image_dir: "", kitti_label_dir: "", input_annotations_jsonl: ""}
""",
    ),
]


FOUND_OUT = {"max_workers": "auto"}
"""The one default that is not TAO's: how many requests at a time are good depends on the endpoint."""


@pytest.mark.tao_row("the documented keys with their defaults")
@pytest.mark.tao_row(
    "output_format: jsonl by default, in the generated specification too; media resolution high everywhere"
)
@pytest.mark.parametrize(("block", "text"), DOCUMENTED, ids=["image_grounding", "image_referring_expression"])
def test_the_documented_specification_is_the_default_one(block: type[Any], text: str) -> None:
    def check(documented: dict[str, Any], found: dict[str, Any], where: str) -> None:
        for key, value in documented.items():
            assert key in found, f"{where}.{key} is not a setting"
            if isinstance(value, dict):
                check(value, found[key], f"{where}.{key}")
            else:
                assert found[key] == FOUND_OUT.get(key, value), f"{where}.{key}"

    documented = yaml.safe_load(text) | {"vlm": yaml.safe_load(VLM)}
    check(documented, block().model_dump(), block.__name__)
    assert block.model_validate(documented).workflow.max_workers == 4, "what a file says counts"
