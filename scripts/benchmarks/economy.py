"""What does a record cost? Tokens of every step's questions and answers, beside those of TAO's prompts.

Draws a world, takes its records through the steps of both pipelines with the model of the demo server in this process
(no Ray, no HTTP), and prints tokens a record and step: questions, reply schemas, answers; and in the next two columns
what TAO's prompts and forms of answer take for the same captions, phrases and boxes. The pictures' own tokens are left
out on both sides. A token is four characters. Run:
``.venv/bin/python scripts/benchmarks/economy.py [--images 40] [--seed 0] [--noise 0.5] [--labels] [--json]``
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from raylabel.clients.base import Sampling
from raylabel.demo.score import score_image_grounding, score_referring
from raylabel.demo.server.model import Ask, Model
from raylabel.demo.world import World, build_world
from raylabel.errors import AnswerError
from raylabel.exports.annotations import to_line
from raylabel.images import prepare
from raylabel.pipelines import PIPELINES
from raylabel.profiles import UNKNOWN, Profile
from raylabel.records import (
    IMAGE_GROUNDING,
    IMAGE_REFERRING_EXPRESSION,
    Box,
    Outcome,
    Record,
    Size,
    StepOutcome,
    record_id,
)
from raylabel.settings import ImageSettings
from raylabel.sources.kitti_rows import read_labels
from raylabel.steps.base import Answered, FollowUp, ModelTarget, Question, ReplyText, Skip, Step, StepSetup

SAMPLING = Sampling("tiny-vlm", 0.3, 1000, 5.0)
CHARACTERS_PER_TOKEN = 4
COLUMNS = ("requests", "questions", "schema", "answers", "tao_in", "tao_out")
SCORE = 0.95
"""What is written into boxes whose score was asked for: the model of the demo server claims none."""

TAO_TEMPLATES = {
    "expression_extraction": 1017,
    "grounding": 670,
    "region_expr": 1345,
    "image_caption": 335,
    "grounding_expr": 1007,
    "double_check": 1108,
}
"""Characters of TAO's prompts without their values.

Source: NVIDIA-TAO/tao-data-services 51b5710, nvidia_tao_ds/auto_label/image_*/prompts.py; TAO sends no schema.
"""


class Costs:
    """What was spent, by step: requests, and tokens of raylabel's and TAO's questions and answers."""

    def __init__(self) -> None:
        self.records: Counter[str] = Counter()
        self._spent: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, step: str, requests: int = 0, **characters: int) -> None:
        self._spent[step]["requests"] += requests
        for name, count in characters.items():
            self._spent[step][name] += count / CHARACTERS_PER_TOKEN

    def tokens(self, pipeline: str) -> dict[str, dict[str, float]]:
        """The same for one record, and the sum over the steps."""
        names = [step.name for step in PIPELINES[pipeline] if not step.fills_in]
        by_step = {
            name: {column: self._spent[name][column] / self.records[pipeline] for column in COLUMNS} for name in names
        }
        total = {column: sum(by_step[name][column] for name in names) for column in COLUMNS}
        return {**by_step, "record": total}


# --- records --------------------------------------------------------------------------------------------------------


def records_of(world: World, pipeline: str) -> Iterator[tuple[Record, bytes]]:
    """The world's records, each with the picture that is sent."""
    for entry in world.truth["images"]:
        path = world.images_dir / entry["file"]
        facts, picture, _ = prepare(path.read_bytes(), ImageSettings(), UNKNOWN.resize)
        captions = [c["caption"] for c in entry["captions"]] if pipeline == IMAGE_GROUNDING else [None]
        for caption in captions:
            ident = record_id(entry["image_id"], entry["file"], caption, 0)
            record = Record(ident, 0, 0, entry["image_id"], entry["file"], pipeline, image=facts, caption=caption)
            if caption is None:
                labels = (world.labels_dir / f"{entry['image_id']}.txt").read_bytes()
                record = dataclasses.replace(record, seeds=read_labels(labels)[0])
            yield record, picture


def taken_through(record: Record, picture: bytes, model: Model, profile: Profile, costs: Costs) -> Record:
    """The record after all steps of its pipeline; what they cost is added."""
    costs.records[record.source] += 1
    for kind in PIPELINES[record.source]:
        if kind.fills_in:
            continue
        step = kind(StepSetup((ModelTarget(kind.prompt_for(profile), profile),), adjust="apply"))
        before = record
        record = _after(step, record, picture, model, costs)
        asked, answered = TAO_FORMS[kind.name](before, record)
        if asked:
            costs.add(kind.name, tao_in=TAO_TEMPLATES[kind.name] + len(asked), tao_out=len(answered))
    return record


def _after(step: Step, record: Record, picture: bytes, model: Model, costs: Costs) -> Record:
    pending: Any = step.questions(record)
    answers: list[Answered] = []
    while isinstance(pending, list):
        for question in pending:
            text = _answer(question, picture, model)
            schema = json.dumps(question.schema) if question.schema else ""
            asked = len(question.preamble) + len(question.text)
            costs.add(step.name, 1, questions=asked, schema=len(schema), answers=len(text))
            try:
                answers.append(step.read(question, ReplyText(text, with_schema=bool(schema)), record))
            except AnswerError as error:
                answers.append(Answered(question, problem=error))
        result = step.conclude(answers, record)
        pending = list(result.questions) if isinstance(result, FollowUp) else result
    outcome = Outcome.SKIPPED if isinstance(pending, Skip) else pending.outcome
    return record.apply(step.label, StepOutcome(outcome), pending.changes)


