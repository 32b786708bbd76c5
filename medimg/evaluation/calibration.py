"""Does 80 % mean 80 %? Reliability curve, expected calibration error, calibration intercept and slope.

Sources: Cox 1958 (Biometrika 45:562) for intercept and slope, which Van Calster et al. 2019 (BMC Med 17:230) recommend;
Naeini et al. 2015 (AAAI) for the expected calibration error.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import norm, rankdata

from medimg.evaluation.estimate import Estimate, rounded, undefined
from medimg.evaluation.intervals import effective_size, wilson
from medimg.evaluation.units import Units

BINS = 10
PER_BIN = 15  # units that a bin needs before another bin is worth having
SIMULATIONS = 500
ROBUST = "logistic regression, robust to several units a patient (sandwich)"
_CELLS = 400_000


@dataclass(frozen=True)
class Bin:
    """Units of similar probability: what was predicted, what was observed, and Wilson's interval."""

    predicted: float
    observed: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Calibration:
    """How the probabilities of one part compare with what was observed."""

    bins: list[Bin]
    ece: float
    """Mean distance between predicted and observed over the bins, weighted by units."""
    ece_by_chance: float
    """The mean ECE that a perfectly calibrated model would show on as many units: chance alone, never 0."""
    intercept: Estimate
    """0 is ideal; above 0 the probabilities are too low on average (slope held at 1)."""
    slope: Estimate
    """1 is ideal; below 1 the probabilities are too extreme."""

    def as_json(self) -> dict[str, Any]:
        """What metrics.json says of it."""
        return {
            "ece": rounded(self.ece),
            "ece_by_chance": rounded(self.ece_by_chance),
            "intercept": self.intercept.as_json(),
            "slope": self.slope.as_json(),
        }


def calibrate(units: Units, confidence: float, seed: int) -> Calibration:
    """Calibration of one part's units."""
    code = bins_of(units.probability)
    bins = [_bin(units, code == number, confidence) for number in range(int(code.max()) + 1)]
    gaps = np.array([abs(entry.predicted - entry.observed) * entry.n for entry in bins])
    return Calibration(
        bins=bins,
        ece=float(gaps.sum()) / len(units),
        ece_by_chance=_ece_by_chance(units, code, seed),
        intercept=intercept(units, confidence),
        slope=slope(units, confidence),
    )


def bins_of(probability: np.ndarray) -> np.ndarray:
    """``(N,)`` probabilities → ``(N,)`` bin, 0 upwards, of about equal counts; equal scores share a bin."""
    wanted = int(np.clip(len(probability) // PER_BIN, 1, BINS))
    raw = ((rankdata(probability) - 0.5) * wanted // len(probability)).astype(np.int64)
    return np.asarray(np.unique(raw, return_inverse=True)[1], dtype=np.int64)


def intercept(units: Units, confidence: float) -> Estimate:
    """Calibration in the large: the shift of all logits that makes predicted and observed means agree."""
    one_class = _one_class(units)
    if one_class:
        return undefined(one_class)
    return _fit(units, np.ones((len(units), 1)), units.logit, confidence)


def slope(units: Units, confidence: float) -> Estimate:
    """Calibration slope: the factor on the logits that fits the observed truth best."""
    reason = no_slope(units)
    if reason:
        return undefined(reason)
    return _fit(units, with_constant(units.logit), np.zeros(len(units)), confidence)


def no_slope(units: Units) -> str:
    """Why there is no finite calibration slope; empty where there is one."""
    if _one_class(units):
        return _one_class(units)
    if np.ptp(units.logit) < 1e-9:
        return "every unit has the same probability"
    positive = units.truth > 0
    lowest, highest = units.logit[positive].min(), units.logit[positive].max()
    if lowest >= units.logit[~positive].max() or highest <= units.logit[~positive].min():
        return "the scores separate the classes completely: no finite slope fits best"
    return ""


def with_constant(column: np.ndarray) -> np.ndarray:
    """``(N,)`` → ``(N, 2)`` with ones beside it."""
    return np.stack([column, np.ones(len(column))], axis=1)


def _one_class(units: Units) -> str:
    return "" if 0 < units.positive < len(units) else "the part holds one class only"


def _fit(units: Units, design: np.ndarray, offset: np.ndarray, confidence: float) -> Estimate:
    """First coefficient of the logistic regression of truth on ``design`` ``(N, K)`` with ``offset`` ``(N,)``."""
    weights, curvature = logistic(units.truth, design, offset)
    if not np.isfinite(weights).all():
        return undefined("the logistic regression has no finite solution")
    errors = design * (units.truth - expit(design @ weights + offset))[:, None]
    scores = np.stack([np.bincount(units.patient, weights=column) for column in errors.T], axis=1)
    bread = np.linalg.pinv(curvature)
    patients, value = len(scores), float(weights[0])
    if patients <= design.shape[1]:  # their scores add up to 0 in every coefficient: no freedom is left
        return Estimate(value, reason=f"no interval: {patients} patient{'' if patients == 1 else 's'} only")
    spread = bread @ (scores.T @ scores) @ bread * (patients / (patients - 1))
    half = float(norm.ppf((1 + confidence) / 2) * np.sqrt(spread[0, 0]))
    return Estimate(value, value - half, value + half, ROBUST)


def logistic(truth: np.ndarray, design: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression of ``truth`` ``(N,)`` by Newton's method: coefficients ``(K,)``, curvature ``(K, K)``."""
    scale = np.maximum(np.abs(design).max(axis=0), 1.0)  # large logits would make the equations ill-conditioned
    columns, weights = design / scale, np.zeros(design.shape[1])
    for _ in range(100):
        fitted = expit(columns @ weights + offset)
        gradient = columns.T @ (truth - fitted)
        curvature = (columns * (fitted * (1 - fitted))[:, None]).T @ columns
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        size = float(np.abs(step).max())
        weights = weights + step * min(1.0, 5.0 / max(size, 1e-300))  # a damped step where a full one would overshoot
        if size < 1e-10:
            break
    return weights / scale, curvature * np.outer(scale, scale)


def _bin(units: Units, inside: np.ndarray, confidence: float) -> Bin:
    truth = units.truth[inside]
    observed = float(truth.mean())
    low, high = wilson(observed, effective_size(truth, units.patient[inside], confidence), confidence)
    return Bin(float(units.probability[inside].mean()), observed, low, high, len(truth))


def _ece_by_chance(units: Units, code: np.ndarray, seed: int) -> float:
    """Mean ECE where each truth is drawn from its own probability.

    Where no patient has units of both truths, one draw serves all units of a patient, because truths then belong to
    patients; else each unit has its own.
    """
    random = np.random.default_rng([seed, *b"calibration"])
    mixed = np.bincount(units.patient, weights=units.truth) % np.bincount(units.patient) > 0
    owner = np.arange(len(units)) if mixed.any() else units.patient
    order = np.argsort(code, kind="stable")
    starts = np.searchsorted(code[order], np.arange(int(code.max()) + 1))
    expected = np.add.reduceat(units.probability[order], starts)
    chunk = max(1, _CELLS // len(units))
    total = 0.0
    for start in range(0, SIMULATIONS, chunk):
        drawn = random.random((min(chunk, SIMULATIONS - start), int(owner.max()) + 1))[:, owner[order]]
        hits = np.add.reduceat((drawn < units.probability[order]).astype(np.float64), starts, axis=1)
        total += float(np.abs(hits - expected).sum())
    return total / SIMULATIONS / len(units)
