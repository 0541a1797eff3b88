"""Expressions with boxes in; by their ids, which boxes are right, wrong or not tight, and better phrases, out."""

from __future__ import annotations

from raylabel.prompts import Prompt

PROMPT = Prompt(
    version=2,
    needs=("expressions",),
    text="""
Task: check annotations of the image, one expression with its boxes by id a line:

$expressions

A box is $box_format.
Of every expression "keep" each box that tightly holds one object that the phrase fits, "adjust" (with the better box)
one that holds it but is not tight, "drop" one that holds none. Where another phrase is right for the boxes, "rewrite"
it and judge them by it. Add nothing.

Reply with one JSON object, every id once, no empty fields:
{"checks": [{"id": <id>, "keep": [<ids of boxes>], "drop": [...], "adjust": [{"id": <id>, "$box_key": <box>}],
"rewrite": "..."}]}
""",
)
