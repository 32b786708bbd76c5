"""Steps of augmentation on a CPU, each sample changed where it lies: PyTorch's own take several times as long there."""

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from medimg.augment import grey, loops
from medimg.augment.draws import BiasField, Blur, Brightness, Contrast, Gamma, LowResolution, Noise
from medimg.augment.linear import TRUNCATED, gaussian
from medimg.augment.warp import Move, displacements

if TYPE_CHECKING:
    from torch import Tensor


def move(images: "Tensor", draws: Move) -> None:
    """Pixels from where ``draws`` say, ``(N, C, *shape)``."""
    shifts = displacements(draws, tuple(images.shape[2:]), images.device)
    bends = np.where(draws.bent, np.cumsum(draws.bent) - 1, -1)
    warp = loops.warp2 if images.ndim == 4 else loops.warp3
    warp(images.numpy(), draws.at, draws.maps, bends, shifts.numpy())


def blur(images: "Tensor", draws: Blur) -> None:
    """MONAI's ``GaussianSmooth``: see ``linear.blur``."""
    shape = np.array(images.shape[2:])
    most = min(int(draws.sigma.max() * TRUNCATED) + 2, int(shape.max()))
    kernels = gaussian(draws.sigma, most, TRUNCATED)
    grids = np.stack([shape, np.append(np.cumprod(shape[:0:-1])[::-1], 1)], 1)
    loops.blur(_flat(images), draws.at, kernels, (kernels > 0).sum(-1) - 1, grids)


def low_resolution(images: "Tensor", draws: LowResolution) -> None:
    """MONAI's ``RandSimulateLowResolution``: what nearest pixels and linear interpolation make together."""
    shape = _volumes(images).shape[2:]
    places, shares = np.zeros((len(draws.at), 3, 2, max(shape)), np.int64), np.zeros((len(draws.at), 3, max(shape)))
    for one, zoom in enumerate(draws.zoom):
        for axis, side in enumerate(shape):
            fewer = max(1, round(side * zoom))
            step = np.float32(side) / np.float32(fewer)
            kept = np.minimum(np.floor(np.arange(fewer, dtype=np.float32) * step), side - 1).astype(int)
            back = np.maximum((np.arange(side) + 0.5) * (fewer / side) - 0.5, 0)
            below = back.astype(int)
            places[one, axis, :, :side] = kept[below], kept[np.minimum(below + 1, fewer - 1)]
            shares[one, axis, :side] = back - below
    loops.coarse(_volumes(images), draws.at, places, shares.astype(np.float32))


def bias_field(images: "Tensor", draws: BiasField) -> None:
    """MONAI's ``RandBiasField``: times the exponential of a sum of products of Legendre polynomials."""
    terms = (draws.coefficients / math.log(2)).astype(np.float32)
    volumes = _volumes(images)
    if images.ndim == 4:
        terms = terms[:, None]
    values = [_legendre(side, count - 1) for side, count in zip(volumes.shape[2:], terms.shape[1:], strict=True)]
    grey.times_power(volumes, draws.at, terms, *values)


@cache
def _legendre(side: int, degree: int) -> np.ndarray:
    """``(degree + 1, side)``, float32."""
    values = np.polynomial.legendre.legvander(np.linspace(-1, 1, side), degree).T
    return np.ascontiguousarray(values, np.float32)


def brightness(images: "Tensor", draws: Brightness) -> None:
    """MONAI's ``ScaleIntensity`` by a factor, then ``ShiftIntensity``."""
    grey.line(_flat(images), draws.at, 1 + draws.factor, draws.offset)


def contrast(images: "Tensor", draws: Contrast) -> None:
    """MONAI's ``ScaleIntensityFixedMean``, the range preserved."""
    grey.spread(_flat(images), draws.at, 1 + draws.factor)


def gamma(images: "Tensor", draws: Gamma) -> None:
    """MONAI's ``AdjustContrast``: within the sample's own range."""
    grey.power(_flat(images), draws.at, draws.exponent)


def _volumes(images: "Tensor") -> np.ndarray:
    """``(N, C, D, H, W)``; pictures have one slice."""
    return images.numpy().reshape(*images.shape[:2], *(1,) * (5 - images.ndim), *images.shape[2:])


def _flat(images: "Tensor") -> np.ndarray:
    flat: np.ndarray = images.flatten(1).numpy()
    return flat


def noise(images: "Tensor", draws: Noise) -> None:
    """MONAI's ``GaussianNoise``, from the sample's own seed."""
    grey.noise(_flat(images), draws.at, draws.std, draws.seed.astype(np.uint64), _normal())


@cache
def _normal() -> np.ndarray:
    """65,536 values of a standard normal distribution, each as likely as any other, float32."""
    from scipy.special import ndtri

    values = ndtri((np.arange(1 << 16) + 0.5) / (1 << 16))
    normal: np.ndarray = (values / values.std()).astype(np.float32)
    return normal


STEPS: dict[str, Callable[["Tensor", Any], None]] = {
    "move": move,
    "low_resolution": low_resolution,
    "blur": blur,
    "bias_field": bias_field,
    "brightness": brightness,
    "contrast": contrast,
    "gamma": gamma,
    "noise": noise,
}
"""instead of those of the same names for other devices"""
