"""Altered copies among many images: resized, windowed anew, compressed anew, cropped by some pixels, inverted.

Radiographs of different patients look alike, so a coarse hash takes one for the other. Here every image is compared
with every other, in three steps, each finer and on fewer pairs. Grey values are replaced by their ranks, which no
monotone change of contrast alters, and a correlation of -1 counts like 1, which is inversion. A crop moves and
stretches the picture a little: to first order it stays in the plane that its derivatives span (tangent distance:
Simard, LeCun, Denker 1993, NIPS 5:50), so the second step compares with that plane; the third moves one picture onto
the other first.

The limits were set on radiographs; benchmarks/duplicates.py measures precision and recall at them.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np
from scipy.fft import dct

from medimg.duplicates.thumbnail import SIDE

FIRST, SECOND, LAST = 0.75, 0.93, 0.94
"""Least likeness, 0 to 1, to pass each step."""
_COARSE, _FINE = (15, 1.5), (24, 1.0)  # highest frequency, and the exponent that weighs a frequency
_ROWS = 512  # images compared with all others at a time
_PAIRS = 2000  # pairs at a time
_CENTRE = np.arange(SIDE) - (SIDE - 1) / 2


def alike(thumbnails: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of images of different owners that show the same picture.

    Args:
        thumbnails: ``(N, SIDE, SIDE)`` uint8.
        owner: ``(N,)`` int: images of one owner are not compared with each other.

    Returns:
        ``(P, 2)`` int64 positions, the smaller first, sorted; and ``(P,)`` their likeness, ``LAST`` to 1.
    """
    if len(thumbnails) < 2:
        return np.empty((0, 2), np.int64), np.empty(0, np.float32)
    pictures = ranks(thumbnails)
    spans = _spans(pictures, *_COARSE)  # (N, D, 5): the picture and its four derivatives
    faces = spans[:, :, 0] / np.maximum(np.linalg.norm(spans[:, :, 0], axis=1, keepdims=True), 1e-12)
    planes = np.linalg.qr(spans)[0]
    found = []
    for first, second in _candidates(faces, owner):
        near = _in_plane(planes, faces, first, second) >= SECOND
        found.append(np.stack([first[near], second[near]], axis=1))
    pairs = np.concatenate(found) if found else np.empty((0, 2), np.int64)
    likeness = _after_moving(pictures, pairs)
    kept = likeness >= LAST
    pairs, likeness = pairs[kept], likeness[kept]
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[order], likeness[order]


def ranks(thumbnails: np.ndarray) -> np.ndarray:
    """``(N, S, S)`` uint8 → float32: the share of an image's pixels that are darker, equal ones counted half."""
    flat = thumbnails.reshape(len(thumbnails), -1)
    pictures = np.empty(flat.shape, np.float32)
    for start in range(0, len(flat), 10_000):
        part = flat[start : start + 10_000].astype(np.int64) + 256 * np.arange(min(10_000, len(flat) - start))[:, None]
        counts = np.bincount(part.ravel(), minlength=256 * len(part)).reshape(-1, 256)
        middle = (np.cumsum(counts, axis=1) - counts / 2) / flat.shape[1] - 0.5
        pictures[start : start + 10_000] = middle.ravel()[part]
    return pictures.reshape(thumbnails.shape)


@lru_cache
def _transform(highest: int, weight: float) -> np.ndarray:
    """``(SIDE², 5 D)``: from a picture to D weighted cosine coefficients of itself and of its four derivatives.

    The derivatives are those of moving it right and down by a pixel, and of stretching it in both directions.
    """
    cosine = dct(np.eye(SIDE), axis=0, norm="ortho")[: highest + 1]
    down, right = np.mgrid[: highest + 1, : highest + 1]
    kept = (down + right >= 1) & (down + right <= highest)
    scale = (down**2 + right**2)[kept] ** (weight / 2)
    slope: np.ndarray = np.asarray(np.gradient(np.eye(SIDE), axis=0))
    one, stretch = np.eye(SIDE), slope * _CENTRE[:, None] / SIDE
    maps = [(one, one), (one, slope), (slope, one), (one, stretch), (stretch, one)]
    columns = [np.einsum("ui,vj->uvij", cosine @ rows, cosine @ across)[kept] for rows, across in maps]
    weighted = [column.reshape(len(scale), -1) * scale[:, None] for column in columns]
    return np.asarray(np.stack(weighted, axis=1).reshape(-1, SIDE * SIDE).T, dtype=np.float32)


