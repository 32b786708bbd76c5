"""One stack of slices: their order, their spacing, their affine, and what does not fit."""

from dataclasses import dataclass

import numpy as np

from medimg.errors import ImageError, Refusal
from medimg.images.geometry import affine_of, directions
from medimg.images.headers import Slice
from medimg.params.geometry import Geometry

_SLANT = 2e-3
"""Tangent of the least tilt that is one (0.1°): positions are often rounded to 0.001 mm"""

_MOST = 2**14
"""Voxels along a side that resampling may make"""

Affine = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Grid:
    """The voxels of a volume, and how its slices are resampled onto them where they are."""

    shape: tuple[int, int, int]
    """D, H, W"""
    affine: Affine
    """RAS, 4×4, over ``(d, h, w, 1)``, mm"""
    shifts: tuple[tuple[float, float], ...] | None = None
    """for each slice: where its first pixel lies in the plane of the grid, in rows and columns; None: at 0, 0"""
    at: tuple[float, ...] | None = None
    """for each d: the slice, counted from 0, that it is interpolated from; None: d is slice d"""


def arrange(slices: tuple[Slice, ...], settings: Geometry) -> tuple[tuple[Slice, ...], Grid]:
    """Sort slices of one size and direction along their normal.

    Raises:
        ImageError: NOT_3D, MISSING, UNEVEN, TILT, where the settings refuse them; GEOMETRY.
    """
    if len(slices) < settings.min_slices:
        raise ImageError(Refusal.NOT_3D, f"{len(slices)} slices")
    model = slices[0]
    spacing = np.array(model.spacing)
    axes = np.stack(directions(model.orientation or ()))
    places = np.array([one.position for one in slices])
    order = np.argsort(places @ axes[2], kind="stable")
    slices, places = tuple(slices[at] for at in order), places[order]
    local = places @ axes.T  # mm along a row, along a column, along the normal
    if len(slices) == 1:
        if not model.thickness or model.thickness <= 0:
            raise ImageError(Refusal.NOT_3D, "a single slice that does not say how thick it is")
        return slices, _grid(slices, places[0], axes[2] * model.thickness, 1)
    depth, at = _even(local[:, 2], settings)
    slope = (local[-1] - local[0]) / (local[-1, 2] - local[0, 2])  # per mm along the normal
    astray = local - local[0] - np.outer(local[:, 2] - local[0, 2], slope)
    if np.abs(astray[:, :2]).max() > max(settings.tolerance * np.diff(local[:, 2]).mean(), 0.01):
        raise ImageError(Refusal.UNEVEN, "the slices do not lie on one line")
    first, step = places[0], (places[-1] - places[0]) / (depth - 1)
    drift = np.abs((local[-1] - local[0])[:2] / spacing[::-1]).max()  # pixels
    shifts = None
    size = [model.rows, model.columns]
    if np.hypot(*slope[:2]) > _SLANT and drift > 0.1 and settings.tilt != "keep":
        if settings.tilt == "refuse":
            angle = np.degrees(np.arctan(np.hypot(*slope[:2])))
            raise ImageError(Refusal.TILT, f"the slices are stacked at a slant of {angle:.1f} degrees")
        moved = (local - local[0])[:, 1::-1] / spacing  # rows, columns
        corner = np.floor(moved.min(axis=0))
        size = [int(n) for n in np.ceil(moved.max(axis=0)) - corner + size]
        _check_extent(max(size))
        shifts = tuple((float(row), float(column)) for row, column in moved - corner)
        first = first + axes[0] * corner[1] * spacing[1] + axes[1] * corner[0] * spacing[0]
        step = axes[2] * (step @ axes[2])
    return slices, _grid(slices, first, step, depth, (size[0], size[1]), shifts, at)


def _grid(
    slices: tuple[Slice, ...],
    first: np.ndarray,
    step: np.ndarray,
    depth: int,
    size: tuple[int, int] | None = None,
    shifts: tuple[tuple[float, float], ...] | None = None,
    at: tuple[float, ...] | None = None,
) -> Grid:
    model = slices[0]
    rows, columns = size or (model.rows, model.columns)
    affine = affine_of(first, step, model.orientation or (), np.array(model.spacing))
    return Grid((depth, rows, columns), tuple(tuple(row) for row in affine.tolist()), shifts, at)


def _check_extent(side: int) -> None:
    if side > _MOST:
        raise ImageError(Refusal.GEOMETRY, f"slices so far apart that the volume would have a side of {side} voxels")


def _even(heights: np.ndarray, settings: Geometry) -> tuple[int, tuple[float, ...] | None]:
    """How many slices the volume has, and where they are interpolated from if they are.

    Args:
        heights: of the slices along their normal, ascending, mm.

    Raises:
        ImageError: MISSING or UNEVEN.
    """
    gaps = np.diff(heights)
    spacing = float(np.median(gaps))
    if np.abs(gaps / spacing - 1).max() <= settings.tolerance:
        return len(heights), None
    unit = float(np.median(gaps[gaps < 1.5 * gaps.min()]))
    steps = np.rint(gaps / unit)
    holes = bool((np.abs(gaps / unit - steps) <= settings.tolerance * steps).all())
    policy = settings.missing if holes else settings.uneven
    if policy == "refuse" and holes:
        raise ImageError(Refusal.MISSING, f"{int(steps.sum()) - len(gaps)} slices are missing between the others")
    if policy == "refuse":
        raise ImageError(Refusal.UNEVEN, f"slices lie {gaps.min():.4g} to {gaps.max():.4g} mm apart")
    if policy == "keep":
        return len(heights), None
    extent = heights[-1] - heights[0]
    depth = round(extent / (unit if holes else spacing)) + 1
    _check_extent(depth)
    wanted = np.linspace(heights[0], heights[-1], depth)
    return depth, tuple(np.interp(wanted, heights, np.arange(len(heights))).tolist())
