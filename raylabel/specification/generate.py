"""The default specification as a commented file."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from raylabel.records import IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION
from raylabel.settings import STEP_NAMES
from raylabel.specification.keys import Block, Key, tree

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

# As in the specification TAO generates, although its schema has another default.
_AS_IN_TAO: Mapping[str, Any] = {
    "image_referring_expression.workflow.output_format": "both",
    "image_referring_expression.data.image_dir": "???",
    "image_referring_expression.data.kitti_label_dir": "???",
}


def default_specification(autolabel_type: str | None = None) -> str:
    """A complete, commented YAML file of all settings.

    Args:
        autolabel_type: the pipeline whose block is written; None writes both and names the first.
    """
    chosen = autolabel_type or IMAGE_GROUNDING
    values = {**_AS_IN_TAO, "autolabel_type": chosen}
    lines = [_HEADER.format(required=_REQUIRED[chosen])]
    for name, member in tree().members.items():
        if name not in STEP_NAMES or autolabel_type in (None, name):
            lines += ["", *_lines(member, values, "", set())]
    return "\n".join(lines) + "\n"


def _lines(member: Key | Block, values: Mapping[str, Any], indent: str, said: set[tuple[str, str]]) -> Iterator[str]:
    """A key or block with its comments.

    Args:
        said: what the top-level block has said of which name; it is not said twice (the blocks of the steps are alike).
    """
    name = member.path.rpartition(".")[2]
    topic = (name if isinstance(member, Key) else "", member.doc)
    if topic not in said:
        yield from textwrap.wrap(
            member.doc, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_on_hyphens=False
        )
        said.add(topic)
    if isinstance(member, Key):
        yield f"{indent}{name}: {_scalar(values.get(member.path, member.default))}"
        return
    yield f"{indent}{name}:"
    for inner in member.members.values():
        yield from _lines(inner, values, indent + "  ", said)


def _scalar(value: Any) -> str:
    """A value in YAML: plain words without quotes, the rest as JSON, which YAML reads alike."""
    if isinstance(value, str) and (value == "???" or re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{2,}", value)):
        return value
    return json.dumps(value, ensure_ascii=False)
