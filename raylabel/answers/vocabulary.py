"""The words models use for the fields of an answer: which key holds a box, a name, a score, and which never does."""

from __future__ import annotations

import functools
import re

_BOX_WORDS = frozenset(
    {
        "position", "positions", "coordinate", "coordinates", "coords", "coord", "location", "locations", "rect",
        "rects", "rectangle", "rectangles", "region", "regions", "area", "bounds", "roi", "rois", "quad", "quads",
        "det", "xyxy", "xywh", "cxcywh", "yxyx", "extent", "extents", "bb", "loc",
    }
)  # fmt: skip

_BOX_KEY = re.compile(
    r"(?:2d|rotated|oriented|object|start|target|final|person|visible|pred|predicted|gt|answer|detection)?"
    r"(?:b|bnd|bounding|rect)?box(?:es)?"
    r"(?:2d|xyxy|xywh|yxyx|coords?|coordinates|px|pixels?|norm|normali[sz]ed|abs|absolute|list|1000)?\d{0,2}"
)

_NEVER_A_BOX = frozenset(
    {
        "point", "points", "keypoint", "keypoints", "3d", "mask", "masks", "color", "colors", "colour", "colours",
        "rgb", "rgba", "score", "scores", "confidence", "confidences", "conf", "probability", "prob", "probs", "size",
        "sizes", "shapes", "shape", "center", "centre",
        "centroid", "polygon", "polygons", "segment", "segmentation", "contour",
        "resolution", "dimension", "dimensions", "origin", "offset", "embedding", "velocity", "timestamp",
        "version", "padding", "margin", "rotation", "orientation", "intrinsics", "index", "indices", "idx",
        "usage", "tokens", "logprobs",
    }
)  # fmt: skip
_KEY_PARTS = re.compile(r"[0-9]*[a-z]+|[A-Z]+[a-z]*|[0-9]+", re.ASCII)

LABEL_KEYS = (
    "label", "phrase", "labels", "phrases", "name", "names", "object", "objectname", "labelname", "classname",
    "class", "categoryname", "category", "textcontent", "nameen", "namezh", "entity", "expression", "query", "target",
    "item", "tag", "title", "text", "content", "caption", "sublabel", "description", "prompt", "type", "en", "zh",
)  # fmt: skip
"""Best first. Languages stand at the end: ``{"names": {"en": ..}}``."""

_LABELS = frozenset(LABEL_KEYS)

SCORE_KEYS = ("score", "scores", "confidence", "confidences", "conf", "probability", "prob", "certainty")

ID_KEYS = ("id", "phraseid", "queryid")

WORDS_KEYS = frozenset(
    {
        "message", "error", "refusal", "note", "notes", "explanation", "comment", "comments", "reason", "reasoning",
        "thought", "thoughts", "summary", "status", "remark", "remarks", "details",
    }
)  # fmt: skip
"""Keys of sentences: no label, but perhaps what the answer has to say."""

CONTAINERS = frozenset(
    {
        "result", "results", "answer", "answers", "output", "outputs", "response", "objects", "object", "detections",
        "detection", "detectedobjects", "items", "item", "annotations", "annotation", "predictions", "prediction",
        "data", "instances", "instance", "phrases", "entities", "found", "image", "images", "elements", "element",
        "arguments", "args", "parameters", "params", "function", "functioncall", "toolcall", "toolcalls", "tool",
        "content", "message", "grounding", "groundings", "targets", "target", "children", "labels", "matches", "match",
        "identified", "value", "values", "list", "od", "od2", "here", "final", "finalanswer", "action", "actions",
        "prompt", "query", "input", "parts", "text", "boundary",
    }
)  # fmt: skip

_ANGLES = frozenset({"angle", "theta", "rotation", "rotate", "rot", "tilt", "yaw"})

_CORNERS = {
    "x1": "x1", "xmin": "x1", "minx": "x1", "left": "x1", "xleft": "x1", "leftx": "x1", "xtl": "x1", "xstart": "x1",
    "startx": "x1", "topleftx": "x1", "upperleftx": "x1", "xlow": "x1", "x1min": "x1",
    "y1": "y1", "ymin": "y1", "miny": "y1", "top": "y1", "ytop": "y1", "topy": "y1", "ytl": "y1", "ystart": "y1",
    "starty": "y1", "toplefty": "y1", "upperlefty": "y1", "ylow": "y1",
    "x2": "x2", "xmax": "x2", "maxx": "x2", "right": "x2", "xright": "x2", "rightx": "x2", "xbr": "x2", "xend": "x2",
    "endx": "x2", "bottomrightx": "x2", "lowerrightx": "x2", "xhigh": "x2",
    "y2": "y2", "ymax": "y2", "maxy": "y2", "bottom": "y2", "ybottom": "y2", "bottomy": "y2", "ybr": "y2",
    "yend": "y2", "endy": "y2", "bottomrighty": "y2", "lowerrighty": "y2", "yhigh": "y2",
    "x0": "x0", "y0": "y0", "x": "x", "y": "y",
    "w": "w", "width": "w", "boxwidth": "w", "h": "h", "height": "h", "boxheight": "h",
    "cx": "cx", "xc": "cx", "xcenter": "cx", "centerx": "cx", "xcentre": "cx", "centrex": "cx",
    "cy": "cy", "yc": "cy", "ycenter": "cy", "centery": "cy", "ycentre": "cy", "centrey": "cy",
}  # fmt: skip

