"""Settings that nobody should write: a sentence for each, no traceback, no secret, nothing that waits."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

import pytest

from raylabel.blocks import inner_block, members
from raylabel.cli import main
from raylabel.errors import ConfigError, printable
from raylabel.settings import load_settings, mask_of, redacted
from raylabel.settings.root import Settings
from tests.settings.specifying import GROUNDING, SECRET, sentence, write

MANY = "9" * 10_000


@pytest.mark.parametrize("number", [MANY, f"-{MANY}", f"0x{'F' * 10_000}", "1e400", f"1.{MANY}"])
@pytest.mark.parametrize(
    "key",
    ["image_grounding.workflow.max_workers", "image_grounding.vlm.openai.temperature", "limits.max_in_flight",
     "image_grounding.vlm.openai.extra_body.seed", "steps.grounding.max_tokens", "no_such_key"],
)  # fmt: skip
def test_a_number_of_any_length_is_a_setting_or_gets_a_sentence(data, key, number):
    for path, overrides in ((None, [*GROUNDING, f"{key}={number}"]), (_nested(data, key, number), GROUNDING)):
        said = said_of(path, *overrides)
        assert len(said) < 1000
        assert "\n" not in said


def said_of(path: Path | None, *overrides: str) -> str:
    """The sentence that a mistake gets; nothing where there is none."""
    try:
        load_settings(path, overrides)
    except ConfigError as error:
        return str(error)
    return ""


def _nested(folder: Path, key: str, value: str) -> Path:
    *blocks, name = key.split(".")
    lines = [f"{'  ' * depth}{block}:" for depth, block in enumerate(blocks)]
    return write(folder, "\n".join([*lines, f"{'  ' * len(blocks)}{name}: {value}"]))


def test_a_pilot_of_very_many_records_gets_a_sentence(data, capsys):
    assert main(["run", "grounding.yaml", "--limit", MANY]) == 2
    assert len(capsys.readouterr().err) < 500


@pytest.mark.parametrize("key", ["results_dir", "image_grounding.data.input_jsonl", "image_grounding.data.image_root",
                                 "steps.grounding.prompt_file", "image_grounding.vlm.scripted.answers"])  # fmt: skip
def test_a_zero_byte_in_a_path_gets_a_sentence(data, key):
    assert "zero byte" in sentence(None, *GROUNDING, f"{key}=a\0b")


@pytest.fixture
def odd_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        (tmp_path / "link").symlink_to("/dev/zero")
        yield [str(tmp_path / "pipe"), str(tmp_path / "socket"), str(tmp_path / "link"), "/dev/zero"]


@pytest.mark.parametrize("key", ["image_grounding.data.input_jsonl", "steps.grounding.prompt_file"])
def test_a_file_that_has_no_end_is_not_read(data, odd_files, key):
    for path in odd_files:
        said = sentence(None, *GROUNDING, f"{key}={path}")
        assert said == f'{key}: "{path}" is a pipe, a socket or a device, expected a regular file.'


def test_a_specification_that_has_no_end_is_not_read_to_it(data):
    assert "longer than 20 MB" in sentence(Path("/dev/zero"))


def test_answers_are_read_from_regular_files(odd_files, capsys):
    for path in odd_files:
        assert main(["read-answers", path]) == 2
        assert path in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [f"me:{SECRET}@host/v1", f"{SECRET}@host:8000", f"host/v1?key={SECRET}", f"//me:{SECRET}@host", f"ftp://{SECRET}@h",
     f"http://me:ab/{SECRET}@host/v1", f"http//me:{SECRET}@host"],
)  # fmt: skip
def test_an_address_that_is_none_shows_no_secret(data, capsys, url):
    key = "image_grounding.vlm.openai.base_url"
    assert SECRET not in sentence(None, *GROUNDING, f"{key}={url}")
    main(["run", "grounding.yaml", f"{key}={url}"])
    assert SECRET not in capsys.readouterr().err


def test_what_the_environment_gives_is_no_longer_seen(data, monkeypatch):
    monkeypatch.setenv("TENANT", SECRET)
    monkeypatch.setenv("PIN", "7731")
    monkeypatch.setenv("GATEWAY", "http://gateway:8000/t/tok-4711-abc/v1")
    monkeypatch.setenv("SIZE", "7b")
    path = write(
        data,
        """
image_grounding:
  data: {input_jsonl: captions.jsonl}
  vlm:
    backend: openai
    openai:
      base_url: ${oc.env:GATEWAY}
      model_name: qwen-${oc.env:SIZE}
      extra_body: {tenant: "${oc.env:TENANT}", pin: "${oc.decode:${oc.env:PIN}}", also: ["a ${oc.env:TENANT}"],
                   by: 7731,
                   again: "${results_dir}", size: "${image_grounding.vlm.openai.max_tokens}"}
""",
    )
    settings = load_settings(path, ["results_dir=out", f"steps.grounding.model=for-{SECRET}"])
    shown = redacted(settings)["image_grounding"]["vlm"]["openai"]
    assert SECRET not in str(redacted(settings))
    assert shown["extra_body"] == {
        "tenant": "***", "pin": "***", "also": ["***"], "by": "***", "again": "out", "size": 4096,
    }  # fmt: skip
    assert shown["base_url"] == "http://gateway:8000/t/***/v1"
    assert shown["model_name"] == "qwen-7b"
    assert mask_of(settings.pipeline.vlm)(f"HTTP 400: {SECRET} is unknown") == "HTTP 400: *** is unknown"
    assert settings.pipeline.vlm.openai.extra_body["tenant"] == SECRET


ODD = (
    MANY, "\0", "\x1b[31m", "[[[[", "{a: {b: [", "null", "-1", "1e309", ".nan", "${", "${oc.env:NO_SUCH}", "\ud83d",
    "*x", "!!python/object:os.system", "2024-13-45", "[1, [2]]", "{}", "~", "'", "12:99:99", "a" * 100_000, "\u202e",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
def test_no_value_of_a_setting_is_an_error_of_ours(data, seed):
    rng = random.Random(seed)
    keys = [path for path, field in members(Settings) if inner_block(field) is None]
    for _ in range(150):
        chosen = [f"{rng.choice(keys)}={rng.choice(ODD)}" for _ in range(rng.randint(1, 2))]
        assert len(printable(said_of(None, *GROUNDING, *chosen))) < 2500, chosen
