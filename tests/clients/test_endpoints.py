"""From settings to clients: keys, hosts, sampling, box conventions."""

from __future__ import annotations

import ast
import asyncio
import pickle
import subprocess
import sys
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import pytest

import raylabel
from raylabel.clients.endpoints import (
    BACKENDS,
    backend_of,
    build_client,
    check_backend,
    configured_profile,
    members_of,
    resolve_key,
    retry_policy,
    sampling_for,
    with_key,
)
from raylabel.clients.scripted import ScriptedClient
from raylabel.errors import ConfigError
from raylabel.geometry import XYXY_1000, Convention
from raylabel.settings import BoxSettings, GeminiSettings, OpenAISettings, ScriptedSettings, Settings, VlmSettings

LOCAL = "http://127.0.0.1:8000/v1"


# --- the table ------------------------------------------------------------------------------------------------------


def test_each_block_of_a_backend_has_its_class():
    assert tuple(BACKENDS) == VlmSettings.backends()
    for name, backend in BACKENDS.items():
        base = vars(backend)["__orig_bases__"][0]
        assert (backend.name, get_args(base)) == (name, (type(VlmSettings(backend=name).endpoint),))
        assert backend_of(VlmSettings(backend=name)) is backend


def compares_a_backend(node):
    """Whether a comparison names a backend, or compares ``backend`` with anything."""
    if not isinstance(node, ast.Compare):
        return False
    sides = [node.left, *node.comparators]
    texts = {part.value for side in sides for part in ast.walk(side) if isinstance(part, ast.Constant)}
    is_equality = isinstance(node.ops[0], ast.Eq | ast.NotEq)
    asked = is_equality and any(ast.unparse(side).rpartition(".")[2] == "backend" for side in sides)
    return asked or bool(texts & set(BACKENDS))


