"""What all machines of a run must see alike: the folder of the results, the input, and the images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from raylabel.errors import StoreError
from raylabel.records import Record
from raylabel.runtime.driver import Driver
from raylabel.sources import SourceSpec
from raylabel.sources.image_folder import without_suffix
from raylabel.sources.sampling import sample
from raylabel.storage.locations import around, join
from raylabel.storage.stamps import stamps
from raylabel.store.lease import holder_of
from raylabel.store.results import Results


@dataclass(frozen=True)
class SharedData:
    """What one machine sees of a run's data; travels to the others.

    Args:
        holder: name of the run in the lease on ``results``; nobody can know it who does not see the folder.
        input: the file that lists the records, with its size as text; by location, as are the other two.
        labels: label files of a sample of the records.
        images: images of the sample.
        driver: whose working folder relative paths start in, where it exists.
    """

    results: Results
    source: SourceSpec
    driver: Driver
    holder: str = ""
    input: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Unseen:
    """What a machine does not see of it, or sees in another size; empty where there is nothing.

    Args:
        results: what is wrong with the folder of the results.
    """

    results: str = ""
    input: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    images: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.results or self.input or self.labels or self.images)


def seen_from_here(results: Results, source: SourceSpec, listing: str, limit: int | None) -> SharedData:
    """What this machine sees of a run's data, with up to 40 records spread over the input.

    Args:
        listing: the file of JSON lines that lists the records.
        limit: records that will be worked on, or None.

    Raises:
        InputError: the listing cannot be opened.
        StoreError: the folder of the results cannot be read.
    """
    records = [line for line in sample(source, listing, limit) if isinstance(line, Record)]
    return SharedData(
        results,
        source,
        Driver.here(),
        holder_of(results),
        _sizes([listing]),
        _sizes(_usual_label(source, record.image_path) for record in records)
        if source.is_folder and source.label_dir
        else {},
        _sizes(record.image_path for record in records),
    )


def unseen_here(data: SharedData) -> Unseen:
    """What this machine does not see of that."""
    trouble = ""
    try:
        if holder_of(data.results) != data.holder:
            trouble = "does not see there what the run wrote"
    except StoreError as error:
        trouble = str(error)
    folder = data.driver.folder if Path(data.driver.folder).is_dir() else ""
    return Unseen(trouble, *(_missing(files, folder) for files in (data.input, data.labels, data.images)))


def _usual_label(source: SourceSpec, image: str) -> str:
    """Where the label file of an image mostly is; where it is called otherwise, none is looked at."""
    before, behind = around(source.root)
    return join(source.label_dir, without_suffix(image.removeprefix(before).removesuffix(behind)) + ".txt")


def _sizes(locations: Iterable[str]) -> dict[str, str]:
    """The sizes of those files that are there."""
    wanted = list(dict.fromkeys(locations))
    found = zip(wanted, stamps(wanted), strict=True)
    return {location: _size(stamp) for location, stamp in found if stamp is not None}


def _missing(files: Mapping[str, str], folder: str) -> tuple[str, ...]:
    found = stamps(join(folder, location) for location in files)
    # Not the times: copies of the same files, as images of containers have them, are of another time.
    return tuple(
        location
        for (location, size), stamp in zip(files.items(), found, strict=True)
        if stamp is None or _size(stamp) != size
    )


def _size(stamp: str) -> str:
    return stamp.partition(":")[0]
