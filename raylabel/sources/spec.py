"""What is read: the choice of the source, and the description of a shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from raylabel.errors import InputError
from raylabel.records import IMAGE_GROUNDING, IMAGE_REFERRING_EXPRESSION
from raylabel.settings import Settings
from raylabel.storage.locations import is_remote, join, local_path
from raylabel.storage.stamps import exists

CAPTIONS = "captions"
"""JSON lines with image_path and caption."""
ANNOTATIONS = "annotations"
"""JSON lines of an earlier run, of raylabel or TAO, or written by hand: image_path and whatever is known already."""
KITTI = "kitti"
"""A folder of images and a folder of label files."""

_EXTRACTED = Path("step_0_expression_extraction") / "annotations.jsonl"
_REFERRING_STEPS = (
    ("region_expr", "step_0_region_expr"),
    ("image_caption", "step_1_image_caption"),
    ("grounding_expr", "step_2_grounding_expr"),
    ("double_check", "step_3_double_check"),
)
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
        setting: the configuration key that names ``path``, for messages.
    """

    kind: str
    pipeline: str
    path: str
    root: str = ""
    label_dir: str = ""
    setting: str = ""


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
    if settings.autolabel_type == IMAGE_GROUNDING:
        return _grounding_source(settings, step_names, str(results_dir))
    return _referring_source(settings, step_names, str(results_dir))


def _grounding_source(settings: Settings, step_names: Sequence[str], results_dir: str) -> SourceSpec:
    data, where = settings.image_grounding.data, "image_grounding.data"
    extracted = join(results_dir, str(_EXTRACTED))
    alone = list(step_names) == ["grounding"]
    if alone and exists(extracted):
        return SourceSpec(ANNOTATIONS, IMAGE_GROUNDING, extracted, setting="results_dir")
    path = _given(data.input_jsonl)
    if not path:
        also = f"; there is no {extracted} to go on from either" if alone else ""
        raise InputError(f"{where}.input_jsonl: not given{also}")
    _need_file(f"{where}.input_jsonl", path)
    kind = CAPTIONS if "expression_extraction" in step_names else ANNOTATIONS
    return SourceSpec(kind, IMAGE_GROUNDING, path, root=_given(data.image_root), setting=f"{where}.input_jsonl")


def _referring_source(settings: Settings, step_names: Sequence[str], results_dir: str) -> SourceSpec:
    data, where = settings.image_referring_expression.data, "image_referring_expression.data"
    image_dir, label_dir = _given(data.image_dir), _given(data.kitti_label_dir)
    # Empty unless somebody asks for it, so it wins over folders that a shared configuration names.
    if path := _given(data.input_annotations_jsonl):
        _need_file(f"{where}.input_annotations_jsonl", path)
        setting = f"{where}.input_annotations_jsonl"
        return SourceSpec(ANNOTATIONS, IMAGE_REFERRING_EXPRESSION, path, root=image_dir, setting=setting)
    if image_dir and label_dir:
        for key, folder in (("image_dir", image_dir), ("kitti_label_dir", label_dir)):
            if is_remote(folder):
                raise InputError(
                    f"{where}.{key}: {folder} is not a local folder; mount it, or give input_annotations_jsonl with "
                    "one line an image"
                )
            if not _local(folder).is_dir():
                raise InputError(f"{where}.{key}: no folder {folder}")
        return SourceSpec(
            KITTI,
            IMAGE_REFERRING_EXPRESSION,
            str(_local(image_dir)),
            root=str(_local(image_dir)),
            label_dir=str(_local(label_dir)),
            setting=f"{where}.image_dir",
        )
    for name in (_SEEDS, *_steps_before(step_names), _FINAL):
        if exists(earlier := join(results_dir, name)):
            return SourceSpec(ANNOTATIONS, IMAGE_REFERRING_EXPRESSION, earlier, setting="results_dir")
    missing = "kitti_label_dir" if image_dir else "image_dir"
    raise InputError(f"{where}.{missing}: not given; give image_dir with kitti_label_dir, or input_annotations_jsonl")


def _steps_before(step_names: Sequence[str]) -> list[str]:
    """Files of the steps below the first selected one, the latest first."""
    first = min((n for n, (name, _) in enumerate(_REFERRING_STEPS) if name in step_names), default=0)
    return [f"{directory}/annotations.jsonl" for _, directory in reversed(_REFERRING_STEPS[:first])]


def _given(value: object) -> str:
    """A setting's text; empty where it was left out ("???" is OmegaConf's mark for that)."""
    return value if isinstance(value, str) and value != "???" else ""


def _local(folder: str) -> Path:
    return Path(local_path(folder) or folder)


def _need_file(where: str, path: str) -> None:
    if not exists(path):
        folder = not is_remote(path) and _local(path).is_dir()
        raise InputError(f"{where}: {path} is a folder, expected a file" if folder else f"{where}: no file {path}")
