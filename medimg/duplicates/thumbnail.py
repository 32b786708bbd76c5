"""A picture of a picture, small enough to keep one for every image of a study: what altered copies are found by."""

import itertools
from base64 import b64encode

import numpy as np

SIDE = 32
"""Height and width of a thumbnail, pixels."""


def thumbnail(pixels: np.ndarray) -> np.ndarray | None:
    """``(C, H, W)`` or ``(C, 1, H, W)`` → ``(SIDE, SIDE)`` uint8: means over equal areas, as a square, 0…255.

    None where there is nothing to compare: a volume, or one grey all over.
    """
    if pixels.ndim == 4 and pixels.shape[1] == 1:
        pixels = pixels[:, 0]
    if pixels.ndim != 3 or not np.ptp(pixels) > 0:
        return None
    exact = np.float64 if pixels.dtype.kind == "f" else np.int32 if pixels.dtype.itemsize <= 2 else np.int64
    grey = pixels[0] if len(pixels) == 1 else pixels.sum(axis=0, dtype=exact)
    small = _means(_means(grey, exact).T, np.float64).T
    low, high = float(small.min()), float(small.max())
    if not high > low:
        return None
    return np.asarray(np.rint((small - low) / (high - low) * 255).astype(np.uint8))


def as_text(picture: np.ndarray | None) -> str | None:
    """A thumbnail as base64, for a row of JSON."""
    return None if picture is None else b64encode(picture.tobytes()).decode()


def _means(picture: np.ndarray, exact: type) -> np.ndarray:
    """``(H, W)`` → ``(SIDE, W)``: means of rows over equal stretches, of which a row may lie in two in part.

    Sums are taken in the type ``exact``, which holds them; whole rows first, since most rows lie in one stretch.
    """
    ends = np.linspace(0, len(picture), SIDE + 1)
    first = ends.astype(int)
    whole = np.array([picture[a:b].sum(axis=0, dtype=exact) for a, b in itertools.pairwise(first)], np.float64)
    parts = picture[np.minimum(first, len(picture) - 1)] * (ends - first)[:, None]
    return np.asarray((whole + parts[1:] - parts[:-1]) * (SIDE / len(picture)))
