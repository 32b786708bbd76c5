"""What happens to each sample of a batch: the parameters of MONAI's random transforms, from MONAI's distributions.

Every class here holds, for the ``n`` samples of the batch to which its transform happens, their positions ``at``
(int64 ``(n,)``, ascending) and the parameters in MONAI's own units: pixels, radians. ``R`` is the number of spatial
axes, 2 or 3; they stand in the tensor's order, ``(H, W)`` or ``(D, H, W)``.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Chosen:
    """The samples to which something happens."""

    at: np.ndarray


@dataclass(frozen=True)
class Crop(Chosen):
    """``RandScaleCrop``, then ``Resize`` to the whole size."""

    start: np.ndarray
    """int64 ``(n, R)``"""
    size: np.ndarray
    """int64 ``(n, R)``"""


@dataclass(frozen=True)
class Affine(Chosen):
    """``RandAffine``."""

    rotate: np.ndarray
    """radians, ``(n, 1)``, or ``(n, 3)`` about the axes D, H and W of a volume"""
    shear: np.ndarray
    """coefficients, ``(n, 2)`` or ``(n, 6)``"""
    translate: np.ndarray
    """of the grid, pixels, ``(n, R)``"""
    scale: np.ndarray
    """of the grid, ``(n, R)``; above 1 the picture shrinks"""


@dataclass(frozen=True)
class Elastic(Chosen):
    """``Rand2DElastic`` or ``Rand3DElastic``; the field itself comes from ``seed``, on the device."""

    spacing: np.ndarray
    """of the control points of a picture, pixels, ``(n, R)``"""
    sigma: np.ndarray
    """of the smoothing of a volume's field, voxels, ``(n,)``"""
    magnitude: np.ndarray
    """``(n,)``; typical displacement in pixels of control points, or of a volume's unsmoothed field"""
    seed: np.ndarray
    """int64 ``(n,)``"""


@dataclass(frozen=True)
class LowResolution(Chosen):
    """``RandSimulateLowResolution``."""

    zoom: np.ndarray
    """``(n,)``"""


@dataclass(frozen=True)
class Blur(Chosen):
    """``RandGaussianSmooth``."""

    sigma: np.ndarray
    """pixels, ``(n, R)``"""


@dataclass(frozen=True)
class Gibbs(Chosen):
    """``RandGibbsNoise``."""

    alpha: np.ndarray
    """``(n,)``"""


@dataclass(frozen=True)
class BiasField(Chosen):
    """``RandBiasField``."""

    coefficients: np.ndarray
    """of Legendre polynomials, ``(n, degree + 1, …)`` with R such axes"""


@dataclass(frozen=True)
class Brightness(Chosen):
    """``RandScaleIntensity``, then ``RandShiftIntensity``."""

    factor: np.ndarray
    """``(n,)``"""
    offset: np.ndarray
    """``(n,)``"""


@dataclass(frozen=True)
class Contrast(Chosen):
    """``RandScaleIntensityFixedMean``, its range preserved."""

    factor: np.ndarray
    """``(n,)``"""


@dataclass(frozen=True)
class Gamma(Chosen):
    """``RandAdjustContrast``."""

    exponent: np.ndarray
    """``(n,)``"""


@dataclass(frozen=True)
class Noise(Chosen):
    """``RandGaussianNoise``; the noise itself comes from ``seed``, on the device."""

    std: np.ndarray
    """``(n,)``"""
    seed: np.ndarray
    """int64 ``(n,)``"""


@dataclass(frozen=True)
class Cutout(Chosen):
    """``RandCoarseDropout``, filled with black. A box that is not there has no size."""

    start: np.ndarray
    """int64 ``(n, boxes, R)``"""
    end: np.ndarray
    """int64 ``(n, boxes, R)``"""


@dataclass(frozen=True)
class Draws:
    """What happens to each of ``count`` samples; None where nothing happens to any."""

    count: int
    shape: tuple[int, ...]
    """``(H, W)`` or ``(D, H, W)``"""
    flip: np.ndarray
    """bool ``(count, R)``"""
    crop: Crop | None = None
    affine: Affine | None = None
    elastic: Elastic | None = None
    low_resolution: LowResolution | None = None
    blur: Blur | None = None
    gibbs: Gibbs | None = None
    bias_field: BiasField | None = None
    brightness: Brightness | None = None
    contrast: Contrast | None = None
    gamma: Gamma | None = None
    noise: Noise | None = None
    cutout: Cutout | None = None
