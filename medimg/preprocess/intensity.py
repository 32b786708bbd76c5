"""Grey values: what becomes black and white, how the store's integers say it, and colour against grey."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from medimg.errors import ImageError, Refusal
from medimg.params.preprocess import CT_WINDOWS, Preprocess

_COUNTED = 2**17
"""Whole numbers within a range of this are counted"""

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Coding:
    """What a stored integer stands for: ``stored · scale + offset``, in 0…1, or in deviations from the mean."""

    dtype: np.dtype[Any]
    scale: float
    offset: float

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Values, float32, as the nearest integers; what lies beyond the first or last is cut off."""
        top = np.iinfo(self.dtype).max
        values = values * np.float32(1 / self.scale) - np.float32(self.offset / self.scale)
        np.clip(values, 0, top, out=values)
        coded: np.ndarray = np.rint(values, out=values).astype(self.dtype)
        return coded


def coding(settings: Preprocess) -> Coding:
    """How a store that ``settings`` describe codes its values; a value of 0 is a whole number in each."""
    dtype = np.dtype(settings.dtype)
    top = int(np.iinfo(dtype).max)
    if settings.intensity == "scale":
        return Coding(dtype, 1 / top, 0.0)
    scale = settings.deviations / (top // 2)
    return Coding(dtype, scale, -(top // 2 + 1) * scale)


def window_of(settings: Preprocess, windowed: bool) -> tuple[float, float] | None:
    """Lowest and highest value shown; None: percentiles. ``windowed``: the file's own window was applied already."""
    window = settings.window
    if window == "header":
        return (0.0, 1.0) if windowed else None
    return CT_WINDOWS[window] if isinstance(window, str) else window


def scaled(pixels: np.ndarray, settings: Preprocess, windowed: bool) -> np.ndarray:
    """As MONAI's ``ScaleIntensityRange``, ``ScaleIntensityRangePercentiles`` or ``NormalizeIntensity``.

    Args:
        pixels: ``(C, …)``, any number type.
        settings: the block ``preprocess``.
        windowed: 0 is the darkest and 1 the brightest already.

    Returns:
        ``(C, …)`` float32, a new array.
    """
    counted = pixels[pixels != 0] if settings.nonzero else pixels
    bounds = window_of(settings, windowed) or (0.0, 0.0)
    if settings.intensity == "scale" and window_of(settings, windowed) is None:
        bounds = percentiles(counted, settings.percentiles)
    pixels = pixels.astype(np.float32)
    if settings.intensity == "zscore":
        if counted.size:
            mean, deviation = counted.mean(dtype=np.float64), counted.std(dtype=np.float64)
            where = pixels != 0 if settings.nonzero else True
            np.subtract(pixels, np.float32(mean), out=pixels, where=where)
            np.divide(pixels, np.float32(deviation or 1), out=pixels, where=where)
        return pixels
    low, high = (np.float32(bound) for bound in bounds)
    if low == high:
        np.subtract(pixels, low, out=pixels)
        return pixels
    np.clip(pixels, low, high, out=pixels)
    np.subtract(pixels, low, out=pixels)
    np.multiply(pixels, np.float32(1) / (high - low), out=pixels)
    return pixels


def percentiles(values: np.ndarray, wanted: tuple[float, float]) -> tuple[float, float]:
    """Two percentiles of all values, interpolated as ``numpy.percentile``; 0 and 0 where there are none.

    Whole numbers are counted, not sorted: several times as fast, the same order statistics.
    """
    if not values.size:
        return 0.0, 0.0
    if (whole := _counts(values)) is not None:
        first, counts = whole
        upto = np.cumsum(counts)
        places = [share / 100 * (values.size - 1) for share in wanted]
        below, above = (np.searchsorted(upto, step(places), side="right") + first for step in (np.floor, np.ceil))
        low, high = below + (above - below) * np.mod(places, 1)
        return float(low), float(high)
    low, high = np.percentile(values, wanted)
    return float(low), float(high)


def _counts(values: np.ndarray) -> tuple[int, np.ndarray] | None:
    """The least value and how often each from it on occurs; None: they are not whole numbers, or far apart."""
    least, most = values.min(), values.max()
    if not (abs(least) < 2**24 and abs(most) < 2**24) or most - float(least) > _COUNTED:
        return None
    first = int(least)
    if values.dtype.kind == "f":
        integers = values.astype(np.int32)
        if not np.array_equal(integers, values):
            return None
        values = integers
    if first < 0 or values.dtype.itemsize > 2:
        values = values.astype(np.int32) - first
        return first, np.bincount(values.ravel())
    return 0, np.bincount(values.ravel())


def with_channels(pixels: np.ndarray, channels: int, colour: bool) -> np.ndarray:
    """Colour as luminance, grey repeated: ``(channels, …)``, in the type of ``pixels`` or float32.

    Raises:
        ImageError: UNSUPPORTED, the channels are neither grey nor colour.
    """
    if len(pixels) == channels and (channels == 1 or colour):
        return pixels
    if len(pixels) == 3 and colour:
        return np.tensordot(np.array(LUMINANCE, np.float32), pixels.astype(np.float32), axes=1)[None]
    if len(pixels) == 1:
        return np.repeat(pixels, channels, axis=0)
    raise ImageError(Refusal.UNSUPPORTED, f"{len(pixels)} channels that are neither grey nor colour, such as times")
