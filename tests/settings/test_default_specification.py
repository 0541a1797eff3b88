"""The specification that raylabel writes, and those that come with it."""

from __future__ import annotations

from functools import reduce
from pathlib import Path

import pytest
import yaml

from raylabel.blocks import documentation, inner_block, members
from raylabel.pipelines import PIPELINES
from raylabel.settings import Settings, default_specification, load_settings
from tests.settings.specifying import GROUNDING, REFERRING, write

CONFIGS = Path(__file__).parents[2] / "configs"
DATA = Path(__file__).parents[1] / "data" / "settings"


# --- the default specification ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [GROUNDING, REFERRING], ids=["grounding", "referring"])
def test_the_default_specification_loads_once_the_question_marks_are_given(data, caplog, given):
    settings = load_settings(write(data, default_specification()), given)
    assert settings == load_settings(None, given), "what it holds are the defaults"
    assert caplog.records == []


@pytest.mark.tao_row(
    "output_format: jsonl by default, in the generated specification too; media resolution high everywhere"
)
def test_the_default_specification_holds_every_setting_with_its_comment():
    text = default_specification()
    content = yaml.safe_load(text)
    for path, field in members(Settings):
        node = content
        for name in path.split("."):
            assert name in node, path
            node = node[name]
        *blocks, name = path.split(".")
        owner = reduce(getattr, blocks, Settings())
        written = documentation(inner_block(field) or type(owner), "" if inner_block(field) else name)
        assert written, f"{path} has no documentation"
        assert written.split()[0] in text
    assert content["results_dir"] == content["image_grounding"]["data"]["input_jsonl"] == "???"
    assert content["image_referring_expression"]["data"]["image_dir"] == "???"
    assert content["image_referring_expression"]["workflow"]["output_format"] == "jsonl"


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_default_specification_of_one_pipeline_names_it_and_holds_no_other(data, pipeline):
    content = yaml.safe_load(default_specification(pipeline))
    assert content["autolabel_type"] == pipeline
    assert [name for name in PIPELINES if name in content] == [pipeline]


@pytest.mark.parametrize("pipeline", [None, *PIPELINES], ids=["both", *PIPELINES])
def test_the_default_specification_is_the_one_that_was_seen_last(pipeline):
    seen = DATA / f"default_{pipeline or 'both'}.yaml"
    assert default_specification(pipeline) == seen.read_text(encoding="utf-8"), f"write it to {seen} if that is meant"


# --- the recipes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_recipe_loads_where_its_data_is_and_says_how_to_run_it(tmp_path, monkeypatch, caplog, path):
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    block = content[content["autolabel_type"]]
    for key, value in block["data"].items():
        assert not Path(value).is_absolute()
        if key.endswith("jsonl"):
            Path(value).parent.mkdir(parents=True, exist_ok=True)
            Path(value).touch()
        else:
            Path(value).mkdir(parents=True, exist_ok=True)
    settings = load_settings(path)
    assert isinstance(settings, Settings)
    assert caplog.records == []
    first, second, third = path.read_text(encoding="utf-8").splitlines()[:3]
    assert first.startswith(f"# raylabel check configs/{path.name} ")
    assert second.startswith(f"# raylabel estimate configs/{path.name} ")
    assert third.startswith(f"# raylabel run configs/{path.name} ")


def test_there_is_a_recipe_for_each_endpoint_and_pipeline():
    assert {p.stem for p in CONFIGS.glob("*.yaml")} == {
        f"{endpoint}_{pipeline}"
        for endpoint in ("gemini", "openai_nim", "anthropic", "vllm", "demo")
        for pipeline in ("image_grounding", "referring")
    }
