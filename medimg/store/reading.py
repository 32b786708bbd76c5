"""Reading a store: its format, and its arrays as memory maps."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medimg.errors import DataError
from medimg.files import sha256_file
from medimg.store.geometry import Geometry, Matrix

if TYPE_CHECKING:
    import pandas as pd

SAMPLES_SCHEMA = pa.schema(
    [
        pa.field("sample", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("masked", pa.bool_(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),  # of the row's bytes, and its mask's
        pa.field("stored", pa.list_(pa.int32()), nullable=False),  # C, …: shape of the row
        pa.field("shape", pa.list_(pa.int32()), nullable=False),  # of the original, without channels
        pa.field("spacing", pa.list_(pa.float64())),  # mm, of the original
        pa.field("affine", pa.list_(pa.float64())),  # 4×4, row first: original index → RAS mm; null: a 2D image
        pa.field("to_original", pa.list_(pa.float64())),  # row first: stored index → original index; null: the same
    ]
)
_LIGHT = ["sample", "key", "row", "masked"]  # columns that all readers need
IMAGES, MASKS, SAMPLES, ABOUT, REMOTE = "images.npy", "masks.npy", "samples.parquet", "store.json", "remote.json"


@dataclass(frozen=True)
class Row:
    """One preprocessed sample: ``(C, …)`` in the store's dtype, where it came from, and its mask."""

    image: np.ndarray
    geometry: Geometry
    mask: np.ndarray | None = None
    """``(1, …)`` uint8, on the grid of the image"""


