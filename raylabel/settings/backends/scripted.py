"""The block ``vlm.scripted``."""

from __future__ import annotations

from raylabel.blocks import PathText
from raylabel.settings.backends import BackendSettings
from raylabel.settings.files import need_file


class ScriptedSettings(BackendSettings):
    """A stand-in that answers from a file, for tests."""

    answers: PathText = ""
    """JSON lines {"contains": "...", "text": "..."}: the first line whose text occurs in the question answers it."""

    def check_needs(self, where: str, names_a_model: bool) -> None:
        need_file(f"{where}.answers", self.answers, "required with backend scripted")
