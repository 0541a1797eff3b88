"""How families of models speak of boxes: one table, matched by the model's name.

A row says what must be known to ask a family for boxes and to read them right. Grades: P, the owner's repository,
documentation or maintainers say so; S, third-party code or benchmarks depend on it; U, inferred. Families of whose
boxes nothing is known are not here: they are calibrated (``raylabel.probing``), as every model is that has no row.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass

from raylabel.geometry import SQUARE, XYXY_1000, XYXY_PIXELS, YXYX_1000, Convention, Resize

LIST = "list"
"""``[a, b, c, d]``"""
NAMED = "named"
"""``{"x_min": a, "y_min": b, "x_max": c, "y_max": d}``"""
PAIRS = "pairs"
"""``(a,b),(c,d)``"""
LOC1024 = "loc1024"
"""``<loc0012><loc0034>...``: four tokens of a PaliGemma vocabulary"""
LOC = "loc"
"""``<loc_12><loc_34>...``: four tokens of a Florence-2 vocabulary"""
PATCH = "patch"
"""``<patch_index_0044><patch_index_0863>``: two cells of Kosmos-2's grid"""
SPELLINGS = (LIST, NAMED, PAIRS, LOC1024, LOC, PATCH)
"""How a box may be written in a question."""

AS_IS = Resize()

THINK = ("<think>", "</think>")


@dataclass(frozen=True, slots=True)
class Profile:
    """How one family, or one calibrated model, is asked for boxes and read.

    Args:
        name: for ``vlm.profile``, messages and ``run.json``.
        convention: of the numbers, in answers and in questions that hold boxes.
        models: regular expressions, searched in the lower-cased name; the first row of the table that matches counts.
        key: under which JSON answers hold a box.
        spelling: how a box is written, one of ``SPELLINGS``.
        question_style: the grounding question, a name in ``raylabel.prompts.grounding.QUESTION_STYLES``.
        resize: what the model's servers do to pictures; done before sending, so that theirs changes nothing.
        schema: grounding answers may be bound to a JSON schema.
        scores: a score a box is asked for.
        labels: the phrase is asked for beside each box, as the family was trained to say it: left to itself, it names
            boxes in words of its own, and no number. For the others the number of the phrase is enough.
        reasoning: marks around thoughts in the answer.
        localises: False for families that answer points, or nothing that is a place.
        stated: what a question calls for where that is not what is answered: some models answer in their own numbers as
            long as others are asked for.
        reads: how boxes are read that stand in a question, where a model does not read them as it writes them.
        answers_in: the format of its answers, one of ``raylabel.answers.formats.FORMATS``, where the family knows but
            one; empty: found out from the answer.
        source: where this is written, led by its grade.
    """

    name: str
    convention: Convention
    models: tuple[str, ...] = ()
    key: str = "bbox_2d"
    spelling: str = LIST
    question_style: str = "list"
    resize: Resize = AS_IS
    schema: bool = False
    scores: bool = True
    labels: bool = False
    reasoning: tuple[str, str] | None = None
    localises: bool = True
    stated: Convention | None = None
    reads: Convention | None = None
    answers_in: str = ""
    source: str = ""

    @property
    def for_questions(self) -> Profile:
        """The profile by which boxes are written into questions: in the numbers that the model reads."""
        if self.reads is None:
            return self
        # Names of corners and tokens of a vocabulary have an order and a scale of their own.
        plain = dataclasses.replace(self.with_convention(self.reads, self.name), spelling=LIST)
        return dataclasses.replace(plain, stated=None, reads=None)

    def with_convention(self, convention: Convention, name: str) -> Profile:
        """The same ways of asking with other numbers, in a plain spelling where the old one cannot hold them.

        ``box_2d`` is the key of the families that put y first.
        """
        spelling = self.spelling if self.spelling in (LIST, NAMED, PAIRS) else LIST
        key = "box_2d" if convention.order == "yxyx" else self.key
        return dataclasses.replace(self, convention=convention, spelling=spelling, key=key, name=name, answers_in="")


UNKNOWN = Profile("unknown", XYXY_1000, source="the convention most open models follow; asked first, then measured")
"""How a model without a row is asked until its answers were measured."""

# smart_resize of qwen-vl-utils, vision_process.py: sides of multiples of 28, 56x56 to 1280x28x28 pixels.
_SMART_28 = Resize(multiple=28, min_pixels=56 * 56, max_pixels=1280 * 28 * 28)

# Beyond 1.15 megapixels or the long edge Claude shrinks a picture, and its pixels are those of the smaller one.
_CLAUDE = Resize(max_pixels=1_150_000, long_edge=1568)
_CLAUDE_4_7 = Resize(max_pixels=1_150_000, long_edge=2576)

_XYXY_999 = Convention("xyxy", 999.0)
_XYXY_1 = Convention("xyxy", 1.0)

