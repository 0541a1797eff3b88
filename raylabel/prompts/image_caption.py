"""Image in, one caption out."""

from __future__ import annotations

from pydantic import BaseModel

from raylabel.prompts import Prompt


class CaptionReply(BaseModel):
    caption: str


PROMPT = Prompt(
    version=2,
    needs=(),
    reply=CaptionReply,
    text="""
Task: describe the whole image in one to three plain sentences: the scene, the main objects, their number and
where they are in relation to each other. No names of places, people or brands, nothing that cannot be seen.

Reply with one JSON object: {"caption": "..."}
""",
)
