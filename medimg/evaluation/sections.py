"""What the general sections of the report say; each is shown by the partial of its name in ``template/sections``."""

from collections.abc import Callable
from typing import Any

from medimg.evaluation import curves, figures
from medimg.evaluation.card import card, checklists
from medimg.evaluation.estimate import Estimate
from medimg.evaluation.flow import flow as drawn
from medimg.evaluation.repeat import repeat
from medimg.evaluation.result import Question, Result
from medimg.evaluation.summary import cut, number
from medimg.evaluation.words import PERCENTAGES, REFUSALS, RULES, words_of

COLUMNS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
}
"""What the table of several questions shows, and what it is called there."""
MOST_FIGURES = 24  # decision curves at most: a report of a hundred labels would be all curves

Content = dict[str, Any] | None
"""What a partial calls ``s``; None: this result has no such section."""


def flow(result: Result) -> Content:
    """Where the patients went."""
    sources = result.sources
    return drawn(sources.ingest, sources.split, sources.parts["patient"].nunique())


def discrimination(result: Result) -> Content:
    """Telling apart: curves and the table of decisions."""
    if not result.questions:
        return None
    alone = result.questions[0] if len(result.questions) == 1 else None
    return {
        "roc": curves.roc_curve(result.questions),
        "pr": curves.precision_recall_curve(result.questions),
        "distribution": figures.score_distribution(alone) if alone else None,
        "table": alone.scores.table if alone else None,
        "matrix": _matrix(result),
        "rule": _rule(alone) if alone else "",
        "point": result.point,
    }


def _matrix(result: Result) -> list[tuple[str, list[int]]]:
    """True class → units by chosen class; empty where there are no classes that exclude each other."""
    truth = result.task.questions(result.test.truth) > 0
    if len(result.questions) < 2 or not ((truth.sum(axis=1) == 1) & (result.called.sum(axis=1) == 1)).all():
        return []
    counts = truth.T.astype(int) @ result.called.astype(int)
    return [(name, row.tolist()) for name, row in zip(result.task.names, counts, strict=True)]


def _rule(question: Question) -> str:
    assert question.point is not None
    target = question.point.target
    shown = "" if target is None else f"{target:g}" if question.point.rule == "cost" else share(target)
    return RULES[question.point.rule].format(target=shown)


def agreement(result: Result) -> Content:
    """Of a number: predicted against true."""
    if result.questions or result.study.range is None:
        return None
    scatter, differences = figures.agreement(result.test, *result.study.range)
    return {"scatter": scatter, "differences": differences}


def numbers(result: Result) -> Content:
    """Every metric with its interval."""
    several = len(result.questions) > 1
    prevalence = share(result.study.prevalence)
    return {
        "rows": rows(result.estimates, result.study.task, prevalence),
        "columns": list(COLUMNS.values()) if several else [],
        "questions": [_line(question) for question in result.questions] if several else [],
        "all": [(q.name, rows(q.scores.estimates, "", prevalence)) for q in result.questions] if several else [],
        "positive": result.questions[0].test.positive / len(result.test) if len(result.questions) == 1 else None,
        "own": words_of(next(iter(result.estimates)), result.study.task)[0],
        "on_validation": result.validation.own,
    }


def _line(question: Question) -> dict[str, Any]:
    point = question.point
    return {
        "name": question.name,
        "units": len(question.test),
        "positive": question.test.positive,
        "threshold": None if point is None else cut(point.threshold),
        "cells": [as_text(question.scores.estimates[name], name in PERCENTAGES) for name in COLUMNS],
    }


def calibration(result: Result) -> Content:
    """Whether a probability can be taken at its word, before and after the recalibration."""
    if not result.questions:
        return None
    return {
        "figure": curves.calibration_plot(result.questions),
        "questions": result.questions,
        "recalibration": result.frozen.recalibration,
        "applied": result.frozen.applied,
        "text": as_text,
    }


def decision(result: Result) -> Content:
    """Whether using the model does more good than treating all or none, in test and where it is to be used."""
    prevalence = result.study.prevalence
    places = [(None, "")] if prevalence is None else [(None, "in test"), (prevalence, f"at {share(prevalence)}")]
    most, shown = MOST_FIGURES // len(places), []
    for question in result.questions[:most]:
        named = question.name if len(result.questions) > 1 else ""
        for at, words in places:
            drawing = curves.decision_curve(question, at, ", ".join(filter(None, (named, words))))
            shown += [drawing] if drawing else []
    return {"figures": shown, "left_out": max(0, len(result.questions) - most)} if shown else None


