"""Blur, by products with a small matrix along each axis, and lower resolution."""

import math
from typing import TYPE_CHECKING

import numpy as np

from medimg.augment.draws import Blur, LowResolution

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TRUNCATED = 4
"""deviations beyond which MONAI's ``GaussianSmooth`` cuts its kernel"""


def blur(images: "Tensor", draws: Blur) -> "Tensor":
    """MONAI's ``GaussianSmooth``: kernels from the error function, cut off at 4 deviations, black beyond the edge."""
    return along_axes(images, smoothing(draws.sigma, tuple(images.shape[2:]), TRUNCATED, images.device))


def smoothing(
    sigma: np.ndarray, shape: tuple[int, ...], truncated: float, device: "torch.device | str"
) -> list["Tensor"]:
    """For each axis the matrices ``(n, S, S)`` of a Gaussian of ``sigma`` ``(n, R)`` pixels."""
    import torch

    found = []
    for axis, side in enumerate(shape):
        place = np.arange(side)
        kernel = gaussian(sigma[:, axis], side, truncated)
        found.append(torch.from_numpy(kernel[:, np.abs(place[:, None] - place)]).to(device, non_blocking=True))
    return found


def gaussian(sigma: np.ndarray, most: int, truncated: float) -> np.ndarray:
    """MONAI's kernels of ``sigma`` ``(…)`` pixels, from the middle on: float32 ``(…, most)``, 0 where they are cut."""
    from scipy.special import erf

    one = sigma[..., None]
    distance = np.arange(most)
    tail = np.floor(np.maximum(one * truncated, 0.5) + 0.5)
    ends = erf((np.arange(most + 1) - 0.5) * (math.sqrt(0.5) / one))
    kernel: np.ndarray = (0.5 * np.diff(ends) * (distance <= tail)).astype(np.float32)
    return kernel


def low_resolution(images: "Tensor", draws: LowResolution) -> "Tensor":
    """MONAI's ``RandSimulateLowResolution``: fewer pixels by the nearest one, then back by linear interpolation."""
    import torch
    from torch.nn.functional import interpolate

    shape = images.shape[2:]
    linear = "bilinear" if len(shape) == 2 else "trilinear"
    found = []
    for image, zoom in zip(images, draws.zoom, strict=True):
        fewer = interpolate(image[None], size=[max(1, int(np.round(side * zoom))) for side in shape], mode="nearest")
        found.append(interpolate(fewer, size=shape, mode=linear, align_corners=False))
    return torch.cat(found)


def along_axes(images: "Tensor", maps: list["Tensor"]) -> "Tensor":
    """``(N, C, *shape)`` with each axis multiplied by its ``(N, S, S)``."""
    for axis, one in enumerate(maps, start=2):
        last = images.movedim(axis, -1)
        product = last.reshape(len(images), -1, last.shape[-1]) @ one.mT
        images = product.reshape(last.shape).movedim(-1, axis)
    return images
