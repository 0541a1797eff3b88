"""What is read: the choice of the source, and the description of a shard."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from raylabel.blocks import paths_in
from raylabel.errors import InputError
from raylabel.pipelines import input_of, steps_before, steps_of
from raylabel.records import IMAGE_GROUNDING
from raylabel.settings import GroundingData, GroundingPipeline, ReferringData, Settings
from raylabel.sources.class_names import read_class_names
from raylabel.sources.phrases import phrases_in_file, read_phrases
from raylabel.storage.credentials import without_credentials
from raylabel.storage.listing import is_folder
from raylabel.storage.locations import around, is_remote, join, local_path
from raylabel.storage.stamps import exists

CAPTIONS = "captions"
"""JSON lines with image_path and caption."""
ANNOTATIONS = "annotations"
"""JSON lines of an earlier run, of raylabel or TAO, or written by hand: image_path and whatever is known already."""
KITTI = "kitti"
"""A folder of images and a folder of label files."""
FOLDER = "folder"
"""A folder of images, of which nothing is known."""
YOLO = "yolo"
"""As KITTI, with label files of YOLO."""
COCO = "coco"
"""A JSON file of images with their boxes."""
LABEL_STUDIO = "label_studio"
"""A JSON file of tasks with their boxes."""
SHARDS = "shards"
"""WebDataset archives or Parquet files with images in them."""
_LISTED = (KITTI, FOLDER, YOLO, SHARDS)
_LABEL_KEYS = {
    KITTI: "kitti_label_dir",
    YOLO: "yolo_label_dir",
    COCO: "coco_json",
    LABEL_STUDIO: "label_studio_json",
}

_SEEDS = "seed_annotations.jsonl"
_FINAL = "annotations.jsonl"


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Where records come from; travels to every process that reads them.

    Args:
        kind: CAPTIONS, ANNOTATIONS, FOLDER, SHARDS, KITTI, YOLO, COCO or LABEL_STUDIO.
        pipeline: name of the pipeline, as it stands in ``source`` of the records.
        path: the file of JSON lines, or the image folder.
        root: put before relative image paths; empty leaves them as they are. Lines that raylabel wrote hold paths as
            resolved, nothing is put before those.
        label_dir: the folder or the file of the labels, where there is one.
            All three without user and password (see ``storage.credentials``).
        classes: their names, where labels have numbers.
        phrases: that are looked for in every image; empty: what its caption, or its line, says.
        shard_image, shard_caption: which columns, or endings of members, hold these; empty: found out.
        needs_captions: a line of CAPTIONS without a caption or phrases is none.
        setting: the configuration key that names ``path``, for messages.
    """

    kind: str
    pipeline: str
    path: str
    root: str = ""
    label_dir: str = ""
    setting: str = ""
    classes: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    needs_captions: bool = True
    shard_image: str = ""
    shard_caption: str = ""

    def __post_init__(self) -> None:
        for name in ("path", "root", "label_dir"):
            object.__setattr__(self, name, without_credentials(getattr(self, name)))

    @property
    def is_listed(self) -> bool:
        """Whether its lines are raylabel's own list."""
        return self.kind not in (CAPTIONS, ANNOTATIONS)

    @property
    def is_folder(self) -> bool:
        """Whether its images were found in a folder, so that they are there."""
        return self.kind in _LISTED

    @property
    def label_setting(self) -> str:
        """The configuration key that names ``label_dir``."""
        return f"{self.pipeline}.data.{_LABEL_KEYS.get(self.kind, '')}"

    @property
    def root_setting(self) -> str:
        """The configuration key that names ``root``."""
        if self.kind in (FOLDER, SHARDS):
            return self.setting
        return f"{self.pipeline}.data.{'image_root' if input_of(self.pipeline) == IMAGE_GROUNDING else 'image_dir'}"


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of consecutive lines of a listing.

    Args:
        number: from 0.
        path: the file of JSON lines that holds them.
        byte_offset, byte_length: where they stand in it.
        first_line_number: from 1, blank lines counted.
        first_position: of the first record in the whole input, from 0; blank lines are no records.
        count: records, unusable lines among them.
        digest: of the lines as they are, the paths and stamps of their files, and their occurrence numbers: an equal
            digest means equal records with unchanged images.
        occurrences: by place in the shard (from 0), for lines whose identity occurred earlier in the input: how often.
        repeated: places in the shard of lines whose image_id occurred earlier (referring pipeline only).
    """

    number: int
    path: str
    byte_offset: int
    byte_length: int
    first_line_number: int
    first_position: int
    count: int
    digest: str
    occurrences: Mapping[int, int] = field(default_factory=dict)
    repeated: tuple[int, ...] = ()


def source_for(settings: Settings, step_names: Sequence[str], results_dir: Path | str) -> SourceSpec:
    """The source that a run reads.

    Args:
        step_names: names of the selected steps, such as ``grounding``.

    Raises:
        InputError: nothing to read, or it does not exist.
    """
    for location in paths_in(settings.pipeline.data).values():
        without_credentials(location)  # also of a root that earlier results begin with, where it is not read itself
    pipeline, block = settings.autolabel_type, settings.pipeline
    if isinstance(block, GroundingPipeline):
        return _grounding_source(pipeline, block.data, step_names, str(results_dir))
    return _referring_source(pipeline, block.data, step_names, str(results_dir))


def _grounding_source(pipeline: str, data: GroundingData, step_names: Sequence[str], results_dir: str) -> SourceSpec:
    where = f"{pipeline}.data"
    phrases = phrases_in_file(f"{where}.phrases_file", data.phrases_file) if data.phrases_file else ()
    phrases = phrases or read_phrases(data.phrases)
    before = [] if phrases else [join(results_dir, name) for name in _files_before(pipeline, step_names)]
    for earlier in before:
        if exists(earlier):
            return SourceSpec(ANNOTATIONS, pipeline, earlier, setting="results_dir")
    if data.image_shards and not data.input_jsonl and not before:
        path, setting = without_credentials(data.image_shards), f"{where}.image_shards"
        try:
            root = root_of(path)
        except OSError as error:
            raise InputError(f"{setting}: {path} cannot be looked up ({error})") from error
        return SourceSpec(
            SHARDS,
            pipeline,
            root if root == path.rstrip("/") else path,
            root=root,
            setting=setting,
            phrases=phrases,
            shard_image=data.shard_image,
            shard_caption=data.shard_caption,
        )
    if data.image_dir and not data.input_jsonl and not before:
        folder, setting = data.image_dir, f"{where}.image_dir"
        _need_folder(setting, folder)
        folder = _as_listed(folder)
        return SourceSpec(FOLDER, pipeline, folder, root=folder, setting=setting, phrases=phrases)
    if not (path := data.input_jsonl):
        also = f"; there is no {before[0]} to go on from either" if before else ""
        raise InputError(f"{where}.input_jsonl: not given{also}")
    _need_file(f"{where}.input_jsonl", path)
    kind = CAPTIONS if phrases or _to_be_given(pipeline, step_names) <= {"caption"} else ANNOTATIONS
    return SourceSpec(
        kind,
        pipeline,
        path,
        root=data.image_root,
        setting=f"{where}.input_jsonl",
        phrases=phrases,
        needs_captions=not any("caption" in step.gives for step in steps_of(pipeline, step_names)),
    )


def _referring_source(pipeline: str, data: ReferringData, step_names: Sequence[str], results_dir: str) -> SourceSpec:
    where = f"{pipeline}.data"
    image_dir, label_dir = data.image_dir, data.kitti_label_dir
    # Empty unless somebody asks for it, so it wins over folders that a shared configuration names.
    if path := data.input_annotations_jsonl:
        _need_file(f"{where}.input_annotations_jsonl", path)
        setting = f"{where}.input_annotations_jsonl"
        return SourceSpec(ANNOTATIONS, pipeline, path, root=image_dir, setting=setting)
    for kind, path in ((COCO, data.coco_json), (LABEL_STUDIO, data.label_studio_json)):
        if path:
            setting = f"{where}.{_LABEL_KEYS[kind]}"
            _need_file(setting, path)
            if image_dir:
                _need_folder(f"{where}.image_dir", image_dir)
            return SourceSpec(kind, pipeline, path, root=_as_listed(image_dir), label_dir=path, setting=setting)
    kind = YOLO if data.yolo_label_dir else KITTI
    label_dir = data.yolo_label_dir or label_dir
    if image_dir and label_dir:
        for key, folder in (("image_dir", image_dir), (_LABEL_KEYS[kind], label_dir)):
            _need_folder(f"{where}.{key}", folder)
        names = f"{where}.yolo_names"
        return SourceSpec(
            kind,
            pipeline,
            _as_listed(image_dir),
            root=_as_listed(image_dir),
            label_dir=_as_listed(label_dir),
            setting=f"{where}.image_dir",
            classes=read_class_names(names, data.yolo_names) if kind == YOLO else (),
        )
    for name in (_SEEDS, *_files_before(pipeline, step_names), _FINAL):
        if exists(earlier := join(results_dir, name)):
            return SourceSpec(ANNOTATIONS, pipeline, earlier, setting="results_dir")
    missing = "kitti_label_dir" if image_dir else "image_dir"
    raise InputError(f"{where}.{missing}: not given; give image_dir with kitti_label_dir, or input_annotations_jsonl")


def _files_before(pipeline: str, step_names: Sequence[str]) -> list[str]:
    """Files of the steps below the first selected one, the latest first."""
    return [f"{step.directory}/{_FINAL}" for step in steps_before(pipeline, step_names)]


def _to_be_given(pipeline: str, step_names: Sequence[str]) -> set[str]:
    """The fields that selected steps need and none of them gives before."""
    steps = steps_of(pipeline, step_names)
    return {f for n, step in enumerate(steps) for f in step.needs if not any(f in s.gives for s in steps[:n])}


NUMBERED = re.compile(r"\{(\d+)\.\.(\d+)\}")
"""A range of numbers in the names of shards, as WebDataset writes it."""


def root_of(path: str) -> str:
    """The folder that the files of ``image_shards`` are in: itself, or what stands before the last name."""
    bare = path.rstrip("/")
    is_file = bare.partition("?")[0].lower().endswith((".tar", ".parquet"))
    if not is_file and NUMBERED.search(path) is None and is_folder(path):
        return bare
    before, behind = around(path)
    folder = before.rstrip("/").rpartition("/")[0]
    return f"{folder}{behind}"


def _local(folder: str) -> Path:
    return Path(local_path(folder) or folder)


def _as_listed(folder: str) -> str:
    return folder if not folder or is_remote(folder) else str(_local(folder))


def _need_folder(where: str, folder: str) -> None:
    folder = without_credentials(folder)
    try:
        there = is_folder(folder)
    except OSError as error:
        raise InputError(f"{where}: {folder} cannot be looked up ({error})") from error
    if not there:
        raise InputError(f"{where}: no folder {folder}")


def _need_file(where: str, path: str) -> None:
    path = without_credentials(path)
    if not exists(path):
        folder = not is_remote(path) and _local(path).is_dir()
        raise InputError(f"{where}: {path} is a folder, expected a file" if folder else f"{where}: no file {path}")
