"""Which fragments of a results folder are set aside, so that a run can say so, whichever process found them."""

from __future__ import annotations

from collections.abc import Sequence

from raylabel.store.results import Results
from raylabel.store.tables import Table


class DamagedFragments:
    """What was set aside before, and what came to it since.

    Args:
        directories: of the steps that are looked at.
    """

    def __init__(self, results: Results, directories: Sequence[str]) -> None:
        rows_and_answers = (table(d) for d in directories for table in (results.answers, results.rows))
        self._tables: list[Table] = [*rows_and_answers, results.images(), results.shards()]
        self._known = {table.location: table.damaged() for table in self._tables}

    def describe_new(self) -> list[str]:
        """A sentence for each folder with fragments that were set aside since the last time."""
        said = []
        for table in self._tables:
            names = table.damaged()
            if new := sorted(names - self._known[table.location]):
                more = f" and {len(new) - 1} more" if len(new) > 1 else ""
                said.append(
                    f"warning: {table.location}/{new[0]}{more} was damaged and is set aside in "
                    f"{table.location}/damaged; what is missing with it is made again"
                )
            self._known[table.location] = names
        return said
