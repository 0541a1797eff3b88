"""A folder to specify runs in."""

from __future__ import annotations

import pytest


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder with captions, images and labels; commands run there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "captions.jsonl").write_text('{"image_path": "a.png", "caption": "a red ball"}\n')
    (tmp_path / "seeds.jsonl").write_text('{"image_path": "a.png", "kitti_bboxes": []}\n')
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    return tmp_path
