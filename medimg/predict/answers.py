"""From logits to what is written down: probabilities, calibrated ones, decisions at the thresholds of the bundle."""

from typing import Any

import numpy as np
import pandas as pd

from medimg.evaluation.frozen import Frozen
from medimg.evaluation.tasks import judge_of
from medimg.evaluation.units import KEYS, Cases, cases_of
from medimg.params import Params
from medimg.predict.look import Look
from medimg.records import Predictions
from medimg.tasks import Task

FIRST = ["sample", "patient", "study", "frame"]


def answers(
    rows: pd.DataFrame, logits: np.ndarray, task: Task, params: Params, frozen: Frozen
) -> dict[str, pd.DataFrame]:
    """The tables by file name: ``predictions``, a row an image; ``units``, where these are no images.

    Args:
        rows: ``sample``, ``patient``, ``study``, ``frame``, ``distance`` and ``flags`` of each image.
        logits: ``(N, K)`` float64.
        task: what the outputs mean.
        params: of the bundle.
        frozen: its operating point.
    """
    unit = params.study.unit
    truths = len(params.study.columns)
    unknown = np.full((len(rows), truths), np.nan)
    about = rows.assign(part="new", fold=None, weights="")
    scored = Predictions(about, unknown, logits, task.probabilities(logits))
    code = rows.groupby(KEYS[unit], sort=True, dropna=False).ngroup().to_numpy()
    each = cases_of(scored, task, "image", params.evaluate.aggregate, "new")
    place = rows["sample"].rank(method="first").astype(int).to_numpy() - 1  # cases are sorted by their keys
    together = cases_of(scored, task, unit, params.evaluate.aggregate, "new")
    decided = _decisions(together, task, params, frozen)
    images = {name: values[place] for name, values in _numbers(each, task, frozen).items()}
    images |= {name: values[code] for name, values in decided.items()}
    table = pd.concat([rows[FIRST], pd.DataFrame(images), rows[["distance", "flags"]]], axis=1)
    if unit == "image":
        return {"predictions": table}
    groups = rows.groupby(KEYS[unit], sort=True, dropna=False)
    keys = groups.agg(
        images=("sample", "size"), flagged=("flags", lambda flags: int((flags != "").sum()))
    ).reset_index()
    units = pd.concat([keys, pd.DataFrame(_numbers(together, task, frozen) | decided)], axis=1)
    return {"predictions": table, "units": units}


def called(page: list[Look], logits: np.ndarray, task: Task, params: Params, frozen: Frozen) -> np.ndarray | None:
    """``(N, K)`` bool: which questions the thresholds answer with yes about each image alone; None: there are none.

    Args:
        page: images, sorted by sample.
        logits: ``(N, K)`` float64.
        task: what the outputs mean.
        params: of the bundle.
        frozen: its operating point.
    """
    if not frozen.points:
        return None
    about = pd.DataFrame([{"sample": one.sample, "patient": one.patient, "study": one.study} for one in page])
    unknown = np.full((len(page), len(params.study.columns)), np.nan)
    scored = Predictions(about, unknown, logits, task.probabilities(logits))
    cases = cases_of(scored, task, "image", params.evaluate.aggregate, "new")
    return judge_of(params.study).called(frozen.corrected(cases), frozen.points)


def _numbers(cases: Cases, task: Task, frozen: Frozen) -> dict[str, np.ndarray]:
    """Probability of each output, and, where the bundle has a correction, the calibrated one; or a value."""
    if not task.questions(cases.truth).shape[1]:
        return {_column("value", name, task): cases.probability[:, k] for k, name in enumerate(task.names)}
    found = {_column("probability", name, task): cases.probability[:, k] for k, name in enumerate(task.names)}
    if frozen.recalibration:
        better = frozen.recalibration.apply(cases).probability
        found |= {_column("calibrated", name, task): better[:, k] for k, name in enumerate(task.names)}
    return found


def _decisions(cases: Cases, task: Task, params: Params, frozen: Frozen) -> dict[str, np.ndarray]:
    """The answer to each question in a word; of exclusive classes, the class."""
    called = judge_of(params.study).called(frozen.corrected(cases), frozen.points)
    if not called.shape[1]:
        return {}
    if params.study.classes:
        return {"decision": np.array(task.names)[called.argmax(axis=1)]}
    return {
        _column("decision", name, task): np.where(called[:, k], "positive", "negative")
        for k, name in enumerate(task.names)
    }


def _column(what: str, name: str, task: Task) -> str:
    return what if len(task.names) == 1 else f"{what}_{name}"


def thresholds(frozen: Frozen) -> dict[str, Any]:
    """Question → threshold, and what it is taken on."""
    return {
        "taken_on": "calibrated" if frozen.applied else "probability",
        "thresholds": {name: float(point.threshold) for name, point in frozen.points.items()},
    }
