"""The contact sheet itself: a row a sample; raw, preprocessed, augmented, and its grey values before and after."""

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MASK = "#ffb000"


@dataclass(frozen=True)
class Shown:
    """A picture and what its mask marks; of volumes the middle slice is shown."""

    image: np.ndarray
    """``(C, H, W)`` or ``(C, D, H, W)`` in 0…1"""
    mask: np.ndarray | None = None
    """``(1, …)``, 0 is not marked"""


@dataclass(frozen=True)
class Line:
    """One sample."""

    truth: str
    site: str
    raw: tuple[np.ndarray, float] | None
    """and the height of a pixel by its width"""
    plain: Shown
    augmented: list[Shown]


def sheet(lines: list[Line], warnings: list[str]) -> "Figure":
    """All lines; the warnings stand below them."""
    from matplotlib.figure import Figure

    columns = 3 + len(lines[0].augmented)
    figure = Figure(figsize=(1.7 * columns, 1.7 * len(lines) + 0.5 + 0.3 * len(warnings)), layout="constrained")
    axes = figure.subplots(len(lines), columns, squeeze=False)
    for line, row in zip(lines, axes, strict=True):
        image, aspect = line.raw or (None, 1.0)
        _show(row[0], None if image is None else Shown(image), aspect)
        for axis, picture in zip(row[1:], [line.plain, *line.augmented], strict=False):
            _show(axis, picture, 1.0)
        _histogram(row[-1], line)
        name = "\n".join(textwrap.shorten(text, 24, placeholder=" …") for text in (line.truth, line.site) if text)
        row[0].set_ylabel(name)
    titles = ["raw", "preprocessed", *(f"epoch {epoch + 1}" for epoch in range(columns - 3)), "grey values"]
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    if warnings:
        figure.supxlabel("\n".join(textwrap.fill(text, 24 * columns) for text in warnings), fontsize=9, color="#b00020")
    return figure


def _show(axis: "Axes", picture: Shown | None, aspect: float) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    if picture is None:
        axis.text(0.5, 0.5, "not shown", ha="center", va="center", fontsize=8, transform=axis.transAxes)
        return
    values = np.moveaxis(_middle(picture.image), 0, -1)
    shown = values if values.shape[-1] == 3 else values[..., 0]
    axis.imshow(shown, cmap="gray", vmin=0, vmax=1, aspect=aspect)
    if picture.mask is not None:
        marked = np.pad(_middle(picture.mask)[0] > 0, 1)  # what reaches the edge is closed there
        axis.autoscale(False)
        height, width = (np.arange(-1, side - 1) for side in marked.shape)
        if marked.any():
            axis.contour(width, height, marked, levels=[0.5], colors=MASK, linewidths=0.8)


def _middle(values: np.ndarray) -> np.ndarray:
    """``(C, H, W)`` of that, or of ``(C, D, H, W)``."""
    return values[:, values.shape[1] // 2] if values.ndim == 4 else values


def _histogram(axis: "Axes", line: Line) -> None:
    """Grey: before augmentation; lines: after. The darkest and brightest bin may be high: cut off above."""
    before, edges = np.histogram(line.plain.image, bins=32, range=(0, 1), density=True)
    axis.stairs(before, edges, fill=True, color="#bbbbbb")
    for picture in line.augmented:
        axis.stairs(np.histogram(picture.image, bins=edges, density=True)[0], edges, color="#0b5394", linewidth=0.6)
    axis.set_ylim(0, 1.5 * np.sort(before)[-3] or None)
    axis.set_xticks([0, 1])
    axis.set_yticks([])
    axis.tick_params(labelsize=7)
