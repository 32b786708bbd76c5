"""Volumes: the slices of a plan, decoded, stacked and, where the plan says so, resampled."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from medimg.errors import ImageError, Refusal
from medimg.images import Facts, dicom, guarded, mosaic, nifti
from medimg.images.headers import Slice
from medimg.images.series import Plan
from medimg.images.sniff import load
from medimg.images.stack import Grid

Load = Callable[[str], bytes]
"""The bytes of the file that a slice names"""


@dataclass(frozen=True)
class Volume:
    """One volume: values as the modality gives them, brighter is higher."""

    pixels: np.ndarray
    """``(C, D, H, W)``: C 1 (grey), 3 (RGB), or that times the time points; D along the slice normal, row first.
    Integers as stored, or float32 where a header rescales or the slices are resampled."""
    affine: np.ndarray
    """4×4: ``(d, h, w, 1)`` to RAS, mm, centres of voxels"""
    spacing: tuple[float, float, float]
    """mm along D, H, W"""
    facts: Facts


def read_volume(plan: Plan, root: Path = Path()) -> Volume:
    """Decode the slices of a plan, whose paths are below ``root``.

    Raises:
        ImageError: as ``medimg.images.read``; CORRUPT also where a file has changed since its header was read.
    """
    return volume_of(plan, lambda path: load(root / path))


def volume_of(plan: Plan, read: Load) -> Volume:
    """The same of files that lie anywhere."""
    return guarded(lambda: _read(plan, read))


def _read(plan: Plan, read: Load) -> Volume:
    depth, height, width = plan.grid.shape
    pixels = _nifti(plan, read) if plan.facts.format == "nifti" else _dicom(plan, read)
    spacing = (plan.facts.spacing_slice or 0.0, plan.facts.spacing_row or 0.0, plan.facts.spacing_column or 0.0)
    if pixels.shape != (plan.facts.channels, depth, height, width):
        raise ImageError(Refusal.CORRUPT, "the pixels have another shape than the headers say")
    return Volume(pixels, np.array(plan.grid.affine), spacing, plan.facts)


def _nifti(plan: Plan, read: Load) -> np.ndarray:
    data = read(plan.paths[0])
    return nifti.read_volume(data, [point[0].frame for point in plan.stack])


def _dicom(plan: Plan, read: Load) -> np.ndarray:
    decoded = dict(_decoded(plan, read))

    def stacked(padding: bool) -> np.ndarray:
        points = [np.stack([decoded[one][padding] for one in point], axis=1) for point in plan.stack]
        return np.concatenate(points)

    pixels = stacked(False)
    if any(mask.any() for _, mask in decoded.values()):
        pixels = dicom.without_padding(pixels, stacked(True))
    return resampled(pixels, plan.grid)


def _decoded(plan: Plan, read: Load) -> Iterator[tuple[Slice, tuple[np.ndarray, np.ndarray]]]:
    """Each slice ``(C, H, W)`` and which of it is padding; a file is parsed once and a frame decoded once."""
    slices = sorted({one for point in plan.stack for one in point}, key=lambda one: (one.path, one.frame))
    path = frame = None
    for one in slices:
        if one.path != path:
            dataset = dicom.parse(read(one.path))
            layout = dicom.layout_of(dataset)
        if (one.path, one.frame) != (path, frame):
            pixels, padding, _ = dicom.values_of(dataset, layout, one.frame)
            mask = np.zeros((), bool) if padding is None else padding
            pair = pixels, np.broadcast_to(mask, pixels.shape)
            path, frame = one.path, one.frame
        if one.tile is None:
            yield one, pair
        else:
            cut = partial(mosaic.cut, rows=one.rows, columns=one.columns, tile=one.tile)
            yield one, (cut(pair[0]), cut(pair[1]))


def resampled(pixels: np.ndarray, grid: Grid) -> np.ndarray:
    """Bring ``(C, n, H, W)`` slices onto the grid by linear interpolation: first each in its plane, then between them.

    What no slice covers is filled with the lowest value of the volume.
    """
    if grid.shifts is None and grid.at is None:
        return pixels
    fill = pixels.min()
    pixels = pixels.astype(np.float32)
    if grid.shifts is not None:
        levelled = np.full((pixels.shape[0], pixels.shape[1], *grid.shape[1:]), fill, np.float32)
        for number, (down, right) in enumerate(grid.shifts):
            moved = _moved(_moved(pixels[:, number], down, grid.shape[1], 1, fill), right, grid.shape[2], 2, fill)
            levelled[:, number] = moved
        pixels = levelled
    if grid.at is not None:
        below = np.minimum(np.array(grid.at).astype(int), pixels.shape[1] - 2)
        share = (np.array(grid.at) - below).astype(np.float32)[:, None, None]
        pixels = pixels[:, below] * (1 - share) + pixels[:, below + 1] * share
    return pixels


def _moved(pixels: np.ndarray, by: float, size: int, axis: int, fill: float) -> np.ndarray:
    """Move ``(C, H, W)`` along an axis by ``by`` ≥ 0 pixels into ``size`` of them, linearly interpolated."""
    whole, part = int(by), np.float32(by % 1)
    shape = list(pixels.shape)
    shape[axis] = size + 1
    padded = np.full(shape, fill, np.float32)
    target = [slice(None)] * 3
    target[axis] = slice(whole + 1, whole + 1 + pixels.shape[axis])
    padded[tuple(target)] = pixels
    lower, upper = [slice(None)] * 3, [slice(None)] * 3
    lower[axis], upper[axis] = slice(0, size), slice(1, size + 1)
    return padded[tuple(upper)] * (1 - part) + padded[tuple(lower)] * part
