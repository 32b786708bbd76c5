"""Building a store beside the one in place: rows kept, rows computed, and those of a run that was cut off."""

import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from medimg.files import publish_folder, sha256_file, write_json
from medimg.records import write_rows
from medimg.store.geometry import Geometry
from medimg.store.reading import ABOUT, IMAGES, MASKS, SAMPLES, SAMPLES_SCHEMA, Row, Store, digest_of

_PIECE = 2**24
"""Bytes copied at a time"""
Entry = dict[str, Any]
"""Of one row: the columns of ``SAMPLES_SCHEMA`` that do not depend on the sample's name, and ``at`` in its source"""


@contextmanager
def rebuild(
    folder: Path,
    keys: dict[str, str],
    dtype: np.dtype[Any],
    *,
    scale: float | None = None,
    offset: float = 0.0,
    ragged: bool = False,
    before: Store | None = None,
    remote: str | None = None,
) -> Iterator["Builder"]:
    """Build a store beside the one in place; it takes its place when the block ends, and nothing changes if it raises.

    Rows that were put are kept in a spool beside the store until it is finished: a build that was cut off, even by
    ``kill -9``, finds them there (``Builder.missing``).

    Args:
        folder: where the store will stand.
        keys: sample → key, every sample that the store will hold.
        dtype: of the images.
        scale: value = stored · scale + offset; by default the dtype's range is 0…1.
        offset: see ``scale``.
        ragged: rows may have different shapes.
        before: the store in place, from which rows with a known key are copied. What does not have the SHA-256 that
            was noted when it was computed counts as unknown.
        remote: fsspec URL where the arrays are kept instead of in ``folder``.

    The caller holds a lock: two builds of one folder would take each other's spool.

    Raises:
        KeyError: a key was neither put nor dropped.
        DataError: ``remote`` cannot be written.
    """
    spool = folder.with_name(f".spool-{folder.name}")
    spool.mkdir(parents=True, exist_ok=True)
    about = {"dtype": str(dtype), "scale": scale or 1 / np.iinfo(dtype).max, "offset": offset, "ragged": ragged}
    builder = Builder(spool, keys, about, before)
    try:
        yield builder
        with publish_folder(folder) as partial:
            builder.finish(partial)
            if remote is not None:
                from medimg.store.remote import push

                push(partial, remote)
    finally:
        builder.close()
    shutil.rmtree(spool, ignore_errors=True)


