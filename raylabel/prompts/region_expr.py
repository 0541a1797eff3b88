"""Seed boxes in, one description a box out."""

from __future__ import annotations

from pydantic import BaseModel

from raylabel.prompts import Prompt


class RegionDescription(BaseModel):
    id: int
    type: str
    color: str
    description: str


class RegionReply(BaseModel):
    regions: list[RegionDescription]


PROMPT = Prompt(
    version=2,
    needs=("regions",),
    reply=RegionReply,
    text="""
Task: describe regions of the image, one a line:

$regions

A box is $box_format. "type" is what somebody noted and may be wrong: look at the image.
Give of the object in each box its type (one or two words), its main color (one or two words, "" if it has none) and
one short phrase by which a stranger could find it in the image and no other (look, size, place, neighbours).

Reply with one JSON object, one entry a region, every id once:
{"regions": [{"id": <id>, "type": "...", "color": "...", "description": "..."}]}
""",
)
