"""The specification as blocks: every setting with its default, unit, rule and documentation.

The blocks ``image_grounding`` and ``image_referring_expression`` are TAO's; what raylabel adds stands in blocks of its
own (``serve``, ``image``, ``steps``, ``double_check``, ``limits``, ``retry``, ``ray``), in ``vlm.profile``,
``vlm.boxes``, ``vlm.calibrate`` and ``vlm.structured_output``, and in the votes of ``image_grounding.workflow``.
Precedence: defaults < file < overrides (see ``raylabel.settings.loading``).
"""

from __future__ import annotations

import functools
import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, create_model

from raylabel.blocks import (
    AUTO,
    AutoOrPositive,
    Block,
    Count,
    Formerly,
    NotNegative,
    Number,
    PathText,
    Positive,
    Share,
    ToBeGiven,
    Whole,
    Words,
    YesOrNo,
    block,
    not_allowed,
)
from raylabel.exports.formats import JSONL
from raylabel.pipelines import PIPELINES, steps_of
from raylabel.plugins.loading import Plugin
from raylabel.records import IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION
from raylabel.settings.exports import an_export_format, default_export_format
from raylabel.settings.serve import ServeSettings
from raylabel.settings.steps import StepBlock, every_step, steps_in
from raylabel.settings.vlm import VlmSettings
from raylabel.steps.base import Step
from raylabel.validation import given_phrase_flaw


class GroundingWorkflow(Block):
    """What is done, and how much at a time."""

    steps: Annotated[Words, steps_in(IMAGE_GROUNDING)] = every_step(IMAGE_GROUNDING)
    max_workers: AutoOrPositive = AUTO
    """Requests in flight of a step, over the whole cluster; auto: as many as keep a server of raylabel's own busy, by
    its own word, or as another endpoint answers faster for; 4 at first, up to 256 at each endpoint, over all steps
    together."""
    force_reprocess: YesOrNo = False
    """Ask everything again, even what is answered."""
    votes: Annotated[Positive, Field(le=32)] = 1
    """Ask every grounding question so often and give each box the share of the answers that hold it as its score."""
    voters: Words = Field(default_factory=list)
    """Models of the same endpoint that take turns in voting; empty: the one model, whose temperature must not be 0."""
    min_agreement: Share = 0.5
    """Boxes that a smaller share of the votes holds are left out."""


class ReferringWorkflow(Block):
    """What is done, and how much at a time."""

    steps: Annotated[Words, steps_in(IMAGE_REFERRING_EXPRESSION)] = every_step(IMAGE_REFERRING_EXPRESSION)
    max_workers: AutoOrPositive = AUTO
    """Requests in flight of a step, over the whole cluster; auto: as many as keep a server of raylabel's own busy, by
    its own word, or as another endpoint answers faster for; 4 at first, up to 256 at each endpoint, over all steps
    together."""
    force_reprocess: YesOrNo = False
    """Ask everything again, even what is answered."""
    output_format: Annotated[str, an_export_format] = default_export_format()


def _phrases(given: list[str]) -> list[str]:
    for phrase in given:
        if flaw := given_phrase_flaw(phrase):
            raise not_allowed(f"phrases; {phrase[:80]!r} {flaw}")
    return given


class GroundingData(Block):
    """The input."""

    input_jsonl: Annotated[PathText, ToBeGiven()] = ""
    """JSON lines with "image_path" and "caption". Not needed (then empty) where step 1 alone runs on the
    step_0_expression_extraction/annotations.jsonl of results_dir."""
    image_root: PathText = ""
    """Folder that relative image paths start from; empty: where the command runs."""
    image_dir: PathText = ""
    """Folder of images (jpg, png, webp, bmp, tif, gif), sub-folders included, in the place of input_jsonl, which wins
    where both are given. A model captions each image first (step image_caption), unless phrases are given."""
    image_shards: PathText = ""
    """WebDataset archives (.tar) or Parquet files with images in them, as Hugging Face has them, in the place of
    input_jsonl: a folder of them, a file, or a pattern such as train-*.parquet or train-{000000..000127}.tar. Captions
    and phrases that are in them are used; images without are captioned first, unless phrases are given."""
    shard_image: str = ""
    """The column, or the ending of members (jpg), that holds the images; empty: found out where there is only one."""
    shard_caption: str = ""
    """The same for captions; empty: caption or text, caption in .json, or .txt, where there is one."""
    phrases: Annotated[Words, AfterValidator(_phrases)] = Field(default_factory=list)
    """Phrases or classes that are looked for in every image, such as [car, person, traffic light]; step 0 has nothing
    to find then, and no caption is needed. A line may have its own: "phrases": ["a red car"]."""
    phrases_file: PathText = ""
    """A file with these, one a line; give one of the two."""

    @property
    def gives_phrases(self) -> bool:
        """Whether the same phrases are looked for in every image."""
        return bool(self.phrases or self.phrases_file)

    @property
    def lacking(self) -> frozenset[str]:
        """Fields of records that the input does not bring, and a step has to find if another one needs them."""
        images = (self.image_dir or self.image_shards) and not self.input_jsonl
        return frozenset(("caption",) if images and not self.gives_phrases else ())


