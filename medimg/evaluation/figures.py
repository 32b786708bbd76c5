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
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from medimg.evaluation.result import Question
from medimg.evaluation.summary import cut, number
from medimg.evaluation.units import Cases

INK, QUIET, RULE = "#1c1c1c", "#5c5c5c", "#d9d6cf"
BLUE, VERMILION, SKY = "#0072B2", "#D55E00", "#56B4E9"
FONTS = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"
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
def sheet(width: float, height: float) -> Iterator[Figure]:
    """An empty figure in the report's style, ``width`` × ``height`` inches."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        yield figure


def drawing(figure: Figure, alt: str, caption: str) -> Drawing:
    """The finished figure as the report holds it."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue().replace("'DejaVu Sans'", FONTS)
    return Drawing(f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}", alt, caption)


def score_distribution(question: Question) -> Drawing:
    """Histograms of the probability by class, one above the other."""
    units, point, edges = question.test, question.point, np.linspace(0, 1, 21)
    assert point is not None
    with sheet(3.9, 3.7) as figure:
        rows = [(1, "positive", VERMILION, 0.59), (0, "negative", BLUE, 0.135)]
        missed = []
        for truth, name, colour, bottom in rows:
            scores = units.probability[units.truth == truth]
            axes = figure.add_axes((0.175, bottom, 0.775, 0.33))
            share = np.histogram(scores, edges)[0] / max(1, len(scores))
            axes.bar(edges[:-1], share, width=0.05, align="edge", color=colour, edgecolor="white", linewidth=0.5)
            axes.axvline(point.threshold, color=INK, linewidth=1, linestyle=(0, (4, 2)))
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
            called = int((scores >= point.threshold).sum())
            missed.append(f"{called} of {len(scores)} {name} units are at or above it")
        return drawing(
            figure,
            f"Histograms of the probability by true class. Threshold {cut(point.threshold)}: {'; '.join(missed)}.",
            "How the model scores the two classes. The dashed line is the threshold: what is right of it is called "
            "positive.",
        )


def agreement(cases: Cases, low: float, high: float) -> tuple[Drawing, Drawing]:
    """Predicted against true numbers, and the differences against their mean (Bland and Altman 1986)."""
    keep = np.unique(np.linspace(0, len(cases) - 1, min(2000, len(cases))).astype(int))
    truth, said = cases.truth[keep, 0], cases.probability[keep, 0]
    error = cases.probability[:, 0] - cases.truth[:, 0]
    mean, spread = float(error.mean()), float(error.std(ddof=1)) if len(error) > 1 else 0.0
    dots: dict[str, Any] = {
        "marker": "o",
        "markersize": 3.5,
        "linestyle": "none",
        "color": BLUE,
        "alpha": 0.55,
        "markeredgewidth": 0,
    }
    with sheet(3.9, 3.7) as figure:
        axes = figure.add_axes((0.175, 0.135, 0.775, 0.83))
        axes.plot([low, high], [low, high], color=QUIET, linewidth=0.9, linestyle=(0, (2, 3)))
        axes.plot(truth, said, **dots)
        axes.set(xlabel="True value", ylabel="Predicted value")
        axes.grid(True)
        scatter = drawing(
            figure,
            f"Predicted against true values of {len(cases)} units of test.",
            "Each dot is a unit; on the dotted diagonal the prediction is right.",
        )
    with sheet(3.9, 3.7) as figure:
        axes = figure.add_axes((0.175, 0.135, 0.775, 0.83))
        axes.plot((truth + said) / 2, said - truth, **dots)
        for level, style in ((mean, "-"), (mean - 1.96 * spread, "--"), (mean + 1.96 * spread, "--")):
            axes.axhline(level, color=VERMILION, linewidth=1.2, linestyle=style)
        axes.set(xlabel="Mean of true and predicted value", ylabel="Predicted less true value")
        axes.grid(True)
        limits = f"{number(mean - 1.96 * spread)} to {number(mean + 1.96 * spread)}"
        return scatter, drawing(
            figure,
            f"Differences between predicted and true value; mean {number(mean)}, limits of agreement {limits}.",
            f"The solid line is the mean difference ({number(mean)}); between the dashed lines ({limits}) lie 95 % of "
            "the differences where they are normal.",
        )


def learning_curves(history: pd.DataFrame, kept: list[int], score_name: str = "AUROC") -> Drawing:
    """Losses and validation score by epoch, of each network of a cross-validation; ``kept`` epochs are marked.

    The files count epochs from 0, the figure from 1.
    """
    networks = [rows for _, rows in history.groupby("fold" if "fold" in history else np.zeros(len(history)))]
    longest = max(len(rows) for rows in networks)
    span = "1 epoch" if longest == 1 else f"{longest} epochs"
    with sheet(3.9, 3.9) as figure:
        above, below = figure.add_axes((0.175, 0.565, 0.775, 0.40)), figure.add_axes((0.175, 0.125, 0.775, 0.35))
        best = []
        for rows, at in zip(networks, kept, strict=True):
            epochs, scores = rows["epoch"].to_numpy() + 1, rows["validation_score"].to_numpy(float)
            for name, label, colour, dashes in (
                ("train_loss", "training", QUIET, "--"),
                ("validation_loss", "validation", BLUE, "-"),
            ):
                said = label if rows is networks[0] else None
                above.plot(epochs, rows[name], dashes, color=colour, label=said, marker=_dot(rows))
            below.plot(epochs, scores, color=BLUE)
            best.append(float(scores[epochs == at + 1][0]))
            below.plot(at + 1, best[-1], "o", color=VERMILION, markersize=7, markeredgecolor="white")
        _by_epoch(above, "Loss")
        above.set_ylim(bottom=0)
        above.legend(loc="upper right", borderaxespad=0.3)
        _by_epoch(below, "Validation score")
        below.set_xlabel("Epoch")
        if len(networks) == 1:
            what = f"Learning curves over {span}. The weights kept are those of epoch {kept[0] + 1}, with a validation "
            what += f"score of {number(best[0], 3)}."
        else:
            what = f"Learning curves of {len(networks)} networks over up to {span}. The weights kept have validation "
            what += f"scores of {number(min(best), 3)} to {number(max(best), 3)}."
        return drawing(
            figure,
            what,
            f"Loss and validation score ({score_name}) in training. An epoch is one pass over the training images; the "
            "dot is the one whose weights were kept.",
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
