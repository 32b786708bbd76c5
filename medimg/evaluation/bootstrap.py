"""Intervals by resampling patients, for metrics that have no formula."""

import numpy as np

from medimg.evaluation.estimate import Estimate
from medimg.evaluation.metrics import decide, ends_of_ties, log_losses, squared_errors, weighted_precision
from medimg.evaluation.units import Units

DRAWS = 2000
METHOD = f"bootstrap over patients, {DRAWS} resamples, percentiles (Efron 1979)"
_CELLS = 400_000  # resamples × units held at once: what fits a processor's cache, and no study fills the memory
_LEAST = 0.5  # share of the resamples that must define the metric


def replicates(units: Units, threshold: float, seed: int, draws: int = DRAWS) -> dict[str, np.ndarray]:
    """Metrics of ``draws`` resamples of the patients, each ``(draws,)``, NaN where a resample leaves one undefined.

    A resample draws as many patients as there are, with replacement; a patient drawn twice counts twice with all units.
    So a resample is a row of weights, and each metric a function of weighted sums.
    """
    random = np.random.default_rng([seed, *b"bootstrap"])
    patients, order = units.patients, np.argsort(-units.probability, kind="stable")
    truth, owner = units.truth[order], units.patient[order]
    ends = ends_of_ties(units.probability[order])
    sums = _sums_by_patient(units, threshold)
    chunk = max(1, _CELLS // max(len(units), patients))
    pieces = []
    for start in range(0, draws, chunk):
        rows = min(chunk, draws - start)
        drawn = random.integers(patients, size=(rows, patients)) + np.arange(rows)[:, None] * patients
        weight = np.bincount(drawn.ravel(), minlength=rows * patients).reshape(rows, patients).astype(np.float64)
        pieces.append((weight @ sums, weighted_precision(truth, ends, weight[:, owner])))
    totals = np.concatenate([piece[0] for piece in pieces])
    return _metrics(totals) | {"auprc": np.concatenate([piece[1] for piece in pieces])}


def interval(name: str, value: float, drawn: np.ndarray, confidence: float) -> Estimate:
    """Percentile interval of ``value`` from its replicates ``(draws,)``.

    No interval, with the reason, where fewer than half of the resamples define the metric or where all agree: then the
    resamples say nothing about patients not seen.
    """
    known = drawn[np.isfinite(drawn)]
    if len(known) < _LEAST * len(drawn):
        return Estimate(value, reason=f"no interval: most resamples of the patients leave {name} undefined")
    tail = (1 - confidence) / 2
    low, high = (float(end) for end in np.quantile(known, [tail, 1 - tail]))
    if high - low < 1e-12:
        return Estimate(value, reason="no interval: every resample of the patients gives the same value")
    return Estimate(value, min(low, value), max(high, value), METHOD)


def _sums_by_patient(units: Units, threshold: float) -> np.ndarray:
    positive, called = units.truth > 0, decide(units.probability, threshold)
    terms = [
        np.ones(len(units)),
        squared_errors(units.truth, units.probability),
        log_losses(units.truth, units.logit),
        positive & called,
        ~positive & called,
        positive & ~called,
        ~positive & ~called,
    ]
    count = units.patients
    return np.stack([np.bincount(units.patient, weights=term, minlength=count) for term in terms], axis=1)


def _metrics(totals: np.ndarray) -> dict[str, np.ndarray]:
    count, squared, log_loss, tp, fp, fn, tn = totals.T
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: undefined
        return {
            "brier": squared / count,
            "log_loss": log_loss / count,
            "f1": 2 * tp / (2 * tp + fp + fn),
            "balanced_accuracy": (tp / (tp + fn) + tn / (tn + fp)) / 2,
        }