class ReferringData(Block):
    """The input."""

    image_dir: Annotated[PathText, ToBeGiven()] = ""
    """Folder of images (jpg, png, webp, bmp, tif, gif), sub-folders included. Required, as kitti_label_dir is, unless
    input_annotations_jsonl is given (relative image paths in that file start from here) or results_dir holds an
    earlier run."""
    kitti_label_dir: Annotated[PathText, ToBeGiven()] = ""
    """Folder of KITTI label files with the images' stems. Required as image_dir is."""
    yolo_label_dir: PathText = ""
    """In the place of kitti_label_dir: folder of YOLO label files (class x y width height, in shares of the image)."""
    yolo_names: PathText = ""
    """The names of their classes: data.yaml of the data set, or a text file with one a line."""
    coco_json: PathText = ""
    """In the place of kitti_label_dir: a COCO file, whose file_name is relative to image_dir."""
    label_studio_json: PathText = ""
    """In the place of kitti_label_dir: tasks with boxes as Label Studio exports them (JSON); their images are looked
    for in image_dir by the ends of their paths."""
    input_annotations_jsonl: PathText = ""
    """JSON lines with "image_path" and "kitti_bboxes" or "regions", an earlier annotations.jsonl for example. Wins over
    kitti_label_dir where both are given."""

    @property
    def lacking(self) -> frozenset[str]:
        """As of ``GroundingData``."""
        return frozenset()


class GroundingPipeline(Block):
    """Captions in, phrases with boxes out; used where autolabel_type is image_grounding."""

    vlm: VlmSettings = block()
    workflow: GroundingWorkflow = block()
    data: GroundingData = block()


class ReferringPipeline(Block):
    """Boxes in, phrases for them out; used where autolabel_type is image_referring_expression."""

    vlm: VlmSettings = block()
    workflow: ReferringWorkflow = block()
    data: ReferringData = block()


class ImageSettings(Block):
    """How images are read and sent."""

    max_pixels: Count = 0
    """Largest picture sent, in pixels (width x height); larger ones are scaled down; 0: no limit."""
    max_decode_pixels: Annotated[Positive, Formerly("refuse_pixels")] = 200_000_000
    """Images that decode to more pixels are refused (decompression bombs)."""
    jpeg_quality: Annotated[Positive, Field(le=100)] = 95
    """Of pictures that have to be re-encoded."""
    cache_mb: Count = 512
    """Upper bound of the node-local cache of re-encoded pictures."""
    transport: Literal["auto", "base64", "file"] = "auto"
    """auto | base64 | file: how pictures reach the server; auto: servers that raylabel started (vLLM, or a command with
    {pictures}) read files where they lie on the same node, all others get them in the request; file: a server of yours
    (backend openai) reads the images that need no preparing at their own paths, too, or the run ends."""


class DoubleCheckSettings(Block):
    """What the double check may change."""

    adjust: Literal["apply", "flag", "never"] = "flag"
    """apply | flag | never: what happens to boxes that the check would move."""
    keep_rejected: YesOrNo = False
    """Keep dropped expressions (outcome: rejected) and boxes, with verified: false."""


