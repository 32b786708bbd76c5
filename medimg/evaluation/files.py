"""The files of ``artifacts/evaluation``: metrics, methods, cautions, operating point, the figures' data, the report."""

from typing import Any

import numpy as np
import pandas as pd
import yaml

from medimg.evaluation.cautions import cautions
from medimg.evaluation.estimate import Estimate, rounded
from medimg.evaluation.frozen import as_yaml
from medimg.evaluation.metrics import net_benefit, precision_recall, roc
from medimg.evaluation.result import Result
from medimg.evaluation.units import Units, counts_of
from medimg.files import publish_folder, write_json, write_text
from medimg.params.study import HEADLINES
from medimg.records import EVALUATION, write_csv

POINTS = 400  # of a curve at most: more cannot be seen
_SIGN = ("negative", "positive")
LIMITS = np.round(np.arange(0.01, 1.0, 0.01), 2)
"""Probabilities at which the decision curve is reckoned."""


def write(result: Result) -> None:
    """Publish ``artifacts/evaluation``, whole or not at all."""
    from medimg.evaluation.report import render  # matplotlib and jinja2 only when a report is written

    metrics = metrics_of(result)
    with publish_folder(EVALUATION) as folder:
        write_json(folder / "metrics.json", metrics)
        write_json(folder / "methods.json", _methods(result))
        write_json(folder / "cautions.json", [caution._asdict() for caution in cautions(result)])
        operating = as_yaml(result.frozen, result.study, result.settings, result.validation.counts)
        write_text(folder / "operating.yaml", yaml.safe_dump(operating, sort_keys=False, allow_unicode=True))
        for name, (table, columns) in curves(result).items():
            write_csv(folder / f"{name}.csv", table.round(6), columns)
        for section in result.sections:
            if section.file:
                write_json(folder / section.file, section.plain)
        write_text(folder / "report.html", render(result, metrics))


def metrics_of(result: Result) -> dict[str, Any]:
    """The content of metrics.json: numbers only, but for the headline's name and the reason of what is undefined.

    ``dvc metrics show`` makes a column of each number and drops nulls; how intervals were made is in methods.json.
    Several questions stand under ``questions``, each by its name; one alone is ``test``.
    """
    several = len(result.questions) > 1
    return {
        "headline": {"name": result.study.headline, "confidence": result.settings.confidence}
        | result.headline.as_json(),
        "test": _plain(result.estimates),
        **({"questions": {q.name: _plain(q.scores.estimates) for q in result.questions}} if several else {}),
        "validation": {HEADLINES[result.study.task][0]: result.validation.own.as_json()},
        "recalibration": {
            q.name: {"before": q.before.as_json(), "after": q.after.as_json() if q.after else None}
            for q in result.questions
        },
        "thresholds": {name: rounded(point.threshold) for name, point in result.frozen.points.items()},
        "counts": {"test": counts_of(result.test), "validation": result.validation.counts},
    }


def _plain(estimates: dict[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.as_json() for name, estimate in estimates.items()}


def _methods(result: Result) -> dict[str, Any]:
    def methods(estimates: dict[str, Estimate]) -> dict[str, str]:
        return {name: estimate.method for name, estimate in estimates.items() if estimate.method}

    several = {q.name: methods(q.scores.estimates) for q in result.questions} if len(result.questions) > 1 else {}
    return methods(result.estimates) | ({"questions": several} if several else {})


def curves(result: Result) -> dict[str, tuple[pd.DataFrame, list[str]]]:
    """The data of the figures, file → table and columns; a file without rows where the task has no such figure."""
    tables: dict[str, list[pd.DataFrame]] = {"roc": [], "pr": [], "calibration": [], "decision": []}
    for question in result.questions:
        found = _of_question(question.test, result.study.prevalence)
        found["calibration"] = pd.DataFrame([vars(entry) for entry in question.scores.calibration.bins])
        for name, table in found.items():
            tables[name].append(table.assign(question=question.name))
    columns = {
        "roc": ["question", "fpr", "tpr", "threshold"],
        "pr": ["question", "recall", "precision", "threshold"],
        "calibration": ["question", "predicted", "observed", "low", "high", "n"],
        "decision": ["question", "limit", "model", "all", "none", "model_in_test", "all_in_test"],
    }
    stacked = {
        name: (pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns[name]), columns[name])
        for name, parts in tables.items()
    }
    return stacked | {"answers": (_answers(result), ["truth", "answer"])}


def _of_question(units: Units, prevalence: float | None) -> dict[str, pd.DataFrame]:
    fpr, tpr, threshold = thinned(*roc(units.truth, units.probability))
    recall, precision, limit = thinned(*precision_recall(units.truth, units.probability))
    benefit, in_test = (net_benefit(units.truth, units.probability, LIMITS, at) for at in (prevalence, None))
    own = float(units.truth.mean())
    everyone, all_in_test = (
        share - (1 - share) * LIMITS / (1 - LIMITS) for share in (own if prevalence is None else prevalence, own)
    )
    drawn = np.isfinite(benefit)
    decision = {"limit": LIMITS, "model": benefit, "all": everyone, "none": 0.0}
    return {
        "roc": pd.DataFrame({"fpr": fpr, "tpr": tpr, "threshold": threshold}),
        "pr": pd.DataFrame({"recall": recall, "precision": precision, "threshold": limit}),
        "decision": pd.DataFrame(decision | {"model_in_test": in_test, "all_in_test": all_in_test})[drawn],
    }


def thinned(*columns: np.ndarray) -> list[np.ndarray]:
    """The columns of a curve with at most ``POINTS`` rows, first and last kept."""
    count = len(columns[0])
    keep = np.unique(np.linspace(0, count - 1, min(POINTS, count)).astype(int)) if count else np.empty(0, int)
    return [column[keep] for column in columns]


def _answers(result: Result) -> pd.DataFrame:
    """What each unit is and what the model says it is, in words; of several labels, a row for each that is known."""
    test = result.test
    if test.truth.shape[1] > 1:
        rows = [
            (f"{question.name} {_SIGN[int(truth)]}", f"{question.name} {_SIGN[int(called)]}")
            for question in result.questions
            for truth, called in zip(question.test.truth, question.called, strict=True)
        ]
        return pd.DataFrame(rows, columns=["truth", "answer"])
    if len(result.questions) == 1:
        said = result.called.astype(np.float64)
    elif result.questions:
        said = result.called.argmax(axis=1)[:, None].astype(np.float64)
    else:
        said = test.probability
    return pd.DataFrame({"truth": test.task.describe(test.truth), "answer": test.task.describe(said)})
