"""The report's curves of yes-or-no questions: one alone, or several in one figure."""

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from medimg.evaluation.figures import BLUE, INK, QUIET, SKY, VERMILION, Drawing, drawing, percent, sheet
from medimg.evaluation.files import LIMITS, thinned
from medimg.evaluation.metrics import net_benefit, precision_recall, roc
from medimg.evaluation.result import Question
from medimg.evaluation.summary import cut, number

Curve = tuple[Question, np.ndarray, np.ndarray]
LINES: list[dict[str, Any]] = [
    {"color": colour, "linestyle": style}
    for style in ("-", "--", ":")
    for colour in (BLUE, VERMILION, "#009E73", "#CC79A7", "#A67C00", SKY, INK)
]


def _square(figure: Figure, label_x: str, label_y: str, curves: int) -> Axes:
    tall = 3.7 + _legend_height(curves)
    axes = figure.add_axes((0.175, 1 - 3.2 / tall, 0.775, 3.07 / tall))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=label_x, ylabel=label_y)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(True)
    return axes


def roc_curve(questions: Sequence[Question]) -> Drawing | None:
    """ROC curves of test; of one question with its operating point. None where every question lacks a class."""
    curves = _curves(questions, roc)
    if not curves:
        return None
    with sheet(3.9, 3.7 + _legend_height(len(curves))) as figure:
        axes = _square(figure, "False alarms: 1 − specificity", "Found: sensitivity", len(curves))
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
        for (question, fpr, tpr), line in zip(curves, cycle(LINES)):
            axes.plot(fpr, tpr, **line, label=_named(question, curves, "auroc"), solid_joinstyle="miter")
        if len(curves) == 1:
            axes.fill_between(curves[0][1], curves[0][2], color=BLUE, alpha=0.07, linewidth=0)
        dots = [_dot_of(axes, question, len(curves) == 1) for question, *_ in curves]
        _legend(figure, axes, len(curves), "lower right")
        areas = "; ".join(_named(question, curves, "auroc") for question, *_ in curves)
        return drawing(
            figure,
            f"ROC curve of the test part. {areas}. {' '.join(dots)}",
            "Each point of a curve is a threshold. The dot is the decision that the numbers are about; its bars are "
            "the intervals of sensitivity and specificity. The dotted diagonal is guessing."
            if len(curves) == 1
            else "Each point of a curve is a threshold, its dot the decision that the numbers are about. The dotted "
            "diagonal is guessing.",
        )


def _curves(questions: Sequence[Question], of: Callable[..., Sequence[np.ndarray]]) -> list[Curve]:
    """The curve of each question that has one."""
    drawn = [(q, thinned(*of(q.test.truth, q.test.probability))) for q in questions]
    return [(question, points[0], points[1]) for question, points in drawn if len(points[0])]


def _dot_of(axes: Axes, question: Question, alone: bool) -> str:
    """Mark the decision on a ROC curve; what it is, in words."""
    found, spared = (question.scores.estimates[name] for name in ("sensitivity", "specificity"))
    assert found.value is not None and found.low is not None and found.high is not None
    assert spared.value is not None and spared.low is not None and spared.high is not None
    bars: dict[str, Any] = {
        "xerr": [[spared.high - spared.value], [spared.value - spared.low]],
        "yerr": [[found.value - found.low], [found.high - found.value]],
    }
    label = f"threshold {cut(question.point.threshold)}" if question.point else "most probable class"
    axes.errorbar(
        1 - spared.value,
        found.value,
        **(bars if alone else {}),
        color=VERMILION if alone else INK,
        marker="o",
        markersize=7 if alone else 4,
        markeredgecolor="white",
        elinewidth=1.2,
        capsize=2.5,
        linestyle="none",
        zorder=4,
        label=label if alone else "_",
    )
    return (
        f"{'' if alone else question.name + ': '}{label}: sensitivity {percent(found.value)}, specificity "
        f"{percent(spared.value)}."
    )


