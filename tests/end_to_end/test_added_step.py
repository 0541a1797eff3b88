"""A step is added by its file, its question and one line for its place; everything else knows it from there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.end_to_end.running import python, read_lines, write_lines

pytestmark = pytest.mark.slow

STEP = str(Path(__file__).with_name("noun_step.py"))
LABELS = ["step0_expression_extraction", "step1_grounding", "step2_noun_naming"]
EXTRACTED = {"cleaned_caption": "a red car", "expressions": [{"text": "a red car"}]}
GROUNDED = [{"id": 1, "bbox_2d": [100, 100, 500, 500]}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images with captions, the answers of a model, and a specification that names them."""
    Image.new("RGB", (60, 40), (200, 30, 30)).save(tmp_path / "red.png")
    write_lines(tmp_path / "in.jsonl", [{"image_path": "red.png", "caption": "a red car", "n": n} for n in range(2)])
    answers = {
        "extract the referring": EXTRACTED,
        "name in English": {"nouns": [{"id": 1, "noun": "car"}]},
        "name in German": {"nouns": [{"id": 1, "noun": "Auto"}]},
        '"phrase": "a red car"': GROUNDED,
    }
    rules = [{"contains": words, "text": json.dumps(said)} for words, said in answers.items()]
    write_lines(tmp_path / "answers.jsonl", rules)
    vlm = {"backend": "scripted", "scripted": {"answers": "answers.jsonl"}, "calibrate": "never"}
    data = {"input_jsonl": "in.jsonl", "image_root": "."}
    spec = {"results_dir": "results", "image_grounding": {"vlm": vlm, "data": data}}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    return tmp_path


def raylabel(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """The program with the step added."""
    done = python(STEP, *words, cwd=folder, COLUMNS="200")
    assert done.returncode == code, done.stderr
    return done


def rows(summary: str) -> dict[str, list[str]]:
    """The cells of the printed table by the name of their row."""
    split = ([cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in summary.splitlines())
    return {cells[0]: cells[1:] for cells in split if cells}


def test_it_is_run_stored_and_delivered_as_any_other(folder: Path) -> None:
    table = rows(raylabel(folder, "run", "spec.yaml").stdout)
    assert table["records"] == ["expression_extraction", "grounding", "noun_naming"]
    assert table["labeled"] == ["2", "2", "2"]
    lines = read_lines(folder / "results/annotations.jsonl")
    for line in lines:
        assert line["pipeline_steps"] == LABELS
        assert line["outcomes"][LABELS[2]] == "labeled"
        assert line["provenance"][LABELS[2]]["prompt"] == "1"
        (expression,) = line["expressions"]
        assert expression["noun_chunk"] == "car"
        assert expression["instances"]
    assert read_lines(folder / "results/step_2_noun_naming/annotations.jsonl") == lines
    again = rows(raylabel(folder, "run", "spec.yaml").stdout)
    assert again["labeled"] == table["labeled"]
    assert again["requests"] == ["0", "0", "0"]


def test_its_own_settings_decide_what_is_asked(folder: Path) -> None:
    raylabel(folder, "run", "spec.yaml")
    table = rows(raylabel(folder, "run", "spec.yaml", "steps.noun_naming.language=German").stdout)
    assert [int(n) > 0 for n in table["requests"]] == [False, False, True]
    assert nouns(folder) == ["Auto", "Auto"]


def test_it_goes_on_from_the_file_of_the_step_before(folder: Path) -> None:
    raylabel(folder, "run", "spec.yaml", "image_grounding.workflow.steps=[0,1]")
    alone = ["image_grounding.workflow.steps=[step_2_noun_naming]", "image_grounding.data.input_jsonl="]
    assert rows(raylabel(folder, "run", "spec.yaml", *alone).stdout)["records"] == ["noun_naming"]
    assert nouns(folder) == ["car", "car"]


def nouns(folder: Path) -> list[Any]:
    return [e["noun_chunk"] for line in read_lines(folder / "results/annotations.jsonl") for e in line["expressions"]]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("steps.noun_naming.langauge=German", 'Did you mean "steps.noun_naming.language"?'),
        ("steps.noun_namnig.model=x", 'Did you mean "steps.noun_naming"?'),
        ("steps.noun_naming.temperature=3", "found 3, allowed: 0 to 2"),
        ("steps.noun_naming.prompt=What is it?", "the prompt must hold $phrases"),
        ("image_grounding.workflow.steps=[3]", "allowed: 0 expression_extraction, 1 grounding, 2 noun_naming"),
    ],
)
def test_mistakes_in_its_settings_are_told_in_a_sentence(folder: Path, override: str, sentence: str) -> None:
    assert sentence in raylabel(folder, "run", "spec.yaml", override, code=2).stderr


def test_the_default_specification_documents_it(folder: Path) -> None:
    raylabel(folder, "default_specs", "results_dir=defaults")
    text = (folder / "defaults/experiment.yaml").read_text()
    content = yaml.safe_load(text)
    assert content["image_grounding"]["workflow"]["steps"] == ["0", "1", "2"]
    assert content["steps"]["noun_naming"] == content["steps"]["grounding"] | {"language": "English"}
    assert "# In which nouns are named." in text
    assert "0 expression_extraction, 1 grounding, 2 noun_naming." in text


def test_its_question_is_shown(folder: Path) -> None:
    assert "by one noun" in raylabel(folder, "prompts", "noun_naming").stdout
    assert "noun_naming: Expressions in; the same" in raylabel(folder, "prompts").stdout
