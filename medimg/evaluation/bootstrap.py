"""Intervals by resampling patients, for metrics that have no formula.

A resample draws as many patients as there are, with replacement; a patient drawn twice counts twice with all units. So
a resample is a row of weights, one for each patient, and a metric a function of many such rows at once.

The resamples give a standard error (Efron 1979, Ann Stat 7:1), and Student's t the interval, on a scale that has no end
where the metric has one. Percentiles of the resamples, which are more common, hold the true value less often with few
patients: docs/intervals.md has both, simulated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.special import expit, logit
from scipy.stats import t

from medimg.evaluation.estimate import Estimate
from medimg.evaluation.metrics import ends_of_ties

DRAWS = 2000
METHOD = f"bootstrap over patients, {DRAWS} resamples: standard error, Student's t"
_CELLS = 100_000  # resamples × units held at once: what fits a processor's cache, and no study fills the memory
_LEAST = 0.5  # share of the resamples that must define the metric

Statistic = Callable[[np.ndarray], dict[str, np.ndarray]]
"""``(rows, patients)`` float64, how often each patient counts → each metric's ``(rows,)``, NaN where undefined."""


def replicates(
    patients: int, units: int, statistics: Sequence[Statistic], seed: int, draws: int = DRAWS
) -> dict[str, np.ndarray]:
    """Every metric of ``statistics`` under ``draws`` resamples of the patients, ``(draws,)`` each."""
    random = np.random.default_rng([seed, *b"bootstrap"])
    chunk = max(1, _CELLS // max(units, patients))
    pieces: dict[str, list[np.ndarray]] = {}
    for start in range(0, draws, chunk):
        rows = min(chunk, draws - start)
        drawn = random.integers(patients, size=(rows, patients)) + np.arange(rows)[:, None] * patients
        weight = np.bincount(drawn.ravel(), minlength=rows * patients).reshape(rows, patients).astype(np.float64)
        for statistic in statistics:
            for name, values in statistic(weight).items():
                pieces.setdefault(name, []).append(values)
    return {name: np.concatenate(parts) for name, parts in pieces.items()}


def of_totals(
    patient: np.ndarray, patients: int, terms: np.ndarray, metrics: Callable[..., dict[str, np.ndarray]]
) -> Statistic:
    """Metrics that are functions of sums over units.

    Args:
        patient: ``(N,)`` code of each unit's patient.
        patients: how many there are.
        terms: ``(N, S)`` what each unit adds to each of S sums.
        metrics: takes the S sums, ``(rows,)`` each, to the metrics.
    """
    sums = np.stack([np.bincount(patient, weights=term, minlength=patients) for term in terms.T], axis=1)

    def statistic(weight: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 is NaN: undefined
            return metrics(*(weight @ sums).T)

    return statistic


def of_precision(name: str, questions: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Statistic:
    """The mean over ``questions`` of the average precision; each is truth, score and patient, ``(M,)`` all."""
    steps = [_steps(*question) for question in questions]

    def statistic(weight: np.ndarray) -> dict[str, np.ndarray]:
        across = np.ascontiguousarray(weight.T)
        return {name: np.mean([_area(units @ across, hits @ across) for units, hits in steps], axis=0)}

    return statistic


def _steps(truth: np.ndarray, score: np.ndarray, patient: np.ndarray) -> tuple[csr_array, csr_array]:
    """Each step of the curve, ``(steps, patients)``: units of a patient that it adds, and positive ones.

    A step ends with a run of equal scores that holds a positive; what comes after the last one adds no area.
    """
    order = np.argsort(-score, kind="stable")
    ends = ends_of_ties(score[order])
    found = np.append(0, np.cumsum(truth[order])[ends])
    ends = ends[np.diff(found) > 0]
    step = np.searchsorted(ends, np.arange(len(order)))
    before = step < len(ends)
    shape = (len(ends), 1 + int(patient.max(initial=0)))
    at = (step[before], patient[order][before])
    return csr_array((np.ones(before.sum()), at), shape), csr_array((truth[order][before], at), shape)


def _area(units: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """``(steps, rows)`` what each step adds → ``(rows,)`` average precision; NaN where there is no positive."""
    if not len(hits):
        return np.full(hits.shape[1], np.nan)
    called, found = np.cumsum(units, axis=0), np.cumsum(hits, axis=0)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    with np.errstate(invalid="ignore"):
        return np.asarray((hits * precision).sum(axis=0) / found[-1])


@dataclass(frozen=True)
class Scale:
    """Where a metric's errors are taken to be alike on both sides."""

    words: str
    to: Callable[[float], float]
    back: Callable[[float], float]
    slope: Callable[[float], float]
    """derivative of ``to``"""
    low: float = -np.inf
    high: float = np.inf
    """between which the scale takes values, both ends excluded"""


PLAIN = Scale("", lambda x: x, lambda x: x, lambda x: 1.0)
SHARE = Scale("on the logit scale", logit, expit, lambda x: 1 / (x * (1 - x)), 0, 1)
AMOUNT = Scale("on the log scale", np.log, np.exp, lambda x: 1 / x, 0)
EXPLAINED = Scale(
    "of 1 − value, on the log scale", lambda x: np.log(1 - x), lambda y: 1 - np.exp(y), lambda x: 1 / (1 - x), high=1
)
CORRELATION = Scale("on Fisher's scale", np.arctanh, np.tanh, lambda x: 1 / (1 - x * x), -1, 1)


def freedom(patients: Sequence[int]) -> float:
    """Degrees of freedom of a standard error.

    Args:
        patients: for each question over which a metric is a mean, those of the rarer class; or all, of a number.

    As if each question added the same variance, independently (Satterthwaite 1946, Biometrics Bull 2:110).
    """
    return len(patients) ** 2 / sum(1 / max(count - 1, 1) for count in patients)


def interval(
    name: str, value: float, drawn: np.ndarray, confidence: float, freedom: float, scale: Scale = SHARE
) -> Estimate:
    """Interval of ``value`` from its replicates ``(draws,)``.

    No interval, with the reason, where fewer than half of the resamples define the metric or where all agree: then the
    resamples say nothing about patients not seen.
    """
    known = drawn[np.isfinite(drawn)]
    if len(known) < _LEAST * len(drawn):
        return Estimate(value, reason=f"no interval: most resamples of the patients leave {name} undefined")
    error = float(known.std(ddof=1))
    if error < 1e-12:
        return Estimate(value, reason="no interval: every resample of the patients gives the same value")
    if not scale.low < value < scale.high:
        return Estimate(value, reason=f"no interval: in these patients {name} is at the end of its scale")
    reach = float(t.ppf((1 + confidence) / 2, freedom)) * error * scale.slope(value)
    low, high = sorted(float(scale.back(scale.to(value) + side * reach)) for side in (-1, 1))
    return Estimate(value, low, high, f"{METHOD}, {scale.words}" if scale.words else METHOD)
