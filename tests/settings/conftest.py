"""A folder to specify runs in."""

from __future__ import annotations

import pytest


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder with captions, images, labels and a specification of each pipeline; commands run there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "captions.jsonl").write_text(
        '{"image_path": "a.png", "caption": "a red ball"}\n{"image_path": "b.png", "caption": "a dog"}\n'
    )
    (tmp_path / "seeds.jsonl").write_text('{"image_path": "a.png", "kitti_bboxes": []}\n')
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "grounding.yaml").write_text(
        "results_dir: out\nimage_grounding:\n  data:\n    input_jsonl: captions.jsonl\n"
    )
    (tmp_path / "referring.yaml").write_text(
        "results_dir: out\nautolabel_type: image_referring_expression\n"
        "image_referring_expression:\n  data:\n    image_dir: images\n    kitti_label_dir: labels\n"
    )
    return tmp_path
