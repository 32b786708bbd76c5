"""Compiled loops that change each pixel on its own."""

from collections.abc import Callable
from typing import Any

import numpy as np

from medimg.augment.compiled import Floats, compiled

_ONE = np.float32(1)
_ROOT = np.int32(0x3F3504F3)
"""bits of √½: a float's bits less these, shifted by 23, are the exponent that leaves a mantissa in √½…√2"""


def _polynomial(function: Callable[[np.ndarray], np.ndarray], low: float, high: float, degree: int) -> tuple[Any, ...]:
    """Coefficients, the highest power first, of the polynomial through a function at Chebyshev's points."""
    fitted = np.polynomial.Chebyshev.interpolate(function, degree, (low, high)).convert(kind=np.polynomial.Polynomial)
    return tuple(np.float32(value) for value in fitted.coef[::-1])


_LOG2 = _polynomial(lambda share: np.log1p(share) / share / np.log(2), 2**-0.5 - 1, 2**0.5 - 1, 9)
_EXP2 = _polynomial(np.exp2, -0.5, 0.5, 6)


@compiled
def extent(image: Floats) -> tuple[float, float, float]:
    """Least, greatest and mean value of a flat picture, in lanes that are one vector each."""
    low, high, total = np.full(64, image[0]), np.full(64, image[0]), np.zeros(64, np.float32)
    whole = len(image) // 64 * 64
    for start in range(0, whole, 64):
        part = image[start : start + 64]
        for lane in range(64):
            value = part[lane]
            low[lane], high[lane] = min(low[lane], value), max(high[lane], value)
            total[lane] += value
    rest = image[whole:]
    for place in range(len(rest)):
        low[place], high[place] = min(low[place], rest[place]), max(high[place], rest[place])
        total[place] += rest[place]
    return low.min(), high.max(), total.sum() / len(image)


@compiled
def spread(images: Floats, at: np.ndarray, factors: np.ndarray) -> None:
    """Multiply distances from the mean of each flat picture; its range stays."""
    for one in range(len(at)):
        image = images[at[one]]
        low, high, mean = extent(image)
        factor, base = np.float32(factors[one]), np.float32(mean)
        bottom, top = np.float32(low), np.float32(high)
        for place in range(len(image)):
            image[place] = min(max((image[place] - base) * factor + base, bottom), top)


@compiled
def line(images: Floats, at: np.ndarray, factors: np.ndarray, offsets: np.ndarray) -> None:
    """Multiply each flat picture and add."""
    for one in range(len(at)):
        image, factor, offset = images[at[one]], np.float32(factors[one]), np.float32(offsets[one])
        for place in range(len(image)):
            image[place] = image[place] * factor + offset


@compiled
def log2(rest: Any) -> Any:
    """log₂(1 + rest), of one in √½ - 1…√2 - 1."""
    a, b, c, d, e, f, g, h, i, j = _LOG2
    half = ((((a * rest + b) * rest + c) * rest + d) * rest + e) * rest + f
    return rest * ((((half * rest + g) * rest + h) * rest + i) * rest + j)


@compiled
def exp2(rest: Any) -> Any:
    """2 to the power of one in -½…½."""
    a, b, c, d, e, f, g = _EXP2
    return (((((a * rest + b) * rest + c) * rest + d) * rest + e) * rest + f) * rest + g


@compiled
def power(images: Floats, at: np.ndarray, exponents: np.ndarray) -> None:
    """Raise each flat picture to a power, within its own range: x to the y as two to the y times log₂ x."""
    size = min(1024, images.shape[1])
    share, result, scale = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.int32)
    bits, scales = share.view(np.int32), scale.view(np.float32)
    for one in range(len(at)):
        image, exponent = images[at[one]], np.float32(exponents[one])
        lowest, highest, _ = extent(image)
        low, span = np.float32(lowest), np.float32(highest - lowest)
        unit = np.float32(1 / (highest - lowest + 1e-7))
        for start in range(0, len(image), size):
            part = image[start : start + size]
            for place in range(len(part)):
                share[place] = (part[place] - low) * unit
            for place in range(len(part)):
                whole = np.int32(np.int32(bits[place] - _ROOT) >> np.int32(23))
                result[place] = np.float32(whole)
                scale[place] = np.int32(bits[place] - np.int32(whole << np.int32(23)))
            for place in range(len(part)):
                rest = scales[place] - _ONE
                result[place] = exponent * (result[place] + log2(rest))
            for place in range(len(part)):
                power_ = max(result[place], np.float32(-100))  # less is a number that processors are slow with
                whole = np.int32(np.int32(power_ + np.float32(126.5)) - np.int32(126))
                rest = power_ - np.float32(whole)
                result[place] = exp2(rest) * span
                scale[place] = np.int32(np.int32(whole + np.int32(127)) << np.int32(23))
            for place in range(len(part)):
                part[place] = low + (result[place] * scales[place] if share[place] > 0 else np.float32(0))


@compiled
def times_power(images: Floats, at: np.ndarray, terms: Floats, slabs: Floats, rows: Floats, columns: Floats) -> None:
    """Multiply the volumes ``at`` of ``(N, C, D, H, W)`` by two to the power of a sum of products.

    Args:
        images: ``(N, C, D, H, W)``.
        at: int64 ``(n,)``.
        terms: their coefficients, ``(n, K, L, M)``.
        slabs: values along the depth, ``(K, D)``.
        rows: ``(L, H)``.
        columns: ``(M, W)``.
    """
    _, channels, depth, height, width = images.shape
    field, scale = np.empty(width, np.float32), np.empty(width, np.int32)
    scales, factors = scale.view(np.float32), np.empty(columns.shape[0], np.float32)
    for one in range(len(at)):
        for plane in range(depth):
            for row in range(height):
                factors[:] = 0
                for k in range(len(slabs)):
                    for j in range(len(rows)):
                        share = slabs[k, plane] * rows[j, row]
                        for i in range(len(factors)):
                            factors[i] += share * terms[one, k, j, i]
                field[:] = 0
                for i in range(len(factors)):
                    for place in range(width):
                        field[place] += factors[i] * columns[i, place]
                for place in range(width):
                    exponent = min(max(field[place], np.float32(-100)), np.float32(100))
                    whole = np.int32(np.int32(exponent + np.float32(126.5)) - np.int32(126))
                    field[place] = exp2(exponent - np.float32(whole))
                    scale[place] = np.int32(np.int32(whole + np.int32(127)) << np.int32(23))
                for channel in range(channels):
                    for place in range(width):
                        images[at[one], channel, plane, row, place] *= field[place] * scales[place]


@compiled
def noise(images: Floats, at: np.ndarray, deviations: np.ndarray, seeds: np.ndarray, normal: Floats) -> None:
    """Add Gaussian noise to each flat picture: sixteen bits of a hashed counter choose one of ``normal``.

    Args:
        images: ``(N, pixels)``.
        at: int64 ``(n,)``.
        deviations: ``(n,)``.
        seeds: uint64 ``(n,)``; the counter starts there.
        normal: 65,536 equally likely values.
    """
    for one in range(len(at)):
        image, deviation, state = images[at[one]], np.float32(deviations[one]), seeds[one]
        place, pixels = 0, len(image)
        while place < pixels:
            state += np.uint64(0x9E3779B97F4A7C15)
            bits = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)  # SplitMix64
            bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            bits ^= bits >> np.uint64(31)
            for _ in range(min(4, pixels - place)):
                image[place] += deviation * normal[bits & np.uint64(0xFFFF)]
                bits >>= np.uint64(16)
                place += 1
