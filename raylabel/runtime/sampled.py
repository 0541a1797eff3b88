"""Random samples of an input: the same records whenever and wherever they are drawn."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """Some records of an input, each as likely as any other.

    Args:
        size: how many.
        seed: another one draws other records.
    """

    size: int
    seed: int = 0

    def places(self, total: int) -> frozenset[int]:
        """Where they are among so many, from 0; all of them where there are no more.

        A larger sample of the same seed holds a smaller one, and an input that grew at its end keeps most of its
        sample: what was asked for it is of use again.

        >>> Sample(3).places(10) < Sample(5).places(10)
        True
        """
        # The one method whose sequence Python promises to keep.
        chance = random.Random(self.seed).random
        return frozenset(place for _, place in heapq.nsmallest(self.size, ((chance(), n) for n in range(total))))