def _answer(question: Question, picture: bytes, model: Model) -> str:
    """The model's reply as bare JSON, with a score a box where one is asked for."""
    ask = Ask(question.preamble, [picture], question.text, "xyxy1000", schema=question.schema, bare_json=True)
    text = model.answer(ask).text
    if '"score"' not in question.text:
        return text
    value = json.loads(text)
    entries = value if isinstance(value, list) else value["boxes"]
    scored = [e if e[UNKNOWN.key] is None else {"score": SCORE, **e} for e in entries]
    return json.dumps(scored, ensure_ascii=False)


# --- TAO ------------------------------------------------------------------------------------------------------------


def tao_extraction(before: Record, after: Record) -> tuple[str, str]:
    """The values of TAO's question and its answer, here and below, for what raylabel found."""
    listed = [
        {"text": e.text, "char_span": e.char_span, "noun_chunk": e.noun_chunk or ""} for e in after.expressions or ()
    ]
    # One entry a line and indented, here and in the next step, as TAO's prompts show it.
    lines = ",\n".join(f"    {json.dumps(entry, ensure_ascii=False)}" for entry in listed)
    cleaned = json.dumps(after.cleaned_caption, ensure_ascii=False)
    answer = f'{{\n  "cleaned_caption": {cleaned},\n  "expressions": [\n{lines}\n  ]\n}}'
    return before.caption or "", answer


def tao_grounding(before: Record, after: Record) -> tuple[str, str]:
    phrases = [e.text for e in before.expressions or ()]
    told = {
        e.text: {
            "bboxes": [_whole(i.box) for i in e.instances or ()],
            "scores": [SCORE for _ in e.instances or ()],
        }
        for e in after.expressions or ()
    }
    lines = ",\n".join(f"  {json.dumps(t)}: {json.dumps(found)}" for t, found in told.items())
    return "\n".join(f'  - "{text}"' for text in phrases), f"{{\n{lines}\n}}"


def tao_regions(before: Record, after: Record) -> tuple[str, str]:
    size = _size(after)
    seeds = ", ".join(f"{s.type}: {_on_grid(s.box, size)} " for s in before.seeds or ())
    told = [
        {"bbox_2d": _on_grid(r.box, size), "type": r.type, "color": r.color, "description": r.description}
        for r in after.regions or ()
    ]
    return f"[{seeds} ]", json.dumps(told, ensure_ascii=False)


def tao_caption(before: Record, after: Record) -> tuple[str, str]:
    return " ", after.caption or ""


def tao_grouping(before: Record, after: Record) -> tuple[str, str]:
    chunks = [f"{r.description}:{_on_grid(r.box, _size(after))}" for r in before.regions or ()]
    return f"{chunks}caption: {before.caption}", _tao_lines(after)


def tao_check(before: Record, after: Record) -> tuple[str, str]:
    return _tao_lines(before), _tao_lines(after)


def _tao_lines(record: Record) -> str:
    size = _size(record)
    return "\n".join(f"{e.text}: {[_on_grid(i.box, size) for i in e.kept]}" for e in record.expressions or ())


def _whole(box: Box) -> list[int]:
    return [round(v) for v in box.as_tuple()]


def _on_grid(box: Box, size: Size) -> list[int]:
    sides = (size.width, size.height) * 2
    return [int(v / side * 1000) for v, side in zip(box.as_tuple(), sides, strict=True)]


def _size(record: Record) -> Size:
    assert record.image is not None
    return record.image.size


TAO_FORMS = {
    "expression_extraction": tao_extraction,
    "grounding": tao_grounding,
    "region_expr": tao_regions,
    "image_caption": tao_caption,
    "grounding_expr": tao_grouping,
    "double_check": tao_check,
}


# --- printing -------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--noise", type=float, default=0.0, help="as the demo server's: overlook objects, see false ones"
    )
    parser.add_argument("--labels", action="store_true", help="as a family that is trained to name each box")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    args = parser.parse_args()

    profile = dataclasses.replace(UNKNOWN, labels=True) if args.labels else UNKNOWN
    costs, model, told = Costs(), Model(noise=args.noise), {}
    with tempfile.TemporaryDirectory() as folder:
        world = build_world(Path(folder), args.images, args.seed)
        for pipeline, score in (
            (IMAGE_GROUNDING, score_image_grounding),
            (IMAGE_REFERRING_EXPRESSION, score_referring),
        ):
            ends = [taken_through(*given, model, profile, costs) for given in records_of(world, pipeline)]
            found = score(world.truth, [to_line(record) for record in ends])
            told[pipeline] = {"tokens": costs.tokens(pipeline), "scores": found}
    if args.json:
        print(json.dumps(told))
        return
    for pipeline, found in told.items():
        print(f"{pipeline}, {costs.records[pipeline]} records, tokens a record")
        print(f"  {'':24}" + "".join(f"{name:>11}" for name in COLUMNS))
        for step, spent in found["tokens"].items():
            tokens = "".join(f"{spent[name]:11.0f}" for name in COLUMNS[1:])
            print(f"  {step:24}{spent['requests']:11.1f}{tokens}")
        print("  " + ", ".join(f"{n} {s:.3f}" for n, s in found["scores"].items() if isinstance(s, float)))


if __name__ == "__main__":
    main()
