"""Group described regions under phrases that fit them."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence

from raylabel import prompts
from raylabel.answers.expressions import Group, read_groups
from raylabel.answers.json_text import unreadable
from raylabel.answers.labels import normalised
from raylabel.prompts import grounding_expr
from raylabel.prompts.boxes import box_values, format_box
from raylabel.records import Changes, Expression, Instance, Outcome, Record, Region, bbox_id, expression_ids
from raylabel.steps.base import Answered, FollowUp, Question, Result, Skip, WholeReplyStep, problem_result
from raylabel.steps.items import LAST_ROUND
from raylabel.validation import LEFT_OUT, MERGED, phrase_violation, rule_broken, with_repeats_flagged


class GroundingExpr(WholeReplyStep):
    """Regions (and the caption, where there is one) in; expressions over groups of regions out.

    Every region stands in at least one expression. Regions that the first answer leaves out, or names by a sentence
    only, are asked for again, together and then alone, with all regions in sight, since a phrase must hold every region
    that it fits.
    """

    name = "grounding_expr"
    needs = ("regions",)
    uses = ("caption",)
    gives = ("expressions",)
    finds = "boxes"
    involves_boxes = True
    sends_boxes = True
    prompt = grounding_expr.PROMPT
    version = 2

    def questions(self, record: Record) -> list[Question] | Skip:
        if not record.regions:
            return Skip("no regions", Changes(expressions=()))
        return [self._ask((), 0, record)]

    def parse(self, question: Question, text: str, record: Record, left_out: Counter[str]) -> list[Group]:
        groups = read_groups(text, range(1, len(record.regions or ()) + 1), left_out)
        if not _phrases(groups):
            raise unreadable("the reply groups regions under sentences where phrases were asked for")
        if question.round == LAST_ROUND and not any(question.ids[0] in group.regions for group in _phrases(groups)):
            raise rule_broken(LEFT_OUT, f"the reply leaves out region {question.ids[0]}")
        return groups

    def conclude(self, answers: Sequence[Answered], record: Record) -> Result | FollowUp:
        count = len(record.regions or ())
        violations = _violations(answers, count)
        problem = problem_result(answers)
        if problem is not None and (problem.outcome is Outcome.REFUSED or len(answers) == 1):
            return dataclasses.replace(problem, violations=violations)
        groups = _joined([g for a in answers if a.problem is None for g in _phrases(a.value)])
        grouped = {number for group in groups for number in group.regions}
        missing = tuple(n for n in range(1, count + 1) if n not in grouped)
        if missing:
            last = max(a.question.round for a in answers)
            if last == 0:
                return FollowUp((self._ask(missing, 1 if len(missing) > 1 else LAST_ROUND, record),))
            if last == 1:
                return FollowUp(tuple(self._ask((n,), LAST_ROUND, record) for n in missing))
            names = ", ".join(str(n) for n in missing[:8])
            return Result(Outcome.UNREADABLE, reason=f"no expression names region {names}", violations=violations)
        return Result(Outcome.LABELED, Changes(expressions=expressions_of(groups, record)), violations=violations)

    def _ask(self, focus: tuple[int, ...], asking_round: int, record: Record) -> Question:
        profile, view = self.setup.profile.for_questions, self.view_of(record)
        lines = [
            {"id": number, **_region_fields(region), profile.key: format_box(region.box, profile, view)}
            for number, region in enumerate(record.regions or (), 1)
        ]
        caption = f"The image as a whole: {json.dumps(record.caption, ensure_ascii=False)}" if record.caption else ""
        only = f"Write only phrases that name at least one of these regions: {list(focus)}." if focus else ""
        values = {"regions": prompts.json_lines(lines), "context": caption, "focus": only}
        text = self.setup.prompt.render({**values, **box_values(profile, view)})
        return Question(text, self.setup.prompt.schema(), focus, asking_round)


def _region_fields(region: Region) -> dict[str, str]:
    """What a question says of a region: its description, and its type and color where that leaves them out.

    >>> from raylabel.records import Box
    >>> _region_fields(Region(Box(0, 0, 9, 9), "car", "red", "the red car on the left"))
    {'description': 'the red car on the left'}
    """
    said = set(normalised(region.description).split())
    unsaid = {
        name: value
        for name, value in (("type", region.type), ("color", region.color))
        if not said.issuperset(normalised(value).split())
    }
    return {**unsaid, "description": region.description}


def _phrases(groups: Sequence[Group]) -> list[Group]:
    """The groups whose text is a phrase."""
    return [group for group in groups if phrase_violation(group.text) is None]


def _violations(answers: Sequence[Answered], count: int) -> Counter[str]:
    """Of all answers: sentences in place of phrases, and regions asked about that no phrase of the answer names."""
    found: Counter[str] = Counter()
    for answer in answers:
        if answer.problem is None:
            found.update(answer.left_out)
            found.update(broken for g in answer.value if (broken := phrase_violation(g.text)) is not None)
            named = {number for group in _phrases(answer.value) for number in group.regions}
            found[LEFT_OUT] += sum(n not in named for n in answer.question.ids or range(1, count + 1))
    return +found


def _joined(groups: Sequence[Group]) -> list[Group]:
    """Groups of several answers; one phrase said twice names the regions of both."""
    by_phrase: dict[str, Group] = {}
    for group in groups:
        before = by_phrase.get(normalised(group.text))
        if before is not None:
            numbers = tuple(dict.fromkeys((*before.regions, *group.regions)))
            grown = (MERGED,) if set(numbers) != set(before.regions) else ()
            flags = tuple(dict.fromkeys((*before.flags, *group.flags, *grown)))
            group = dataclasses.replace(before, regions=numbers, flags=flags)
        by_phrase[normalised(group.text)] = group
    return list(by_phrase.values())


def expressions_of(groups: Sequence[Group], record: Record) -> tuple[Expression, ...]:
    """The expressions that groups of a record's regions are, with the regions' boxes.

    Args:
        groups: of different phrases, with numbers of regions, from 1.
    """
    regions = record.regions or ()
    ids = expression_ids(record.record_id, [g.text for g in groups])
    return tuple(
        Expression(
            expression_id=ident,
            text=group.text,
            instances=with_repeats_flagged(
                [Instance(bbox_id(ident, n), regions[number - 1].box) for n, number in enumerate(group.regions)]
            ),
            flags=group.flags,
        )
        for ident, group in zip(ids, groups, strict=True)
    )
