"""Expressions with boxes in, a verdict on each phrase and box out."""

from __future__ import annotations

from raylabel.prompts import Prompt

PROMPT = Prompt(
    name="double_check",
    version=1,
    needs=("expressions",),
    text="""
Task: check annotations of the image. The expressions with their boxes, one expression a line:

$expressions

A box is $box_format.
For every expression decide: "keep" it if the phrase is right for its boxes, "rewrite" it (give the better phrase) if
it can be mended, or "drop" it if it fits nothing in the image.
For every box decide: "keep" it if it holds one object that the phrase fits and is tight, "adjust" it (give the better
box) if the object is right but the box is not tight, or "drop" it if it holds no object that the phrase fits.
Add no expressions and no boxes.

Reply with one JSON object; every id once:
{"checks": [{"id": <id of the expression>, "verdict": "keep", "phrase": "...",
"boxes": [{"id": <id of the box>, "verdict": "keep", "$box_key": <box>}]}]}
"phrase" is needed only with "rewrite", "$box_key" only with "adjust".
""",
)
