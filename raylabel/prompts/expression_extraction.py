"""Caption in, cleaned caption and referring expressions out."""

from __future__ import annotations

from pydantic import BaseModel

from raylabel.prompts import Prompt


class ExtractedExpression(BaseModel):
    text: str
    char_span: list[int]
    noun_chunk: str


class ExtractionReply(BaseModel):
    cleaned_caption: str
    expressions: list[ExtractedExpression]


PROMPT = Prompt(
    name="expression_extraction",
    version=1,
    needs=("caption",),
    reply=ExtractionReply,
    text="""
Task: extract the referring expressions of a caption.

Caption: $caption

1. Clean the caption: leave out introductions such as "in this photo we can see", remarks about the picture as a
picture (style, quality, mood) and opinions. Keep the words and the order of everything that speaks of visible things.
2. List the referring expressions of the cleaned caption: every noun phrase that names something that can be pointed at
in the image, with its adjectives, its number and the words that say where it is. Copy each one letter by letter from
the cleaned caption. A phrase that occurs twice is listed twice. Leave out parts of the scene that cannot be boxed
(sky, weather, background, time of day).

Reply with one JSON object:
{"cleaned_caption": "...", "expressions": [{"text": "...", "char_span": [start, end], "noun_chunk": "..."}]}
"char_span" counts characters of the cleaned caption from 0, end not included; "noun_chunk" is the bare noun.
""",
)
