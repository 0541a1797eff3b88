"""Has label-studio-sdk read the exports of ``write_exports.py``: it validates every prediction against the labelling
configuration, finds fault with what is wrong, and converts the boxes to COCO, where they must be where they were. Runs
in an environment without raylabel."""

from __future__ import annotations

import copy
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

from label_studio_sdk.converter import Converter
from label_studio_sdk.label_interface import LabelInterface

PX = 1e-6
"""What percent of a float can be off."""


def read(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """The configuration and the tasks."""
    tasks = [task for path in sorted(folder.glob("*.tasks-*.json")) for task in json.loads(path.read_text("utf-8"))]
    return (folder / "labeling_config.xml").read_text("utf-8"), tasks


def validate(configuration: str, tasks: list[dict[str, Any]]) -> int:
    """How many predictions there are; all must be without fault, and a wrong one must be found out."""
    interface = LabelInterface(configuration)
    predictions = [prediction for task in tasks for prediction in task.get("predictions", ())]
    for prediction in predictions:
        errors = interface.validate_prediction(prediction, return_errors=True)
        assert errors == [], errors
    spoiled = copy.deepcopy(next(p for p in predictions if any(i["type"] == "rectanglelabels" for i in p["result"])))
    item = next(i for i in spoiled["result"] if i["type"] == "rectanglelabels")
    item["value"]["x"] = 150
    assert interface.validate_prediction(spoiled, return_errors=True), "the check finds nothing at all"
    for task in tasks:
        assert {obj.value_name for obj in interface.objects} <= task["data"].keys()
    return len(predictions)


def accepted(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tasks as Label Studio exports them when somebody has submitted the predictions as they are."""
    found = []
    for number, task in enumerate(tasks, 1):
        result = task["predictions"][0]["result"] if task.get("predictions") else []
        annotation = {"id": number, "completed_by": 1, "was_cancelled": False, "result": result}
        found.append({"id": number, "data": task["data"], "annotations": [annotation]})
    return found


def convert_to_coco(configuration: str, tasks: list[dict[str, Any]], out: Path) -> Any:
    """What the SDK's converter makes of the tasks."""
    logging.disable(logging.WARNING)  # one for each part of a task that COCO cannot hold
    source = out / "tasks.json"
    source.write_text(json.dumps(accepted(tasks)), encoding="utf-8")
    converter = Converter(config=configuration, project_dir=str(out), download_resources=False)
    converter.convert(str(source), str(out / "COCO"), "COCO", is_dir=False)
    return json.loads((out / "COCO" / "result.json").read_text("utf-8"))


def coco_boxes(configuration: str, tasks: list[dict[str, Any]]) -> list[list[tuple[float, ...]]]:
    """The boxes of each task as COCO has them."""
    with tempfile.TemporaryDirectory() as name:
        data = convert_to_coco(configuration, tasks, Path(name))
    found: dict[int, list[tuple[float, ...]]] = {image["id"]: [] for image in data["images"]}
    for entry in data["annotations"]:
        x, y, width, height = entry["bbox"]
        found[entry["image_id"]].append((x, y, x + width, y + height))
    return [found[key] for key in sorted(found)]


def same(found: list[tuple[float, ...]], true: list[tuple[float, ...]]) -> bool:
    """Whether they are equal boxes, in any order."""
    if len(found) != len(true):
        return False
    pairs = zip(sorted(found), sorted(true), strict=True)
    return all(abs(a - b) <= PX for one, other in pairs for a, b in zip(one, other, strict=True))


def check(folder: Path, truth: dict[str, Any]) -> str:
    """What was read of an export, in words."""
    configuration, tasks = read(folder)
    predictions = validate(configuration, tasks)
    said = f"{len(tasks)} tasks, {predictions} predictions without fault"
    seen = {task["data"]["record_id"] for task in tasks}
    if folder.name.endswith("-open"):
        assert not seen & truth.keys()
        assert predictions < len(tasks)
        return said
    assert seen == truth.keys()
    number = 0
    for task, found in zip(tasks, coco_boxes(configuration, tasks), strict=True):
        one = truth[task["data"]["record_id"]]
        true = sorted({tuple(box) for kind in ("boxes", "regions") for _, box in one[kind]})
        assert same(found, true), (task["data"], found, true)
        number += len(true)
    return f"{said}, {number} boxes equal in COCO"


def main() -> None:
    """Check all exports below the folder that is given."""
    for kind in sorted(Path(sys.argv[1]).iterdir()):
        if not (kind / "truth.json").exists():
            continue
        truth = json.loads((kind / "truth.json").read_text())
        for folder in sorted(kind.glob("label-studio*")):
            print(f"label-studio-sdk, {kind.name}, {folder.name}: {check(folder, truth)}")


if __name__ == "__main__":
    main()
