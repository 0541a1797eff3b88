"""No secret is shown."""

from __future__ import annotations

import json

import pytest

from raylabel.cli import main
from raylabel.settings import load_settings, redacted
from tests.settings.specifying import GROUNDING, SECRET, sentence, write


def test_no_secret_survives_redaction(data):
    settings = load_settings(
        None,
        [
            *GROUNDING,
            f"image_grounding.vlm.gemini.api_key={SECRET}",
            f"image_grounding.vlm.gemini.model=tuned-{SECRET}",
            "image_grounding.vlm.openai.api_key=EMPTY",
            "image_grounding.vlm.openai.api_key_env=MY_KEY",
            f"image_grounding.vlm.openai.base_url=http://me:{SECRET}@host:8000/v1?access_token={SECRET}&n=1",
            f"image_grounding.vlm.openai.extra_body={{headers: {{Authorization: Bearer {SECRET}, X-Trace: on}}}}",
            "image_grounding.vlm.openai.extra_body.seed=7",
            f"image_grounding.vlm.openai.extra_body.passwords=[{SECRET}]",
            f"image_grounding.vlm.openai.extra_body.hook=see https://a:{SECRET}@b/c",
            "image_grounding.vlm.openai.extra_body.max_tokens=5",
            f"steps.grounding.extra_body.client_secret={SECRET}",
        ],
    )
    plain = redacted(settings)
    assert SECRET not in json.dumps(plain)
    vlm = plain["image_grounding"]["vlm"]
    assert vlm["gemini"]["api_key"] == "***"
    assert vlm["openai"]["api_key"] == "***"
    assert vlm["openai"]["api_key_env"] == "MY_KEY"
    assert vlm["openai"]["base_url"] == "http://***@host:8000/v1?access_token=***&n=1"
    assert vlm["openai"]["extra_body"] == {
        "headers": {"Authorization": "***", "X-Trace": True},
        "seed": 7,
        "passwords": "***",
        "hook": "see https://***@b/c",
        "max_tokens": 5,
    }
    assert plain["image_referring_expression"]["vlm"]["gemini"]["api_key"] == "", "not set is no secret"
    assert settings.image_grounding.vlm.gemini.api_key == SECRET, "the settings themselves are untouched"


def test_redaction_changes_nothing_where_there_is_no_secret(data):
    settings = load_settings(None, [*GROUNDING, "image_grounding.vlm.openai.base_url=http://h:1/v1?a=b"])
    assert redacted(settings) == settings.model_dump()


@pytest.mark.parametrize(
    "override",
    [
        pytest.param(f"image_grounding.vlm.openai.api_ky={SECRET}", id="key-misspelled"),
        pytest.param(f"image_grounding.vlm.openai.api_key:{SECRET}", id="no-equals-sign"),
        pytest.param(f"image_grounding.vlm.openai.api_key_env={SECRET}", id="key-for-a-name"),
        pytest.param(f"image_grounding.vlm.openai.base_url=ftp://me:{SECRET}@h/v1", id="url-without-http"),
        pytest.param(f"image_grounding.vlm.openai.extra_body={{token: {SECRET}", id="body-cut-off"),
    ],
)
def test_a_message_never_shows_a_key(data, override):
    assert SECRET not in sentence(None, *GROUNDING, override)


KEY = "image_grounding.vlm.openai.api_key"


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([KEY, SECRET], id="two-words"),
        pytest.param([KEY, "=", SECRET], id="three-words"),
        pytest.param([KEY, f"={SECRET}"], id="space-before"),
        pytest.param([f"{KEY}=", SECRET], id="space-behind"),
        pytest.param([f"{KEY}:", SECRET], id="colon"),
        pytest.param([f"+{KEY}={SECRET}"], id="plus"),
        pytest.param([f"+{KEY}:{SECRET}"], id="plus-and-colon"),
        pytest.param([f"~{KEY}={SECRET}"], id="tilde"),
        pytest.param([f"--{KEY}", SECRET], id="dashes"),
        pytest.param([f"--{KEY}={SECRET}"], id="dashes-and-equals"),
        pytest.param([f"--api_key={SECRET}"], id="dashes-and-last-name"),
    ],
)
def test_a_message_about_how_to_write_a_key_never_shows_it(data, capsys, words):
    assert main(["run", "grounding.yaml", *words]) == 2
    assert SECRET not in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(f"image_grounding: {{vlm: {{openai: {{api_key: {SECRET}", id="cut-off"),
        pytest.param(f"image_grounding: {{vlm: {{openai: {{api_key: [{SECRET}]}}}}}}", id="list"),
        pytest.param(f"image_grounding: {{vlm: {{openai: {{api_key: {{{SECRET}: 1}}}}}}}}", id="block"),
        pytest.param(f"a: '{SECRET}\nb: c", id="quote"),
        pytest.param(f'api_key = "{SECRET}"\n', id="toml"),
        pytest.param(f"api_key {SECRET}\nb: c\n", id="no-colon"),
        pytest.param(f"a: b\napi_key {SECRET}\nb: c\n", id="no-colon-below"),
    ],
)
def test_a_message_about_a_file_never_shows_a_key(data, content):
    assert SECRET not in sentence(write(data, content), *GROUNDING)
