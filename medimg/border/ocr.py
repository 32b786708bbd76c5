"""Text in pixels, as a detector sees it: the optional extra ``ocr`` (RapidOCR, whose models come in its package)."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np

Box = tuple[int, int, int, int]
"""top, left, bottom, right; pixels, the last two excluded"""

_SIGNS = 3
"""A marker of a side (L, R) or of a letter or two names nobody."""
_MARGIN = 4
_SMALLEST = 256
_NEAR = 16  # pixels: of the height of letters
_LEAST = 0.004  # of the range: a smaller spread is that of an empty background


def installed() -> bool:
    """Whether the extra is there."""
    return find_spec("rapidocr") is not None and find_spec("onnxruntime") is not None


@cache
def _engine() -> Any:
    from rapidocr import RapidOCR

    threads = {"EngineConfig.onnxruntime.intra_op_num_threads": 1}  # other processes have the other cores
    return RapidOCR(params={"Global.log_level": "critical", **threads})


def faint(pixels: np.ndarray) -> list[Box]:
    """Where lines of text stand, with those that are faint, but sharper than what lies around them: looked at twice.

    The second look is at the difference to the mean of the surroundings, over its own spread there. Text that takes a
    twentieth of the range of the values is next to invisible beside the rest, and stands out of it in a window.
    """
    grey = pixels.astype(np.float64) if pixels.ndim == 2 else pixels.mean(axis=2)
    detail = grey - _around(grey, _NEAR)
    spread = np.sqrt(np.maximum(_around(detail**2, 2 * _NEAR), 0)) + _LEAST * float(np.ptp(grey))
    raised = np.clip(detail / np.where(spread > 0, spread, 1) * 40 + 128, 0, 255).astype(np.uint8)
    return texts(pixels) + texts(raised)


def _around(picture: np.ndarray, reach: int) -> np.ndarray:
    """The mean of the square of ``2 * reach + 1`` pixels about each pixel of ``(H, W)``; edges are repeated."""
    sums = np.pad(picture, ((reach + 1, reach), (reach + 1, reach)), mode="edge").cumsum(0).cumsum(1)
    side = 2 * reach + 1
    total = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return np.asarray(total / side**2)


def texts(pixels: np.ndarray) -> list[Box]:
    """Where lines of text stand.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``, any numbers; shown to the detector from the lowest to the highest.
    """
    low, high = float(pixels.min()), float(pixels.max())
    if high <= low:
        return []
    grey = ((pixels.astype(np.float32) - low) * (255 / (high - low))).astype(np.uint8)
    picture = np.stack([grey] * 3, -1) if grey.ndim == 2 else grey
    zoom = max(1, -(-_SMALLEST // min(picture.shape[:2])))
    picture = picture.repeat(zoom, 0).repeat(zoom, 1)
    found = _engine()(np.ascontiguousarray(picture), use_cls=False)
    boxes = []
    for corners, text in zip(found.boxes if found.boxes is not None else (), found.txts or (), strict=True):
        if sum(sign.isalnum() for sign in text) >= _SIGNS:
            (left, top), (right, bottom) = corners.min(0) / zoom, corners.max(0) / zoom
            start = max(int(top) - _MARGIN, 0), max(int(left) - _MARGIN, 0)
            boxes.append((*start, int(bottom) + _MARGIN, int(right) + _MARGIN))
    return boxes
