"""The default specification as a commented file."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from raylabel.records import IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION
from raylabel.settings.block import Block, ToBeGiven, documentation, inner_block, metadata
from raylabel.settings.root import Settings
from raylabel.settings.steps import STEP_NAMES

_WIDTH = 110

_HEADER = """\
# Specification of a raylabel run, with every setting at its default.
# "???" has to be given, here or on the command line, in the block that autolabel_type names.
# An empty value means "not set". Paths start from where the command runs.
#
#   raylabel run experiment.yaml results_dir=results {required}"""

_REQUIRED = {
    IMAGE_GROUNDING: "image_grounding.data.input_jsonl=captions.jsonl",
    IMAGE_REFERRING_EXPRESSION: (
        "image_referring_expression.data.image_dir=images image_referring_expression.data.kitti_label_dir=labels"
    ),
}


def default_specification(autolabel_type: str | None = None) -> str:
    """A complete, commented YAML file of all settings.

    Args:
        autolabel_type: the pipeline whose block is written; None writes both and names the first.
    """
    chosen = autolabel_type or IMAGE_GROUNDING
    lines = [_HEADER.format(required=_REQUIRED[chosen])]
    for name in Settings.model_fields:
        if name not in STEP_NAMES or autolabel_type in (None, name):
            lines += ["", *_lines(Settings, name, "", set(), {"autolabel_type": chosen})]
    return "\n".join(lines) + "\n"


def _lines(
    block: type[Block], name: str, indent: str, said: set[tuple[str, str]], values: Mapping[str, str]
) -> Iterator[str]:
    """A key or block with its comments.

    Args:
        said: what the top-level block has said of which name; it is not said twice (the blocks of the steps are alike).
        values: other values than the defaults.
    """
    field = block.model_fields[name]
    inner = inner_block(field)
    doc = documentation(inner) if inner else documentation(block, name)
    topic = ("" if inner else name, doc)
    if topic not in said:
        yield from textwrap.wrap(
            doc, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_on_hyphens=False
        )
        said.add(topic)
    if inner is None:
        value = values.get(name, field.get_default(call_default_factory=True))
        yield f"{indent}{name}: {'???' if ToBeGiven() in metadata(field) else _scalar(value)}"
        return
    yield f"{indent}{name}:"
    for inner_name in inner.model_fields:
        yield from _lines(inner, inner_name, indent + "  ", said, values)


def _scalar(value: Any) -> str:
    """A value in YAML: plain words without quotes, the rest as JSON, which YAML reads alike."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{2,}", value):
        return value
    return json.dumps(value, ensure_ascii=False)
