"""Units of boxes in files that raylabel did not write."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from raylabel.errors import GeometryError
from raylabel.geometry import (
    TRANSPOSED,
    clip_to,
    decide_region_units,
    px_to_legacy1000,
    rel1_to_px,
    rel1000_to_px,
    stored_to_displayed,
)
from raylabel.records import Box, ImageFacts, Instance, Record, Region, Seed, SeedFrame, Size

FOREIGN_REGIONS = "foreign_regions"
"""Flag of a record whose regions and boxes are as its file has them: in pixels or on TAO's 0-1000 grid."""
UNDESCRIBED_REGIONS = "undescribed_regions"
"""Followed by ``:`` and the number of regions that brought no description; they stay as seeds."""


def resolve_units(record: Record) -> Record:
    """A record whose seeds, regions and boxes are displayed pixels, whatever its file had.

    Regions that fit the 0-1000 grid of a seed take the seed's exact box. Where the file has no ``kitti_bboxes``, the
    regions' boxes become the seeds.

    Args:
        record: with ``image`` filled in; without, it comes back as it is.

    Raises:
        GeometryError: the unit cannot be told, or a box leaves the image: the record fails with this sentence.
    """
    if record.image is None:
        return record
    if record.seed_frame is not None and record.seeds is not None:
        seeds = tuple(_placed(record.seeds, record.seed_frame, record.image))
        record = dataclasses.replace(record, seeds=seeds, seed_frame=None)
    if FOREIGN_REGIONS not in record.flags:
        return record
    assert record.image is not None
    size = record.image.size
    regions, expressions = record.regions or (), record.expressions or ()
    written = [r.box for r in regions] or [i.box for e in expressions for i in e.instances or ()]
    seeds_px = [s.box for s in record.seeds or ()]
    on_grid = decide_region_units(written, seeds_px or None, size) == "rel1000"

    def to_px(box: Box) -> tuple[Box, tuple[str, ...]]:
        return _from_grid(box, seeds_px, size) if on_grid else clip_to(box, size)

    return with_seeds(
        dataclasses.replace(
            record,
            regions=None if record.regions is None else tuple(_moved_region(r, *to_px(r.box)) for r in regions),
            expressions=None
            if record.expressions is None
            else tuple(
                dataclasses.replace(
                    e,
                    instances=None
                    if e.instances is None
                    else tuple(_moved_instance(i, *to_px(i.box)) for i in e.instances),
                )
                for e in expressions
            ),
            flags=tuple(f for f in record.flags if f != FOREIGN_REGIONS),
        )
    )


def _placed(seeds: Sequence[Seed], frame: SeedFrame, image: ImageFacts) -> Iterator[Seed]:
    """Seeds in displayed pixels."""
    size, drawn_in = image.size, frame.size
    for seed in seeds:
        if frame.shares:
            yield Seed(rel1_to_px(seed.box, size), seed.type)
        elif drawn_in is None or drawn_in == size:
            yield seed
        elif image.orientation in TRANSPOSED and drawn_in == Size(
            size.height, size.width
        ):  # whoever drew them did not look at the EXIF tag
            yield Seed(stored_to_displayed(seed.box, image.orientation, size), seed.type)
        else:
            raise GeometryError(
                f"its boxes are of an image of {drawn_in.width} x {drawn_in.height}, and this one has {size.width} x "
                f"{size.height} pixels; give the image that they were drawn in"
            )


def with_seeds(record: Record) -> Record:
    """A record whose seeds are at least its regions, and whose regions are those that are described.

    Args:
        record: regions in displayed pixels.
    """
    if record.regions is None:
        return record
    seeds = record.seeds
    if seeds is None:
        seeds = tuple(Seed(r.box, r.type) for r in record.regions)
    described = tuple(r for r in record.regions if r.description.strip())
    missing = len(record.regions) - len(described)
    return dataclasses.replace(
        record,
        seeds=seeds,
        # An empty list beside seeds is TAO's way to write a failed call.
        regions=described if described or not seeds else None,
        flags=(*record.flags, f"{UNDESCRIBED_REGIONS}:{missing}") if missing and described else record.flags,
    )


def _from_grid(box_rel1000: Box, seeds_px: Sequence[Box], size: Size) -> tuple[Box, tuple[str, ...]]:
    def steps_off(seed_px: Box) -> float:
        grid = px_to_legacy1000(seed_px, size)
        return max(abs(a - b) for a, b in zip(grid, box_rel1000.as_tuple(), strict=True))

    nearest_px = min(seeds_px, key=steps_off)
    # The grid was rounded down, or to the nearest.
    return clip_to(nearest_px if steps_off(nearest_px) <= 1 else rel1000_to_px(box_rel1000, size), size)


def _moved_region(region: Region, box_px: Box, flags: tuple[str, ...]) -> Region:
    return dataclasses.replace(region, box=box_px, flags=(*region.flags, *flags))


def _moved_instance(instance: Instance, box_px: Box, flags: tuple[str, ...]) -> Instance:
    return dataclasses.replace(instance, box=box_px, flags=(*instance.flags, *flags))
