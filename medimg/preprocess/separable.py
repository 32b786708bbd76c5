"""MONAI's resampling as one sparse matrix along each axis.

Linear interpolation on a grid that is parallel to the original one, and the Gaussian before it, are separable: each
axis is multiplied by a matrix that depends on its length before and after alone. The result differs from MONAI's by the
rounding of float32.
"""

from functools import lru_cache
from math import erf
from typing import Any

import numpy as np

Steps = tuple[tuple[int, int, float | None], ...]
"""For each axis: length before and after, and the step between samples of ``Spacing``; None: a ``Resize``"""

_ON_THE_GRID = 1e-9
"""Pixels from one of the original grid at which a pixel of the result is that one"""


def resample(pixels: np.ndarray, steps: Steps) -> np.ndarray:
    """Linearly interpolate ``(C, …)`` along every axis that changes: float32, or ``pixels`` where none does."""
    for axis, (before, after, step) in enumerate(steps, 1):
        if step is not None or before != after:
            pixels = _along(matrix(before, after, step), pixels.astype(np.float32, copy=False), axis)
    return pixels


def nearest(labels: np.ndarray, steps: Steps) -> np.ndarray:
    """The nearest value along every axis of ``(1, …)``."""
    for axis, (before, after, step) in enumerate(steps, 1):
        if step is not None or before != after:
            at = np.floor(places(before, after, step) + 0.5).astype(int)
            labels = labels.take(at.clip(0, before - 1), axis)
    return labels


def places(before: int, after: int, step: float | None) -> np.ndarray:
    """Where each pixel of the result lies among those before, float64 ``(after,)``."""
    if step is not None:
        return np.arange(after) * step
    return (np.arange(after) + 0.5) * (before / after) - 0.5


@lru_cache(maxsize=512)
def matrix(before: int, after: int, step: float | None) -> Any:
    """``(after, before)`` sparse float32: ``Spacing`` (border repeated), or ``Resize`` with its Gaussian."""
    from scipy.sparse import csr_array

    at = places(before, after, step).clip(0, before - 1)
    at = np.where(np.abs(at - np.rint(at)) < _ON_THE_GRID, np.rint(at), at)  # or rounding would make of a 0 no 0
    low = np.minimum(at.astype(int), max(before - 2, 0))
    share = at - low
    rows = np.arange(after)
    high = np.minimum(low + 1, before - 1)
    entries = np.concatenate([1 - share, share]), (np.tile(rows, 2), np.concatenate([low, high]))
    linear = csr_array(entries, shape=(after, before))
    if step is None and before > after:
        linear = linear @ _gaussian(before, (before / after - 1) / 2)
    linear.sum_duplicates()
    linear.eliminate_zeros()
    return linear.astype(np.float32)


def _gaussian(size: int, sigma: float) -> Any:
    """MONAI's ``GaussianSmooth``: differences of the error function up to four deviations, zeros beyond the border."""
    from scipy.sparse import diags_array

    tail = int(max(sigma * 4, 0.5) + 0.5)
    root = sigma * 2**0.5
    offsets = [x for x in range(-tail, tail + 1) if abs(x) < size]
    weights = [0.5 * (erf((x + 0.5) / root) - erf((x - 0.5) / root)) for x in offsets]
    return diags_array(weights, offsets=offsets, shape=(size, size)).tocsr()


def _along(weights: Any, pixels: np.ndarray, axis: int) -> np.ndarray:
    """Multiply one axis of ``(C, …)`` by ``(after, before)``."""
    after, before = weights.shape
    shape = (*pixels.shape[:axis], after, *pixels.shape[axis + 1 :])
    behind = int(np.prod(pixels.shape[axis + 1 :]))
    blocks = np.ascontiguousarray(pixels).reshape(-1, before, behind)
    if behind == 1:
        return np.ascontiguousarray((weights @ np.ascontiguousarray(blocks[..., 0].T)).T).reshape(shape)
    return np.stack([weights @ block for block in blocks]).reshape(shape)
