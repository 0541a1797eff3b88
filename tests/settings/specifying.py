"""What the tests of specifications give, and the sentence that a mistake gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from raylabel.errors import ConfigError
from raylabel.settings import load_settings

SECRET = "sk-very-secret-0123456789"
GROUNDING = ["results_dir=out", "image_grounding.data.input_jsonl=captions.jsonl"]
REFERRING = [
    "results_dir=out",
    "autolabel_type=image_referring_expression",
    "image_referring_expression.data.image_dir=images",
    "image_referring_expression.data.kitti_label_dir=labels",
]


def write(folder: Path, text: str, name: str = "spec.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def sentence(path: Path | None, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text
