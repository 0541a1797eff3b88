"""Described regions in, groups of regions under one phrase out."""

from __future__ import annotations

from pydantic import BaseModel

from raylabel.prompts import Prompt


class RegionGroup(BaseModel):
    text: str
    regions: list[int]


class GroupingReply(BaseModel):
    expressions: list[RegionGroup]


PROMPT = Prompt(
    version=2,
    needs=("regions",),
    reply=GroupingReply,
    text="""
Task: write referring expressions for regions of the image, one a line:

$regions

A box is $box_format.
$context
Write short phrases (no sentences) for single regions and for groups ("the small blue sign", "people on the left"). A
phrase lists every region that it fits, and no other. Every region occurs in at least one phrase. No phrase twice.
$focus
Reply with one JSON object:
{"expressions": [{"text": "...", "regions": [<id>, ...]}]}
""",
)
