"""The contact sheet: what the network will see of a few images, plain and augmented, as a picture."""

from typing import TYPE_CHECKING

import numpy as np

from medimg.augment import augment, draw
from medimg.files import publish
from medimg.params import Augment, Preview
from medimg.records import PREVIEW
from medimg.tasks import Task
from medimg.training.data import Part, read_parts, scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def preview(task: Task, seed: int, settings: Preview, augmentation: Augment) -> None:
    """Write ``artifacts/preview.png``: a row for each of ``settings.samples`` training images, half of each class."""
    part = read_parts(task, "train")["train"]
    positions = _chosen(part, settings.samples)
    figure = _sheet(part, positions, _pictures(part, positions, seed, settings.draws, augmentation))
    with publish(PREVIEW) as partial:
        figure.savefig(partial, format="png", dpi=100, metadata={"Software": None})
    print(f"{len(positions)} of {len(part)} training images in {PREVIEW}")


def _chosen(part: Part, samples: int) -> np.ndarray:
    """Positions of the first samples of each class in turn, int64 ``(≤ samples,)``; samples are sorted by hash."""
    positive, negative = np.flatnonzero(part.truth > 0), np.flatnonzero(part.truth == 0)
    half = samples // 2
    return np.concatenate([positive[: samples - half], negative[:half]])


def _pictures(part: Part, positions: np.ndarray, seed: int, draws: int, augmentation: Augment) -> np.ndarray:
    """Preprocessed, then augmented as in the first epochs: float32 ``(1 + draws, N, C, H, W)`` in 0…1."""
    import torch

    plain = scale(torch.from_numpy(part.images[part.rows[positions]]))
    numbers = part.numbers[positions]
    augmented = [augment(plain, draw(augmentation, seed, epoch, numbers), seed, epoch) for epoch in range(draws)]
    return torch.stack([plain, *augmented]).numpy()


def _sheet(part: Part, positions: np.ndarray, pictures: np.ndarray) -> "Figure":
    from matplotlib.figure import Figure

    columns, rows = pictures.shape[:2]
    figure = Figure(figsize=(1.7 * columns, 1.7 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for (row, column), axis in np.ndenumerate(axes):
        picture = np.moveaxis(pictures[column, row], 0, -1)
        axis.imshow(picture if picture.shape[-1] == 3 else picture[..., 0], cmap="gray", vmin=0, vmax=1)
        axis.set_xticks([])
        axis.set_yticks([])
        if column == 0:
            axis.set_ylabel("positive" if part.truth[positions[row]] else "negative")
        if row == 0:
            axis.set_title("preprocessed" if column == 0 else f"epoch {column}", fontsize=9)
    return figure
