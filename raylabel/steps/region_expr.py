"""Describe each seed box in one phrase a stranger could find it by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from raylabel import prompts
from raylabel.answers.json_text import normalised
from raylabel.answers.regions import Description, read_descriptions
from raylabel.errors import GeometryError
from raylabel.geometry import clip_to, from_displayed
from raylabel.prompts import region_expr
from raylabel.records import Box, Changes, Outcome, Record, Region, Seed
from raylabel.steps.base import Answered, More, Question, Result, Skip, Step, view_of
from raylabel.steps.items import ask_for_missing, in_parts, none_if_unmatched

SAME_DESCRIPTION = "same_description"


class RegionExpr(Step):
    """Seed boxes in; one region a seed box, in their order, out."""

    name = "region_expr"
    label = "step0_region_expr"
    directory = "step_0_region_expr"
    needs = ("seeds",)
    gives = ("regions",)
    prompt = region_expr.PROMPT

    def questions(self, record: Record) -> list[Question] | Skip:
        seeds = record.seeds or ()
        if not seeds:
            return Skip("no seed boxes", Changes(regions=()))
        return in_parts(range(1, len(seeds) + 1), self.setup.items_per_request, lambda i, r: self._ask(i, r, record))

    def read(self, question: Question, text: str, record: Record) -> dict[int, Description]:
        return none_if_unmatched(question, lambda: read_descriptions(text, question.ids))

    def settle(self, answers: Sequence[Answered], record: Record) -> Result | More:
        seeds = record.seeds or ()
        ids = range(1, len(seeds) + 1)
        size = self.setup.items_per_request
        found, rest = ask_for_missing(answers, ids, lambda i, r: self._ask(i, r, record), size)
        if rest is not None:
            return rest
        counts = Counter(normalised(d.description) for d in found.values())
        regions = []
        for number, seed in enumerate(seeds, 1):
            told: Description = found[number]
            box_px, flags = clip_to(seed.box, view_of(record).displayed)
            if counts[normalised(told.description)] > 1:
                flags = (*flags, SAME_DESCRIPTION)
            regions.append(Region(box_px, told.type or seed.type.lower(), told.color, told.description, flags))
        return Result(Outcome.LABELED, Changes(regions=tuple(regions)))

    def _ask(self, ids: tuple[int, ...], asking_round: int, record: Record) -> Question:
        key, view = prompts.box_key(self.setup.convention), view_of(record)
        lines = []
        for number in ids:
            seed: Seed = (record.seeds or ())[number - 1]
            box_px = _inside(seed, number, record)
            lines.append({"id": number, "type": seed.type, key: from_displayed(box_px, self.setup.convention, view)})
        values = {"regions": prompts.json_lines(lines), **prompts.box_values(self.setup.convention)}
        return Question(self.setup.prompt.render(values), self.setup.prompt.schema(), ids, asking_round)


def _inside(seed: Seed, number: int, record: Record) -> Box:
    try:
        return clip_to(seed.box, view_of(record).displayed)[0]
    except GeometryError as error:
        raise GeometryError(f"seed box {number}: {error}; do labels and image belong together?") from error
