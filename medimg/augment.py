"""Augmentation at batch speed: the parameters are drawn for each sample, then applied to the whole batch at once.

A draw is keyed by (seed, epoch, sample) and by nothing else: not by the worker, not by the order of arrival. With the
same parameters, MONAI's per-sample transforms (``Affine``, ``Flip``, ``AdjustContrast``) give the same picture; a test
holds that.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medimg.params import Augment

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """What happens to each of ``N`` samples; the identity where nothing does."""

    flip: np.ndarray
    """left-right, bool ``(N,)``"""
    rotate: np.ndarray
    """radians, float32 ``(N,)``; positive as in MONAI's ``rotate_params``"""
    scale: np.ndarray
    """factor of the grid, float32 ``(N,)``; above 1 the picture shrinks, as in MONAI"""
    translate: np.ndarray
    """of the grid, as a fraction of height and width, float32 ``(N, 2)``"""
    gamma: np.ndarray
    """exponent, float32 ``(N,)``"""
    noise: np.ndarray
    """standard deviation as a fraction of the full range, float32 ``(N,)``"""
    key: np.ndarray
    """of the generator from which the noise of a sample comes, uint64 ``(N,)``"""


def draw(settings: Augment, seed: int, epoch: int, samples: np.ndarray) -> Draws:
    """Draw the parameters of each sample.

    Args:
        settings: the block ``augment`` of params.yaml.
        seed: ``study.seed``.
        epoch: from 0.
        samples: a number that is the sample's own, uint64 ``(N,)``.
    """
    uniform = np.stack([_generator(seed, epoch, int(sample)).random(10) for sample in samples]).astype(np.float32)
    chance, share = uniform[:, :4], uniform[:, 4:] * 2 - 1  # in −1…1
    affine, contrast, noise = (
        chance[:, at] < probability
        for at, probability in enumerate((settings.affine, settings.contrast, settings.noise), start=1)
    )
    return Draws(
        flip=chance[:, 0] < settings.flip,
        rotate=np.where(affine, share[:, 0] * math.radians(settings.rotate), 0).astype(np.float32),
        scale=np.where(affine, 1 + share[:, 1] * settings.scale, 1).astype(np.float32),
        translate=np.where(affine[:, None], share[:, 2:4] * settings.translate, 0).astype(np.float32),
        gamma=np.where(contrast, settings.gamma ** share[:, 4], 1).astype(np.float32),
        noise=np.where(noise, (share[:, 5] + 1) / 2 * settings.noise_std, 0).astype(np.float32),
        key=samples,
    )


def augment(images: "Tensor", draws: Draws, seed: int, epoch: int) -> "Tensor":
    """Apply drawn parameters to a batch, in the order flip, affine, gamma, noise.

    Args:
        images: ``(N, C, H, W)`` in 0…1, on any device.
        draws: of the same ``N`` samples.
        seed: ``study.seed``.
        epoch: from 0.

    Returns:
        ``(N, C, H, W)`` in 0…1; what comes from beyond the edge is 0.
    """
    import torch

    def on_device(values: np.ndarray) -> "Tensor":
        return torch.from_numpy(values).to(images.device, non_blocking=True)

    images = torch.where(on_device(draws.flip)[:, None, None, None], images.flip(-1), images)
    moved = (draws.rotate != 0) | (draws.scale != 1) | (draws.translate != 0).any(axis=1)
    if moved.any():
        images = _affine(images, on_device(_matrices(draws, (images.shape[-2], images.shape[-1]))))
    if (draws.gamma != 1).any():
        images = images.clamp(1e-6, 1) ** on_device(draws.gamma)[:, None, None, None]
    if draws.noise.any():
        images = images + on_device(_noise(draws, tuple(images.shape[1:]), seed, epoch))
    return images.clamp(0, 1)


def _generator(seed: int, epoch: int, sample: int, purpose: int = 0) -> np.random.Generator:
    key = (sample, (seed << 33) ^ (epoch << 1) ^ purpose)
    return np.random.Generator(np.random.Philox(key=np.array([part % 2**64 for part in key], np.uint64)))


def _matrices(draws: Draws, size: tuple[int, int]) -> np.ndarray:
    """Output → input coordinates in ``affine_grid``'s order (x, y) and unit (half the size), float32 ``(N, 2, 3)``.

    MONAI composes rotation · translation · scale on a grid in pixels from the centre, row first.
    """
    cos, sin = np.cos(draws.rotate), np.sin(draws.rotate)
    height, width = size
    down, right = draws.translate[:, 0] * height, draws.translate[:, 1] * width
    rotation = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)  # (N, 2, 2), row first
    shift = (rotation @ np.stack([down, right], 1)[:, :, None])[:, :, 0]  # pixels
    linear = rotation * draws.scale[:, None, None]
    x = np.stack([linear[:, 1, 1], linear[:, 1, 0] * height / width, shift[:, 1] * 2 / width], 1)
    y = np.stack([linear[:, 0, 1] * width / height, linear[:, 0, 0], shift[:, 0] * 2 / height], 1)
    return np.stack([x, y], 1).astype(np.float32)


def _affine(images: "Tensor", matrices: "Tensor") -> "Tensor":
    from torch.nn.functional import affine_grid, grid_sample

    grid = affine_grid(matrices, list(images.shape), align_corners=False)
    return grid_sample(images, grid.to(images.dtype), mode="bilinear", padding_mode="zeros", align_corners=False)


def _noise(draws: Draws, shape: tuple[int, ...], seed: int, epoch: int) -> np.ndarray:
    noise = np.zeros((len(draws.noise), *shape), np.float32)
    for at in np.flatnonzero(draws.noise):
        generator = _generator(seed, epoch, int(draws.key[at]), purpose=1)
        generator.standard_normal(out=noise[at], dtype=np.float32)
        noise[at] *= draws.noise[at]
    return noise
