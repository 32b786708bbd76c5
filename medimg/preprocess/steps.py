"""One sample, from the pixels of its file to what the store keeps.

In this order: channels; orientation; crop to the foreground; spacing; intensity; size. Each is there only where the
parameters ask for it.
"""

from dataclasses import dataclass

import numpy as np

from medimg.errors import ImageError, Refusal
from medimg.params import Preprocess
from medimg.preprocess import plain
from medimg.preprocess.intensity import coding, scaled, with_channels
from medimg.preprocess.layout import foreground, layout, oriented, placed
from medimg.preprocess.separable import nearest, resample
from medimg.store import Geometry, Row
from medimg.store.geometry import as_matrix

_SHEAR = 1e-4
"""Cosine between two axes of a grid that is still a right angle"""


@dataclass(frozen=True)
class Picture:
    """A sample as it was read."""

    pixels: np.ndarray
    """``(C, H, W)`` or ``(C, D, H, W)``, brighter is higher, any number type"""
    mask: np.ndarray | None = None
    """``(1, …)`` integers"""
    spacing: tuple[float, ...] | None = None
    """mm between pixels along each axis; None: not known"""
    affine: np.ndarray | None = None
    """of a volume: 4×4, ``(d, h, w, 1)`` → RAS mm; None: nothing says how it lies"""
    windowed: bool = False
    """whether ``window: header`` was applied already: 0 is the darkest, 1 the brightest"""
    colour: bool | None = None
    """whether three channels are red, green and blue; None: they are"""


def process(picture: Picture, settings: Preprocess) -> Row:
    """One sample as the network will see it, before augmentation.

    Returns:
        ``Row``: ``(settings.channels, …)`` in ``settings.dtype``, coded as ``coding(settings)`` says; the mask, where
        there is one, ``(1, …)`` uint8 on the same grid; and the geometry that leads back.

    Raises:
        ImageError: GEOMETRY, BLANK, UNSUPPORTED.
    """
    pixels = with_channels(picture.pixels, settings.channels, picture.colour is not False)
    mask = _mask(picture.mask)
    if settings.kernel == "monai" or (settings.spacing is not None and _sheared(picture.affine)):
        values, labels, back = _plain(picture, pixels, mask, settings)
    else:
        values, labels, back = _separable(picture, pixels, mask, settings)
    affine = None if picture.affine is None else as_matrix(picture.affine)
    geometry = Geometry(picture.pixels.shape[1:], picture.spacing, affine, as_matrix(back))
    return Row(coding(settings).encode(values), geometry, labels)


def _separable(
    picture: Picture, pixels: np.ndarray, mask: np.ndarray | None, settings: Preprocess
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    rank = pixels.ndim - 1
    order, flipped = oriented(picture.affine, rank, settings.orientation)
    flip = (slice(None), *(slice(None, None, -1 if one else 1) for one in flipped))
    axes = (0, *(axis + 1 for axis in order))
    pixels = pixels.transpose(axes)[flip]
    box = tuple((0, length) for length in pixels.shape[1:])
    if settings.foreground is not None:
        box = foreground(pixels, settings.foreground, settings.margin)
    spacing = tuple(picture.spacing[axis] for axis in order) if picture.spacing else None
    plan = layout(order, flipped, pixels.shape[1:], box, spacing, settings)
    cut = (slice(None), *(slice(*ends) for ends in box))
    pixels = resample(np.ascontiguousarray(pixels[cut]), plan.spacing)
    pixels = resample(scaled(pixels, settings, picture.windowed), plan.resize)
    labels = None
    if mask is not None:
        labels = placed(nearest(nearest(mask.transpose(axes)[flip][cut], plan.spacing), plan.resize), plan.place)
    return placed(pixels, plan.place), labels, plan.to_original


def _plain(
    picture: Picture, pixels: np.ndarray, mask: np.ndarray | None, settings: Preprocess
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    rank = pixels.ndim - 1
    oriented(picture.affine, rank, settings.orientation)  # refuses what cannot be oriented
    if settings.spacing is not None and picture.spacing is None:
        raise ImageError(Refusal.GEOMETRY, "nothing says how large its pixels are, which preprocess.spacing needs")
    affine = picture.affine if picture.affine is not None else np.diag([*(picture.spacing or (1.0,) * rank), 1.0])
    values, labels, result = plain.run(pixels.astype(np.float32), mask, affine, settings, picture.windowed)
    return values, labels, np.linalg.solve(affine, result)


def _mask(mask: np.ndarray | None) -> np.ndarray | None:
    """The mask as uint8.

    Raises:
        ImageError: UNSUPPORTED, it holds other numbers than 0 to 255.
    """
    if mask is None or mask.dtype == np.uint8:
        return mask
    whole = mask.astype(np.uint8)
    if not np.array_equal(whole, mask):
        raise ImageError(Refusal.UNSUPPORTED, "its mask holds other numbers than the whole ones from 0 to 255")
    return whole


def _sheared(affine: np.ndarray | None) -> bool:
    """Whether the axes are not at right angles: their resampling is not separable."""
    if affine is None:
        return False
    axes = affine[:-1, :-1] / np.linalg.norm(affine[:-1, :-1], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(len(axes))).max() > _SHEAR)
