"""What an evaluation found, and the files that say so."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from medimg.evaluation.estimate import Estimate, rounded
from medimg.evaluation.intervals import auroc
from medimg.evaluation.metrics import roc
from medimg.evaluation.operating import OperatingPoint
from medimg.evaluation.scores import Scores
from medimg.evaluation.sources import Sources
from medimg.evaluation.units import Units
from medimg.files import publish_folder, write_json, write_text
from medimg.params import Evaluate, Params, Study
from medimg.records import EVALUATION, write_csv


@dataclass(frozen=True)
class Result:
    """Everything that metrics.json, the curves and the report are made of."""

    params: Params
    sources: Sources
    validation: Units
    test: Units
    point: OperatingPoint
    scores: Scores

    @property
    def study(self) -> Study:
        """The block ``study``."""
        return self.params.study

    @property
    def settings(self) -> Evaluate:
        """The block ``evaluate``."""
        return self.params.evaluate

    def auroc_on_validation(self) -> Estimate:
        """AUROC of the part that chose epoch and threshold: flattering, shown beside that of test."""
        part = self.validation
        return auroc(part.truth, part.probability, part.patient, self.settings.confidence)


def write(result: Result) -> None:
    """Publish ``artifacts/evaluation``, whole or not at all."""
    from medimg.evaluation.report import render  # matplotlib and jinja2 only when a report is written

    metrics = metrics_of(result)
    with publish_folder(EVALUATION) as folder:
        write_json(folder / "metrics.json", metrics)
        write_json(folder / "methods.json", _methods(result))
        write_text(folder / "operating.yaml", yaml.safe_dump(_operating(result), sort_keys=False, allow_unicode=True))
        _write_curves(result, folder)
        write_text(folder / "report.html", render(result, metrics))


def metrics_of(result: Result) -> dict[str, Any]:
    """The content of metrics.json: numbers only, but for the headline's name and the reason of what is undefined.

    ``dvc metrics show`` makes a column of each number and drops nulls; how intervals were made is in methods.json.
    """
    test = {name: estimate.as_json() for name, estimate in result.scores.estimates.items()}
    headline = result.study.headline
    return {
        "headline": {"name": headline, "confidence": result.settings.confidence} | test[headline],
        "test": test,
        "validation": {"auroc": result.auroc_on_validation().as_json()},
        "threshold": rounded(result.point.threshold),
        "counts": {"test": _counts(result.test), "validation": _counts(result.validation)},
    }


def _counts(units: Units) -> dict[str, int]:
    return {
        "patients": units.patients,
        "units": len(units),
        "images": units.images,
        "positive": units.positive,
        "positive_patients": units.patients_with(1),
        "negative_patients": units.patients_with(0),
    }


def _methods(result: Result) -> dict[str, str]:
    return {name: estimate.method for name, estimate in result.scores.estimates.items() if estimate.method}


def _operating(result: Result) -> dict[str, Any]:
    """The content of operating.yaml. The threshold is not rounded: it must decide as it did here."""
    study, point, validation = result.study, result.point, result.validation
    return {
        "task": study.task,
        "label": study.label,
        "positive": study.positive,
        "unit": study.unit,
        "aggregate": result.settings.aggregate,
        "rule": point.rule,
        "target": point.target,
        "threshold": float(point.threshold),
        "positive_if": "probability >= threshold",
        "reached": point.reached,
        "note": point.note or None,
        "validation": {
            "sensitivity": rounded(point.sensitivity),
            "specificity": rounded(point.specificity),
            "patients": validation.patients,
            "units": len(validation),
            "positive": validation.positive,
        },
        "confidence": result.settings.confidence,
    }


def _write_curves(result: Result, folder: Path) -> None:
    names = ["fpr", "tpr", "threshold"]
    curve = pd.DataFrame(dict(zip(names, roc(result.test.truth, result.test.probability), strict=True)))
    write_csv(folder / "roc.csv", curve.round(6), names)
    names = ["predicted", "observed", "low", "high", "n"]
    bins = pd.DataFrame([vars(entry) for entry in result.scores.calibration.bins], columns=names)
    write_csv(folder / "calibration.csv", bins.round(6), names)
