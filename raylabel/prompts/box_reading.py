"""Boxes in, the color of the rectangle in each out: whether a model reads boxes as they are written for it.

No step asks this; calibration does, of a picture it has drawn (``raylabel.probing.box_reading``).
"""

from __future__ import annotations

from raylabel.prompts import Prompt

PROMPT = Prompt(
    name="box_reading",
    version=1,
    needs=("boxes", "colors"),
    text="""
Task: name the colors of rectangles in the image. The boxes, one a line:

$boxes

A box is $box_format.
For every box look at its place in the image: what is the color of the rectangle there? It is one of these: $colors.
Say "none" if there is no rectangle.

Reply with one JSON object, every id once:
{"answers": [{"id": <id>, "color": "..."}]}
""",
)
