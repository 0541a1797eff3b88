"""A block declares all that is known of its keys, wherever it stands."""

from __future__ import annotations

import pickle
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from raylabel.blocks import Block, Positive, Secret, block, block_of, documentation, members
from raylabel.settings import BackendSettings, Settings, StepBlock, StepSettings, VlmSettings


class TelegraphSettings(BackendSettings):
    """Questions by wire; used where backend is telegraph."""

    operator_key: Secret = ""
    """Known to the operator."""
    code: Literal["morse", "baudot"] = "morse"
    """morse | baudot."""
    words_a_minute: Annotated[Positive, Field(le=40)] = 20
    """1 to 40."""


class WithTelegraph(VlmSettings):
    telegraph: TelegraphSettings = block()


class CountingSettings(StepSettings):
    """What counting does differently."""

    up_to: Positive = 10
    """Objects of one kind."""


Steps = block_of("Steps", "All steps.", __name__, {"counting": CountingSettings, "grounding": StepSettings})


def test_a_backend_is_a_block_and_a_line():
    vlm = WithTelegraph.model_validate({"backend": "telegraph", "telegraph": {"code": "baudot"}})
    assert WithTelegraph.backends() == ("gemini", "openai", "anthropic", "scripted", "telegraph")
    assert vlm.endpoint == TelegraphSettings(code="baudot")
    with pytest.raises(ValidationError, match="gemini, openai, anthropic, scripted"):
        VlmSettings(backend="telegraph")


def test_a_step_adds_settings_of_its_own_to_those_of_all_steps():
    assert [path for path, _ in members(Steps)][:2] == ["counting", "counting.model"]
    assert dict(members(Steps))["counting.up_to"].default == 10
    assert pickle.loads(pickle.dumps(Steps())) == Steps()
    assert list(StepBlock.model_fields) == [
        *("expression_extraction", "grounding"),
        *("region_expr", "image_caption", "grounding_expr", "double_check"),
    ]


@pytest.mark.parametrize(
    ("owner", "name", "text"),
    [
        (TelegraphSettings, "", "Questions by wire; used where backend is telegraph."),
        (TelegraphSettings, "code", "morse | baudot."),
        (CountingSettings, "up_to", "Objects of one kind."),
        (CountingSettings, "workers", "Requests in flight of this step, over the whole cluster."),
        (Steps, "", "All steps."),
    ],
)
def test_what_stands_under_a_field_documents_it(owner: type[Block], name: str, text: str):
    assert documentation(owner, name) == text


@pytest.mark.parametrize(("key", "value"), [("code", "hand"), ("words_a_minute", 41), ("cod", "morse")])
def test_a_rule_holds_for_the_constructor_and_on_assignment(key: str, value: Any):
    with pytest.raises(ValidationError):
        TelegraphSettings(**{key: value})
    with pytest.raises((ValidationError, ValueError)):
        setattr(TelegraphSettings(), key, value)


def test_settings_are_copied_with_changes_and_travel():
    settings = Settings(results_dir="out")
    assert settings.model_copy(update={"results_dir": "in"}) == Settings(results_dir="in")
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert settings.image_grounding.workflow.steps == ["expression_extraction", "grounding"]


def test_a_key_is_not_in_the_text_of_its_block():
    assert "sesame" not in repr(TelegraphSettings(operator_key="open-sesame"))