def precision_recall_curve(questions: Sequence[Question]) -> Drawing | None:
    """Precision-recall curves of test. None where every question lacks a class."""
    curves = _curves(questions, precision_recall)
    if not curves:
        return None
    with sheet(3.9, 3.7 + _legend_height(len(curves))) as figure:
        axes = _square(figure, "Found: sensitivity (recall)", "Right alarms: PPV (precision)", len(curves))
        for (question, recall, precision), line in zip(curves, cycle(LINES)):
            axes.plot(recall, precision, **line, drawstyle="steps-pre", label=_named(question, curves, "auprc"))
            share = question.test.positive / len(question.test)
            axes.axhline(share, color=line["color"], linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
        _legend(figure, axes, len(curves), "lower left")
        areas = "; ".join(
            f"{_named(q, curves, 'auprc')}, share of positives {percent(q.test.positive / len(q.test))}"
            for q, *_ in curves
        )
        return drawing(
            figure,
            f"Precision-recall curve of the test part. {areas}.",
            "How many alarms are right when more is to be found. The dotted line is guessing: the share of positives "
            "in test.",
        )


def calibration_plot(questions: Sequence[Question]) -> Drawing | None:
    """Reliability curves of test with Wilson's intervals; None without a question."""
    if not questions:
        return None
    alone = len(questions) == 1
    with sheet(3.9, 3.7 + _legend_height(len(questions))) as figure:
        axes = _square(figure, "Predicted probability", "Observed share of positives", len(questions))
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
        words = []
        for question, line in zip(questions, cycle(LINES)):
            bins = question.scores.calibration.bins
            observed = np.array([b.observed for b in bins])
            bars = [
                np.maximum(0, observed - [b.low for b in bins]),
                np.maximum(0, np.array([b.high for b in bins]) - observed),
            ]
            axes.errorbar(
                [b.predicted for b in bins],
                observed,
                yerr=bars if alone else None,
                marker="o",
                markersize=5 if alone else 3.5,
                markeredgecolor="white" if alone else line["color"],
                elinewidth=1.1,
                capsize=2,
                label="test, by equal counts" if alone else question.name,
                **line | {"linewidth": 1.2},
            )
            pairs = "; ".join(f"{percent(b.predicted)} → {percent(b.observed)} (n = {b.n})" for b in bins)
            words.append(f"{'' if alone else question.name + ': '}{len(bins)} groups, predicted → observed: {pairs}.")
        _legend(figure, axes, len(questions), "upper left")
        return drawing(
            figure,
            f"Calibration plot of the test part. {' '.join(words)}",
            "Points on the dotted diagonal mean that a probability can be taken at its word. Below it the model is too "
            "sure of a positive, above it not sure enough.",
        )


def decision_curve(question: Question, prevalence: float | None, title: str) -> Drawing | None:
    """Net benefit of the model against calling all, or none, positive; None where a class is missing.

    Args:
        question: with the units of test.
        prevalence: share of positives that it is reckoned for; None: that of test.
        title: above the figure, where there are several; empty for one.
    """
    truth, probability = question.test.truth, question.test.probability
    model = net_benefit(truth, probability, LIMITS, prevalence)
    if not np.isfinite(model).all():
        return None
    share = float(truth.mean()) if prevalence is None else prevalence
    everyone = share - (1 - share) * LIMITS / (1 - LIMITS)
    with sheet(3.9, 3.0) as figure:
        axes = figure.add_axes((0.225, 0.165, 0.715, 0.74))  # at a low prevalence the numbers have three decimals
        axes.plot(LIMITS, model, color=BLUE, label="use the model")
        axes.plot(LIMITS, everyone, color=VERMILION, linestyle="--", label="treat all")
        axes.axhline(0, color=INK, linewidth=1, linestyle=":", label="treat none")
        top = max(float(model.max()), share)
        axes.set(xlim=(0, 1), ylim=(-0.25 * top, 1.1 * top), xlabel="Probability from which one would act")
        axes.set_ylabel("Net benefit a unit")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.grid(True)
        axes.legend(loc="upper right", borderaxespad=0.3)
        if title:
            axes.set_title(title, loc="left", fontsize=9, weight="bold")
        best = LIMITS[model > np.maximum(everyone, 0) + 1e-12]
        where = f"from {percent(best.min())} to {percent(best.max())}" if len(best) else "nowhere"
        return drawing(
            figure,
            f"Decision curve{', ' + title if title else ''}: where {percent(share)} are positive, the model has more "
            f"net benefit than treating all or none {where}.",
            f"True positives less false ones, weighed by the probability from which one would act, where "
            f"{percent(share)} are positive. Above both other lines the model helps.",
        )


def _named(question: Question, curves: Sequence[Curve], metric: str) -> str:
    area = question.scores.estimates[metric]
    name = {"auroc": "AUROC", "auprc": "AUPRC"}[metric]
    text = (
        f"{name} {number(area.value, 3 if len(curves) > 1 else 2)}" if area.value is not None else f"{name} undefined"
    )
    return f"{'test' if len(curves) == 1 else question.name}, {text}"


def _legend_height(count: int) -> float:
    return 0.0 if count == 1 else 0.2 + 0.17 * count


def _legend(figure: Figure, axes: Axes, count: int, place: str) -> None:
    """Inside for one curve, below the axes for several."""
    if count == 1:
        axes.legend(loc=place, borderaxespad=0.8)
    else:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0.0, 0.0),
            bbox_transform=figure.transFigure,
            borderaxespad=0.5,
            fontsize=8,
        )
