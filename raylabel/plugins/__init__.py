"""Steps from outside of the package: what a plugin is written with, and how one is found and loaded (``loading``).

A plugin is one Python file, or an installed module, with a table of the steps that it adds behind those of a pipeline:
``PIPELINES = {"image_grounding": [MyStep]}``. ``docs/plugins.md`` takes one apart.
"""

from raylabel.answers.json_text import by_number, list_under, read_json, text_of, unreadable
from raylabel.errors import AnswerError, AnswerProblem
from raylabel.plugins.loading import Pipeline
from raylabel.prompts import Prompt, json_lines
from raylabel.prompts.boxes import box_values, format_box
from raylabel.records import Box, Changes, Expression, Instance, Outcome, Record, Region, Seed, Size
from raylabel.steps.base import (
    Answered,
    FollowUp,
    Question,
    ReplyText,
    Result,
    Skip,
    Step,
    WholeReplyStep,
    box_in_image,
    problem_result,
)
from raylabel.steps.double_check import DoubleCheck
from raylabel.steps.expression_extraction import ExpressionExtraction
from raylabel.steps.grounding import Grounding
from raylabel.steps.grounding_expr import GroundingExpr
from raylabel.steps.image_caption import ImageCaption
from raylabel.steps.items import ask_for_missing, in_parts
from raylabel.steps.region_expr import RegionExpr
from raylabel.steps.settings import StepSettings

__all__ = [
    "AnswerError",
    "AnswerProblem",
    "Answered",
    "Box",
    "Changes",
    "DoubleCheck",
    "Expression",
    "ExpressionExtraction",
    "FollowUp",
    "Grounding",
    "GroundingExpr",
    "ImageCaption",
    "Instance",
    "Outcome",
    "Pipeline",
    "Prompt",
    "Question",
    "Record",
    "Region",
    "RegionExpr",
    "ReplyText",
    "Result",
    "Seed",
    "Size",
    "Skip",
    "Step",
    "StepSettings",
    "WholeReplyStep",
    "ask_for_missing",
    "box_in_image",
    "box_values",
    "by_number",
    "format_box",
    "in_parts",
    "json_lines",
    "list_under",
    "problem_result",
    "read_json",
    "text_of",
    "unreadable",
]
