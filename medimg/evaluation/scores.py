"""All metrics of the answers to one yes-or-no question, each with its interval."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from medimg.evaluation import bootstrap
from medimg.evaluation.calibration import Calibration
from medimg.evaluation.estimate import Estimate, undefined
from medimg.evaluation.intervals import (
    BAYES,
    MOVER,
    SIMEL,
    auroc,
    effective_size,
    likelihood_ratio,
    mean_of_two,
    proportion,
)
from medimg.evaluation.metrics import Confusion, average_precision, confusion, log_losses, squared_errors
from medimg.evaluation.units import Units
from medimg.params import Study

NO_POSITIVE = "test holds no positive unit"
NO_NEGATIVE = "test holds no negative unit"


@dataclass(frozen=True)
class Scores:
    """What one part shows when some of its units are called positive."""

    estimates: dict[str, Estimate]
    """Metric → estimate, in the order of the report's table."""
    table: Confusion
    calibration: Calibration


def score(units: Units, called: np.ndarray, calibration: Calibration, study: Study, confidence: float) -> Scores:
    """Every metric of ``units`` (test), of which ``called`` ``(N,)`` bool are called positive, over patients."""
    table = confusion(units.truth, called)
    shares = _shares(units, called, confidence)
    drawn = bootstrap.replicates(units.patients, len(units), _statistics(units, called), study.seed)

    def interval(name: str, words: str, value: float, scale: bootstrap.Scale = bootstrap.SHARE) -> Estimate:
        return bootstrap.interval(words, value, drawn[name], confidence, bootstrap.freedom([units.rarer]), scale)

    estimates = {
        "auroc": auroc(units.truth, units.probability, units.patient, confidence),
        "auprc": _auprc(units, partial(interval, "auprc")),
        **shares,
        **_at_prevalence(shares, study.prevalence),
        **_likelihood_ratios(units, called, shares, confidence),
        "balanced_accuracy": _balanced(shares, partial(interval, "balanced_accuracy")),
        "f1": _f1(table, partial(interval, "f1")),
        "brier": interval("brier", "the Brier score", float(squared_errors(units.truth, units.probability).mean())),
        "log_loss": interval(
            "log_loss", "the log loss", float(log_losses(units.truth, units.logit).mean()), bootstrap.AMOUNT
        ),
        "ece": Estimate(calibration.ece),
        "ece_by_chance": Estimate(calibration.ece_by_chance),
        "calibration_intercept": calibration.intercept,
        "calibration_slope": calibration.slope,
    }
    return Scores(estimates, table, calibration)


def _statistics(units: Units, called: np.ndarray) -> list[bootstrap.Statistic]:
    positive = units.truth > 0
    errors = [np.ones(len(units)), squared_errors(units.truth, units.probability), log_losses(units.truth, units.logit)]
    cells = [positive & called, ~positive & called, positive & ~called, ~positive & ~called]
    terms = np.stack([*errors, *cells], axis=1)
    return [
        bootstrap.of_totals(units.patient, units.patients, terms, _of_totals),
        bootstrap.of_precision("auprc", [(units.truth, units.probability, units.patient)]),
    ]


def _of_totals(
    count: np.ndarray,
    squared: np.ndarray,
    log_loss: np.ndarray,
    tp: np.ndarray,
    fp: np.ndarray,
    fn: np.ndarray,
    tn: np.ndarray,
) -> dict[str, np.ndarray]:
    return {
        "brier": squared / count,
        "log_loss": log_loss / count,
        "f1": 2 * tp / (2 * tp + fp + fn),
        "balanced_accuracy": (tp / (tp + fn) + tn / (tn + fp)) / 2,
    }


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


def _likelihood_ratios(
    units: Units, called: np.ndarray, shares: dict[str, Estimate], confidence: float
) -> dict[str, Estimate]:
    """How much more often the positive are called positive (or negative) than the negative are."""
    sensitivity, specificity = shares["sensitivity"].value, shares["specificity"].value
    if sensitivity is None or specificity is None:
        missing = undefined(shares["sensitivity"].reason or shares["specificity"].reason)
        return {"lr_positive": missing, "lr_negative": missing}
    sizes = [
        effective_size(called[units.truth == value].astype(np.float64), units.patient[units.truth == value], confidence)
        for value in (1, 0)
    ]

    def ratio(first: float, second: float, word: str) -> Estimate:
        if first == second == 0:
            return undefined(f"no unit of test is called {word}")
        if second == 0:
            return undefined(f"no negative unit of test is called {word}: the ratio has no upper bound")
        if first == 0:
            return Estimate(0.0, reason=f"no interval: no positive unit of test is called {word}")
        if first == second == 1:
            return Estimate(1.0, reason=f"no interval: every unit of test is called {word}")
        return Estimate(*likelihood_ratio((first, second), (sizes[0], sizes[1]), confidence), SIMEL)

    return {
        "lr_positive": ratio(sensitivity, 1 - specificity, "positive"),
        "lr_negative": ratio(1 - sensitivity, specificity, "negative"),
    }


def _auprc(units: Units, interval: Callable[[str, float], Estimate]) -> Estimate:
    if not units.positive:
        return undefined(NO_POSITIVE)
    return interval("AUPRC", average_precision(units.truth, units.probability))


def _balanced(shares: dict[str, Estimate], interval: Callable[[str, float], Estimate]) -> Estimate:
    """Mean of sensitivity and specificity. Where one is 0 or 1, resampling cannot move it, so Newcombe's interval."""
    sensitivity, specificity = shares["sensitivity"], shares["specificity"]
    if sensitivity.value is None or specificity.value is None:
        return undefined(sensitivity.reason or specificity.reason)
    value = (sensitivity.value + specificity.value) / 2
    if {sensitivity.value, specificity.value} & {0.0, 1.0}:
        return Estimate(value, *mean_of_two(sensitivity, specificity), MOVER)
    return interval("balanced accuracy", value)


def _f1(table: Confusion, interval: Callable[[str, float], Estimate]) -> Estimate:
    if not table.tp + table.fp + table.fn:
        return undefined("test holds no positive unit and none is called positive")
    return interval("F1", table.f1)
