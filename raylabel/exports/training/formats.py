"""The formats of ``raylabel export`` by name. A new one is one file here and one line in this table."""

from __future__ import annotations

from raylabel.exports.training.base import TrainingFormat
from raylabel.exports.training.coco import COCO
from raylabel.exports.training.coco_grounding import COCO_GROUNDING
from raylabel.exports.training.conversations import FLORENCE_2, INTERNVL, PALIGEMMA, QWEN2_5_VL, QWEN3_VL
from raylabel.exports.training.fiftyone import FIFTYONE
from raylabel.exports.training.grefcoco import GREFCOCO
from raylabel.exports.training.hugging_face import HF_IMAGEFOLDER, HF_PARQUET
from raylabel.exports.training.kitti import KITTI
from raylabel.exports.training.label_studio import LABEL_STUDIO
from raylabel.exports.training.ms_swift import MS_SWIFT, MS_SWIFT_JSON
from raylabel.exports.training.odvg import ODVG
from raylabel.exports.training.refcoco import REFCOCO
from raylabel.exports.training.refcoco_jsonl import REFCOCO_JSONL
from raylabel.exports.training.webdataset import WEBDATASET
from raylabel.exports.training.yolo import YOLO

TRAINING_FORMATS: dict[str, TrainingFormat] = {
    made.name: made
    for made in (
        COCO_GROUNDING,
        ODVG,
        MS_SWIFT,
        MS_SWIFT_JSON,
        QWEN2_5_VL,
        QWEN3_VL,
        INTERNVL,
        PALIGEMMA,
        FLORENCE_2,
        COCO,
        YOLO,
        HF_PARQUET,
        HF_IMAGEFOLDER,
        LABEL_STUDIO,
        GREFCOCO,
        REFCOCO,
        REFCOCO_JSONL,
        KITTI,
        FIFTYONE,
        WEBDATASET,
    )
}
