"""Masks on their way across: a row of the hospital's table names each, and its image's patient is its own."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from medimg.border.sources import Item
from medimg.border.table import Table, normal
from medimg.errors import LabelsError

Mask = tuple[Item, str]
"""A file that is a mask, and the pseudonym of its image's patient"""


def check_masks(labels: Path, hospital: Table, files: Collection[str]) -> None:
    """Hold the masks that the table names against the files of the source.

    Raises:
        LabelsError: one is not there, or is an image of its own as well.
    """
    there = {normal(name) for name in files}
    named = {row.mask for key, row in hospital.rows.items() if row.mask and (not hospital.by_path or key in there)}
    if missing := named - there:
        raise LabelsError(
            f"{labels}: the column mask names {len(missing)} files that are not in the source. A mask is named as an "
            "image is, by its path. Correct these cells, or leave them empty."
        )
    if hospital.by_path and (both := named & set(hospital.rows)):
        raise LabelsError(f"{labels} names {len(both)} files as an image (path) and as a mask. Leave one of the two.")


@dataclass
class Held:
    """Masks wait until every image has been read: only then it is known whose they are."""

    names: Collection[str]
    """of masks, as the table has them"""
    room: Path
    """where the bytes of an archive's masks wait"""
    items: list[Item] = field(default_factory=list)

    def images(self, items: Iterator[Item]) -> Iterator[Item]:
        """The files that are no masks; masks stay here."""
        for item in items:
            if normal(item.name) not in self.names:
                yield item
                continue
            if item.data is not None:
                path = self.room / f"mask-{len(self.items)}"
                path.write_bytes(item.data)
                item = replace(item, data=None, path=path, passing=True)
            self.items.append(item)