PROFILES: tuple[Profile, ...] = (
    # --- Google ---
    Profile(
        "gemini-1.5",
        YXYX_1000,
        (r"gemini-1\.5",),
        key="box_2d",
        source="P: google-gemini/deprecated-generative-ai-python, samples/rest/text_generation.sh",
    ),
    Profile(
        "gemini",
        YXYX_1000,
        (r"gemini",),
        key="box_2d",
        source="P: google-gemini/cookbook, quickstarts/Spatial_understanding.ipynb; ai.google.dev, image-understanding",
    ),
    Profile(
        "paligemma",
        Convention("yxyx", 1024.0, top=1023.0),
        (r"paligemma",),
        spelling=LOC1024,
        question_style="detect",
        answers_in="location_tokens",
        scores=False,
        source="P: google-research/big_vision, configs/proj/paligemma/README.md",
    ),
    # --- Alibaba, and what is built on it ---
    Profile(
        "cosmos-reason2",
        XYXY_1000,
        (r"cosmos-?reason-?2",),
        labels=True,
        reasoning=THINK,
        source="U: Qwen3-VL base; P for asking: nvidia-cosmos/cosmos-reason2, prompts/2d_grounding.yaml",
    ),
    Profile(
        "cosmos-reason1",
        XYXY_PIXELS,
        (r"cosmos-?reason-?1",),
        resize=_SMART_28,
        labels=True,
        reasoning=THINK,
        source="U: Qwen2.5-VL base",
    ),
    Profile(
        "vlm-r1",
        XYXY_PIXELS,
        (r"vlm-?r1", r"seg-?zero", r"visionreasoner"),
        resize=_SMART_28,
        labels=True,
        reasoning=THINK,
        source="P: om-ai-lab/VLM-R1#198, #99",
    ),
    Profile(
        "visual-rft",
        XYXY_1000,
        (r"visual-?rft",),
        labels=True,
        reasoning=THINK,
        source="P: Liuziyu77/Visual-RFT, demo/lisa_demo.ipynb",
    ),
    Profile(
        "ui-tars",
        XYXY_PIXELS,
        (r"ui-?tars",),
        localises=False,
        source="P: bytedance/UI-TARS, README_coordinates.md: answers points to click",
    ),
    Profile(
        "qwen3-vl",
        XYXY_1000,
        (r"qwen-?3(\.\d+)?-?(vl|omni)", r"qwen-?3\.[5-9]"),
        labels=True,
        reasoning=THINK,
        source="P: QwenLM/Qwen3-VL, cookbooks/omni_recognition.ipynb and README",
    ),
    Profile(
        "qwen2.5-vl",
        XYXY_PIXELS,
        (r"qwen-?2\.5-?(vl|omni)",),
        resize=_SMART_28,
        labels=True,
        source="P: QwenLM/Qwen3-VL, qwen-vl-finetune/tools/process_bbox.ipynb; qwen-vl-utils, vision_process.py",
    ),
    Profile(
        "qwen2-vl",
        XYXY_1000,
        (r"qwen-?2-?vl",),
        labels=True,
        source="P: QwenLM/Qwen3-VL, process_bbox.ipynb and #9",
    ),
    Profile(
        "qwen-vl",
        XYXY_1000,
        (r"qwen-?vl(-chat|-7b|$)",),
        spelling=PAIRS,
        question_style="ref_box",
        scores=False,
        source="P: QwenLM/Qwen-VL, README.md and TUTORIAL.md",
    ),
    # --- OpenGVLab ---
    Profile(
        "internvl",
        XYXY_1000,
        (r"internvl-?(chat-?v?)?(1[.\-_]?[2-5]?|2([.\-_]5)?|3)(?![.\-_]?\d*[.\-_]5)(?!\d)",),
        question_style="ref",
        scores=False,
        source="P: OpenGVLab/InternVL, eval/refcoco/evaluate_grounding.py, #227, #1016",
    ),
    Profile(
        "all-seeing-v2",
        XYXY_1000,
        (r"all-?seeing|asmv2",),
        question_style="ref",
        scores=False,
        source="S: visualisation script; the format of InternVL",
    ),
    # --- Zhipu ---
    Profile(
        "glm-v",
        XYXY_1000,
        (r"glm-?4\.[156]v",),
        reasoning=THINK,
        source="P: zai-org/GLM-V, README, examples/gui-agent/glm-41v/agent.md, #114, #118",
    ),
    Profile(
        "cogvlm",
        XYXY_1000,
        (r"cogvlm|cogagent",),
        question_style="point_out",
        scores=False,
        source="P: THUDM/CogVLM, README, utils/utils/grounding_parser.py, #46",
    ),
    # --- DeepSeek ---
    Profile(
        "deepseek-vl2",
        _XYXY_999,
        (r"deepseek-?vl-?2",),
        question_style="det",
        answers_in="tags",
        scores=False,
        source="P: deepseek-ai/DeepSeek-VL2, README, serve/app_modules/utils.py, #100",
    ),
    # --- Microsoft ---
    Profile(
        "florence-2",
        Convention("xyxy", 1000.0, offset=0.5, top=999.0),
        (r"florence-?2",),
        spelling=LOC,
        question_style="open_vocabulary",
        answers_in="location_tokens",
        scores=False,
        source="P: transformers, tests/models/florence2",
    ),
    Profile(
        "kosmos-2",
        _XYXY_1,
        (r"kosmos-?2(?!\.5)",),
        spelling=PATCH,
        question_style="phrase",
        answers_in="patches",
        scores=False,
        source="P: transformers, processing_kosmos2.py",
    ),
    # --- others ---
    Profile(
        "moondream",
        _XYXY_1,
        (r"moondream",),
        spelling=NAMED,
        question_style="detect",
        scores=False,
        source="P: vikhyat/moondream, moondream/torch/moondream.py",
    ),
    Profile(
        "molmo",
        Convention("xyxy", 100.0),
        (r"molmo",),
        localises=False,
        source="P: allenai/molmo, olmo/data/data_formatter.py: answers points",
    ),
    Profile(
        "minicpm-v",
        XYXY_1000,
        (r"minicpm-?(v|o)",),
        question_style="ref",
        scores=False,
        source="P: OpenBMB/MiniCPM-V#982",
    ),
    Profile(
        "shikra",
        Convention("xyxy", 1.0, frame=SQUARE),
        (r"shikra",),
        question_style="point_out",
        scores=False,
        source="P: shikras/shikra, box_process_function.py, config/_base_/model/shikra.py (Expand2square)",
    ),
    Profile(
        "ferret",
        XYXY_1000,
        (r"ferret",),
        question_style="point_out",
        scores=False,
        source="P: apple/ml-ferret, ferret/serve/gradio_web_server.py",
    ),
    Profile(
        "locate-anything",
        XYXY_1000,
        (r"locate-?anything", r"eagle.*embodied"),
        question_style="all_instances",
        scores=False,
        source="P: NVlabs/Eagle, Embodied/README.md",
    ),
    Profile(
        "seed-vl",
        _XYXY_999,
        (r"seed-?1[.\-_]?[5-9].*", r"doubao.*(vision|vl|seed)"),
        source="P for points: ByteDance-Seed/Seed1.5-VL, GUI/action_parser.py; "
        "S for boxes: web-infra-dev/midscene, doubao.ts",
    ),
    Profile(
        "kimi-vl",
        _XYXY_1,
        (r"kimi-?vl",),
        reasoning=("◁think▷", "◁/think▷"),
        source="S: MoonshotAI/Kimi-VL#56, #52; web-infra-dev/midscene, kimi.ts",
    ),
    Profile(
        "gpt-5.0",
        _XYXY_1,
        (r"gpt-5(\.1)?(?![.\d])",),
        key="box",
        spelling=NAMED,
        source="S: roboflow/inference, openai/v5.py",
    ),
    Profile(
        "gpt",
        XYXY_PIXELS,
        (r"gpt-4o", r"gpt-4\.1", r"gpt-5\.[2-9]"),
        key="box_2d",
        resize=Resize(long_edge=2048),
        source="S: roboflow/inference, openai/v5.py",
    ),
    Profile(
        "claude-4.7",
        XYXY_PIXELS,
        (r"claude-opus-4[.\-][7-9]",),
        key="box",
        resize=_CLAUDE_4_7,
        question_style="object",
        schema=True,
        source="P: platform.claude.com, build-with-claude/vision-coordinates; S: the exact limits",
    ),
    Profile(
        "claude",
        XYXY_PIXELS,
        (r"claude",),
        key="box",
        resize=_CLAUDE,
        question_style="object",
        schema=True,
        source="P: platform.claude.com, build-with-claude/vision-coordinates; S: the exact limits",
    ),
    Profile(
        "grok",
        Convention("xyxy", 100.0),
        (r"grok-(4\.[5-9]|[5-9])",),
        key="box_2d",
        source="S: roboflow/inference, spacexai_detection_parsing.py",
    ),
    Profile(
        "muse",
        XYXY_1000,
        (r"^(.*/)?muse",),
        key="box",
        spelling=NAMED,
        source="S: roboflow/inference, muse_detection_parsing.py",
    ),
)
"""The table; rows of narrower names stand before those of wider ones."""


def profile_for(names: Iterable[str]) -> Profile | None:
    """The row of the first name that has one, or None.

    Args:
        names: what the server calls the model, best first (``models/gemini-2.5-flash``, ``/data/Qwen2.5-VL-7B``).

    >>> profile_for(["my-alias", "Qwen/Qwen2.5-VL-7B-Instruct"]).name
    'qwen2.5-vl'
    """
    for name in names:
        for profile in PROFILES:
            if any(re.search(pattern, name.lower()) for pattern in profile.models):
                return profile
    return None


def profile_named(name: str) -> Profile | None:
    """The row of this name, or None."""
    return next((profile for profile in PROFILES if profile.name == name), None)