class Ragged:
    """Rows of different shapes, one after the other in a memory map."""

    def __init__(self, flat: np.ndarray, shapes: np.ndarray) -> None:
        """``flat``: one dimension; ``shapes``: ``(rows, 1 + r)``, C, …"""
        self._flat, self.shapes = flat, shapes
        self._ends = np.cumsum(shapes.astype(np.int64).prod(axis=1))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of every row."""
        return self._flat.dtype

    def __len__(self) -> int:
        return len(self.shapes)

    @overload
    def __getitem__(self, row: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, row: np.ndarray) -> list[np.ndarray]: ...
    def __getitem__(self, row: int | np.ndarray) -> np.ndarray | list[np.ndarray]:
        """Row ``(C, …)``, still on the disk; of several rows, a list."""
        if isinstance(row, np.ndarray):
            return [self[int(one)] for one in row]
        shape = self.shapes[row]
        end = int(self._ends[row])
        return self._flat[end - int(shape.astype(np.int64).prod()) : end].reshape(shape)


@dataclass(frozen=True)
class Store:
    """A store opened for reading; pixels stay on disk until they are indexed."""

    folder: Path
    images: Any
    """``(rows, C, H, W)`` or ``(rows, C, D, H, W)``, memory-mapped, read-only; where ``ragged``, ``Ragged``"""
    masks: Any
    """the same with one channel, uint8, zeros where a sample has none; None: no sample has one"""
    scale: float
    """value = stored · scale + offset: 0…1, or deviations from the mean (``preprocess.intensity: zscore``)"""
    offset: float
    samples: "pd.DataFrame"
    """``sample``, ``key``, ``row`` and ``masked``, sorted by sample"""

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """Map a store that ``rebuild`` wrote; arrays that are kept elsewhere are fetched to this machine first.

        Raises:
            DataError: it is not there or not whole, or cannot be fetched.
        """
        if (folder / REMOTE).exists():
            from medimg.store.remote import fetched

            return cls.of(folder, fetched(folder))
        return cls.of(folder, folder)

    @classmethod
    def of(cls, folder: Path, arrays: Path) -> "Store":
        """Map a store whose tables are in one folder and whose arrays are in another.

        Raises:
            DataError: it is not there or not whole.
        """
        try:
            about = json.loads((folder / ABOUT).read_text())
            table = pq.read_table(folder / SAMPLES, columns=None if about["ragged"] else _LIGHT)
            images = np.load(arrays / IMAGES, mmap_mode="r")
            masks = np.load(arrays / MASKS, mmap_mode="r") if about["masks"] else None
            shapes = about["shape"], about["mask_shape"]
            rows, scale, offset = about["rows"], about["scale"], about["offset"]
        except (OSError, ValueError, KeyError, TypeError):  # KeyError: of another version of medimg
            raise DataError(f"There is no whole store in {folder}. Run dvc repro, which makes it.") from None
        if shapes != (list(images.shape), None if masks is None else list(masks.shape)):
            raise _not_whole(folder)
        if about["ragged"]:
            each = _shapes(table, rows)
            alone = np.concatenate([np.ones_like(each[:, :1]), each[:, 1:]], axis=1)
            images = Ragged(images, each)
            masks = None if masks is None else Ragged(masks, alone)
        return cls(folder, images, masks, scale, offset, table.select(_LIGHT).to_pandas())

    @property
    def level(self) -> float:
        """Where background, a value of 0, lies in the range of what is stored, 0…1: not at 0 after a z-score."""
        top = 1.0 if self.images.dtype.kind == "f" else float(np.iinfo(self.images.dtype).max)
        return min(max(round(-self.offset / self.scale) / top, 0.0), 1.0)

    @property
    def ragged(self) -> bool:
        """Whether rows have shapes of their own."""
        return isinstance(self.images, Ragged)

    @property
    def keys(self) -> dict[str, int]:
        """Key → one position in ``samples`` that has it."""
        return {key: position for position, key in enumerate(self.samples["key"])}

    def rows(self, samples: Iterable[str]) -> np.ndarray:
        """Rows of ``images`` of the given samples, int64 ``(N,)``."""
        row: np.ndarray = self._row_of.loc[list(samples)].to_numpy()
        return row

    def at(self, position: int) -> Row:
        """The row, its geometry and its mask at a position of ``samples``."""
        row, masked = int(self.samples["row"].iloc[position]), bool(self.samples["masked"].iloc[position])
        return Row(self.images[row], self._geometry(position), self.masks[row] if masked else None)

    def geometry(self, sample: str) -> Geometry:
        """Where a sample came from, and the way back."""
        return self._geometry(int(self.samples["sample"].searchsorted(sample)))

    @cached_property
    def table(self) -> pa.Table:
        """All columns of ``SAMPLES_SCHEMA``, sorted by sample."""
        return pq.read_table(self.folder / SAMPLES)

    @cached_property
    def _row_of(self) -> "pd.Series[int]":
        return self.samples.set_index("sample")["row"]

    def _geometry(self, position: int) -> Geometry:
        (found,) = self.table.slice(position, 1).to_pylist()
        spacing = found["spacing"]
        return Geometry(
            tuple(found["shape"]),
            None if spacing is None else tuple(spacing),
            _matrix(found["affine"]),
            _matrix(found["to_original"]),
        )


def check_tables(folder: Path) -> None:
    """Compare ``samples.parquet`` with the SHA-256 in ``store.json``: it says where every row came from.

    Raises:
        DataError: it is another one.
    """
    try:
        noted = json.loads((folder / ABOUT).read_text())["samples_sha256"]
        whole = sha256_file(folder / SAMPLES) == noted
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise _not_whole(folder)


def _not_whole(folder: Path) -> DataError:
    return DataError(f"The store in {folder} is not whole. Remove the folder and run dvc repro.")


def samples_in(folder: Path) -> set[str] | None:
    """Names of the samples that a store holds; None: there is no store. No array is opened or fetched."""
    try:
        return set(pq.read_table(folder / SAMPLES, columns=["sample"])["sample"].to_pylist())
    except FileNotFoundError:
        return None


def digest_of(image: np.ndarray, mask: np.ndarray | None) -> str:
    """SHA-256, in hex, of the little-endian C-ordered bytes of a row and its mask."""
    digest = hashlib.sha256(np.ascontiguousarray(image, image.dtype.newbyteorder("<")).data)
    if mask is not None:
        digest.update(np.ascontiguousarray(mask).data)
    return digest.hexdigest()


def _shapes(table: pa.Table, rows: int) -> np.ndarray:
    """Shape of each row, int32 ``(rows, 1 + r)``."""
    stored = np.stack(table["stored"].to_numpy(zero_copy_only=False)) if rows else np.empty((0, 1), np.int32)
    shapes = np.empty((rows, stored.shape[1]), np.int32)
    shapes[table["row"].to_numpy()] = stored
    return shapes


def _matrix(values: list[float] | None) -> Matrix | None:
    if values is None:
        return None
    side = round(len(values) ** 0.5)
    return tuple(tuple(values[start : start + side]) for start in range(0, len(values), side))
