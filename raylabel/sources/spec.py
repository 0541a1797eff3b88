"""What is read: the choice of the source, and the description of a shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from raylabel.errors import InputError
from raylabel.pipelines import input_of, steps_before, steps_of
from raylabel.records import IMAGE_GROUNDING
from raylabel.settings import GroundingData, GroundingPipeline, ReferringData, Settings
from raylabel.storage.credentials import without_credentials
from raylabel.storage.listing import is_folder
from raylabel.storage.locations import is_remote, join, local_path
from raylabel.storage.stamps import exists

CAPTIONS = "captions"
"""JSON lines with image_path and caption."""
ANNOTATIONS = "annotations"
"""JSON lines of an earlier run, of raylabel or TAO, or written by hand: image_path and whatever is known already."""
KITTI = "kitti"
"""A folder of images and a folder of label files."""

_SEEDS = "seed_annotations.jsonl"
_FINAL = "annotations.jsonl"


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Where records come from; travels to every process that reads them.

    Args:
        kind: CAPTIONS, ANNOTATIONS or KITTI.
        pipeline: name of the pipeline, as it stands in ``source`` of the records.
        path: the file of JSON lines, or the image folder.
        root: put before relative image paths; empty leaves them as they are. Lines that raylabel wrote hold paths as
            resolved, nothing is put before those.
        label_dir: of KITTI.
            All three without user and password (see ``storage.credentials``).
        setting: the configuration key that names ``path``, for messages.
    """

    kind: str
    pipeline: str
    path: str
    root: str = ""
    label_dir: str = ""
    setting: str = ""

    def __post_init__(self) -> None:
        for name in ("path", "root", "label_dir"):
            object.__setattr__(self, name, without_credentials(getattr(self, name)))

    @property
    def root_setting(self) -> str:
        """The configuration key that names ``root``."""
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
    for location in settings.pipeline.data.model_dump().values():
        without_credentials(location)  # also of a root that earlier results begin with, where it is not read itself
    pipeline, block = settings.autolabel_type, settings.pipeline
    if isinstance(block, GroundingPipeline):
        return _grounding_source(pipeline, block.data, step_names, str(results_dir))
    return _referring_source(pipeline, block.data, step_names, str(results_dir))


def _grounding_source(pipeline: str, data: GroundingData, step_names: Sequence[str], results_dir: str) -> SourceSpec:
    where = f"{pipeline}.data"
    before = [join(results_dir, name) for name in _files_before(pipeline, step_names)]
    for earlier in before:
        if exists(earlier):
            return SourceSpec(ANNOTATIONS, pipeline, earlier, setting="results_dir")
    if not (path := data.input_jsonl):
        also = f"; there is no {before[0]} to go on from either" if before else ""
        raise InputError(f"{where}.input_jsonl: not given{also}")
    _need_file(f"{where}.input_jsonl", path)
    kind = CAPTIONS if _to_be_given(pipeline, step_names) <= {"caption"} else ANNOTATIONS
    return SourceSpec(kind, pipeline, path, root=data.image_root, setting=f"{where}.input_jsonl")


def _referring_source(pipeline: str, data: ReferringData, step_names: Sequence[str], results_dir: str) -> SourceSpec:
    where = f"{pipeline}.data"
    image_dir, label_dir = data.image_dir, data.kitti_label_dir
    # Empty unless somebody asks for it, so it wins over folders that a shared configuration names.
    if path := data.input_annotations_jsonl:
        _need_file(f"{where}.input_annotations_jsonl", path)
        setting = f"{where}.input_annotations_jsonl"
        return SourceSpec(ANNOTATIONS, pipeline, path, root=image_dir, setting=setting)
    if image_dir and label_dir:
        for key, folder in (("image_dir", image_dir), ("kitti_label_dir", label_dir)):
            _need_folder(f"{where}.{key}", folder)
        return SourceSpec(
            KITTI,
            pipeline,
            _as_listed(image_dir),
            root=_as_listed(image_dir),
            label_dir=_as_listed(label_dir),
            setting=f"{where}.image_dir",
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


def _local(folder: str) -> Path:
    return Path(local_path(folder) or folder)


def _as_listed(folder: str) -> str:
    return folder if is_remote(folder) else str(_local(folder))


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
