"""Drawing what happens to each sample: MONAI's distributions, keyed by (seed, epoch, sample)."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from medimg.augment import draws as drawn
from medimg.augment.draws import Chosen, Draws
from medimg.augment.keyed import Keyed
from medimg.params import Augment
from medimg.params import augment as params

Shape = tuple[int, ...]


def draw(settings: Augment, seed: int, epoch: int, samples: np.ndarray, shape: Shape) -> Draws:
    """Draw the parameters of each sample.

    Args:
        settings: the block ``augment`` of params.yaml.
        seed: ``study.seed``.
        epoch: from 0.
        samples: a number that is the sample's own, uint64 ``(N,)``.
        shape: of a picture, ``(H, W)`` or ``(D, H, W)``, pixels.
    """
    keyed = Keyed(seed, epoch, samples)
    mirror = settings.flip
    chances = np.array([mirror.depth, mirror.height, mirror.width][-len(shape) :])
    flip = np.zeros((len(samples), len(shape)), bool)
    if chances.any():
        flip = keyed.uniform("flip", count=len(shape)) < chances
    blocks = {name: getattr(settings, name) for name in TRANSFORMS}
    happening = keyed.happens({name: block.probability for name, block in blocks.items()})
    found: dict[str, Any] = {
        name: TRANSFORMS[name](blocks[name], at, keyed.of(at), shape) for name, at in happening.items()
    }
    return Draws(len(samples), tuple(shape), flip, **found)


def _crop(block: params.Crop, at: np.ndarray, keyed: Keyed, shape: Shape) -> Chosen:
    side = np.array([shape])
    size = _integers(keyed, "crop size", np.ceil(side * block.smallest), side)
    return drawn.Crop(at, _integers(keyed, "crop start", 0, side - size), size)


def _affine(block: params.Affine, at: np.ndarray, keyed: Keyed, shape: Shape) -> Chosen:
    axes = len(shape)
    most = np.radians([block.rotate] if axes == 2 else [block.rotate, block.tilt, block.tilt])
    return drawn.Affine(
        at,
        rotate=keyed.uniform("rotate", -1, 1, len(most)) * most,
        shear=keyed.uniform("shear", -block.shear, block.shear, axes * (axes - 1)),
        translate=keyed.uniform("translate", -block.translate, block.translate, axes) * shape,
        scale=1 + keyed.uniform("scale", -block.scale, block.scale, axes),
    )


def _elastic(block: params.Elastic, at: np.ndarray, keyed: Keyed, shape: Shape) -> Chosen:
    side = np.array(shape)
    magnitude = keyed.uniform("magnitude", *block.magnitude)[:, 0] * side.mean()
    sigma = np.full(len(at), block.spacing * side.mean() / 3)
    if len(shape) == 3:  # smoothing makes uniform numbers in -1…1 smaller by this: their deviation, the kernel's norm
        magnitude = magnitude * math.sqrt(3) * (2 * math.sqrt(math.pi) * sigma) ** 1.5
    spacing = np.maximum(np.round(block.spacing * side), 2).astype(int)
    spacing += (side % 2 == 1) & (spacing % 2 == 0)  # MONAI's grid of an odd side is half a pixel off otherwise
    return drawn.Elastic(at, np.tile(spacing, (len(at), 1)), sigma, magnitude, _seeds(keyed, "elastic"))


def _low_resolution(block: params.LowResolution, at: np.ndarray, keyed: Keyed, shape: Shape) -> Chosen:
    return drawn.LowResolution(at, keyed.uniform("zoom", *block.zoom)[:, 0])


def _blur(block: params.Blur, at: np.ndarray, keyed: Keyed, shape: Shape) -> Chosen:
    return drawn.Blur(at, keyed.uniform("sigma", *block.sigma, len(shape)))


def _gibbs(block: params.Gibbs, at: np.ndarray, keyed: Keyed, shape: Shape) -> Chosen:
    return drawn.Gibbs(at, keyed.uniform("alpha", *block.alpha)[:, 0])


def _bias_field(block: params.BiasField, at: np.ndarray, keyed: Keyed, shape: Shape) -> Chosen:
    coefficients = np.zeros((len(at), *(block.degree + 1,) * len(shape)))
    which = _terms(block.degree, len(shape))
    where: tuple[Any, ...] = (slice(None), *which)
    coefficients[where] = keyed.uniform("coefficient", *block.coefficient, len(which[0]))
    return drawn.BiasField(at, coefficients)


def _terms(degree: int, axes: int) -> tuple[np.ndarray, ...]:
    """Which coefficients MONAI draws: of a picture those of the lower triangle, of a volume those up to the degree."""
    if axes == 2:
        return np.tril_indices(degree + 1)
    return np.nonzero(np.indices((degree + 1,) * 3).sum(0) <= degree)


def _brightness(block: params.Brightness, at: np.ndarray, keyed: Keyed, shape: Shape) -> Chosen:
    factor = keyed.uniform("brightness", -block.factor, block.factor)[:, 0]
    return drawn.Brightness(at, factor, keyed.uniform("offset", -block.offset, block.offset)[:, 0])


def _contrast(block: params.Contrast, at: np.ndarray, keyed: Keyed, shape: Shape) -> Chosen:
    return drawn.Contrast(at, keyed.uniform("contrast", -block.factor, block.factor)[:, 0])


def _gamma(block: params.Gamma, at: np.ndarray, keyed: Keyed, shape: Shape) -> Chosen:
    return drawn.Gamma(at, keyed.uniform("gamma", *block.exponent)[:, 0])


def _noise(block: params.Noise, at: np.ndarray, keyed: Keyed, shape: Shape) -> Chosen:
    return drawn.Noise(at, keyed.uniform("noise", 0, block.std)[:, 0], _seeds(keyed, "noise"))


def _cutout(block: params.Cutout, at: np.ndarray, keyed: Keyed, shape: Shape) -> Chosen:
    least, most = block.holes
    side = np.broadcast_to(shape, (1, most, len(shape)))
    low, high = (np.maximum(np.round(side * share), 1) for share in block.size)
    size = _integers(keyed, "box size", low, high)
    start = _integers(keyed, "box start", 0, side - size)
    boxes = _integers(keyed, "boxes", least, np.array([[most]]))
    size[np.arange(most) >= boxes] = 0
    return drawn.Cutout(at, start, start + size)


TRANSFORMS: dict[str, Callable[[Any, np.ndarray, Keyed, Shape], Chosen]] = {
    "crop": _crop,
    "affine": _affine,
    "elastic": _elastic,
    "low_resolution": _low_resolution,
    "blur": _blur,
    "gibbs": _gibbs,
    "bias_field": _bias_field,
    "brightness": _brightness,
    "contrast": _contrast,
    "gamma": _gamma,
    "noise": _noise,
    "cutout": _cutout,
}


def _integers(keyed: Keyed, purpose: str, low: Any, high: np.ndarray) -> np.ndarray:
    """Uniform in low…high, both included, int64 ``(n, …)``; the bounds are ``(n, …)`` or ``(1, …)``."""
    count = math.prod(np.broadcast_shapes(np.shape(low), high.shape)[1:])
    share = keyed.uniform(purpose, count=count).reshape(len(keyed), *high.shape[1:])
    whole: np.ndarray = np.floor(low + share * (high - low + 1)).astype(np.int64)
    return whole


def _seeds(keyed: Keyed, purpose: str) -> np.ndarray:
    return (keyed.bits(purpose)[:, 0] >> np.uint64(1)).astype(np.int64)
