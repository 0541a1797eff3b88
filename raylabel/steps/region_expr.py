"""Describe each seed box in one phrase a stranger could find it by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from raylabel import prompts
from raylabel.answers.json_text import unreadable
from raylabel.answers.labels import normalised
from raylabel.answers.regions import Description, read_descriptions
from raylabel.errors import GeometryError
from raylabel.geometry import clip_to
from raylabel.prompts import region_expr
from raylabel.prompts.boxes import box_values, format_box
from raylabel.records import Box, Changes, Outcome, Record, Region, Seed
from raylabel.steps.base import Answered, FollowUp, Question, Result, Skip, WholeReplyStep, size_of
from raylabel.steps.items import ask_for_missing, in_parts, none_if_unmatched, violations_in
from raylabel.validation import (
    DESCRIPTION_SENTENCE,
    NEAR_DUPLICATE,
    SAME_DESCRIPTION,
    SEED_OUTSIDE_IMAGE,
    is_empty_phrase,
    is_sentence,
    near_duplicates,
)


class RegionExpr(WholeReplyStep):
    """Seed boxes in; one region a seed box, in their order, out."""

    name = "region_expr"
    label = "step0_region_expr"
    directory = "step_0_region_expr"
    needs = ("seeds",)
    gives = ("regions",)
    involves_boxes = True
    sends_boxes = True
    prompt = region_expr.PROMPT
    version = 2

    def questions(self, record: Record) -> list[Question] | Skip:
        seeds = record.seeds or ()
        if not seeds:
            return Skip("no seed boxes", Changes(regions=()))
        return in_parts(range(1, len(seeds) + 1), self.setup.items_per_request, lambda i, r: self._ask(i, r, record))

    def parse(self, question: Question, text: str, record: Record, left_out: Counter[str]) -> dict[int, Description]:
        return none_if_unmatched(question, lambda: _read(text, question.ids, left_out), {})

    def conclude(self, answers: Sequence[Answered], record: Record) -> Result | FollowUp:
        seeds = record.seeds or ()
        ids = range(1, len(seeds) + 1)
        size = self.setup.items_per_request
        found, rest = ask_for_missing(answers, ids, lambda i, r: self._ask(i, r, record), size)
        if rest is not None:
            return rest
        counts = Counter(normalised(d.description) for d in found.values())
        repeated = _repeated(seeds)
        regions = []
        for number, seed in enumerate(seeds, 1):
            description: Description = found[number]
            box_px, flags = clip_to(seed.box, size_of(record))
            if number in repeated:
                flags = (*flags, NEAR_DUPLICATE)
            if counts[normalised(description.description)] > 1:
                flags = (*flags, SAME_DESCRIPTION)
            if is_sentence(description.description):
                flags = (*flags, DESCRIPTION_SENTENCE)
            regions.append(
                Region(box_px, description.type or seed.type.lower(), description.color, description.description, flags)
            )
        return Result(Outcome.LABELED, Changes(regions=tuple(regions)), violations=violations_in(answers))

    def _ask(self, ids: tuple[int, ...], asking_round: int, record: Record) -> Question:
        profile, view = self.setup.profile.for_questions, self.view_of(record)
        lines = []
        for number in ids:
            seed: Seed = (record.seeds or ())[number - 1]
            box_px = _inside(seed, number, record)
            lines.append({"id": number, "type": seed.type, profile.key: format_box(box_px, profile, view)})
        values = {"regions": prompts.json_lines(lines), **box_values(profile, view)}
        return Question(self.setup.prompt.render(values), self.setup.prompt.schema(), ids, asking_round)


def _read(text: str, ids: Sequence[int], left_out: Counter[str]) -> dict[int, Description]:
    read = read_descriptions(text, ids, left_out)
    found = {number: told for number, told in read.items() if not is_empty_phrase(told.description)}
    if not found:
        raise unreadable("the reply describes regions with nothing but marks", unmatched=True)
    return found


def _repeated(seeds: Sequence[Seed]) -> set[int]:
    """Numbers of the seeds that repeat an earlier one of their type."""
    repeated = set()
    for kind in {seed.type for seed in seeds}:
        numbers = [number for number, seed in enumerate(seeds, 1) if seed.type == kind]
        repeated |= {numbers[at] for at in near_duplicates([seeds[number - 1].box for number in numbers])}
    return repeated


def _inside(seed: Seed, number: int, record: Record) -> Box:
    try:
        return clip_to(seed.box, size_of(record))[0]
    except GeometryError as error:
        raise GeometryError(
            f"seed box {number}: {error}; do labels and image belong together?", SEED_OUTSIDE_IMAGE
        ) from error
