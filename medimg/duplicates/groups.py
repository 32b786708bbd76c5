"""Names that belong together, and images with the same pixels."""

from collections.abc import Iterable, Iterator

import pandas as pd


class Groups:
    """Disjoint sets of names, merged by ``link`` (union–find with path halving)."""

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}

    def of(self, name: str) -> str:
        """The smallest name of the group that ``name`` is in."""
        while self._parent[name] != name:
            self._parent[name] = name = self._parent[self._parent[name]]
        return name

    def link(self, one: str, other: str) -> None:
        """Merge the groups of two names."""
        first, second = sorted((self.of(one), self.of(other)))
        self._parent[second] = first


def copies(index: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Rows of the index that share their decoded pixels, two or more at a time, each set sorted by sample."""
    shared = index[index["pixel_sha256"].duplicated(keep=False)]
    for _, rows in shared.groupby("pixel_sha256", sort=True):
        yield rows.sort_values("sample")
