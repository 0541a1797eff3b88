"""How this model reads and writes boxes; a dialect is a property of the model, whatever a prompt says.

Written apart from ``raylabel.geometry`` on purpose: a mistake there must not be mirrored here.
"""

from __future__ import annotations

from raylabel.demo.server.dialects import speech
from raylabel.demo.server.dialects.dialect import BlindDialect, CellDialect, Dialect, Finding, PixelBox, PointDialect
from raylabel.demo.server.dialects.scales import Bins, Scale
from raylabel.demo.server.dialects.spelling import (
    BOX_KEYS,
    as_cells,
    as_locations,
    as_named,
    as_padded_locations,
    box_in,
    corners_in,
)
from raylabel.demo.server.dialects.views import MAX_PIXELS, UnusableSize, long_edge, smart_resize

__all__ = [
    "BLIND",
    "BOX_KEYS",
    "DIALECTS",
    "MAX_PIXELS",
    "NATIVE",
    "Dialect",
    "Finding",
    "PixelBox",
    "UnusableSize",
    "box_in",
    "corners_in",
]

PIXELS = Scale(None)

DIALECTS: dict[str, Dialect] = {
    # QwenLM/Qwen3-VL cookbooks, 2d_grounding: "bbox_2d": [x1, y1, x2, y2], relative 0-1000.
    "xyxy1000": Dialect(key="bbox_2d", scale=Scale(1000)),
    # google-gemini/cookbook, Spatial_understanding: "box_2d": [ymin, xmin, ymax, xmax], normalised to 0-1000.
    "yxyx1000": Dialect(key="box_2d", scale=Scale(1000), order="tlbr"),
    "gemini": Dialect(key="box_2d", scale=Scale(1000), order="tlbr"),
    "qwen3-vl": Dialect(key="bbox_2d", scale=Scale(1000)),
    # QwenLM/Qwen3-VL qwen-vl-finetune/tools/process_bbox.ipynb: pixels of the picture after smart_resize.
    "qwen2.5-vl": Dialect(key="bbox_2d", scale=PIXELS, view=smart_resize),
    # OpenGVLab/InternVL streamlit_demo/app.py: <ref>..</ref><box>[[..]]</box>, relative 0-1000.
    "internvl": Dialect(key="box", scale=Scale(1000), speech=speech.internvl),
    # deepseek-ai/DeepSeek-VL2 README: <|ref|>..<|/ref|><|det|>[[..]]<|/det|>, relative 0-999.
    "deepseek-vl2": Dialect(key="box", scale=Scale(999), speech=speech.deepseek),
    # zai-org/GLM-V README: x first, 0-1000, special tokens around the answer, thinking before it.
    "glm-4.5v": Dialect(key="bbox_2d", scale=Scale(1000), speech=speech.glm, thinks=True),
    # google-research/big_vision paligemma README: y first, 1024 bins, the label after its four tokens.
    "paligemma": Dialect(key="box", scale=Bins(1024), order="tlbr", spell=as_padded_locations, speech=speech.paligemma),
    # transformers tests/models/florence2: x first, 1000 bins, the label before its tokens; read at the bins' middle.
    "florence-2": Dialect(key="box", scale=Bins(1000, middle=0.5), spell=as_locations, speech=speech.florence),
    # transformers processing_kosmos2: two of 32 x 32 cells.
    "kosmos-2": CellDialect(key="box", scale=Scale(None), spell=as_cells, speech=speech.kosmos),
    # allenai/molmo olmo/data/data_formatter.py: points in percent, one decimal.
    "molmo": PointDialect(key="point", scale=Scale(100, decimals=1), speech=speech.molmo),
    # Grok as roboflow/inference reads it: box_2d in percent of the sides.
    "percent": Dialect(key="box_2d", scale=Scale(100, decimals=1), speech=speech.bare_json),
    # Kimi-VL as its users found it: bbox_2d between 0 and 1.
    "unit": Dialect(key="bbox_2d", scale=Scale(1, decimals=3), speech=speech.bare_json),
    # GPT-4o as roboflow/inference reads it: pixels of the picture sent.
    "pixels": Dialect(key="box_2d", scale=PIXELS),
    # COCO's order: corner, then width and height, in pixels of the picture sent.
    "xywh": Dialect(key="bbox", scale=PIXELS, order="ltwh"),
    # vikhyat/moondream moondream.py: named corners between 0 and 1 under "objects", no labels.
    "moondream": Dialect(
        key="box",
        scale=Scale(1, decimals=3),
        spell=as_named("x_min", "y_min", "x_max", "y_max"),
        corners_in_entry=True,
        labels=False,
        speech=speech.bare_json,
    ),
    # shikras/shikra box_process_function.py: three decimals of the padded square, inline after the noun.
    "shikra": Dialect(key="box", scale=Scale(1, decimals=3), padded=True, speech=speech.shikra),
    # OpenBMB/MiniCPM-V#982: <box>x1 y1 x2 y2</box>, relative 0-1000.
    "minicpm": Dialect(key="box", scale=Scale(1000), speech=speech.minicpm),
    # QwenLM/Qwen-VL README: <ref>..</ref><box>(x1,y1),(x2,y2)</box> in [0, 1000).
    "qwen-vl": Dialect(key="box", scale=Scale(1000, largest=999), speech=speech.qwen_vl),
    # platform.claude.com vision-coordinates: pixels of the picture after the model's own resize.
    "claude": Dialect(
        key="box",
        scale=PIXELS,
        view=long_edge,
        spell=as_named("x1", "y1", "x2", "y2"),
        corners_in_entry=True,
        speech=speech.prose_and_json,
    ),
}

BLIND = BlindDialect(key="bbox_2d", scale=PIXELS)
"""How a model that cannot read boxes reads them."""

NATIVE = {"openai": "xyxy1000", "gemini": "yxyx1000", "anthropic": "xyxy1000"}
"""The dialect of the model family that a protocol is usually spoken by (``--boxes auto``)."""
