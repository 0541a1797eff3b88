"""Parts of an export for training, validation and test: one image is in one of them, whatever else the run holds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from raylabel.errors import ConfigError
from raylabel.records import digest_of

TRAIN = "train"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_DIGITS = 13


@dataclass(frozen=True)
class Splits:
    """Names with their shares, which add up to 1."""

    shares: tuple[tuple[str, float], ...] = ((TRAIN, 1.0),)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.shares)

    def of(self, image_key: str) -> str:
        """The split of an image: it depends on nothing but the image's key and the shares, so that a run that grows
        moves no image.

        >>> Splits((("train", 0.5), ("val", 0.5))).of("a.jpg")
        'train'
        """
        if len(self.shares) == 1:
            return self.shares[0][0]
        at = int(digest_of("split", image_key)[:_DIGITS], 16) / 16**_DIGITS
        for name, share in self.shares:
            if at < share:
                return name
            at -= share
        return self.shares[-1][0]


def read_splits(text: str) -> Splits:
    """Splits as typed: ``train=0.8,val=0.2``, or in any other unit (``train=8,val=1,test=1``).

    Raises:
        ConfigError: not of that form.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        try:
            share = float(number)
        except ValueError:
            share = 0.0
        if not _NAME.fullmatch(name) or not 0 < share < 1e9 or name in shares:
            raise ConfigError(f'--splits: found "{text}", expected names with shares, such as train=0.8,val=0.2.')
        shares[name] = share
    total = sum(shares.values())
    return Splits(tuple((name, share / total) for name, share in shares.items()))
