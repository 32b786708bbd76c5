"""The same steps as MONAI's own transforms: the reference, and what ``kernel: monai`` runs."""

from functools import lru_cache
from typing import Any

import numpy as np

from medimg.params import Preprocess
from medimg.preprocess.intensity import window_of
from medimg.preprocess.layout import fit, foreground


def run(
    pixels: np.ndarray, mask: np.ndarray | None, affine: np.ndarray, settings: Preprocess, windowed: bool
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """One sample through ``compose``.

    Args:
        pixels: ``(C, …)`` float32.
        mask: ``(1, …)``, taken by nearest neighbour through the same steps.
        affine: ``(r + 1, r + 1)``: index → mm.
        settings: the block ``preprocess``.
        windowed: 0 is the darkest and 1 the brightest already.

    Returns:
        pixels, mask, and the affine of the result.

    Raises:
        ImageError: BLANK.
    """
    import torch
    from monai.data import MetaTensor

    torch.set_num_threads(1)  # the processes around us are the parallelism
    if settings.foreground is not None:
        foreground(pixels, settings.foreground, 0)  # MONAI would go on with an empty box
    rank = pixels.ndim - 1
    whole = np.eye(4)
    whole[:rank, :rank], whole[:rank, 3] = affine[:rank, :rank], affine[:rank, rank]
    item = {"image": MetaTensor(torch.from_numpy(pixels), affine=torch.from_numpy(whole))}
    if mask is not None:
        item["mask"] = MetaTensor(torch.from_numpy(mask.astype(np.float32)), affine=torch.from_numpy(whole))
    done = compose(settings, rank, windowed)(item)
    placed = np.asarray(done["image"].affine)
    result = np.eye(rank + 1)
    result[:rank, :rank], result[:rank, rank] = placed[:rank, :rank], placed[:rank, 3]
    labels = np.rint(done["mask"].numpy()).astype(np.uint8) if mask is not None else None
    return done["image"].numpy(), labels, result


@lru_cache(maxsize=8)
def compose(settings: Preprocess, rank: int, windowed: bool) -> Any:
    """The MONAI ``Compose`` that ``settings`` describe, over ``image`` and ``mask``, both with an affine."""
    from monai.transforms import (
        Compose,
        CropForegroundd,
        Lambdad,
        NormalizeIntensityd,
        Orientationd,
        ScaleIntensityRanged,
        ScaleIntensityRangePercentilesd,
        Spacingd,
    )

    both = {"keys": ["image", "mask"], "allow_missing_keys": True}
    size, spacing = settings.axes(rank)
    steps: list[Any] = []
    if settings.orientation:
        steps.append(Orientationd(axcodes=settings.orientation, labels=None, **both))
    if settings.foreground is not None:
        above = settings.foreground
        steps.append(
            CropForegroundd(
                source_key="image", select_fn=lambda x: x > above, margin=settings.margin, allow_smaller=True, **both
            )
        )
    if spacing is not None:
        steps.append(Spacingd(pixdim=spacing, mode=("bilinear", "nearest"), padding_mode="border", **both))
    bounds = window_of(settings, windowed)
    if settings.intensity == "zscore":
        steps.append(NormalizeIntensityd("image", nonzero=settings.nonzero))
    elif bounds is not None:
        steps.append(ScaleIntensityRanged("image", *bounds, b_min=0.0, b_max=1.0, clip=True))
    elif settings.nonzero:
        steps.append(Lambdad("image", lambda x: _percentiles_of_nonzero(x, settings.percentiles)))
    else:
        steps.append(ScaleIntensityRangePercentilesd("image", *settings.percentiles, b_min=0.0, b_max=1.0, clip=True))
    if size is not None:
        steps.append(lambda item: _sized(item, size, settings.fit))
    return Compose(steps)


def _percentiles_of_nonzero(image: Any, wanted: tuple[float, float]) -> Any:
    """``ScaleIntensityRangePercentiles``, with the percentiles of what is not 0."""
    from monai.transforms import ScaleIntensityRange

    values = image.numpy()
    values = values[values != 0]
    low, high = np.percentile(values, wanted) if values.size else (0.0, 0.0)
    return ScaleIntensityRange(low, high, b_min=0.0, b_max=1.0, clip=True)(image)


def _sized(item: dict[str, Any], size: tuple[int, ...], how: str) -> dict[str, Any]:
    """``Resize`` and ``SpatialPad``, or ``ResizeWithPadOrCrop``, of image and mask."""
    from monai.transforms import Resize, ResizeWithPadOrCrop

    shape = tuple(item["image"].shape[1:])
    fitted, last = fit(shape, size, how), ResizeWithPadOrCrop(size)
    linear = {2: "bilinear", 3: "trilinear"}[len(size)]
    modes: dict[str, dict[str, Any]] = {
        "image": {"mode": linear, "align_corners": False, "anti_aliasing": True},
        "mask": {"mode": "nearest-exact"},
    }
    return {name: last(Resize(fitted, **modes[name])(image)) for name, image in item.items() if name in modes}
