"""Crop, flip, affine and elastic changes as one map of coordinates, and one interpolation.

Coordinates are MONAI's: pixels from the centre of the picture, axes in the tensor's order; a map leads from a pixel of
the result to the place in the source where its value stands. What comes from beyond the edge is 0: background, from
which ``augment`` counts all values.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medimg.augment.draws import Affine, Chosen, Draws, Elastic
from medimg.augment.linear import along_axes, smoothing

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Flip(Chosen):
    """Samples that are mirrored and not moved."""

    axes: np.ndarray
    """bool ``(n, R)``"""


@dataclass(frozen=True)
class Move(Chosen):
    """Samples whose pixels come from other places."""

    maps: np.ndarray
    """float64 ``(n, R, R + 1)``: crop · flip · affine"""
    bent: np.ndarray
    """bool ``(n,)``: an elastic change comes before the map"""
    spacing: np.ndarray
    sigma: np.ndarray
    magnitude: np.ndarray
    seed: np.ndarray


def moves(draws: Draws) -> tuple[Flip | None, Move | None]:
    """What becomes of the geometry of each sample; None where nothing does."""
    axes, count = len(draws.shape), draws.count
    moved = np.zeros(count, bool)
    for part in (draws.crop, draws.affine, draws.elastic):
        if part is not None:
            moved[part.at] = True
    still = draws.flip.any(1) & ~moved
    flipped = Flip(np.flatnonzero(still), draws.flip[still]) if still.any() else None
    if not moved.any():
        return flipped, None
    whole = np.tile(np.eye(axes + 1), (count, 1, 1))
    if draws.crop is not None:
        at, side = draws.crop.at, np.array(draws.shape)
        whole[at, :axes, :axes] *= (draws.crop.size / side)[:, None, :]
        whole[at, :axes, axes] = draws.crop.start + (draws.crop.size - side) / 2
    whole[:, :axes, :axes] *= np.where(draws.flip, -1, 1)[:, None, :]
    if draws.affine is not None:
        whole[draws.affine.at] = whole[draws.affine.at] @ affine(draws.affine)
    bent = np.zeros(count, bool)
    field = {"spacing": np.zeros((count, axes), int), "seed": np.zeros(count, np.int64)}
    field |= {"sigma": np.zeros(count), "magnitude": np.zeros(count)}
    if draws.elastic is not None:
        bent[draws.elastic.at] = True
        for name, values in field.items():
            values[draws.elastic.at] = getattr(draws.elastic, name)
    at = np.flatnonzero(moved)
    chosen = {name: values[at] for name, values in field.items()}
    return flipped, Move(at, whole[at, :axes], bent[at], **chosen)


def flip(images: "Tensor", draws: Flip) -> "Tensor":
    """MONAI's ``Flip`` of each sample, ``(N, C, *shape)``."""
    import torch

    for axis, mirrored in enumerate(draws.axes.T, start=2):
        if mirrored.all():
            images = images.flip(axis)
        elif mirrored.any():
            which = torch.from_numpy(mirrored).to(images.device).reshape(-1, *(1,) * (images.ndim - 1))
            images = torch.where(which, images.flip(axis), images)
    return images


def move(images: "Tensor", draws: Move, mode: str = "bilinear") -> "Tensor":
    """Pixels from where ``draws`` say, ``(N, C, *shape)``."""
    import torch

    maps = torch.from_numpy(draws.maps.astype(np.float32)).to(images.device, non_blocking=True)
    if not draws.bent.any():
        return warp(images, maps, None, mode)
    shape = tuple(images.shape[2:])
    shifts = images.new_zeros((len(images), len(shape), *shape))
    shifts[torch.from_numpy(draws.bent).to(images.device)] = displacements(draws, shape, images.device)
    return warp(images, maps, shifts, mode)


def displacements(draws: Move, shape: tuple[int, ...], device: "torch.device | str") -> "Tensor":
    """Where each pixel of those that are bent is drawn to, pixels, float32 ``(k, R, *shape)``."""
    import torch

    at = np.flatnonzero(draws.bent)
    if not len(at):
        return torch.empty((0, len(shape), *shape), device=device)
    elastic = Elastic(at, draws.spacing[at], draws.sigma[at], draws.magnitude[at], draws.seed[at])
    return displacement(elastic, shape, device)


