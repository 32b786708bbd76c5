"""What augmentation does to many training images, in numbers, and what of it is too much."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from medimg.augment import augment, augment_masks, draw
from medimg.augment.warp import moves
from medimg.params import Augment
from medimg.store import Geometry, Store
from medimg.training.data import Part, scale

if TYPE_CHECKING:
    from torch import Tensor

CHECKED = 48
"""images"""
END = 1 / 510
"""of black or white, as a share of the range: a level of the smallest store"""
BLANK = 0.01
"""deviation of a picture in which nothing is to be seen; augmentation cannot take anything from it"""
MANY = 0.05
"""share of the pictures that is more than an accident"""


@dataclass(frozen=True)
class Findings:
    """One row an augmented picture."""

    rows: pd.DataFrame
    """clipped, outside: shares of its pixels; contrast, detail: its deviation, and its steps from pixel to pixel, by
    those before; stretched: the longer axis by the shorter, of what was a circle; grey: the deviation before; hard: the
    variance before, by that of black and white alone with the same mean; aspect: as stretched, of preprocessing
    alone; cut: the share of the original grid that preprocessing left out"""
    preset: str

    @staticmethod
    def of(part: Part, at: int, store: Store, seed: int, draws: int, augmentation: Augment) -> list[dict[str, Any]]:
        """The rows of one sample."""
        import torch

        plain, found = one(part, at), []
        grey = float(plain.std())
        geometry = store.geometry(part.about["sample"].iloc[at])
        aspect, cut = _aspect(geometry), _cut(geometry, plain.shape[2:])
        for epoch in range(draws):
            after, drawn = augmented(part, at, seed, epoch, augmentation)
            outside = 1 - float(augment_masks(torch.ones_like(plain[:, :1]), drawn).mean())
            _, moved = moves(drawn)
            edge = outside if min(part.level, 1 - part.level) <= END else 0.0  # as black or white as what is cut off
            long = np.linalg.svd(moved.maps[0, :, :-1])[1] if moved else np.ones(2)
            found.append(
                {
                    "clipped": max(0.0, _ends(after) - _ends(plain) - edge),
                    "outside": outside,
                    "detail": 1.0 if grey < BLANK else _detail(after) / max(_detail(plain), END),
                    "contrast": 1.0 if grey < BLANK else float(after.std()) / grey,
                    "stretched": float(long.max() / long.min()),
                    "grey": grey,
                    "hard": float(plain.var(correction=0) / (plain.mean() * (1 - plain.mean())).clamp(min=END)),
                    "aspect": aspect,
                    "cut": cut,
                }
            )
        return found

    def warnings(self) -> list[str]:
        """What destroys pictures, and which key to turn down."""
        found = [
            f"{100 * share:.0f} % {what}"
            for name, too_much, what in JUDGED
            if (share := float(too_much(self.rows[name]).mean())) > MANY
        ]
        return [sentence + "." for sentence in found]

    def record(self) -> dict[str, Any]:
        """For ``artifacts/preview.json``."""
        mean = {name: round(float(self.rows[name].mean()), 4) for name in self.rows}
        return {"preset": self.preset, "pictures": len(self.rows), "mean": mean, "warnings": self.warnings()}


JUDGED: list[tuple[str, Callable[["pd.Series[float]"], "pd.Series[bool]"], str]] = [
    (
        "clipped",
        lambda values: values > 0.1,
        "of the augmented pictures have a tenth of their pixels driven to black or white. Lower "
        "augment.brightness.factor, brightness.offset, contrast.factor or noise.std",
    ),
    (
        "contrast",
        lambda values: values < 0.25,
        "of the augmented pictures are nearly blank: three quarters of the contrast is lost. Lower "
        "augment.affine.translate, cutout.size or gamma.exponent",
    ),
    (
        "detail",
        lambda values: values < 0.25,
        "of the augmented pictures have lost three quarters of their detail. Lower augment.blur.sigma, or raise "
        "low_resolution.zoom",
    ),
    (
        "outside",
        lambda values: values > 0.3,
        "of the augmented pictures are empty over nearly a third, since they were moved out of the frame. Lower "
        "augment.affine.translate or affine.scale",
    ),
    (
        "stretched",
        lambda values: values > 1.5,
        "of the augmented pictures have another aspect, one axis half as long again. Lower augment.affine.scale or "
        "affine.shear, or raise crop.smallest",
    ),
    ("grey", lambda values: values < BLANK, "of the preprocessed pictures are blank. Look at preprocess.window"),
    (
        "hard",
        lambda values: values > 0.8,
        "of the preprocessed pictures are hardly more than black and white. Widen preprocess.window or percentiles",
    ),
    (
        "aspect",
        lambda values: values > 1.25,
        "of the images have another aspect once preprocessed. Set preprocess.fit: pad, or preprocess.spacing",
    ),
    (
        "cut",
        lambda values: values > 0.8,
        "of the images have lost four fifths once preprocessed. Look at preprocess.foreground, or, with fit: crop, at "
        "preprocess.size and spacing",
    ),
]
"""What is measured, when it is too much, and what to do"""


def one(part: Part, at: int) -> "Tensor":
    """A sample as the network sees it, not augmented: ``(1, C, …)`` in 0…1."""
    import torch

    return scale(torch.from_numpy(np.array(part.images[int(part.rows[at])])[None]))


def augmented(part: Part, at: int, seed: int, epoch: int, augmentation: Augment) -> "tuple[Tensor, Any]":
    """The same, augmented as in this epoch, and what was drawn."""
    plain = one(part, at)
    drawn = draw(augmentation, seed, epoch, part.numbers[at : at + 1], tuple(plain.shape[2:]))
    return augment(plain, drawn, part.level), drawn


def _ends(image: "Tensor") -> float:
    return float(((image <= END) | (image >= 1 - END)).float().mean())


def _detail(image: "Tensor") -> float:
    return float(image.diff(dim=-1).abs().mean() + image.diff(dim=-2).abs().mean())


def _aspect(geometry: Geometry) -> float:
    """How far preprocessing stretched a picture along one axis, ≥ 1.

    Of an image: the longer side of a stored pixel by the shorter, in mm where they are known. Of a volume, whose slices
    may be thick: how much further from 1 than before that is, of any two axes.
    """
    if geometry.to_original is None:
        return 1.0
    steps = np.array(geometry.to_original)[:-1, :-1]
    before = np.array(geometry.spacing or (1,) * len(steps))
    after = np.linalg.norm(before[:, None] * steps, axis=0)
    if len(steps) == 3:
        before = before[np.abs(steps).argmax(axis=0)]  # axes may have changed places
        far = np.abs(np.log(after[:, None] / after)) - np.abs(np.log(before[:, None] / before))
        return float(np.exp(far.max()))
    return float(after.max() / after.min())


def _cut(geometry: Geometry, stored: tuple[int, ...]) -> float:
    """Share of the original grid that lies outside of the box that holds the stored one."""
    if geometry.to_original is None:
        return 0.0
    back, sides = np.array(geometry.to_original), np.array(stored)
    middle, reach = back[:-1] @ [*(sides - 1) / 2, 1], np.abs(back[:-1, :-1]) @ sides / 2
    first = np.maximum(middle - reach, -0.5)
    last = np.minimum(middle + reach, np.array(geometry.shape) - 0.5)
    return float(1 - np.prod((last - first).clip(0) / geometry.shape))
