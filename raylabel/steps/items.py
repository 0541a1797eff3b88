"""Lists asked about in parts: split, matched by number, and what is missing asked again."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from raylabel.errors import AnswerError
from raylabel.records import Outcome
from raylabel.steps.base import Answered, FollowUp, Question, Result, problem_result
from raylabel.validation import ASKED_AGAIN, LEFT_OUT, RULES

LAST_ROUND = 2
"""Round 0: in parts of ``items_per_request``; 1: all that is missing, together; 2: each missing item alone."""

T = TypeVar("T")

Ask = Callable[[tuple[int, ...], int], Question]
"""Builds the question about these item numbers in this round."""


@dataclass(frozen=True, slots=True)
class RejectedItem:
    """In place of what a reply says of an item: the rule that it breaks. The item is asked about again."""

    violation: str
    reason: str = ""


def in_parts(ids: Sequence[int], size: int, ask: Ask) -> list[Question]:
    """First-round questions over consecutive parts of at most ``size`` items."""
    return [ask(tuple(ids[at : at + size]), 0) for at in range(0, len(ids), size)]


def gather(answers: Sequence[Answered]) -> dict[int, Any]:
    """What was said of each item, by number; the first statement that breaks no rule stands."""
    found: dict[int, Any] = {}
    for answer in answers:
        if isinstance(answer.value, Mapping):
            for number, value in answer.value.items():
                if not isinstance(value, RejectedItem):
                    found.setdefault(number, value)
    return found


def rejected_by_rule(missing: Sequence[int], left_out: Mapping[str, int]) -> dict[int, RejectedItem]:
    """Items that a reply does not settle, with the rules that boxes of it broke.

    Which box belonged to which item is not known: an item takes a box in the order of both, and the counts are right.

    Args:
        left_out: as ``Reading.left_out``; what names no rule that is asked again for explains nothing.
    """
    names = [
        name
        for name, count in left_out.items()
        if name in RULES and RULES[name].consequence == ASKED_AGAIN
        for _ in range(min(count, len(missing)))
    ]
    return {number: RejectedItem(name) for number, name in zip(missing, names, strict=False)}


def violations_in(answers: Sequence[Answered]) -> Counter[str]:
    """For how many items the replies break which rule, or leave them out."""
    counts: Counter[str] = Counter()
    for answer in answers:
        if answer.left_out:
            counts.update(answer.left_out)
        if isinstance(answer.value, Mapping):
            for number in answer.question.ids:
                value = answer.value.get(number)
                if value is None:
                    counts[LEFT_OUT] += 1
                elif isinstance(value, RejectedItem):
                    counts[value.violation] += 1
    return counts


def _round(question: Question) -> int:
    """A question about one item is asked alone whatever its round; asked again it would be the same question."""
    return LAST_ROUND if len(question.ids) == 1 else question.round


def is_asked_alone(question: Question) -> bool:
    """Whether nothing is left to ask after this question: what it does not settle stays open."""
    return _round(question) == LAST_ROUND


def none_if_unmatched(question: Question, read: Callable[[], T], none: T) -> T:
    """What a reply says of the question's items; ``none`` where it matches none of several: they are asked alone.

    Raises:
        AnswerError: unreadable, refused, or unmatched though one item was asked alone.
    """
    try:
        return read()
    except AnswerError as error:
        if error.unmatched and not is_asked_alone(question):
            return none
        raise


def ask_for_missing(
    answers: Sequence[Answered], ids: Sequence[int], ask: Ask, size: int
) -> tuple[dict[int, Any], FollowUp | Result | None]:
    """What was found, and what to do about the rest: more questions, an open or refused result, or None (complete).

    A refusal settles the step at once. A question that could not be read after all its attempts leaves the step open:
    asking for its items one by one would multiply what a confused model costs.
    """
    found = gather(answers)
    missing = [i for i in ids if i not in found]
    problem = problem_result(answers)
    if problem is not None and problem.outcome is Outcome.REFUSED:
        return found, dataclasses.replace(problem, violations=violations_in(answers))
    if not missing:
        return found, None
    names = ", ".join(str(i) for i in missing[:8])
    if problem is not None:
        reason = f"no answer for item {names}: {problem.reason}"
        return found, Result(Outcome.UNREADABLE, reason=reason, violations=violations_in(answers))
    last = {i: max((_round(a.question) for a in answers if i in a.question.ids), default=-1) for i in missing}
    alone = [i for i in missing if last[i] == LAST_ROUND - 1 or (last[i] == 0 and len(missing) == 1)]
    together = [i for i in missing if last[i] == 0 and len(missing) > 1]
    if together:
        parts = [tuple(together[at : at + size]) for at in range(0, len(together), size)]
        return found, FollowUp(tuple(ask(part, 1) for part in parts))
    if alone:
        return found, FollowUp(tuple(ask((i,), LAST_ROUND) for i in alone))
    values = [a.value.get(i) for a in reversed(answers) if isinstance(a.value, Mapping) for i in missing]
    rejected = next((f"; {v.reason}" for v in values if isinstance(v, RejectedItem) and v.reason), "")
    reason = f"the model leaves items of the list unanswered: {names}{rejected}"
    return found, Result(Outcome.UNREADABLE, reason=reason, violations=violations_in(answers))