def _spans(pictures: np.ndarray, highest: int, weight: float) -> np.ndarray:
    return np.asarray((pictures.reshape(len(pictures), -1) @ _transform(highest, weight)).reshape(len(pictures), -1, 5))


def _candidates(faces: np.ndarray, owner: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs whose pictures correlate as they are, a block of first images at a time, sorted by the first."""
    for start in range(0, len(faces), _ROWS):
        block = slice(start, start + _ROWS)
        likeness = faces[block] @ faces[start:].T
        np.abs(likeness, out=likeness)
        at = np.flatnonzero(likeness.ravel() >= FIRST)
        first, second = np.divmod(at, likeness.shape[1])
        first, second = first + start, second + start
        keep = (second > first) & (owner[first] != owner[second])
        yield first[keep], second[keep]


def _in_plane(planes: np.ndarray, faces: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``(P,)`` length of the second picture's shadow on the first's plane; pairs sorted by the first."""
    likeness = np.empty(len(first), np.float32)
    begins = np.flatnonzero(np.diff(first, prepend=-1, append=-1))
    for begin, end in pairwise(begins):
        shadow = faces[second[begin:end]] @ planes[first[begin]]
        likeness[begin:end] = np.sqrt(np.einsum("pk,pk->p", shadow, shadow))
    return likeness


def _after_moving(pictures: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """``(P,)`` likeness in fine detail once one picture was moved onto the other; the better of both ways."""
    parts = [np.empty(0, np.float32)]
    for start in range(0, len(pairs), _PAIRS):
        one, other = (pictures[pairs[start : start + _PAIRS, side]] for side in (0, 1))
        ways = [_shadow(_moved(one, other), other), _shadow(other, _moved(one, other))]
        ways += [_shadow(_moved(other, one), one), _shadow(one, _moved(other, one))]
        parts.append(np.max(ways, axis=0))
    return np.concatenate(parts)


def _shadow(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    planes = np.linalg.qr(_spans(one, *_FINE))[0]
    faces = _spans(other, *_FINE)[:, :, 0]
    length = np.maximum(np.linalg.norm(faces, axis=1), 1e-12)
    return np.asarray(np.linalg.norm(np.einsum("pd,pdk->pk", faces, planes), axis=1) / length)


def _moved(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Each picture of ``one``, ``(P, SIDE, SIDE)``, moved and stretched a little to lie on that of ``other``."""
    spans = _spans(one, 12, 1.0)
    faces = _spans(other, 12, 1.0)[:, :, 0]
    amount = np.einsum("pkd,pd->pk", np.linalg.pinv(spans), faces)
    step = amount[:, 1:] / np.where(np.abs(amount[:, :1]) > 1e-6, amount[:, :1], 1)
    shift, stretch = np.clip(step[:, :2], -2, 2), np.clip(step[:, 2:] / SIDE, -0.1, 0.1)  # pixels, share of the side
    right, down = (_resampling(shift[:, axis], stretch[:, axis]) for axis in (0, 1))
    return np.asarray(down @ one @ right.transpose(0, 2, 1))


def _resampling(shift: np.ndarray, stretch: np.ndarray) -> np.ndarray:
    """``(P, SIDE, SIDE)``: linear interpolation at the places ``shift + (1 + stretch) place``, within the picture."""
    places = shift[:, None] + _CENTRE * (1 + stretch[:, None]) + (SIDE - 1) / 2
    distance = np.abs(np.clip(places, 0, SIDE - 1)[:, :, None] - np.arange(SIDE))
    return np.asarray(np.maximum(0, 1 - distance), dtype=np.float32)
