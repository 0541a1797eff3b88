"""Phrases in, boxes per phrase out: one style for models that follow instructions, and the native ones of families
that were trained on a fixed question."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from raylabel.prompts import Prompt

NAME = "grounding"


class GroundedBox(BaseModel):
    id: int
    box: list[float] | None
    score: float


class GroundingReply(BaseModel):
    boxes: list[GroundedBox]


_AGAIN = "Reply with the boxes only, without sentences, and with [] if there is none."
"""What a model is told that has answered in words: whether something is there is not guessed from a sentence."""

_TASK = """
Task: find phrases in the image, one a line:

$phrases

Give a tight box around every single object that a phrase refers to: one box an object, all objects that fit. A phrase
in the plural usually has several.
"""

ONE = Prompt(
    name=NAME,
    version=2,
    needs=("phrase",),
    text="""
Task: find a phrase in the image. Phrase: "$phrase"

Give a tight box around every single object that the phrase refers to: one box an object, all objects that fit.

Reply with one JSON list, one entry a box: [{"$box_key": <box>$label$score}]
A box is $box_format. If the phrase fits nothing in the image, reply [].
""",
    again=_AGAIN,
)
"""For models that answer a list of phrases with boxes that name none of them."""

PROMPT = Prompt(
    name=NAME,
    version=3,
    needs=("phrases",),
    singly=ONE,
    again=_AGAIN,
    text=_TASK
    + """
Reply with one JSON list, one entry a box:
[{"id": <id of the phrase>, "$box_key": <box>$label$score}]
A box is $box_format. A phrase that fits nothing gets one entry with "$box_key": null. Every id must occur.
""",
)


def _native(text: str) -> Prompt:
    """A question about one phrase, in the words a family was trained on and without a preamble."""
    # A question that is a task token or a fixed form is answered in tokens; more words would make it another task.
    is_sentence = " the " in text
    return Prompt(NAME, 1, text, ("phrase",), preamble="", again=_AGAIN if is_sentence else "")


QUESTION_STYLES: Mapping[str, Prompt] = {
    "list": PROMPT,
    "object": Prompt(
        name=NAME,
        version=3,
        needs=("phrases",),
        reply=GroundingReply,
        again=_AGAIN,
        text=_TASK
        + """
Reply with one JSON object, one entry a box:
{"boxes": [{"id": <id of the phrase>, "$box_key": <box>$label$score}]}
A box is $box_format. A phrase that fits nothing gets one entry with "$box_key": null. Every id must occur.
""",
    ),
    "one": ONE,
    # OpenGVLab/InternVL, eval/refcoco/evaluate_grounding.py
    "ref": _native(
        "Please provide the bounding box coordinate of the region this sentence describes: <ref>$phrase</ref>"
    ),
    # QwenLM/Qwen-VL, README.md
    "ref_box": _native("Give the bounding box of <ref>$phrase</ref>."),
    # deepseek-ai/DeepSeek-VL2, README
    "det": _native("<|ref|>$phrase<|/ref|>."),
    # google-research/big_vision, configs/proj/paligemma/README.md
    "detect": _native("detect $phrase"),
    # microsoft/Florence-2, processing_florence2.py: task tokens
    "open_vocabulary": _native("<OPEN_VOCABULARY_DETECTION>$phrase"),
    # transformers, Kosmos-2 model card: phrase grounding
    "phrase": _native("<grounding><phrase>$phrase</phrase>"),
    # THUDM/CogVLM, utils/utils/template.py; shikras/shikra and apple/ml-ferret ask alike
    "point_out": _native(
        'Can you point out where the following is in the image, with the coordinates of its box? Phrase: "$phrase"'
    ),
    # NVlabs/Eagle, Embodied/README.md
    "all_instances": _native("Locate all the instances that match the following description: <ref>$phrase</ref>"),
}
"""The question of the grounding step, by the name a profile calls it by."""
