"""Phrases in, boxes per phrase out."""

from __future__ import annotations

from raylabel.prompts import Prompt

PROMPT = Prompt(
    name="grounding",
    version=1,
    needs=("phrases",),
    text="""
Task: find phrases in the image. The phrases, one a line:

$phrases

Give a tight box around every single object that a phrase refers to: one box an object, all objects that fit. A phrase
in the plural usually has several boxes. A phrase that fits nothing in the image has no box.

Reply with one JSON list, one entry a box:
[{"id": <id of the phrase>, "$box_key": <box>, "label": "<the phrase>"}]
A box is $box_format. A phrase that fits nothing gets one entry with "$box_key": null. Every id must occur.
""",
)
