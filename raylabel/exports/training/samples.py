"""What a format gets to see of a record: an image, its caption, and the phrases that were answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from raylabel.records import Box, Instance, Region, Size


@dataclass(frozen=True, slots=True)
class Picture:
    """The image of a sample.

    Args:
        name: as the export's files call it; the path that leads there is up to the reader.
        size: as displayed.
        key: stands for the image: equal for all records about it.
    """

    name: str
    size: Size
    key: str


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase that was asked about and answered.

    Args:
        span: half-open, in the sample's caption, with ``caption[a:b] == text``; or None.
        instances: its boxes, in displayed pixels; none: nothing in the image matches.
        category: the class it was mapped to, where the format has classes.
    """

    text: str
    span: tuple[int, int] | None
    instances: tuple[Instance, ...]
    expression_id: str = ""
    noun: str | None = None
    category: str = ""

    @property
    def boxes(self) -> list[Box]:
        return [instance.box for instance in self.instances]


@dataclass(frozen=True, slots=True)
class Sample:
    """An image with a caption and answered phrases; of formats with one entry an image, those of all its records.

    Args:
        caption: the text that spans count in; may be empty.
        caption_holds: all phrases of the caption that were asked about are here. Otherwise it must not be written
            where words without boxes mean that nothing is there.
        complete: no filter took a box that was found, and every question was answered.
        regions: the boxes of image_referring_expression that were described one by one.
    """

    record_id: str
    image_id: str
    picture: Picture
    caption: str
    phrases: tuple[Phrase, ...]
    caption_holds: bool = True
    complete: bool = True
    regions: tuple[Region, ...] = ()

    @property
    def unlabelled(self) -> bool:
        """Nothing is known of the image: neither what is in it nor what is not."""
        return not self.phrases and not self.regions

    @property
    def referred(self) -> list[Phrase]:
        """The phrases, and the descriptions of regions as phrases with one box: one fits its box and no other."""
        described = [Phrase(r.description, None, (Instance("", r.box),), noun=r.type) for r in self.regions]
        return [*self.phrases, *(phrase for phrase in described if phrase.text)]

    @property
    def absent(self) -> list[Phrase]:
        """The phrases that match nothing; not those whose words found boxes elsewhere in it, as both cannot be true."""
        found = {phrase.text for phrase in self.phrases if phrase.instances}
        return [phrase for phrase in self.phrases if not phrase.instances and phrase.text not in found]

    @property
    def negative(self) -> bool:
        """Nothing that was asked about is in the image."""
        return not any(phrase.instances for phrase in self.phrases)


def joined(samples: Sequence[Sample]) -> Sample:
    """The samples of one image as one, without spans."""
    if len(samples) == 1:
        return samples[0]
    phrases = tuple(replace(phrase, span=None) for sample in samples for phrase in sample.phrases)
    regions = tuple(dict.fromkeys(region for sample in samples for region in sample.regions))
    return replace(samples[0], caption="", phrases=phrases, regions=regions)


def merged_by_text(phrases: Sequence[Phrase]) -> tuple[list[Phrase], int]:
    """One phrase for each text, with all boxes that were found for it; and how many entries were merged into others.

    Two questions in the same words have one answer: a model cannot tell which of them is meant.
    """
    merged: dict[str, Phrase] = {}
    for phrase in phrases:
        first = merged.get(phrase.text)
        if first is None:
            merged[phrase.text] = phrase
            continue
        known = {instance.box for instance in first.instances}
        more = tuple(instance for instance in phrase.instances if instance.box not in known)
        merged[phrase.text] = replace(first, instances=first.instances + more)
    return list(merged.values()), len(phrases) - len(merged)
