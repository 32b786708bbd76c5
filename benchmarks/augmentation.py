"""Augmentation of a batch against MONAI's transforms one sample at a time, on one core.

The peer is MONAI's Compose of the same transforms with the same probabilities and ranges, on plain tensors without
metadata, grids cached, resampling lazily or not, whichever is faster in this run. Pictures have smooth content.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from monai import transforms as monai
from monai.data import set_track_meta
from scipy.stats import ks_2samp

from benchmarks.paired import Row, ratio, seconds
from medimg.augment import augment, draw
from medimg.params import Augment

Apply = Callable[[torch.Tensor], torch.Tensor]
BATCH = 32
NOT_MEASURED = "a GPU"


def peer(settings: Augment, shape: tuple[int, ...], lazy: bool = False) -> monai.Compose:
    """MONAI's transforms of one sample, as the parameters describe them."""
    axes, made = len(shape), []
    for axis, name in enumerate(["depth", "height", "width"][-axes:]):
        if chance := getattr(settings.flip, name):
            made.append(monai.RandFlip(chance, spatial_axis=axis))
    active = settings.active()
    linear = "bilinear" if axes == 2 else "trilinear"
    for name, block in active.items():
        chance = block.get("probability")
        match name:
            case "crop":
                crop = monai.RandScaleCrop(block["smallest"], random_size=True, random_center=True)
                made.append(
                    monai.OneOf(
                        [monai.Compose([crop, monai.Resize(shape, mode=linear)]), monai.Identity()],
                        weights=[chance, 1 - chance],
                    )
                )
            case "affine":
                turns = np.deg2rad([block["rotate"], block["tilt"], block["tilt"]][: 1 if axes == 2 else 3])
                made.append(
                    monai.RandAffine(
                        chance,
                        rotate_range=tuple(turns),
                        shear_range=(block["shear"],) * (axes * (axes - 1)) if block["shear"] else None,
                        translate_range=tuple(block["translate"] * side for side in shape),
                        scale_range=(block["scale"],) * axes,
                        spatial_size=shape,
                        padding_mode="zeros",
                        cache_grid=True,
                    )
                )
            case "low_resolution":
                made.append(monai.RandSimulateLowResolution(chance, upsample_mode=linear, zoom_range=block["zoom"]))
            case "blur":
                made.append(monai.RandGaussianSmooth(block["sigma"], block["sigma"], block["sigma"], chance))
            case "gibbs":
                made.append(monai.RandGibbsNoise(chance, block["alpha"]))
            case "bias_field":
                made.append(monai.RandBiasField(block["degree"], block["coefficient"], prob=chance))
            case "brightness":
                made.append(monai.RandScaleIntensity(block["factor"], chance))
            case "contrast":
                made.append(
                    monai.RandScaleIntensityFixedMean(chance, block["factor"], preserve_range=True, fixed_mean=True)
                )
            case "gamma":
                made.append(monai.RandAdjustContrast(chance, block["exponent"]))
            case "noise":
                made.append(monai.RandGaussianNoise(chance, std=block["std"]))
            case "cutout":
                low, high = (tuple(max(1, round(side * share)) for side in shape) for share in block["size"])
                holes = block["holes"]
                made.append(monai.RandCoarseDropout(holes[0], low, True, 0, holes[1], high, chance))
    made.append(monai.Lambda(lambda image: image.clamp(0, 1)))
    return monai.Compose(made, lazy=lazy)


def pictures(count: int, shape: tuple[int, ...]) -> torch.Tensor:
    """``(count, 1, *shape)`` in 0…1: coarse noise, enlarged."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((count, 1, *(max(side // 8, 2) for side in shape)), generator=generator)
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    return torch.nn.functional.interpolate(coarse, size=shape, mode=mode).contiguous()


def ours(settings: Augment, images: torch.Tensor, epoch: int = 0) -> list[torch.Tensor]:
    """Batches of all images."""
    step = BATCH if images.ndim == 4 else 2
    numbers = np.arange(len(images), dtype=np.uint64)
    shape = tuple(images.shape[2:])
    return [
        augment(images[at : at + step], draw(settings, 0, epoch, numbers[at : at + step], shape))
        for at in range(0, len(images), step)
    ]


def theirs(settings: Augment, images: torch.Tensor) -> Apply:
    """MONAI's Compose at the settings that are fastest here, of those that change the pictures as they should."""
    shape = tuple(images.shape[2:])
    made = []
    # its RandSimulateLowResolution forgets what is pending, so that lazily nothing is ever turned
    for lazy in (False,) if settings.low_resolution.probability else (False, True):
        compose = peer(settings, shape, lazy).set_random_state(0)
        work = lambda batch, compose=compose: torch.stack([torch.as_tensor(compose(image)) for image in batch])  # noqa: E731
        set_track_meta(lazy)  # a lazy resampling is kept in the metadata
        work(images[:2])
        made.append((seconds(lambda work=work: work(images[:8])), lazy, work))
    _, lazy, work = min(made, key=lambda entry: entry[0])
    set_track_meta(lazy)
    return work


def moments(settings: Augment, images: torch.Tensor, work: Apply) -> tuple[float, float]:
    """How ours and MONAI's pictures differ: least Kolmogorov–Smirnov p of a picture's mean, deviation and skewness."""
    found = []
    for result in (
        torch.cat([batch for epoch in range(4) for batch in ours(settings, images, epoch)]),
        torch.cat([work(images) for _ in range(4)]),
    ):
        flat = result.flatten(1).double()
        mean, deviation = flat.mean(1), flat.std(1)
        skew = (((flat - mean[:, None]) / deviation[:, None]) ** 3).mean(1)
        edges = (result.flatten(2).diff(dim=-1).abs().mean((1, 2))).double()
        found.append(torch.stack([mean, deviation, skew, edges]).numpy())
    ps = [float(ks_2samp(a, b).pvalue) for a, b in zip(*found, strict=True)]
    return min(ps), max(ps)


def measure() -> list[Row]:
    """Images of 96² and 224² and volumes of 64³, presets that differ most."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    for preset, shape, count, goal in [
        ("mild", (96, 96), 128, "≥ 9"),
        ("mild", (224, 224), 64, "≥ 9"),
        ("cxr", (224, 224), 64, "≥ 9"),
        ("mr", (224, 224), 64, "≥ 9"),
        ("mild", (64, 64, 64), 16, "≥ 3"),
        ("ct", (64, 64, 64), 16, "≥ 3"),
        ("mr", (64, 64, 64), 16, "≥ 3"),
    ]:
        settings = Augment(preset=preset, elastic={"probability": 0})  # MONAI's includes an affine change of its own
        images = pictures(count, shape)
        work = theirs(settings, images)
        what = f"augmentation: {preset}, {' × '.join(map(str, shape))}"
        rows.append(Row(what, *ratio(partial(work, images), partial(ours, settings, images)), goal=goal))
        least, most = moments(settings, images, work)
        rows.append(
            Row(f"{what}: same pictures, p of mean, deviation, skewness, edges", least, least, most, goal="> 0.001")
        )
    set_track_meta(True)
    torch.set_num_threads(before)
    return rows
