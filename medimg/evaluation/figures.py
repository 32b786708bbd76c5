"""The report's figures as SVG with an alternative text that holds the numbers.

Deterministic: no date, a fixed hash salt, layout from matplotlib's own font. Text stays text, so that a browser sets it
in the reader's font. Colours are those of Okabe and Ito 2008, which colour-blind readers can tell apart; line styles
and markers tell them apart in grey as well.
"""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from medimg.evaluation.calibration import Calibration
from medimg.evaluation.metrics import roc
from medimg.evaluation.scores import Scores
from medimg.evaluation.summary import number
from medimg.evaluation.units import Units

INK, QUIET, RULE = "#1c1c1c", "#5c5c5c", "#d9d6cf"
BLUE, VERMILION, SKY = "#0072B2", "#D55E00", "#56B4E9"
FONTS = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"
_POINTS = 400  # corners of a drawn curve at most: more cannot be seen
_STYLE = {
    "svg.hashsalt": "medimg",
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.8,
}


@dataclass(frozen=True)
class Drawing:
    """A figure for the report."""

    uri: str
    """``data:`` address of the SVG: nothing to fetch, and its ids cannot clash with another figure's."""
    alt: str
    caption: str


@contextmanager
def _sheet(width: float, height: float) -> Iterator[Figure]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        yield figure


def _drawing(figure: Figure, alt: str, caption: str) -> Drawing:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue().replace("'DejaVu Sans'", FONTS)
    return Drawing(f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}", alt, caption)


def _square(figure: Figure, label_x: str, label_y: str) -> Axes:
    axes = figure.add_axes((0.175, 0.135, 0.775, 0.83))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=label_x, ylabel=label_y)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(True)
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
    return axes


def roc_curve(units: Units, scores: Scores, threshold: float) -> Drawing | None:
    """ROC curve of test with the operating point and its intervals; None where one class is missing."""
    fpr, tpr, _ = roc(units.truth, units.probability)
    if not len(fpr):
        return None
    keep = np.unique(np.linspace(0, len(fpr) - 1, min(_POINTS, len(fpr))).astype(int))
    found, spared = scores.estimates["sensitivity"], scores.estimates["specificity"]
    area = scores.estimates["auroc"]
    assert found.value is not None and found.low is not None and found.high is not None
    assert spared.value is not None and spared.low is not None and spared.high is not None and area.value is not None
    with _sheet(3.9, 3.7) as figure:
        axes = _square(figure, "False alarms: 1 − specificity", "Found: sensitivity")
        axes.fill_between(fpr[keep], tpr[keep], color=BLUE, alpha=0.07, linewidth=0)
        axes.plot(fpr[keep], tpr[keep], color=BLUE, label=f"test, AUROC {number(area.value)}", solid_joinstyle="miter")
        axes.errorbar(
            1 - spared.value,
            found.value,
            xerr=[[spared.high - spared.value], [spared.value - spared.low]],
            yerr=[[found.value - found.low], [found.high - found.value]],
            color=VERMILION,
            marker="o",
            markersize=7,
            markeredgecolor="white",
            elinewidth=1.2,
            capsize=2.5,
            linestyle="none",
            zorder=4,
            label=f"operating point, threshold {number(threshold, 3)}",
        )
        axes.legend(loc="lower right", borderaxespad=0.8)
        return _drawing(
            figure,
            f"ROC curve of the test part. Area under the curve {number(area.value, 3)}. At the threshold "
            f"{number(threshold, 3)} the sensitivity is {percent(found.value)} and the specificity "
            f"{percent(spared.value)}.",
            "Each point is a threshold. The dot is the one that validation chose; its bars are the intervals of "
            "sensitivity and specificity. The dotted diagonal is guessing.",
        )


