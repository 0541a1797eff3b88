"""The color of each box, as a step behind those of image_grounding: raylabel run CONFIG --plugin object_colors.py"""

from dataclasses import replace
from functools import partial

from pydantic import BaseModel

from raylabel.plugins import (
    Changes,
    Outcome,
    Prompt,
    Question,
    Result,
    Skip,
    WholeReplyStep,
    ask_for_missing,
    box_values,
    by_number,
    format_box,
    in_parts,
    json_lines,
    list_under,
    read_json,
    text_of,
)


class Color(BaseModel):
    id: int
    color: str


class Colors(BaseModel):
    answers: list[Color]


class ObjectColors(WholeReplyStep):
    """Boxes in; the same boxes with the main color of what is in them out."""

    name = "object_colors"
    needs = gives = ("expressions",)
    finds = "boxes"
    involves_boxes = sends_boxes = True
    prompt = Prompt(
        version=1,
        needs=("objects",),
        reply=Colors,
        text="""
Task: name the main color of the object in each of these boxes:

$objects

A box is $box_format. Reply with one JSON object, every id once:
{"answers": [{"id": <id>, "color": "..."}]}
""",
    )

    def questions(self, record):
        return in_parts(ids_of(record), self.setup.items_per_request, partial(self.ask, record)) or Skip("no boxes")

    def ask(self, record, ids, asking_round):
        profile, view, boxes = self.setup.profile.for_questions, self.view_of(record), boxes_of(record)
        lines = [{"id": n, profile.key: format_box(boxes[n - 1], profile, view)} for n in ids]
        values = {"objects": json_lines(lines), **box_values(profile, view)}
        return Question(self.setup.prompt.render(values), self.setup.prompt.schema(), ids, asking_round)

    def parse(self, question, text, record, left_out):
        said = list_under(read_json(text), "answers")
        return by_number(said, question.ids, lambda entry: text_of(entry.get("color")) or None)

    def conclude(self, answers, record):
        ids, size = ids_of(record), self.setup.items_per_request
        colors, rest = ask_for_missing(answers, ids, partial(self.ask, record), size)
        if rest is not None:  # more to ask, or a reply that is no answer
            return rest
        numbers = iter(ids)
        painted = [
            replace(e, instances=e.instances and tuple(paint(i, colors[next(numbers)]) for i in e.instances))
            for e in record.expressions
        ]
        return Result(Outcome.LABELED, Changes(expressions=tuple(painted)))


def boxes_of(record):
    return [instance.box for expression in record.expressions for instance in expression.instances or ()]


def ids_of(record):
    return range(1, len(boxes_of(record)) + 1)


def paint(instance, color):
    return replace(instance, attributes={**instance.attributes, "color": color})


PIPELINES = {"image_grounding": [ObjectColors]}