_CORNER_POINTS = {
    "topleft": "first", "tl": "first", "upperleft": "first", "lefttop": "first", "min": "first", "start": "first",
    "topleftcorner": "first", "upperleftcorner": "first", "p1": "first",
    "bottomright": "last", "br": "last", "lowerright": "last", "rightbottom": "last", "max": "last", "end": "last",
    "bottomrightcorner": "last", "lowerrightcorner": "last", "p2": "last",
}  # fmt: skip

_NOTHING_MARKS = frozenset({"", "-", "\u2013", "\u2014", "[]", "()", "\u2205"})

_NOTHING_WORDS = frozenset(
    {
        "none", "null", "nothing", "nil", "na", "no", "absent", "empty", "notfound", "notvisible", "notpresent",
        "notdetected", "notthere", "nomatch", "nomatches", "nomatchfound", "nobox", "noboxes", "noobject", "noobjects",
        "notapplicable", "notinimage", "notintheimage", "notinthisimage", "notavailable", "missing", "nonefound",
        "nothingfound", "noobjectsfound", "nodetections", "nodetection", "noneofthem", "false",
        "无", "没有", "未找到", "未检测到", "不存在", "未发现", "なし", "該当なし", "없음", "нет",
        "ninguno", "ninguna", "aucun", "aucune", "keine", "keiner", "nichts", "nada", "rien", "nessuno",
    }
)  # fmt: skip


@functools.lru_cache(maxsize=4096)
def bare(key: str) -> str:
    """A key without case, spaces and marks.

    >>> bare(" BBox_2D ")
    'bbox2d'
    """
    return "".join(c for c in key.casefold() if c.isalnum())


@functools.lru_cache(maxsize=4096)
def is_box_key(key: str) -> bool:
    """True for a key whose value can only be a box or boxes.

    >>> [is_box_key(k) for k in ("bbox_2d", "Position", "bounding boxes", "box_3d", "box of apples")]
    [True, True, True, False, False]
    """
    word = bare(key)
    return word in _BOX_WORDS or (len(word) < 40 and _BOX_KEY.fullmatch(word) is not None)


@functools.lru_cache(maxsize=4096)
def order_in(key: str) -> str:
    """The order of numbers that a key names: "bbox_xywh"; empty where it names none."""
    word = bare(key)
    return next((order for order in ("cxcywh", "xywh", "xyxy", "yxyx") if order in word), "")


@functools.lru_cache(maxsize=4096)
def is_quad_key(key: str) -> bool:
    """True for a key whose eight numbers or four points are the corners of a quadrilateral."""
    return "quad" in bare(key) or bare(key).startswith("poly")


@functools.lru_cache(maxsize=4096)
def is_never_box_key(key: str) -> bool:
    """True for a field whose numbers are something else: points, 3D boxes, colours, sizes, scores ...

    A key with spaces is a phrase, not a field.

    >>> [is_never_box_key(k) for k in ("point_2d", "imageSize", "box_3d", "the point guard", "bbox")]
    [True, True, True, False, False]
    """
    key = key.strip()
    if len(key) > 40 or " " in key:
        return False
    word = bare(key)
    if word in _LABELS or word in ID_KEYS:
        return True
    return any(part.casefold() in _NEVER_A_BOX for part in _KEY_PARTS.findall(key)) or word in _NEVER_A_BOX


@functools.lru_cache(maxsize=4096)
def corner_role(key: str) -> str | None:
    """What a key names of a box: ``x1 y1 x2 y2``, ``x y``, ``w h``, ``cx cy``, or ``x0 y0``; None for anything else."""
    return _CORNERS.get(bare(key))


@functools.lru_cache(maxsize=4096)
def corner_point(key: str) -> str | None:
    """``first`` for a key that names the upper left corner, ``last`` for the lower right one."""
    return _CORNER_POINTS.get(bare(key))


@functools.lru_cache(maxsize=4096)
def is_angle_key(key: str) -> bool:
    """True for a field that says by how much the box beside it is turned.

    >>> [is_angle_key(k) for k in ("angle", "rotation_deg", "theta", "rectangle", "angler")]
    [True, True, True, False, False]
    """
    parts = {part.casefold() for part in _KEY_PARTS.findall(key)}
    return " " not in key.strip() and not parts.isdisjoint(_ANGLES)


def means_nothing(text: str) -> bool:
    """True for a word that stands in the place of a box and says that there is none.

    >>> means_nothing("Not found."), means_nothing("N/A"), means_nothing("see below")
    (True, True, False)
    """
    if len(text) >= 60:
        return False
    word = bare(text)
    return word in _NOTHING_WORDS if word else text.strip() in _NOTHING_MARKS