def affine(draws: Affine) -> np.ndarray:
    """MONAI's rotation · shear · translation · scaling, ``(n, R + 1, R + 1)``."""
    count, axes = draws.scale.shape
    translation, scaling = np.tile(np.eye(axes + 1), (2, count, 1, 1))
    translation[:, :axes, axes] = draws.translate
    scaling[:, range(axes), range(axes)] = draws.scale
    whole: np.ndarray = _rotation(draws.rotate) @ _shear(draws.shear, axes) @ translation @ scaling
    return whole


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Of a picture, or of a volume about its axes in turn, each time those that it has turned with it."""
    axes = 2 if angles.shape[1] == 1 else 3
    whole = np.tile(np.eye(axes + 1), (len(angles), 1, 1))
    planes = [(0, 1)] if axes == 2 else [(1, 2), (2, 0), (0, 1)]
    for (one, other), angle in zip(planes, angles.T, strict=True):
        turn = np.tile(np.eye(axes + 1), (len(angles), 1, 1))
        turn[:, one, one] = turn[:, other, other] = np.cos(angle)
        turn[:, one, other], turn[:, other, one] = -np.sin(angle), np.sin(angle)
        whole = whole @ turn
    return whole


def _shear(coefficients: np.ndarray, axes: int) -> np.ndarray:
    whole = np.tile(np.eye(axes + 1), (len(coefficients), 1, 1))
    pairs = [(row, column) for row in range(axes) for column in range(axes) if row != column]
    for (row, column), coefficient in zip(pairs, coefficients.T, strict=True):
        one = np.tile(np.eye(axes + 1), (len(coefficients), 1, 1))
        one[:, row, column] = coefficient
        whole = one @ whole
    return whole


def displacement(draws: Elastic, shape: tuple[int, ...], device: "torch.device | str") -> "Tensor":
    """Where each pixel is drawn to, pixels, float32 ``(n, R, *shape)``."""
    import torch

    fields = []
    for at, seed in enumerate(draws.seed.tolist()):
        generator = torch.Generator(device).manual_seed(seed)
        magnitude = float(draws.magnitude[at])
        if len(shape) == 3:
            field = torch.empty((1, 3, *shape), device=device).uniform_(-1, 1, generator=generator)
            sigma = np.full((1, 3), draws.sigma[at])
            fields.append(along_axes(field, smoothing(sigma, shape, 3, device)) * magnitude)
        else:
            steps = [int(value) for value in draws.spacing[at]]
            points = [_points(side, step) for side, step in zip(shape, steps, strict=True)]
            moved = torch.randn((1, 2, *points), generator=generator, device=device) * magnitude
            fields.append(_between(moved, steps, shape))
    return torch.cat(fields)


def _between(moved: "Tensor", steps: list[int], shape: tuple[int, ...]) -> "Tensor":
    """Displacements of control points → those of pixels, ``(1, 2, H, W)``.

    As in MONAI, coordinates themselves are interpolated: PyTorch's cubic polynomials do not keep a straight line quite
    straight.
    """
    import torch
    from torch.nn.functional import interpolate

    places = [_centred(count, moved) * step for count, step in zip(moved.shape[2:], steps, strict=True)]
    grid = moved + torch.stack(torch.meshgrid(*places, indexing="ij"))
    size = [count * step for count, step in zip(moved.shape[2:], steps, strict=True)]
    grid = interpolate(grid, size=size, mode="bicubic", align_corners=False)
    top, left = (whole // 2 - side // 2 for whole, side in zip(size, shape, strict=True))
    grid = grid[..., top : top + shape[0], left : left + shape[1]]
    return grid - torch.stack(torch.meshgrid(*(_centred(side, moved) for side in shape), indexing="ij"))


def _points(side: int, step: int) -> int:
    """Control points of MONAI's ``create_control_grid`` along a side."""
    if side % 2:
        return math.ceil((side - 1) / (2 * step)) * 2 + 3
    return math.ceil((side - 1) / (2 * step) + 0.5) * 2 + 2


def warp(images: "Tensor", maps: "Tensor", shifts: "Tensor | None" = None, mode: str = "bilinear") -> "Tensor":
    """Pictures at other coordinates.

    Args:
        images: float ``(N, C, *shape)``.
        maps: ``(N, R, R + 1)``.
        shifts: added to a pixel's coordinates before the map, ``(N, R, *shape)``.
        mode: ``bilinear``, also for volumes, or ``nearest``.
    """
    import torch
    from torch.nn.functional import grid_sample

    shape = images.shape[2:]
    scaled = (maps * (2 / maps.new_tensor(shape))[:, None]).flip(1)  # grid_sample counts from the last axis, in halves
    grid = _plane(scaled, shape) if len(shape) == 2 else _coordinates(scaled, shape)
    if shifts is not None:
        grid = grid + torch.einsum("nij,nj...->n...i", scaled[:, :, :-1], shifts)
    return grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)


def _plane(maps: "Tensor", shape: tuple[int, ...]) -> "Tensor":
    """``(N, H, W, 2)``: the map of every pixel; both coordinates are added at once, as a complex number."""
    import torch

    down, across = (_centred(side, maps)[:, None] * maps[:, None, :, axis] for axis, side in enumerate(shape))
    down = torch.view_as_complex(down + maps[:, None, :, 2])
    return torch.view_as_real(down[:, :, None] + torch.view_as_complex(across)[:, None, :])


def _centred(side: int, like: "Tensor") -> "Tensor":
    """Coordinates of ``side`` pixels, from their centre."""
    import torch

    return torch.arange(side, device=like.device, dtype=like.dtype) - (side - 1) / 2


def _coordinates(maps: "Tensor", shape: tuple[int, ...]) -> "Tensor":
    """``(N, *shape, R)``: the map of every pixel, a sum of one term for each axis."""
    axes = len(shape)
    whole = maps[:, :, axes].reshape(-1, *(1,) * axes, axes)
    for axis, side in enumerate(shape):
        term = _centred(side, maps)[:, None] * maps[:, None, :, axis]  # (N, side, R)
        whole = whole + term.reshape(-1, *(side if at == axis else 1 for at in range(axes)), axes)
    return whole
