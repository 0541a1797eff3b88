"""Every mistake in a specification is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from raylabel.cli import main
from raylabel.errors import ConfigError
from raylabel.settings import Settings, load_settings
from raylabel.settings.block import members
from tests.settings.specifying import GROUNDING, REFERRING, sentence, write

ROWS = json.loads((Path(__file__).parents[1] / "data" / "settings" / "wrong_configurations.json").read_text("utf-8"))
"""Wrong configurations: a command, the file it names where that is not one of ``data``, what was said to it before
settings were pydantic models, and what is said now."""


@pytest.mark.tao_row("base_url without /chat/completions")
@pytest.mark.tao_row("a wrong key, type or value is an error with the nearest valid one, before anything starts")
@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_a_mistake_is_one_sentence_with_key_value_and_what_is_allowed(data, monkeypatch, capsys, row):
    for name in ("GOOGLE_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    if "file" in row:
        write(data, row["file"], row["name"])
    assert main(row["command"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.replace(str(data), "DIR") == f"raylabel: {row['now']}\n"


def test_of_many_keys_with_a_name_the_one_that_counts_in_this_run_is_proposed(data):
    text = sentence(None, *REFERRING, "max_workers=2")
    assert '"image_referring_expression.workflow.max_workers"' in text
    text = sentence(None, *REFERRING, "image_referring_expression.vlm.backend=openai", "temperature=0")
    assert '"image_referring_expression.vlm.openai.temperature"' in text


_TEXTS = [
    "1",
    "-1",
    "[",
    "{",
    "'",
    "a: b",
    "${x}",
    "${",
    "\\${a}",
    "${.x}",
    "*",
    "!x",
    "\x00",
    "a\nb",
    "\ud800",
    "http://[::1",
]


@hypothesis.settings(max_examples=80, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(
    key=st.sampled_from(sorted(path for path, _ in members(Settings))),
    value=st.one_of(st.sampled_from(_TEXTS), st.text(max_size=8)),
    below=st.booleans(),
)
def test_whatever_is_assigned_gives_settings_or_one_sentence(data, key, value, below):
    try:
        load_settings(None, [*GROUNDING, f"{key}{'.x' if below else ''}={value}"])
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017


@hypothesis.settings(max_examples=100, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(
    parts=st.lists(
        st.one_of(
            st.sampled_from(
                ["ray", "actors", ": ", ":", "\n", "\n  ", "\t", "- ", '"', "@", "!", "&a", "*a", "#", "=", "|"]
            ),
            st.sampled_from([*_TEXTS, "results_dir: out\n", "image_grounding:\n  data:\n", "    input_jsonl: x\n"]),
            st.text(max_size=3),
        ),
        max_size=12,
    )
)
def test_whatever_a_file_holds_gives_settings_or_one_sentence(data, parts):
    (data / "spec.yaml").write_bytes("".join(parts).encode("utf-8", "surrogatepass"))
    try:
        load_settings(data / "spec.yaml", GROUNDING)
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_a_file_that_cannot_be_read_is_one_sentence(data):
    write(data, "ray: {}", "specs.yaml")
    (data / "bytes.yaml").write_bytes(b"a: \xff\xfe")
    assert '"specs.yaml"' in sentence(Path("spec.yaml"))
    assert "folder" in sentence(data / "images")
    assert "UTF-8" in sentence(data / "bytes.yaml")


def test_a_file_with_a_byte_order_mark_is_read(data):
    (data / "spec.yaml").write_bytes(b"\xef\xbb\xbfray: {actors: 2}\n")
    assert load_settings(data / "spec.yaml", GROUNDING).ray.actors == 2


def test_two_prompts_for_one_step_are_refused(data):
    (data / "prompt.txt").write_text("$phrases")
    text = sentence(None, *GROUNDING, "steps.grounding.prompt=$phrases", "steps.grounding.prompt_file=prompt.txt")
    assert "give one of the two" in text