class LimitSettings(Block):
    """How much is asked at a time, and when to give up."""

    max_in_flight: Count = 0
    """Requests in flight over all steps together, later steps first; 0: no limit beyond max_workers."""
    items_per_request: Positive = 16
    """Phrases, regions or expressions in one question; longer lists are split."""
    max_attempts_per_question: Annotated[Positive, Formerly("readings")] = 3
    """Answers bought for one question in a run while they cannot be read."""
    confirm_requests: Count = 1000
    """A run that would ask again more often than this about settled records, because prompt, model or input changed,
    says so and wants --yes; 0: none does."""
    longest_wait: NotNegative = 600.0
    """Seconds; a server that wants to be left alone for longer (Retry-After) is out of quota, and the run ends."""
    requests_per_minute: NotNegative = 0.0
    """What the endpoint may be asked at most; 0: as much as it takes, which is found out."""
    tokens_per_minute: NotNegative = 0.0
    """Tokens of questions and answers at most, where the server tells them: as many requests as take so many on
    average; 0: no limit."""
    patience: NotNegative = 1800.0
    """Seconds for which an endpoint that answers nothing or turns everything away is waited for; then the run ends."""
    max_requests: Positive | None = None
    """Requests that one command may send; those that the server turns away do not count. At this limit and the three
    below, the run finishes what is in flight, writes its files and ends with exit code 3; the same command continues,
    with as much again. null: no limit."""
    max_tokens: Positive | None = None
    """Tokens, of questions and answers together, that one command may use."""
    max_cost_usd: Annotated[Number, Field(gt=0)] | None = None
    """US dollars that the answers of one command may cost, by prices, or else by the list that is installed."""
    max_hours: Annotated[Number, Field(gt=0)] | None = None
    """Hours after which one command asks nothing new."""
    write_every: NotNegative = 300.0
    """Seconds after which all result files are written again while the run goes on, with what is settled; 0: when it
    ends or is stopped only. Large ones are written more rarely: it never takes more than a twentieth of the time."""
    max_failure_rate: Share = 0.5
    """A run whose share of open records exceeds this ends with exit code 1, and stops early when it is far gone. Those
    that failed for trouble of the endpoint, and not for anything of their own, do not count."""


class RetrySettings(Block):
    """Time-outs, lost connections and 5xx are tried again; 429 and 503 are waited for, and are no tries."""

    attempts: Positive = 6
    """Tries of one request in a run, the first included; no more than three of those that time out."""
    backoff: NotNegative = 1.0
    """Seconds before the second try; doubled each time, with jitter."""
    max_backoff: NotNegative = 60.0
    """Upper bound of one wait, in seconds; a longer Retry-After is honoured, up to limits.longest_wait."""


HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^][:/\s]+):\d+")


def _ray_address(address: str) -> str:
    if address not in ("", "auto", "local") and HOST_AND_PORT.fullmatch(address) is None:
        raise not_allowed('"auto", "local", host:port or nothing (a remote cluster is used through "ray job submit")')
    return address


class RaySettings(Block):
    """Where the work runs."""

    address: Annotated[str, AfterValidator(_ray_address)] = ""
    """Empty: RAY_ADDRESS if set (a submitted job), else a private Ray on this machine; "auto" or host:port: attach;
    "local": a private one in any case."""
    actors: Count = 0
    """Worker processes over the whole cluster, each good for one core; 0: as many as the requests in flight take (one
    for every 128), up to the cores, at least one a node, and none for a small run on this machine alone."""
    # Ray 2.60 refuses an object store below 75 MiB.
    object_store_mb: Annotated[Whole, Field(ge=80)] = 256
    """Of a private Ray."""
    num_cpus: Count = 0
    """Of a private Ray; 0: those of the machine."""


_PRICES = ("input", "cached_input", "output")


def _prices(by_model: dict[str, Any]) -> dict[str, Any]:
    for model, prices in by_model.items():
        numbers = prices.values() if isinstance(prices, dict) else ()
        if (
            not isinstance(prices, dict)
            or not {"input", "output"} <= set(prices) <= set(_PRICES)
            or any(isinstance(n, bool) or not isinstance(n, int | float) or not 0 <= n < math.inf for n in numbers)
        ):
            raise not_allowed(
                f'{{"{model}": {{input: 0.25, cached_input: 0.025, output: 1.5}}}} in US dollars per million tokens, '
                "of which cached_input may be left out"
            )
    return by_model


