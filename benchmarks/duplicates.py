"""Altered copies among radiographs: precision and recall by kind, and the time for 100,000 images."""

import io
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import affine_transform

from benchmarks.paired import ROOT, Row, seconds
from medimg import demo
from medimg.duplicates.likeness import alike
from medimg.duplicates.thumbnail import SIDE, thumbnail
from medimg.errors import ImageError
from medimg.images import read

RADIOGRAPHS = ROOT.parent / "shared/data/kermany_chest_xray/images"
MANY = 100_000
ROUNDS = 3
NOT_MEASURED = "precision among 100,000 different radiographs: there are 5,216 here"

Kind = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def resized(picture: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """By 0.4 to 1.5."""
    height, width = (round(side * dice.uniform(0.4, 1.5)) for side in picture.shape[:1] * 2)
    shape = (round(width * picture.shape[1] / picture.shape[0]), height)
    return np.asarray(Image.fromarray(picture).resize(shape, Image.Resampling.BICUBIC))


def windowed(picture: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """Another window and gamma."""
    low, high = np.percentile(picture, [dice.uniform(0, 10), dice.uniform(90, 100)])
    shown = np.clip((picture - low) / max(high - low, 1), 0, 1) ** dice.uniform(0.6, 1.6)
    return (255 * shown).astype(np.uint8)


def compressed(picture: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """JPEG of quality 20 to 59."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=int(dice.integers(20, 60)))
    return np.asarray(Image.open(file))


def cropped(picture: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """Up to 2.7 % from each side: 6 pixels of 224."""
    top, bottom, left, right = (round(dice.uniform(0, 0.027) * side) for side in np.repeat(picture.shape, 2))
    return picture[top : picture.shape[0] - bottom, left : picture.shape[1] - right]


def inverted(picture: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """White is black."""
    return 255 - picture


def everything(picture: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """Cropped, resized, windowed, compressed, and every other one inverted."""
    changed = compressed(windowed(resized(cropped(picture, dice), dice), dice), dice)
    return inverted(changed, dice) if dice.random() < 0.5 else changed


KINDS = [resized, windowed, compressed, cropped, inverted, everything]


def small(pictures: list[np.ndarray]) -> np.ndarray:
    """Thumbnails of ``(H, W)`` pictures, ``(N, SIDE, SIDE)``."""
    found = [thumbnail(picture[None]) for picture in pictures]
    return np.stack([picture for picture in found if picture is not None])


def planted(pictures: list[np.ndarray], kind: Kind, seed: int = 0, every: int = 3) -> tuple[float, float]:
    """Recall and precision among ``pictures`` and an altered copy of one in ``every``.

    What is alike before anything is planted counts for neither.
    """
    dice = np.random.default_rng(seed)
    chosen = range(0, len(pictures), every)
    before = small(pictures)
    both = np.concatenate([before, small([kind(pictures[at], dice) for at in chosen])])
    of = np.concatenate([np.arange(len(before)), np.array(chosen)])  # whose picture each one is
    twins = {frozenset(pair) for pair in alike(before, np.arange(len(before)))[0].tolist()}
    found = [(of[one], of[other], other) for one, other in alike(both, np.arange(len(both)))[0]]
    right = {other for one, mine, other in found if one == mine}
    wrong = sum(one != mine and frozenset((one, mine)) not in twins for one, mine, _ in found)
    return len(right) / len(chosen), len(right) / max(1, len(right) + wrong)


def many(pictures: list[np.ndarray]) -> np.ndarray:
    """``MANY`` thumbnails that differ: those of ``pictures``, then turned and magnified at random."""
    dice, own = np.random.default_rng(0), small(pictures)
    found = np.empty((MANY, SIDE, SIDE), np.uint8)
    centre = np.full(2, (SIDE - 1) / 2)
    for at in range(MANY):
        picture = own[at % len(own)]
        if at >= len(own):
            angle, scale = dice.uniform(-0.5, 0.5), dice.uniform(0.55, 0.95)
            turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            shift = centre - turn @ centre + dice.uniform(-3, 3, 2)
            picture = affine_transform(picture, turn, shift, order=1, mode="nearest")
        found[at] = picture
    return found


def _pictures() -> tuple[str, list[np.ndarray]]:
    """The radiographs beside the repository, else one image of each patient of the demo study."""
    if RADIOGRAPHS.exists():
        paths = sorted(RADIOGRAPHS.glob("*/*.jpeg"))
        return "chest radiographs", [np.asarray(Image.open(path).convert("L")) for path in paths]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        demo.write(Path(folder, "data"))
        for path in sorted(Path(folder, "data/images").rglob("*"))[::2]:
            try:
                grey = read(path).pixels[0].astype(float)
            except (ImageError, IsADirectoryError):
                continue
            found.append((255 * (grey - grey.min()) / np.ptp(grey)).astype(np.uint8))
    return "demo images", found


def measure() -> list[Row]:
    """Plant copies of a third of the images, by kind, over some seeds; then time a study of ``MANY``."""
    name, pictures = _pictures()
    rows = []
    for kind in KINDS:
        measured = [planted(pictures, kind, seed) for seed in range(ROUNDS)]
        for what, values in zip(("recall", "precision"), zip(*measured, strict=True), strict=True):
            label = f"{what}, {kind.__name__}: {len(pictures)} {name}, a third copied"
            rows.append(Row(label, statistics.median(values), min(values), max(values), goal="≥ 0.98"))
    thumbnails = many(pictures)
    times = [seconds(lambda: alike(thumbnails, np.arange(MANY))) for _ in range(ROUNDS)]
    what = f"seconds to compare {MANY} images, thumbnails given"
    return [*rows, Row(what, statistics.median(times), min(times), max(times), goal="≤ 120")]
