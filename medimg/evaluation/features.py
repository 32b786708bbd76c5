"""What the audit's small models see: everything about an image but the finding."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from medimg.regions import CELLS, cell_edges, rim_of
from medimg.store import Store

NOT_ACQUISITION = {
    *("sample", "path", "paths", "patient", "study", "series", "instance", "date", "mask", "label", "sex", "age"),
    *("file_sha256", "pixel_sha256"),
}
"""Columns of the index that say who it is, what is the matter, or nothing; every other one says how it was acquired."""
SIZE = ("height", "width", "bits")
CLINICAL = ("age", "sex")
_CHUNK = 512  # images in memory at once


def acquisition(index: pd.DataFrame) -> pd.DataFrame:
    """The columns of the index that say how an image was acquired, those with one value only left out."""
    names = [name for name in index.columns if name not in NOT_ACQUISITION]
    return _varying(index[names])


def size(index: pd.DataFrame) -> pd.DataFrame:
    """Height, width, their ratio, and bit depth."""
    table = index[list(SIZE)].assign(aspect=index["width"] / index["height"])
    return _varying(table)


def clinical(index: pd.DataFrame) -> pd.DataFrame:
    """Age and sex, as far as recorded."""
    return _varying(index[list(CLINICAL)])


def _varying(table: pd.DataFrame) -> pd.DataFrame:
    return table[[name for name in table.columns if table[name].nunique(dropna=False) > 1]]


def thumbnails(store: Store, samples: list[str]) -> np.ndarray:
    """Means of 16 × 16 cells, ``(N, C·256)`` float32 in 0…1."""
    means, _, _ = _cells(store, samples)
    return means.reshape(len(samples), -1)


def rim_and_rest(store: Store, samples: list[str], width: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean, least and greatest value of each cell: those of the rim, and those of the rest, ``(N, …)`` float32.

    Each is scaled by its own region's mean and spread, so that how bright the one is says nothing of the other, even
    where preprocessing stretched both by what it found in one of them.
    """
    cells = np.stack(_cells(store, samples), axis=1)  # (N, 3, C, 16, 16)
    rim = rim_of(CELLS, CELLS, width)
    return _scaled(cells[..., rim]), _scaled(cells[..., ~rim])


def _scaled(cells: np.ndarray) -> np.ndarray:
    """``(N, 3, C, cells)`` → ``(N, 3·C·cells)``, zero mean and unit spread of the cells' means."""
    centre = cells[:, :1].mean(axis=(1, 2, 3), keepdims=True)
    spread = cells[:, :1].std(axis=(1, 2, 3), keepdims=True)
    scaled: np.ndarray = (cells - centre) / np.maximum(spread, 1 / 255)
    return scaled.reshape(len(cells), -1)


def _cells(store: Store, samples: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, least and greatest value of each of 16 × 16 cells, ``(N, C, 16, 16)`` float32 in 0…1."""
    pieces = list(zip(*(_reduced(chunk) for chunk in _chunks(store, samples)), strict=True))
    mean, low, high = (np.concatenate(piece) for piece in pieces)
    return mean, low, high


def _chunks(store: Store, samples: list[str]) -> Iterator[np.ndarray]:
    rows = store.rows(samples)
    for start in range(0, len(rows), _CHUNK):
        images = store.images[rows[start : start + _CHUNK]]
        yield images.reshape(*images.shape[:2], -1, images.shape[-1])  # slices of a volume one below the other


def _reduced(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``(N, C, H, W)`` integers → three of ``(N, C, 16, 16)``."""
    top = np.float32(np.iinfo(images.dtype).max)
    down, across = cell_edges(images.shape[-2]), cell_edges(images.shape[-1])
    counts = np.diff(down, append=images.shape[-2])[:, None] * np.diff(across, append=images.shape[-1])
    total = np.add.reduceat(np.add.reduceat(images, down, axis=-2, dtype=np.float32), across, axis=-1)
    low, high = (
        op.reduceat(op.reduceat(images, down, axis=-2), across, axis=-1).astype(np.float32) / top
        for op in (np.minimum, np.maximum)
    )
    return np.asarray(total / counts / top, np.float32), low, high
