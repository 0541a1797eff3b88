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
    name="grounding_expr",
    version=1,
    needs=("regions",),
    reply=GroupingReply,
    text="""
Task: write referring expressions for regions of the image. The regions, one a line:

$regions

A box is $box_format.
$context
Write short phrases (no sentences), each naming one region or a group of regions that belong together because the same
phrase fits them all ("red cars", "people on the left", "the small blue sign"). A phrase must list every region that it
fits, and no other. Every region must occur in at least one phrase and may occur in several. No phrase twice.
$focus
Reply with one JSON object:
{"expressions": [{"text": "...", "regions": [<id>, ...]}]}
""",
)
