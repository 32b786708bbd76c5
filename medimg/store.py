"""The store: preprocessed samples as memory-mapped arrays, and the geometry that leads back to the original grid.

A folder of three files. ``images.npy`` is ``(rows, C, H, W)``, a row for each distinct key, sorted by key;
``samples.parquet`` says which row each sample has and what its original grid was; ``store.json`` says what the rest is.
The layout depends on the set of samples alone, so a rebuild is byte-equal. The folder is replaced whole, never written
into: DVC may have hard-linked its files into the cache.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from medimg.errors import DataError
from medimg.files import publish_folder, write_json
from medimg.records import read_table, write_table

SAMPLES_SCHEMA = pa.schema(
    [
        pa.field("sample", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),  # pixels, of the original
        pa.field("width", pa.int32(), nullable=False),
        pa.field("spacing_row", pa.float64()),  # mm, of the original
        pa.field("spacing_column", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Geometry:
    """The original grid of a sample: pixels, and mm between them where known."""

    height: int
    width: int
    spacing_row: float | None
    spacing_column: float | None


@dataclass(frozen=True)
class Row:
    """One preprocessed sample: ``(C, H, W)`` in the store's dtype, and where it came from."""

    image: np.ndarray
    geometry: Geometry


@dataclass(frozen=True)
class Store:
    """A store opened for reading; the images stay on disk until they are indexed."""

    images: np.ndarray
    """``(rows, C, H, W)``, memory-mapped, read-only"""
    samples: pd.DataFrame
    """``SAMPLES_SCHEMA``, sorted by sample"""

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """Map a store that ``rebuild`` wrote.

        Raises:
            DataError: it is not there or not whole.
        """
        try:
            about = json.loads((folder / "store.json").read_text())
            images = np.load(folder / "images.npy", mmap_mode="r")
        except (OSError, ValueError):
            raise DataError(f"There is no whole store in {folder}. Run dvc repro, which makes it.") from None
        if images.shape != tuple(about["shape"]):
            raise DataError(f"The store in {folder} is not whole. Remove the folder and run dvc repro.")
        return cls(images, read_table(folder / "samples.parquet", SAMPLES_SCHEMA))

    @property
    def keys(self) -> dict[str, int]:
        """Key → one position in ``samples`` that has it."""
        return {key: position for position, key in enumerate(self.samples["key"])}

    def rows(self, samples: Iterable[str]) -> np.ndarray:
        """Rows of ``images`` of the given samples, int64 ``(N,)``."""
        row: np.ndarray = self.samples.set_index("sample")["row"].loc[list(samples)].to_numpy()
        return row

    def at(self, position: int) -> Row:
        """The row and geometry at a position of ``samples``."""
        found = self.samples.iloc[position]
        spacing = (None if pd.isna(found[name]) else float(found[name]) for name in ("spacing_row", "spacing_column"))
        return Row(self.images[found["row"]], Geometry(int(found["height"]), int(found["width"]), *spacing))


@contextmanager
def rebuild(
    folder: Path, keys: dict[str, str], shape: tuple[int, ...], dtype: np.dtype[Any], before: Store | None = None
) -> Iterator["Builder"]:
    """Build a store beside the one in place; it takes its place when the block ends, and nothing changes if it raises.

    Args:
        folder: where the store will stand.
        keys: sample → key, every sample that the store will hold.
        shape: ``(C, H, W)`` of an image.
        dtype: of the images.
        before: the store in place, from which rows with a known key are copied.
    """
    with publish_folder(folder) as partial:
        builder = Builder(partial, keys, shape, dtype)
        for key, position in (before.keys if before else {}).items():
            if before and key in builder.rows:
                builder.put(key, before.at(position))
        yield builder
        builder.finish()


class Builder:
    """A store being built in ``folder``: ``put`` every key once, in any order, then ``finish``."""

    def __init__(self, folder: Path, keys: dict[str, str], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.rows = {key: row for row, key in enumerate(sorted(set(keys.values())))}
        self._folder, self._keys = folder, keys
        self._geometry: dict[str, Geometry] = {}
        self._images = np.lib.format.open_memmap(folder / "images.npy", "w+", dtype, (len(self.rows), *shape))

    def put(self, key: str, row: Row) -> None:
        """Write the sample that ``key`` stands for."""
        self._images[self.rows[key]] = row.image
        self._geometry[key] = row.geometry

    def finish(self) -> None:
        """Write the tables beside the images; a key without a row is a ``KeyError``."""
        self._images.flush()
        table = pd.DataFrame(
            [
                {"sample": sample, "key": key, "row": self.rows[key]} | vars(self._geometry[key])
                for sample, key in sorted(self._keys.items())
            ],
            columns=SAMPLES_SCHEMA.names,
        )
        write_table(self._folder / "samples.parquet", table, SAMPLES_SCHEMA)
        about = {"shape": list(self._images.shape), "dtype": str(self._images.dtype)}
        write_json(self._folder / "store.json", about)
