"""The shape of an export: the files of a further format that a run writes beside its JSON lines.

An export is pure: settled records in, bytes out. Which records those are is decided here; opening, writing and renaming
the files is done by ``raylabel.exports.files``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from raylabel.pipelines import outcome_of
from raylabel.records import Record
from raylabel.steps.base import Step


@dataclass(frozen=True)
class OneFile:
    """One file for all images, in ``results_dir``, in the order of the input.

    Args:
        name: of the file, such as ``boxes.csv``.
        convert: a record's part of the file; empty bytes where it has none.
        header: what the file starts with, even if no record follows.
    """

    name: str
    convert: Callable[[Record], bytes]
    header: bytes = b""


@dataclass(frozen=True)
class FilePerImage:
    """One file for each image and step, in a subfolder of the step's folder.

    Args:
        folder: name of the subfolder.
        convert: the name of a record's file after a step (``/`` for deeper folders, never outside ``folder``) and its
            content; None where the record has none.
    """

    folder: str
    convert: Callable[[Record, type[Step]], tuple[str, bytes] | None]


@dataclass(frozen=True)
class ExportFormat:
    """A value of ``workflow.output_format``: the files that are written beside the JSON lines.

    Args:
        files: none for the JSON lines alone.
        needs: fields of ``Record`` that ``convert`` relies on. A record that lacks one is left out; a run in which
            neither the input nor a step provides them does not start.
        note: what the documentation of the setting says of it, a clause without a full stop; or nothing.
    """

    files: tuple[OneFile | FilePerImage, ...] = ()
    needs: tuple[str, ...] = ()
    note: str = ""

    @property
    def has_file_per_image(self) -> bool:
        return any(isinstance(file, FilePerImage) for file in self.files)

    def includes(self, record: Record) -> bool:
        """Whether a record on which all steps are done has a part in a ``OneFile``; not where a person rejected it."""
        return (
            record.verified is not False
            and bool(record.outcomes)
            and not outcome_of(record).is_unanswered
            and self._has_needs(record)
        )

    def includes_step(self, record: Record, step: type[Step]) -> bool:
        """Whether a record as it is after a step has a ``FilePerImage``.

        Not where the step is open, was refused or did not run, or a person rejected the record: an empty file would say
        that there is nothing.
        """
        done = record.outcomes.get(step.label)
        return (
            record.verified is not False
            and done is not None
            and not done.outcome.is_unanswered
            and self._has_needs(record)
        )

    def _has_needs(self, record: Record) -> bool:
        return all(getattr(record, field) is not None for field in self.needs)
