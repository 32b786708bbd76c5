"""The grid that a sample is brought to, step by step, and the way back to the original one."""

from dataclasses import dataclass

import numpy as np

from medimg.errors import ImageError, Refusal
from medimg.params import Preprocess
from medimg.preprocess.separable import Steps

_SAME_SPACING = 1e-3
"""mm; MONAI's ``Spacing`` leaves an axis as it is when it is that near (``AFFINE_TOL``)"""

Box = tuple[tuple[int, int], ...]
"""For each axis: first, and one after the last"""


@dataclass(frozen=True)
class Layout:
    """What happens to the axes of one sample. Every axis stays parallel to one of the original grid."""

    order: tuple[int, ...]
    """axis ``k`` of the result was axis ``order[k]``"""
    flipped: tuple[bool, ...]
    box: Box
    """what is kept after that"""
    spacing: Steps
    resize: Steps
    place: tuple[tuple[int, int], ...]
    """for each axis: where the first pixel comes to stand (negative: it is cut), and the final length"""
    to_original: np.ndarray
    """``(r + 1, r + 1)``: index in the result → index in the original grid"""


def oriented(affine: np.ndarray | None, rank: int, wanted: str | None) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Which original axis each axis of the result is, and whether it is flipped.

    Raises:
        ImageError: GEOMETRY, an orientation is wanted, and nothing says how the sample lies.
    """
    if wanted is None:
        return tuple(range(rank)), (False,) * rank
    if affine is None:
        raise ImageError(Refusal.GEOMETRY, "nothing says how it lies, which preprocess.orientation needs")
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    change = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(wanted)))
    order = np.argsort(change[:, 0])
    return tuple(int(axis) for axis in order), tuple(bool(change[axis, 1] < 0) for axis in order)


def foreground(pixels: np.ndarray, above: float, margin: int) -> Box:
    """The box of the pixels of ``(C, …)`` above a value in any channel, wider by a margin within the image.

    Raises:
        ImageError: BLANK, there is none.
    """
    found = np.asarray((pixels > above).any(axis=0))
    box = []
    for axis, length in enumerate(found.shape):
        there = np.flatnonzero(np.moveaxis(found, axis, 0).reshape(length, -1).any(axis=1))
        if not len(there):
            raise ImageError(Refusal.BLANK, f"no pixel is above {above:g}, which preprocess.foreground asks for")
        box.append((max(0, int(there[0]) - margin), min(length, int(there[-1]) + 1 + margin)))
    return tuple(box)


def layout(
    order: tuple[int, ...],
    flipped: tuple[bool, ...],
    lengths: tuple[int, ...],
    box: Box,
    millimetres: tuple[float, ...] | None,
    settings: Preprocess,
) -> Layout:
    """Plan the steps of one sample.

    Args:
        order: as ``oriented`` said.
        flipped: as ``oriented`` said.
        lengths: of the axes of the result, before ``box``.
        box: what is kept of it.
        millimetres: between pixels along those axes, where known.
        settings: the block ``preprocess``.

    Raises:
        ImageError: GEOMETRY, ``preprocess.spacing`` is set and the sample's is not known.
    """
    rank = len(order)
    size, wanted = settings.axes(rank)
    now = [stop - start for start, stop in box]
    spacing: list[tuple[int, int, float | None]] = []
    if wanted is not None:
        if millimetres is None:
            raise ImageError(Refusal.GEOMETRY, "nothing says how large its pixels are, which preprocess.spacing needs")
        for length, ours, theirs in zip(now, millimetres, wanted, strict=True):
            step = 1.0 if abs(ours - theirs) <= _SAME_SPACING else theirs / ours
            spacing.append((length, int(np.round((length - 1) / step + 1)), step if step != 1 else None))
    resampled = [after for _, after, _ in spacing] or now
    fitted = fit(tuple(resampled), size, settings.fit)
    resize = tuple((before, after, None) for before, after in zip(resampled, fitted, strict=True))
    place = tuple((_first(after, final), final) for after, final in zip(fitted, size or fitted, strict=True))
    back = np.eye(rank + 1)
    for axis in range(rank):
        step = spacing[axis][2] or 1.0 if spacing else 1.0
        before, after = resize[axis][:2]
        scale, offset = before / after, (before / after - 1) / 2  # pixels that change size keep the image's borders
        factor, first = step * scale, step * (offset - scale * place[axis][0]) + box[axis][0]
        source = order[axis]
        back[source, source] = 0
        back[source, axis] = -factor if flipped[axis] else factor
        back[source, rank] = lengths[axis] - 1 - first if flipped[axis] else first
    return Layout(order, flipped, box, tuple(spacing), resize, place, back)


def fit(lengths: tuple[int, ...], size: tuple[int, ...] | None, how: str) -> tuple[int, ...]:
    """Lengths after the resize: with ``pad`` one axis becomes its size, the others at least one pixel."""
    if size is None or how == "crop":
        return lengths
    if how == "stretch":
        return size
    factor = min(final / length for final, length in zip(size, lengths, strict=True))
    return tuple(min(final, max(1, round(length * factor))) for final, length in zip(size, lengths, strict=True))


def _first(length: int, final: int) -> int:
    """Where the first pixel stands when an axis is padded or cut around its middle, as MONAI does it."""
    return (final - length) // 2 if length <= final else final // 2 - length // 2


def placed(pixels: np.ndarray, place: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Cut and pad ``(C, …)`` with 0 so that every axis has its final length."""
    lengths = pixels.shape[1:]
    if all(first == 0 and final == length for (first, final), length in zip(place, lengths, strict=True)):
        return pixels
    result = np.zeros((len(pixels), *(final for _, final in place)), pixels.dtype)
    into, out_of = [slice(None)], [slice(None)]
    for (first, final), length in zip(place, lengths, strict=True):
        into.append(slice(max(first, 0), min(first + length, final)))
        out_of.append(slice(max(-first, 0), min(length, final - first)))
    result[tuple(into)] = pixels[tuple(out_of)]
    return result