PRODUCT = Path(raylabel.__file__).parent
FILES = sorted(PRODUCT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PRODUCT).as_posix())
def test_nobody_asks_which_backend_it_is(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [ast.unparse(node) for node in ast.walk(tree) if compares_a_backend(node)] == []


@pytest.mark.parametrize("code", ["vlm.backend == 'x'", "x != 'gemini'", "self.backend in ('openai',)"])
def test_a_question_for_the_backend_is_seen(code):
    assert compares_a_backend(ast.parse(code, mode="eval").body)


# --- keys -----------------------------------------------------------------------------------------------------------


def gemini(**fields):
    return VlmSettings(backend="gemini", gemini=GeminiSettings(**fields))


def openai(**fields):
    return VlmSettings(backend="openai", openai=OpenAISettings(**fields))


@pytest.mark.tao_row("an empty api_key reads the environment; a hosted endpoint may need none; EMPTY is accepted")
@pytest.mark.parametrize(
    ("vlm", "env", "key"),
    [
        pytest.param(gemini(api_key=" k "), {"GOOGLE_API_KEY": "e"}, "k", id="gemini-written"),
        pytest.param(gemini(), {"GOOGLE_API_KEY": "e", "GEMINI_API_KEY": "x"}, "e", id="gemini-environment"),
        pytest.param(gemini(base_url="http://127.0.0.1:8000"), {}, None, id="gemini-proxy-without-key"),
        pytest.param(openai(api_key="k", base_url=LOCAL), {"OPENAI_API_KEY": "e"}, "k", id="written-for-any-host"),
        pytest.param(openai(), {"OPENAI_API_KEY": "e"}, "e", id="openai-default-host"),
        pytest.param(openai(base_url="https://api.openai.com/v1"), {"OPENAI_API_KEY": "e"}, "e", id="openai-host"),
        pytest.param(openai(base_url="https://eu.api.openai.com/v1"), {"OPENAI_API_KEY": "e"}, "e", id="openai-region"),
        pytest.param(openai(base_url=LOCAL), {"OPENAI_API_KEY": "e"}, None, id="other-host-gets-nothing"),
        pytest.param(
            openai(base_url="https://api.openai.com.evil.example/v1"), {"OPENAI_API_KEY": "e"}, None, id="look-alike"
        ),
        pytest.param(
            openai(base_url="https://notapi.openai.com/v1"), {"OPENAI_API_KEY": "e"}, None, id="look-alike-prefix"
        ),
        pytest.param(
            openai(base_url="https://api.openai.com@evil.example/v1"), {"OPENAI_API_KEY": "e"}, None, id="user-part"
        ),
        pytest.param(
            openai(base_url=LOCAL, api_key_env="NIM_KEY"), {"NIM_KEY": "n", "OPENAI_API_KEY": "e"}, "n", id="named"
        ),
        pytest.param(VlmSettings(backend="scripted"), {}, None, id="scripted"),
    ],
)
def test_each_endpoint_gets_its_own_key(vlm, env, key):
    assert resolve_key(vlm, env) == key


@pytest.mark.parametrize(
    ("vlm", "env", "part"),
    [
        pytest.param(gemini(), {"GEMINI_API_KEY": "x"}, "GOOGLE_API_KEY", id="gemini-none"),
        pytest.param(openai(), {}, "OPENAI_API_KEY", id="openai-none"),
        pytest.param(
            openai(base_url="https://api.openai.com/v1"), {"OPENAI_API_KEY": " "}, "OPENAI_API_KEY", id="blank"
        ),
        pytest.param(
            openai(base_url=LOCAL, api_key_env="NIM_KEY"), {"OPENAI_API_KEY": "e"}, "NIM_KEY", id="named-and-missing"
        ),
        pytest.param(gemini(api_key="a\nb"), {}, "vlm.gemini.api_key", id="line-end"),
        pytest.param(openai(), {"OPENAI_API_KEY": "schlüssel"}, "OPENAI_API_KEY", id="non-ascii"),
    ],
)
def test_a_missing_or_broken_key_is_one_sentence_that_names_it(vlm, env, part):
    with pytest.raises(ConfigError) as caught:
        resolve_key(vlm, env)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "schlüssel" not in str(caught.value)


def test_clients_are_built_from_pickled_settings(tmp_path):
    script = tmp_path / "a.jsonl"
    script.write_text('{"contains": "a", "text": "b"}')
    for vlm in (
        openai(base_url=LOCAL),
        gemini(api_key="k"),
        VlmSettings(backend="scripted", scripted=ScriptedSettings(answers=str(script))),
    ):
        client = build_client(pickle.loads(pickle.dumps(vlm)), {})
        asyncio.run(client.close())
    assert isinstance(client, ScriptedClient)


@pytest.mark.parametrize(
    ("backend", "sdk"), [("openai", "openai"), ("gemini", "google.genai"), ("anthropic", "anthropic")]
)
def test_an_sdk_is_imported_when_its_client_is_built(backend, sdk):
    """Not for settings, keys and names of endpoints, and never that of another backend."""
    code = f"""
import sys
from raylabel.clients.endpoints import build_client, check_backend, endpoint_of, with_key
from raylabel.settings import VlmSettings
block = {{"api_key": "k", "base_url": "http://127.0.0.1:1/v1"}}
vlm = VlmSettings.model_validate({{"backend": {backend!r}, {backend!r}: block}})
check_backend(vlm, {{}}), endpoint_of(vlm), with_key(vlm, {{}})
loaded = lambda: {{"openai", "google.genai", "anthropic", "aiohttp"}} & set(sys.modules)
assert loaded() == set(), loaded()
build_client(vlm, {{}})
assert loaded() == {{{sdk!r}, "aiohttp"}}, loaded()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sampling_of_gemini_comes_from_its_block():
    settings = Settings()
    asked = {"thinking_budget": 128, "media_resolution": "LOW"}
    settings.image_grounding.vlm.gemini = GeminiSettings.model_validate(asked)
    sampling = sampling_for(settings, "grounding")
    assert sampling.model == "gemini-3.1-flash-lite-preview"
    assert (sampling.temperature, sampling.max_tokens, sampling.timeout_s) == (0.3, 8192, 120.0)
    assert (sampling.thinking_budget, sampling.media_resolution) == (128, "MEDIA_RESOLUTION_LOW")


def test_a_step_overrides_its_pipelines_sampling_field_by_field():
    settings = Settings(autolabel_type="image_referring_expression")
    vlm = settings.image_referring_expression.vlm
    vlm.backend = "openai"
    vlm.openai = OpenAISettings(base_url=LOCAL, model_name="m", extra_body={"top_k": 1, "seed": 2}, thinking_budget=9)
    step = settings.steps.double_check
    step.model, step.temperature, step.max_tokens, step.thinking_budget = "big", 0.0, 99, 0
    step.extra_body = {"seed": 3, "min_p": 0.1}
    sampling = sampling_for(settings, "double_check")
    assert (sampling.model, sampling.temperature, sampling.max_tokens, sampling.thinking_budget) == ("big", 0.0, 99, 0)
    assert sampling.extra_body == {"top_k": 1, "seed": 3, "min_p": 0.1}
    other = sampling_for(settings, "image_caption")
    assert (other.model, other.temperature, other.extra_body) == ("m", 0.7, {"top_k": 1, "seed": 2})
    assert other.media_resolution is None


def test_a_thinking_budget_that_openai_cannot_take_is_said_before_the_run():
    settings = Settings()
    settings.image_grounding.vlm = openai(model_name="m", thinking_budget=100)
    with pytest.raises(ConfigError, match="reasoning_effort"):
        sampling_for(settings, "grounding")


def test_the_retry_policy_is_that_of_the_settings():
    settings = Settings()
    settings.retry.attempts, settings.retry.backoff, settings.retry.max_backoff = 3, 0.5, 9.0
    policy = retry_policy(settings)
    assert (policy.attempts, policy.backoff_s, policy.max_backoff_s) == (3, 0.5, 9.0)


@pytest.mark.parametrize("backend", ["gemini", "openai"])
def test_nothing_is_said_of_boxes_unless_it_is_written(backend):
    assert configured_profile(VlmSettings(backend=backend), "gemini-2.5-flash") is None


def test_a_script_answers_as_most_open_models_do():
    profile = configured_profile(VlmSettings(backend="scripted"), "scripted")
    assert profile is not None
    assert profile.convention == XYXY_1000


@pytest.mark.parametrize(
    ("vlm", "model", "convention"),
    [
        (VlmSettings(boxes=BoxSettings(order="xyxy", scale=999.0)), "gemini-2.5-flash", Convention("xyxy", 999.0)),
        (VlmSettings(boxes=BoxSettings(order="yxyx", scale=1)), "anything", Convention("yxyx", 1.0)),
        (VlmSettings(boxes=BoxSettings(order="auto", scale=500)), "gemini-2.5-flash", Convention("yxyx", 500.0)),
        (VlmSettings(boxes=BoxSettings(order="xywh", scale="auto")), "anything", Convention("xywh", 1000.0)),
        (VlmSettings(boxes=BoxSettings(order="auto", scale="pixels")), "anything", Convention("xyxy", None)),
        (VlmSettings(profile="gemini"), "my-alias", Convention("yxyx", 1000.0)),
        (
            VlmSettings(profile="gemini", boxes=BoxSettings(order="xyxy", scale="auto")),
            "my-alias",
            Convention("xyxy", 1000.0),
        ),
    ],
)
def test_what_is_written_of_boxes_wins_over_the_table(vlm, model, convention):
    profile = configured_profile(vlm, model)
    assert profile is not None
    assert profile.convention == convention


def test_pixels_of_a_resizing_family_stay_those_of_its_resize():
    profile = configured_profile(VlmSettings(boxes=BoxSettings(order="xyxy", scale="pixels")), "Qwen2.5-VL-7B")
    assert profile is not None
    assert profile.resize.multiple == 28


def test_each_of_several_endpoints_has_the_key_that_is_meant_for_it():
    entries = [
        {"url": LOCAL, "api_key_env": "FIRST"},
        {"url": "http://other:8000/v1", "api_key": "second-key"},
        "http://third:8000/v1",
        {"url": "http://other:8000/v2", "weight": 2, "max_in_flight": 5},
    ]
    vlm = with_key(openai(base_url=entries, api_key="block-key"), {"FIRST": "first-key", "OPENAI_API_KEY": "e"})
    members = members_of(vlm)
    assert [member.name for member in members] == [
        urlsplit(LOCAL).netloc,
        "other:8000/v1",
        "third:8000",
        "other:8000/v2",
    ]
    keys = [resolve_key(member.vlm, {}) for member in members]
    assert keys == ["first-key", "second-key", "block-key", "block-key"]
    assert (members[3].weight, members[3].max_in_flight) == (2, 5)
    assert not any(str(key) in f"{vlm} {members}" for key in keys)


def test_a_key_that_is_missing_for_one_of_several_endpoints_is_told_before_anything_is_asked():
    entries = [LOCAL, {"url": "http://other:8000/v1", "api_key_env": "OTHER_KEY"}]
    with pytest.raises(ConfigError, match="OTHER_KEY is not set"):
        check_backend(openai(base_url=entries), {})
