"""Changes of grey values. Images are float ``(N, C, *shape)``; the draws are of these ``N`` samples."""

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from medimg.augment.draws import BiasField, Brightness, Contrast, Cutout, Gamma, Gibbs, Noise

if TYPE_CHECKING:
    from torch import Tensor


def gibbs(images: "Tensor", draws: Gibbs) -> "Tensor":
    """MONAI's ``GibbsNoise``: k-space outside a sphere is taken for zero.

    MONAI centres the sphere half a step beside zero frequency and keeps the real part: the same as a mask averaged with
    its mirror image, for which half of k-space is enough.
    """
    import torch

    shape = tuple(images.shape[2:])
    radius = _column((1 - draws.alpha) * max(shape) * math.sqrt(2) / 2, images)[:, 0]
    axes = list(range(2, images.ndim))
    here, mirrored = (squares.to(images.device) for squares in _squares(shape))
    mask = (here <= radius**2).to(images.dtype) + (mirrored <= radius**2)
    result: Tensor = torch.fft.irfftn(torch.fft.rfftn(images, dim=axes) * (mask / 2)[:, None], s=shape, dim=axes)
    return result


@cache
def _squares(shape: tuple[int, ...]) -> tuple["Tensor", "Tensor"]:
    """Squared distances from MONAI's centre of each place in half of k-space, and of its mirror image."""
    import torch

    squares = []
    for sign in (1, -1):
        square = torch.zeros(())
        for axis, side in enumerate(shape):
            frequency = (sign * torch.arange(side)) % side
            place = (frequency + side // 2) % side - (side - 1) / 2
            if axis == len(shape) - 1:
                place = place[: side // 2 + 1]
            square = square + place.reshape(-1, *(1,) * (len(shape) - 1 - axis)) ** 2
        squares.append(square)
    return squares[0], squares[1]


def bias_field(images: "Tensor", draws: BiasField) -> "Tensor":
    """MONAI's ``RandBiasField``: times the exponential of a sum of products of Legendre polynomials."""
    import torch

    field = _tensor(draws.coefficients, images)
    for side in images.shape[2:]:  # each time the first axis of coefficients becomes the last of pixels
        values = np.polynomial.legendre.legvander(np.linspace(-1, 1, side), draws.coefficients.shape[1] - 1)
        field = torch.tensordot(field, _tensor(values, images), dims=([1], [1]))
    return images * field.exp()[:, None]


def brightness(images: "Tensor", draws: Brightness) -> "Tensor":
    """MONAI's ``ScaleIntensity`` by a factor, then ``ShiftIntensity``."""
    return images * _column(1 + draws.factor, images) + _column(draws.offset, images)


def contrast(images: "Tensor", draws: Contrast) -> "Tensor":
    """MONAI's ``ScaleIntensityFixedMean``, the range preserved."""
    flat = images.flatten(1)
    mean, low, high = (_as_column(values, images) for values in (flat.mean(1), flat.amin(1), flat.amax(1)))
    return ((images - mean) * _column(1 + draws.factor, images) + mean).clamp(low, high)


def gamma(images: "Tensor", draws: Gamma) -> "Tensor":
    """MONAI's ``AdjustContrast``: within the sample's own range."""
    flat = images.flatten(1)
    low, high = (_as_column(values, images) for values in (flat.amin(1), flat.amax(1)))
    share = (images - low).mul_(1 / (high - low + 1e-7))
    return share.log_().mul_(_column(draws.exponent, images)).exp_().mul_(high - low).add_(low)  # faster than a power


def noise(images: "Tensor", draws: Noise) -> "Tensor":
    """MONAI's ``GaussianNoise``, drawn on the images' device by the sample's own seed."""
    import torch

    noisy = torch.empty_like(images)
    generator = torch.Generator(images.device)
    for at, seed in enumerate(draws.seed.tolist()):
        noisy[at].normal_(generator=generator.manual_seed(seed))
    return noisy.mul_(_column(draws.std, images)).add_(images)


def cutout(images: "Tensor", draws: Cutout) -> "Tensor":
    """MONAI's ``CoarseDropout`` with black."""
    images = images.clone()
    for at, (starts, ends) in enumerate(zip(draws.start.tolist(), draws.end.tolist(), strict=True)):
        for box in zip(starts, ends, strict=True):
            where: tuple[Any, ...] = (at, slice(None), *(slice(*side) for side in zip(*box, strict=True)))
            images[where] = 0
    return images


def boxes(start: np.ndarray, end: np.ndarray, images: "Tensor") -> "Tensor":
    """Whether a pixel lies in one of the boxes ``(N, boxes, R)``: bool ``(N, 1, *shape)``."""
    import torch

    low, high = (torch.from_numpy(values).to(images.device) for values in (start, end))
    shape, inside = images.shape[2:], None
    for axis, side in enumerate(shape):
        place = torch.arange(side, device=images.device)
        within = (place >= low[:, :, axis, None]) & (place < high[:, :, axis, None])  # (N, boxes, side)
        within = within.reshape(*within.shape[:2], *(side if at == axis else 1 for at in range(len(shape))))
        inside = within if inside is None else inside & within
    assert inside is not None
    return inside.any(1, keepdim=True)


def _tensor(values: np.ndarray, like: "Tensor") -> "Tensor":
    import torch

    return torch.from_numpy(values.astype(np.float32)).to(like.device, non_blocking=True)


def _column(values: np.ndarray, like: "Tensor") -> "Tensor":
    """``(N,)`` numbers → a tensor that multiplies ``like`` sample by sample."""
    return _as_column(_tensor(values, like), like)


def _as_column(values: "Tensor", like: "Tensor") -> "Tensor":
    return values.reshape(-1, *(1,) * (like.ndim - 1))