def calibration_plot(calibration: Calibration) -> Drawing:
    """Reliability curve of test with Wilson's intervals."""
    bins = calibration.bins
    predicted, observed = np.array([b.predicted for b in bins]), np.array([b.observed for b in bins])
    low, high = np.array([b.low for b in bins]), np.array([b.high for b in bins])
    with _sheet(3.9, 3.7) as figure:
        axes = _square(figure, "Predicted probability", "Observed share of positives")
        axes.errorbar(
            predicted,
            observed,
            yerr=[np.maximum(0, observed - low), np.maximum(0, high - observed)],
            color=BLUE,
            marker="o",
            markersize=5,
            markeredgecolor="white",
            linewidth=1.2,
            elinewidth=1.1,
            capsize=2,
            label="test, by equal counts",
        )
        axes.legend(loc="upper left", borderaxespad=0.8)
        pairs = "; ".join(f"{percent(b.predicted)} → {percent(b.observed)} (n = {b.n})" for b in bins)
        return _drawing(
            figure,
            f"Calibration plot of the test part in {len(bins)} groups, predicted → observed: {pairs}.",
            "Points on the dotted diagonal mean that a probability can be taken at its word. Below it the model is too "
            "sure of a positive, above it not sure enough.",
        )


def score_distribution(units: Units, threshold: float) -> Drawing:
    """Histograms of the probability by class, one above the other."""
    edges = np.linspace(0, 1, 21)
    with _sheet(3.9, 3.7) as figure:
        rows = [(1, "positive", VERMILION, 0.59), (0, "negative", BLUE, 0.135)]
        missed = []
        for truth, name, colour, bottom in rows:
            scores = units.probability[units.truth == truth]
            axes = figure.add_axes((0.175, bottom, 0.775, 0.33))
            share = np.histogram(scores, edges)[0] / max(1, len(scores))
            axes.bar(edges[:-1], share, width=0.05, align="edge", color=colour, edgecolor="white", linewidth=0.5)
            axes.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (4, 2)))
            axes.set(xlim=(0, 1), ylim=(0, max(0.05, float(share.max()) * 1.12)))
            axes.set_title(f"Truly {name} ({len(scores)})", loc="left", fontsize=9, color=colour, weight="bold", pad=4)
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
            axes.yaxis.set_major_locator(MaxNLocator(3))
            axes.set_xticks(np.linspace(0, 1, 6))
            if truth:
                axes.set_xticklabels([])
            else:
                axes.set_xlabel("Probability that the model gives")
                axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
            missed.append(f"{int((scores >= threshold).sum())} of {len(scores)} {name} units are at or above it")
        return _drawing(
            figure,
            f"Histograms of the probability by true class. Threshold {number(threshold, 3)}: {'; '.join(missed)}.",
            "How the model scores the two classes. The dashed line is the threshold: what is right of it is called "
            "positive.",
        )


def learning_curves(history: pd.DataFrame, kept: int) -> Drawing:
    """Losses and validation score by epoch, ``kept`` marked; the files count epochs from 0, the figure from 1."""
    epochs, scores = history["epoch"].to_numpy() + 1, history["validation_score"].to_numpy(float)
    best = int(np.flatnonzero(epochs == kept + 1)[0])
    span = "1 epoch" if len(history) == 1 else f"{len(history)} epochs"
    with _sheet(3.9, 3.9) as figure:
        axes = figure.add_axes((0.175, 0.565, 0.775, 0.40))
        for name, label, colour, dashes in (
            ("train_loss", "training", QUIET, "--"),
            ("validation_loss", "validation", BLUE, "-"),
        ):
            axes.plot(epochs, history[name], dashes, color=colour, label=label, marker=_dot(history))
        _by_epoch(axes, "Loss")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper right", borderaxespad=0.3)
        axes = figure.add_axes((0.175, 0.125, 0.775, 0.35))
        axes.plot(epochs, scores, color=BLUE)
        axes.plot(epochs[best], scores[best], "o", color=VERMILION, markersize=7, markeredgecolor="white")
        _by_epoch(axes, "Validation score")
        axes.set_xlabel("Epoch")
        return _drawing(
            figure,
            f"Learning curves over {span}. The weights kept are those of epoch {epochs[best]}, with a validation score "
            f"of {number(scores[best], 3)}.",
            "Loss and validation score (AUROC) in training. An epoch is one pass over the training images; the dot is "
            "the one whose weights were kept.",
        )


def _by_epoch(axes: Axes, label: str) -> None:
    axes.set_ylabel(label)
    axes.grid(True, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _dot(history: pd.DataFrame) -> str:
    return "o" if len(history) == 1 else ""  # one epoch makes no line


def percent(share: float) -> str:
    """``0.844`` → ``84.4 %``."""
    return f"{100 * share:.1f}\u00a0%"
