"""Caption in, cleaned caption and referring expressions out."""

from __future__ import annotations

from pydantic import BaseModel

from raylabel.prompts import Prompt


class ExtractionReply(BaseModel):
    cleaned_caption: str
    expressions: list[str]


PROMPT = Prompt(
    version=2,
    needs=("caption",),
    reply=ExtractionReply,
    text="""
Task: extract the referring expressions of a caption.

Caption: $caption

1. Clean the caption: leave out introductions ("in this photo we can see"), remarks about the picture as such (style,
quality, mood) and opinions. Keep all other words and their order.
2. List in order every noun phrase of the cleaned caption that names something one can point at in the image, with its
adjectives, its number and the words that say where it is. Copy letter by letter. A phrase that occurs twice is listed
twice. Leave out what cannot be boxed (sky, weather, background, time of day).

Reply with one JSON object:
{"cleaned_caption": "...", "expressions": ["...", ...]}
""",
)
