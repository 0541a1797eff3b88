"""Under which key a question stands in the store: a digest of it as wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from raylabel.records import Record, canonical_json, digest_of_json
from raylabel.steps.base import Question, Step
from raylabel.store.reopened import Reopening

if TYPE_CHECKING:
    from raylabel.runtime.asking import AskSetup


class QuestionKeys:
    """The digests of a step's questions as wanted; what may vary between attempts is left out.

    A key is ``digest_of`` ("question", step, preamble, text, schema, sampling ..., image, recipe, generation), and the
    sample number and that of the record's reopening where there is one. What all questions of a prompt have in common
    is written as JSON once.
    """

    def __init__(self, step: Step, setup: AskSetup, reopened: Mapping[str, Reopening]) -> None:
        self._step = step
        self._setup = setup
        self._reopened = reopened
        self._common: dict[tuple[int, str, int], tuple[str, str, str, Any]] = {}

    def key_of(self, question: Question, record: Record) -> str:
        assert record.image is not None
        place = (question.target, question.preamble, id(question.schema))
        common = self._common.get(place)
        if common is None:
            common = self._common[place] = self._write_common_parts(question)
        before, between, after, _ = common
        sample = f",{question.sample}" if question.sample else ""
        if (reopening := self._reopened.get(record.record_id)) is not None:
            sample += f',"reopened {reopening.number}"'
        return digest_of_json(
            f"{before}{canonical_json(question.text)}{between}{canonical_json(record.image.digest)}{after}{sample}]"
        )

    def _write_common_parts(self, question: Question) -> tuple[str, str, str, Any]:
        """The JSON around a question's text and its image's digest; and its schema, so that its identity lasts."""
        target = self._step.setup.targets[question.target]
        sampling = self._setup.samplings[question.target]
        around = (
            ["question", self._step.name, question.preamble],
            [
                None if self._setup.structured_output == "never" else question.schema,
                sampling.model,
                sampling.temperature,
                sampling.thinking_budget,
                sampling.media_resolution,
                dict(sampling.extra_body),
            ],
            [target.recipe, self._setup.generation],
        )
        before, between, after = (canonical_json(parts)[1:-1] for parts in around)
        return f"[{before},", f",{between},", f",{after}", question.schema