def training(result: Result) -> Content:
    """How it was trained, and by whom; where it was trained elsewhere, the report of that study says it."""
    if result.external:
        return None
    sources, model, account = result.sources, result.sources.model, result.sources.training
    kept = [member["epoch"] for member in model["members"]]
    networks = {} if len(kept) == 1 else {"Networks": f"{len(kept)}, one without each fold; they answer together"}
    return {
        "figure": figures.learning_curves(sources.history, kept, result.task.score_name),
        "facts": {
            "Network": model["name"],
            **networks,
            "Channels": str(model["channels"]),
            "Pixels a side": str(model["size"]),
            "Learned numbers": f"{model['parameters']:,}",
            "Started": started(model["transferred"]),
            "Epochs": str(len(sources.history)),
            "Best epoch": ", ".join(str(epoch + 1) for epoch in kept),
            "Training time": _duration(float(sources.history["seconds"].sum())),
            "Speed": f"{account['images_a_second']:,.0f} images a second",
            "Waiting for data": f"{100 * account['waiting_for_data']:.1f}\u00a0% of the time",
        },
        "warnings": [*account["warnings"], *([account["stopped"]] if account["stopped"] else [])],
        "workers": sources.workers,
    }


def quarantine(result: Result) -> Content:
    """Images that were refused, and why."""
    found = refusals(result)
    return {"refusals": found} if found else None


SECTIONS: list[tuple[str, Callable[[Result], Content]]] = [
    ("flow", flow),
    ("discrimination", discrimination),
    ("agreement", agreement),
    ("numbers", numbers),
    ("calibration", calibration),
    ("decision", decision),
]
"""In the order of the report; sections of their own (``Result.sections``) stand after these."""

BACKGROUND: list[tuple[str, Callable[[Result], Content]]] = [
    ("training", training),
    ("quarantine", quarantine),
    ("card", card),
    ("checklists", checklists),
    ("repeat", repeat),
]
"""What stands after all that is about results."""


def rows(estimates: dict[str, Estimate], task: str, prevalence: str) -> list[dict[str, str]]:
    """A table of metrics as text; ``task`` tells how a metric of several questions is called."""
    found = []
    for name, estimate in estimates.items():
        title, meaning = (text.format(prevalence=prevalence) for text in words_of(name, task))
        found.append({"title": title, "meaning": meaning, **as_text(estimate, name in PERCENTAGES)})
    return found


def as_text(estimate: Estimate, share: bool = False) -> dict[str, str]:
    """Value, interval and how it was made, for people to read; ``share``: as per cent."""

    def text(value: float) -> str:
        return f"{100 * value:.1f}" if share else number(value, 3)

    unit = "\u00a0%" if share else ""
    value = "undefined" if estimate.value is None else text(estimate.value) + unit
    ends = "—"
    if estimate.low is not None and estimate.high is not None:
        joint = " to " if estimate.low < 0 else "–"
        ends = f"{text(estimate.low)}{joint}{text(estimate.high)}{unit}"
    how = estimate.reason[:1].upper() + estimate.reason[1:] if estimate.reason else estimate.method
    return {"value": value, "interval": ends, "how": how or "no interval"}


def refusals(result: Result) -> list[tuple[str, int, str]]:
    """Code, images and sentence of each reason for quarantine, the most frequent first."""
    ordered = sorted(result.sources.ingest["by_code"].items(), key=lambda item: (-item[1], item[0]))
    return [(code, count, REFUSALS.get(code, "")) for code, count in ordered]


def started(transferred: dict[str, Any] | None) -> str:
    """Where the weights began."""
    if transferred is None:
        return "from scratch"
    loaded, adapted, skipped = (len(transferred[name]) for name in ("loaded", "adapted", "skipped"))
    return (
        f"from the weights of another training, {loaded + adapted + skipped} tensors in all: {loaded} loaded, "
        f"{adapted} adapted from colour to grey, {skipped} skipped and started from scratch"
    )


def share(value: float | None) -> str:
    """``0.02`` → ``2 %``; empty for None."""
    return "" if value is None else f"{100 * value:g}\u00a0%"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
