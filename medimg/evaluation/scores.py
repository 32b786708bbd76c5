"""All metrics of the test part, each with its interval: what metrics.json and the report's table show."""

from dataclasses import dataclass

import numpy as np

from medimg.evaluation import bootstrap
from medimg.evaluation.calibration import Calibration, calibrate
from medimg.evaluation.estimate import Estimate, undefined
from medimg.evaluation.intervals import BAYES, MOVER, auroc, mean_of_two, proportion
from medimg.evaluation.metrics import (
    Confusion,
    average_precision,
    confusion,
    decide,
    log_losses,
    squared_errors,
)
from medimg.evaluation.units import Units
from medimg.params import Study

NO_POSITIVE = "test holds no positive unit"
NO_NEGATIVE = "test holds no negative unit"


@dataclass(frozen=True)
class Scores:
    """What one part shows at one threshold."""

    estimates: dict[str, Estimate]
    """Metric → estimate, in the order of the report's table."""
    table: Confusion
    calibration: Calibration


def score(units: Units, threshold: float, study: Study, confidence: float) -> Scores:
    """Every metric of ``units`` (test) with its interval over patients."""
    called = decide(units.probability, threshold)
    table = confusion(units.truth, called)
    calibration = calibrate(units, confidence, study.seed)
    shares = _shares(units, called, confidence)
    drawn = bootstrap.replicates(units, threshold, study.seed)
    estimates = {
        "auroc": auroc(units.truth, units.probability, units.patient, confidence),
        "auprc": _auprc(units, drawn["auprc"], confidence),
        **shares,
        **_at_prevalence(shares, study.prevalence),
        "balanced_accuracy": _balanced(shares, drawn["balanced_accuracy"], confidence),
        "f1": _f1(table, drawn["f1"], confidence),
        "brier": bootstrap.interval(
            "the Brier score",
            float(squared_errors(units.truth, units.probability).mean()),
            drawn["brier"],
            confidence,
        ),
        "log_loss": bootstrap.interval(
            "the log loss", float(log_losses(units.truth, units.logit).mean()), drawn["log_loss"], confidence
        ),
        "ece": Estimate(calibration.ece),
        "ece_by_chance": Estimate(calibration.ece_by_chance),
        "calibration_intercept": calibration.intercept,
        "calibration_slope": calibration.slope,
    }
    return Scores(estimates, table, calibration)


def _shares(units: Units, called: np.ndarray, confidence: float) -> dict[str, Estimate]:
    positive = units.truth > 0

    def share(hits: np.ndarray, among: np.ndarray, empty: str) -> Estimate:
        return proportion(hits[among].astype(np.float64), units.patient[among], confidence, empty)

    return {
        "sensitivity": share(called, positive, NO_POSITIVE),
        "specificity": share(~called, ~positive, NO_NEGATIVE),
        "ppv": share(positive, called, "no unit of test is called positive"),
        "npv": share(~positive, ~called, "no unit of test is called negative"),
        "accuracy": share(called == positive, np.ones(len(units), bool), "test is empty"),
    }


def _at_prevalence(shares: dict[str, Estimate], prevalence: float | None) -> dict[str, Estimate]:
    """Predictive values where ``prevalence`` is the share of positives, by Bayes from sensitivity and specificity."""
    if prevalence is None:
        return {}
    sensitivity, specificity = shares["sensitivity"], shares["specificity"]
    missing = sensitivity.reason or specificity.reason
    if missing:
        return {"ppv_at_prevalence": undefined(missing), "npv_at_prevalence": undefined(missing)}
    ends = [(getattr(sensitivity, end), getattr(specificity, end)) for end in ("value", "low", "high")]
    return {
        "ppv_at_prevalence": _bayes([(s * prevalence, (1 - c) * (1 - prevalence)) for s, c in ends], "positive"),
        "npv_at_prevalence": _bayes([(c * (1 - prevalence), (1 - s) * prevalence) for s, c in ends], "negative"),
    }


def _bayes(odds: list[tuple[float, float]], which: str) -> Estimate:
    if not sum(odds[0]):
        return undefined(f"no unit of test is called {which}")
    value, low, high = (right / (right + wrong) if right + wrong else 0.0 for right, wrong in odds)
    return Estimate(value, low, high, BAYES)


def _auprc(units: Units, drawn: np.ndarray, confidence: float) -> Estimate:
    if not units.positive:
        return undefined(NO_POSITIVE)
    return bootstrap.interval("AUPRC", average_precision(units.truth, units.probability), drawn, confidence)


def _balanced(shares: dict[str, Estimate], drawn: np.ndarray, confidence: float) -> Estimate:
    """Mean of sensitivity and specificity. Where one is 0 or 1, resampling cannot move it, so Newcombe's interval."""
    sensitivity, specificity = shares["sensitivity"], shares["specificity"]
    if sensitivity.value is None or specificity.value is None:
        return undefined(sensitivity.reason or specificity.reason)
    value = (sensitivity.value + specificity.value) / 2
    if {sensitivity.value, specificity.value} & {0.0, 1.0}:
        return Estimate(value, *mean_of_two(sensitivity, specificity), MOVER)
    return bootstrap.interval("balanced accuracy", value, drawn, confidence)


def _f1(table: Confusion, drawn: np.ndarray, confidence: float) -> Estimate:
    if not table.tp + table.fp + table.fn:
        return undefined("test holds no positive unit and none is called positive")
    return bootstrap.interval("F1", table.f1, drawn, confidence)
