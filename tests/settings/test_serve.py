"""The block ``serve``: what can be set, what is refused in which words, and what is shown of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raylabel.blocks import documentation
from raylabel.settings import ServeSettings, Settings, load_settings, mask_of, redacted
from tests.settings.specifying import GROUNDING, SECRET, sentence, write

VLM = "image_grounding.vlm"
SERVED = [*GROUNDING, f"{VLM}.backend=openai", "serve.model=org/model"]


@pytest.fixture(autouse=True)
def _input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "captions.jsonl").touch()


def test_nothing_is_served_unless_a_model_is_named() -> None:
    assert not Settings().serve.is_used


def test_servers_of_ones_own_need_neither_address_nor_name() -> None:
    settings = load_settings(None, SERVED)
    assert settings.image_grounding.vlm.openai.model_name == "org/model" == settings.serve.served_name


@pytest.mark.parametrize("key", [f"{VLM}.openai.model_name", "serve.served_model_name"])
def test_a_short_name_is_used_on_both_sides(key: str) -> None:
    settings = load_settings(None, [*SERVED, f"{key}=short"])
    assert settings.image_grounding.vlm.openai.model_name == "short" == settings.serve.served_name


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param("[--max-num-seqs, 64, --seed, 0]", ["--max-num-seqs", "64", "--seed", "0"], id="list"),
        pytest.param("[--gpu-memory-utilization, 0.8]", ["--gpu-memory-utilization", "0.8"], id="fraction"),
        pytest.param('[--a, {"image": 2}]', ["--a", '{"image": 2}'], id="json-from-a-block"),
        pytest.param('"--dtype half --x \'{\\"a\\": 1}\'"', ["--dtype", "half", "--x", '{"a": 1}'], id="one-text"),
    ],
)
def test_flags_are_a_list_or_a_line(given: str, words: list[str], tmp_path: Path) -> None:
    path = write(tmp_path, f"serve:\n  args: {given}\n")
    assert load_settings(path, SERVED).serve.args == words
    assert load_settings(None, [*SERVED, f"serve.args={given}"]).serve.args == words


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        pytest.param(
            ["serve.engine=vlm"],
            'serve.engine: found "vlm", allowed: vllm, sglang, command. Did you mean "vllm"?',
            id="e",
        ),
        pytest.param(
            ["serve.replicas=0"],
            "serve.replicas: found 0, allowed: auto, or a whole number of 1 or more.",
            id="replicas",
        ),
        pytest.param(
            ["serve.replicas=atuo"],
            'serve.replicas: found "atuo", allowed: auto, or a whole number of 1 or more. Did you mean "auto"?',
            id="auto-misspelt",
        ),
        pytest.param(
            ["serve.port=70000"],
            "serve.port: found 70000, allowed: auto, or a whole number from 1 to 65535.",
            id="port",
        ),
        pytest.param(
            ["serve.args=[--port, 8000]"],
            "serve.args: found --port, which raylabel writes itself; set serve.port instead.",
            id="managed-flag",
        ),
        pytest.param(
            ["serve.args=--host=0.0.0.0"], "serve.args: found --host, which raylabel writes itself.", id="managed-host"
        ),
        pytest.param(
            ["serve.args=--x '"],
            "serve.args: allowed: words as a shell reads them (No closing quotation).",
            id="quotes",
        ),
        pytest.param(
            ["serve.engine=command"],
            "serve.command: required with engine command; give the line that starts the server.",
            id="no-command",
        ),
        pytest.param(
            ["serve.engine=command", "serve.command=python serve.py"],
            "serve.command: found no {port} in it; write it where the port belongs, or set serve.port.",
            id="no-port",
        ),
        pytest.param(
            ["serve.command=python serve.py {port}"],
            "serve.command: found together with engine vllm; write serve.engine: command.",
            id="command-and-engine",
        ),
        pytest.param(
            ["serve.python=/no/such/venv"],
            'serve.python: no file "/no/such/venv".',
            id="python",
        ),
        pytest.param(
            ["serve.env={1X: a}"],
            'serve.env: allowed: names of environment variables, which "1X" is not.',
            id="variable",
        ),
        pytest.param(
            [f"{VLM}.backend=gemini"],
            'image_grounding.vlm.backend: found "gemini", allowed with serve.model: openai, which the servers speak.',
            id="backend",
        ),
        pytest.param(
            [f"{VLM}.openai.base_url=http://localhost:8000/v1"],
            "image_grounding.vlm.openai.base_url: found together with serve.model; leave out the address, or write "
            "serve.model= to start no server.",
            id="address",
        ),
        pytest.param(
            [f"{VLM}.openai.model_name=a", "serve.served_model_name=b"],
            'image_grounding.vlm.openai.model_name: found "a", but serve.served_model_name is "b"; leave one of '
            "them out.",
            id="two-names",
        ),
        pytest.param(
            ["serve.model=", "serve.command=python {port}"],
            "serve.model: required with serve.command; give the name that the server answers to.",
            id="command-without-model",
        ),
    ],
)
def test_a_mistake_is_told_in_one_sentence(overrides: list[str], said: str) -> None:
    assert sentence(None, *SERVED, *overrides) == said


def test_keys_of_servers_are_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIDDEN", "abc")
    settings = load_settings(
        None,
        [
            *SERVED,
            f"serve.args=[--api-key, {SECRET}, --hf-token=hf-{SECRET}, --tokenizer, shown]",
            f"serve.env={{HF_TOKEN: {SECRET}, HF_HOME: /models, OTHER: '${{oc.env:HIDDEN}}'}}",
        ],
    )
    shown = redacted(settings)["serve"]
    assert shown["args"] == ["--api-key", "***", "--hf-token=***", "--tokenizer", "shown"]
    assert shown["env"] == {"HF_TOKEN": "***", "HF_HOME": "/models", "OTHER": "***"}
    assert SECRET not in json.dumps(redacted(settings))
    assert mask_of(settings)(f"said {SECRET}") == "said ***"
    assert settings.serve.api_key == SECRET


@pytest.mark.parametrize(
    "given",
    [
        f"serve.env={{A: [{SECRET}]}}",
        f"serve.env={{1: {SECRET}}}",
        f"serve.args=[--api-key, {SECRET}, [x]]",
        f"serve.args=[--api-key, {SECRET}",
        f'serve.args="--api-key {SECRET} \'"',
        f"serve.command=[--api-key {SECRET}: x: y]",
    ],
)
def test_a_mistake_that_may_hold_a_key_shows_no_value(given: str) -> None:
    assert SECRET not in sentence(None, *SERVED, given)


@pytest.mark.parametrize("name", ServeSettings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    assert documentation(ServeSettings, name)
