"""The command with an error planted: ``python -m tests.end_to_end.planted ERROR WORD ...`` runs ``raylabel WORD ...``.

An error is another implementation of a public function, put in its place in a process of its own, in which functions
that were imported by name or remembered what they computed are nobody else's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from raylabel.cli import main
from raylabel.demo.launch import demo_server
from raylabel.demo.server.answering import answer, describe_regions, find
from raylabel.demo.server.dialects import Dialect, Finding
from raylabel.demo.server.questions import CHECK, Task, boxes_of
from raylabel.demo.server.seeing import Scene
from raylabel.engine.actors import WorkerActor
from raylabel.geometry import Convention, Corners, View, corners, place, round_box
from raylabel.records import Box, Size
from raylabel.runtime.head_start import HeadStart
from raylabel.runtime.in_process import InProcess
from raylabel.runtime.worker import Worker
from tests.served_here import served_here


def plant(right: Any, wrong: Any) -> None:
    """Put something in the place of a public name of the product, in every module that knows it."""
    for module in [module for name, module in sys.modules.items() if name.startswith("raylabel.")]:
        for name, value in list(vars(module).items()):
            if value is right:
                setattr(module, name, wrong)


# --- the conversion of boxes ----------------------------------------------------------------------------------------


def never_hear_of_y_first() -> None:
    plant(corners, lambda numbers, order: corners(numbers, "xyxy" if order == "yxyx" else order))


def swap_width_and_height() -> None:
    def swapped(found: Corners, convention: Convention, view: View) -> Box:
        box = place(found, convention, view)
        wider = view.displayed.width / view.displayed.height
        return Box(box.x1 / wider, box.y1 * wider, box.x2 / wider, box.y2 * wider)

    plant(place, swapped)


def move_boxes_as_they_are_written() -> None:
    def moved(box_px: Box, size: Size | None) -> Box:
        return round_box(Box(*(side + 30 for side in box_px.as_tuple())), size)

    plant(round_box, moved)


# --- models that do not look ----------------------------------------------------------------------------------------


def box_everything() -> None:
    def everything(items: Sequence[dict[str, Any]], scene: Scene) -> list[Finding]:
        boxes = tuple(seen.box_px for seen in scene.objects)
        return [Finding(str(item.get("phrase", "")), item.get("id"), boxes) for item in items]

    plant(find, everything)


def keep_everything() -> None:
    def keeping(task: Task, scene: Scene, dialect: Dialect, reader: Dialect | None = None) -> Any:
        if task.name != CHECK:
            return answer(task, scene, dialect, reader)
        kept = [(item["id"], [box["id"] for box in boxes_of(item) or ()]) for item in task.items]
        if task.briefly:
            return {"checks": [{"id": ident, "keep": boxes} for ident, boxes in kept]}
        keep = {"verdict": "keep"}
        return {"checks": [{"id": i, **keep, "boxes": [{"id": box, **keep} for box in boxes]} for i, boxes in kept]}

    plant(answer, keeping)


def copy_the_seeds() -> None:
    def copied(items: Sequence[dict[str, Any]], scene: Scene, reader: Dialect) -> dict[str, Any]:
        regions = describe_regions(items, scene, reader)["regions"]
        pairs = zip(items, regions, strict=True)
        return {"regions": [{**region, "type": item["type"], "color": "red"} for item, region in pairs]}

    plant(describe_regions, copied)


# --- the processes of a run -----------------------------------------------------------------------------------------


class Breaking(Worker):
    async def open(self) -> None:
        raise RuntimeError("planted")


class BreakingActor(WorkerActor):
    worker_class = Breaking


def break_the_workers_on_ray() -> None:
    plant(WorkerActor, BreakingActor)


def print_in_the_worker() -> None:
    class Printing(Worker):
        async def open(self) -> None:
            print("stray")
            await super().open()

    plant(Worker, Printing)


ERRORS: dict[str, Callable[[], None]] = {
    planting.__name__: planting
    for planting in (
        never_hear_of_y_first,
        swap_width_and_height,
        move_boxes_as_they_are_written,
        box_everything,
        keep_everything,
        copy_the_seeds,
        break_the_workers_on_ray,
        print_in_the_worker,
    )
}
MODELS = (box_everything, keep_everything, copy_the_seeds)

if __name__ == "__main__":
    planted = ERRORS[sys.argv[1]]
    planted()
    if planted in MODELS:
        plant(demo_server, served_here)  # whose model is the one of this process
    plant(HeadStart, lambda other: InProcess())  # on Ray's processes the product would be as it was
    sys.exit(main(sys.argv[2:]))
