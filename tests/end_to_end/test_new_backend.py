"""A backend is a block of settings, a class and a row in each of two tables; this file adds one, and runs with it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest
from PIL import Image
from pydantic import ValidationError

from raylabel.blocks import Positive, Secret, block
from raylabel.clients import endpoints
from raylabel.clients.backend import Backend
from raylabel.clients.base import Client, Finish, Reply, Request, Sampling, Usage
from raylabel.clients.endpoints import BACKENDS
from raylabel.settings import BackendSettings, GroundingPipeline, Settings, VlmSettings
from raylabel.settings.default_file import default_specification
from tests.end_to_end.running import label

CAPTIONS = ["a red car", "a red door"]

# --- settings/backends/echo.py --------------------------------------------------------------------------------------


class EchoSettings(BackendSettings):
    """A model that finds everything everywhere; used where backend is echo."""

    api_key: Secret = ""
    """Empty: read ECHO_KEY."""
    side: Positive = 500
    """Of the boxes, in thousandths of the picture."""


# --- clients/echo.py ------------------------------------------------------------------------------------------------


class EchoClient(Backend[EchoSettings]):
    """Says the caption again, and that every phrase is in the upper left corner."""

    name = "echo"
    is_model = False
    opened: list[str | None] = []  # noqa: RUF012 - the keys of all clients, for the test

    def __init__(self, key: str | None, side: int) -> None:
        self.opened.append(key)
        self._side = side

    @classmethod
    def from_settings(cls, settings: EchoSettings, env: Mapping[str, str]) -> Client:
        return cls(cls.find_key(settings, env), settings.side)

    @classmethod
    def sampling_of(cls, settings: EchoSettings) -> Sampling:
        return Sampling("echo-1", temperature=None, max_tokens=100, timeout_s=1.0)

    @classmethod
    def find_key(cls, settings: EchoSettings, env: Mapping[str, str]) -> str | None:
        return settings.api_key or env.get("ECHO_KEY")

    @classmethod
    def with_key(cls, settings: EchoSettings, key: str | None) -> EchoSettings:
        return settings.model_copy(update={"api_key": key or ""})

    async def ask(self, request: Request) -> Reply:
        caption = re.search(r'Caption: "(.*)"', request.question)
        if caption is not None:
            said: object = {"cleaned_caption": caption[1], "expressions": [{"text": caption[1]}]}
        else:
            said = [{"id": 1, "bbox_2d": [0, 0, self._side, self._side]}]
        return Reply(json.dumps(said), Finish.STOP, Usage(), request.sampling.model, 0.0, "stop")

    async def check(self) -> None:
        """There is nobody to be missed."""

    async def served_names(self, model: str) -> tuple[str, ...]:
        return (model,)

    async def close(self) -> None:
        """Nothing to give back."""


# --- the rows: in VlmSettings, and in the table of clients/endpoints.py ---------------------------------------------


class VlmWithEcho(VlmSettings):
    echo: EchoSettings = block()


class PipelineWithEcho(GroundingPipeline):
    vlm: VlmWithEcho = block()


class SettingsWithEcho(Settings):
    image_grounding: PipelineWithEcho = block()


@pytest.fixture(autouse=True)
def _row(monkeypatch):
    monkeypatch.setitem(BACKENDS, EchoClient.name, EchoClient)


# --- and it runs ----------------------------------------------------------------------------------------------------


def test_a_whole_run_with_a_backend_that_nobody_else_knows(tmp_path, monkeypatch):
    monkeypatch.setenv("ECHO_KEY", "sesame-open-1234")
    Image.new("RGB", (60, 40), (200, 30, 30)).save(tmp_path / "plain.png")
    lines = [{"image_path": "plain.png", "caption": caption} for caption in CAPTIONS]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = SettingsWithEcho.model_validate(
        {
            "results_dir": str(tmp_path / "results"),
            "image_grounding": {
                "vlm": {"backend": "echo", "echo": {"side": 250}, "calibrate": "never"},
                "data": {"input_jsonl": str(tmp_path / "in.jsonl"), "image_root": str(tmp_path)},
            },
        }
    )
    label(settings)
    texts = (tmp_path / "results" / "step_1_grounding" / "annotations.jsonl").read_text().splitlines()
    records = [json.loads(text) for text in texts]
    found = [expression for record in records for expression in record["expressions"]]
    assert [expression["text"] for expression in found] == CAPTIONS
    assert [instance["bbox"] for expression in found for instance in expression["instances"]] == [[0, 0, 15, 10]] * 2
    assert set(EchoClient.opened) == {"sesame-open-1234"}
    manifest = (tmp_path / "results" / "run.json").read_text()
    assert "sesame" not in manifest
    assert json.loads(manifest)["configuration"]["image_grounding"]["vlm"]["echo"]["side"] == 250


def test_its_block_is_a_setting_like_any_other():
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        EchoSettings(side=0)
    with pytest.raises(ValidationError, match="gemini, openai, anthropic, scripted, echo"):
        VlmWithEcho(backend="ehco")
    assert endpoints.endpoint_of(VlmWithEcho(backend="echo")) == "echo"
    assert "echo" not in default_specification(), "which is that of the settings without it"