def _a_pipeline(name: str) -> str:
    if name not in PIPELINES:  # as it is now: plugins add to it
        raise not_allowed(", ".join(PIPELINES), *PIPELINES)
    return name


class Settings(Block):
    """The whole specification."""

    results_dir: Annotated[PathText, ToBeGiven()] = ""
    """Folder of the results and of all that is needed to go on after an interruption; may be s3:// or gs://."""
    autolabel_type: Annotated[str, AfterValidator(_a_pipeline)] = "image_grounding"
    """image_grounding | image_referring_expression."""
    plugins: Words = Field(default_factory=list)
    """Steps of your own, behind the others: files such as my_steps.py, or names of installed plugins. Their code is
    run; see docs/plugins.md."""
    image_grounding: GroundingPipeline = block()
    image_referring_expression: ReferringPipeline = block()
    serve: ServeSettings = block()
    image: ImageSettings = block()
    steps: StepBlock = block()
    double_check: DoubleCheckSettings = block()
    limits: LimitSettings = block()
    prices: Annotated[dict[str, Any], AfterValidator(_prices)] = Field(default_factory=dict)
    """By model: {input: 0.25, cached_input: 0.025, output: 1.5}, US dollars per million tokens; wins over the list that
    is installed (genai-prices), which knows public providers by their address. cached_input may be left out."""
    retry: RetrySettings = block()
    ray: RaySettings = block()
    _loaded_plugins: tuple[Plugin, ...] = PrivateAttr(default=())

    @property
    def loaded_plugins(self) -> tuple[Plugin, ...]:
        """The plugins as they were when the specification was read."""
        return self._loaded_plugins

    def note_plugins(self, plugins: tuple[Plugin, ...]) -> None:
        """Remember what the names under ``plugins`` stand for."""
        self._loaded_plugins = plugins

    @property
    def pipeline(self) -> GroundingPipeline | ReferringPipeline:
        """The block that ``autolabel_type`` names."""
        block: GroundingPipeline | ReferringPipeline = getattr(self, self.autolabel_type)
        return block

    @property
    def max_workers(self) -> int | None:
        """Requests that a step may have in flight; None where it is to be found out."""
        workers = self.pipeline.workflow.max_workers
        return workers if isinstance(workers, int) else None

    @property
    def output_format(self) -> str:
        """What is written beside the JSON lines: a name of ``EXPORT_FORMATS``."""
        return self.pipeline.workflow.output_format if isinstance(self.pipeline, ReferringPipeline) else JSONL

    def price_of(self, model: str) -> tuple[float, float, float] | None:
        """What the user says that a model costs: input, cached input, output; None where nothing is said."""
        if (said := self.prices.get(model)) is None:
            return None
        return said["input"], said.get("cached_input", said["input"]), said["output"]

    @property
    def selected_steps(self) -> list[type[Step]]:
        """The steps that are run, in order: those of ``workflow.steps``, and what fills in what the input lacks."""
        chosen = steps_of(self.autolabel_type, self.pipeline.workflow.steps)
        lacking = self.pipeline.data.lacking.intersection(field for step in chosen for field in step.needs)
        return [
            step
            for step in steps_of(self.autolabel_type)
            if step in chosen or (step.fills_in and not lacking.isdisjoint(step.gives))
        ]


@functools.cache
def pipeline_block(name: str, like: str) -> type[Block]:
    """The block of a pipeline that a plugin adds: that of the one it is like, with its own steps."""
    outer, workflow = _BLOCKS[like]
    steps: Any = (Annotated[Words, steps_in(name)], every_step(name))
    inner = create_model(
        f"Workflow_{name}", __base__=workflow, __doc__=workflow.__doc__, __module__=__name__, steps=steps
    )
    doc = f"As {like}; used where autolabel_type is {name}."
    made = create_model(f"Pipeline_{name}", __base__=outer, __doc__=doc, __module__=__name__, workflow=(inner, block()))
    globals().update({inner.__name__: inner, made.__name__: made})  # where pickle looks for them
    return made


_BLOCKS: dict[str, tuple[type[Block], type[Block]]] = {
    IMAGE_GROUNDING: (GroundingPipeline, GroundingWorkflow),
    IMAGE_REFERRING_EXPRESSION: (ReferringPipeline, ReferringWorkflow),
}