class Builder:
    """A store being built: ``put`` or ``drop`` every key of ``missing`` once, in any order, then ``finish``."""

    def __init__(self, spool: Path, keys: dict[str, str], about: dict[str, Any], before: Store | None) -> None:
        self._keys, self._about, self._dropped = dict(sorted(keys.items())), about, set[str]()
        self._wanted = set(keys.values())
        self._before = before
        self._kept = {} if before is None else dict(_verified(before, self._wanted))
        self._spool = _Spool(spool, np.dtype(about["dtype"]))
        self._fresh = {key: entry for key, entry in self._spool.entries() if key in self._wanted - self._kept.keys()}

    def close(self) -> None:
        """Leave the spool to the next build, or nothing where nothing was put."""
        self._spool.close()

    @property
    def missing(self) -> set[str]:
        """Keys that are to be computed."""
        return self._wanted - self._kept.keys() - self._fresh.keys() - self._dropped

    @property
    def rows(self) -> int:
        """How many the store will hold, once nothing is missing."""
        return len(self._wanted - self._dropped)

    def put(self, key: str, row: Row) -> None:
        """Keep the row that ``key`` stands for."""
        self._fresh[key] = self._spool.add(key, row)

    def drop(self, key: str) -> None:
        """The store will not hold the samples of ``key``."""
        self._dropped.add(key)

    def finish(self, folder: Path) -> None:
        """Write the store into an empty folder; a key without a row is a ``KeyError``."""
        order = sorted(self._wanted - self._dropped)
        entries = [self._kept.get(key) or self._fresh[key] for key in order]
        fresh = [key not in self._kept for key in order]
        shapes = [tuple(entry["stored"]) for entry in entries]
        if not self._about["ragged"] and len(set(shapes)) > 1:
            raise ValueError(f"rows of {len(set(shapes))} shapes in a store that is not ragged")
        masks = any(entry["masked"] for entry in entries)
        image_shape = self._array(folder / IMAGES, np.dtype(self._about["dtype"]), shapes, entries, fresh, False)
        alone = [(1, *shape[1:]) for shape in shapes]
        mask_shape = None
        if masks:
            mask_shape = self._array(folder / MASKS, np.dtype(np.uint8), alone, entries, fresh, True)
        row_of = {key: row for row, key in enumerate(order)}
        rows = (
            {"sample": sample, "key": key, "row": row_of[key]} | entries[row_of[key]]
            for sample, key in self._keys.items()
            if key in row_of
        )
        write_rows(folder / SAMPLES, rows, SAMPLES_SCHEMA)
        about = self._about | {
            "samples_sha256": sha256_file(folder / SAMPLES),
            "rows": len(order),
            "shape": image_shape,
            "masks": masks,
            "mask_shape": mask_shape,
        }
        write_json(folder / ABOUT, about)

    def _array(
        self,
        path: Path,
        dtype: np.dtype[Any],
        shapes: list[tuple[int, ...]],
        entries: list[Entry],
        fresh: list[bool],
        mask: bool,
    ) -> list[int]:
        """Write one array, row by row, and return its shape. Neighbours of the store in place are copied together."""
        sizes = [math.prod(shape) * dtype.itemsize for shape in shapes]
        shape = (
            [sum(sizes) // dtype.itemsize] if self._about["ragged"] else [len(shapes), *(shapes[0] if shapes else ())]
        )
        old: Any = None if self._before is None else (self._before.masks if mask else self._before.images)
        with path.open("wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
            np.lib.format.write_array_header_1_0(file, header)
            at = 0
            while at < len(entries):
                end = at + 1
                if mask and not entries[at]["masked"]:
                    file.write(bytes(sizes[at]))
                elif fresh[at]:
                    self._spool.copy(entries[at], mask, file)
                elif self._about["ragged"]:
                    file.write(np.ascontiguousarray(old[entries[at]["at"]]).data)
                else:
                    most = at + max(1, _PIECE // max(1, sizes[at]))
                    while end < min(most, len(entries)) and _follows(entries, fresh, end, mask):
                        end += 1
                    first = entries[at]["at"]
                    file.write(old[first : first + end - at].data)
                at = end
        return shape


def _follows(entries: list[Entry], fresh: list[bool], at: int, mask: bool) -> bool:
    """Whether a row comes straight after its neighbour in the store in place, too."""
    if fresh[at] or (mask and not entries[at]["masked"]):
        return False
    return bool(entries[at]["at"] == entries[at - 1]["at"] + 1)


def _verified(before: Store, wanted: set[str]) -> Iterator[tuple[str, Entry]]:
    """Key and entry of each row of the store in place that is wanted and still is what it was."""
    columns = [name for name in SAMPLES_SCHEMA.names if name != "sample"]
    done: set[str] = set()
    for batch in before.table.select(columns).to_batches(max_chunksize=4096):
        for entry in batch.to_pylist():
            key, row = entry.pop("key"), entry.pop("row")
            if key not in wanted or key in done:
                continue
            done.add(key)
            mask = before.masks[row] if entry["masked"] else None
            if digest_of(before.images[row], mask) == entry["sha256"]:
                yield key, entry | {"at": row}


class _Spool:
    """Rows in the order in which they come: ``rows`` holds their bytes, ``journal`` a line for each that is whole."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._folder = folder
        self._rows = (folder / f"rows-{dtype}").open("a+b")
        self._journal = (folder / f"journal-{dtype}").open("a+", encoding="utf-8")

    def close(self) -> None:
        empty = not self._journal.tell()
        self._rows.close()
        self._journal.close()
        if empty:
            shutil.rmtree(self._folder)

    def add(self, key: str, row: Row) -> Entry:
        image = np.ascontiguousarray(row.image, self._dtype)
        at = self._rows.seek(0, 2)
        self._rows.write(image.data)
        if row.mask is not None:
            self._rows.write(np.ascontiguousarray(row.mask, np.uint8).data)
        self._rows.flush()
        digest = digest_of(image, row.mask)
        entry = _about(row.geometry) | {"masked": row.mask is not None, "sha256": digest, "stored": list(image.shape)}
        entry["at"] = at
        self._journal.write(json.dumps([key, entry]) + "\n")
        self._journal.flush()
        return entry

    def entries(self) -> Iterable[tuple[str, Entry]]:
        """What an earlier build has left here whole; the last line of one that was killed may be half."""
        self._journal.seek(0)
        for line in self._journal:
            try:
                key, entry = json.loads(line)
                whole = self._sha256(entry) == entry["sha256"]
            except (ValueError, KeyError, TypeError):
                continue
            if whole:
                yield key, entry
        if self._journal.tell():
            self._journal.write("\n")  # what comes next is no part of a line that was cut off

    def copy(self, entry: Entry, mask: bool, into: BinaryIO) -> None:
        image, labels = self._sizes(entry)
        start, size = (entry["at"] + image, labels) if mask else (entry["at"], image)
        self._rows.seek(start)
        into.write(self._rows.read(size))

    def _sizes(self, entry: Entry) -> tuple[int, int]:
        """Bytes of the image, and of the mask."""
        pixels = math.prod(entry["stored"][1:])
        return pixels * entry["stored"][0] * self._dtype.itemsize, pixels if entry["masked"] else 0

    def _sha256(self, entry: Entry) -> str:
        self._rows.seek(entry["at"])
        return hashlib.sha256(self._rows.read(sum(self._sizes(entry)))).hexdigest()


def _about(geometry: Geometry) -> Entry:
    flat = {
        name: None if matrix is None else [float(value) for line in matrix for value in line]
        for name, matrix in (("affine", geometry.affine), ("to_original", geometry.to_original))
    }
    spacing = None if geometry.spacing is None else [float(value) for value in geometry.spacing]
    return {"shape": [int(side) for side in geometry.shape], "spacing": spacing} | flat
