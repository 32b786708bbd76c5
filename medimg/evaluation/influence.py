"""Differences between numbers that come from the same patients: gaps between groups, one model against another.

The influence of a patient on a metric is how much the metric would move if that patient counted a little more.
Influences add up: that of a difference is the difference of the influences, and the variance of a metric is the sum of
their squares over patients (Huber 1981, Robust Statistics; for the AUROC this is DeLong 1988 and, with several units a
patient, Obuchowski 1997). So images of one patient, and patients in both groups, need no case of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from medimg.evaluation.estimate import Estimate
from medimg.evaluation.intervals import Ranked

PAIRED = "patients' influences (clustered DeLong of the difference)"
NO_SPREAD = "every patient has the same influence: their spread says nothing"


@dataclass(frozen=True)
class Influence:
    """A metric, and how much each patient moves it."""

    value: float
    of_patient: np.ndarray
    """``(patients,)``, already scaled so that the sum of squares is the variance."""

    def __sub__(self, other: "Influence") -> "Influence":
        return Influence(self.value - other.value, self.of_patient - other.of_patient)

    def times(self, factor: float) -> "Influence":
        """The metric times a constant."""
        return Influence(self.value * factor, self.of_patient * factor)

    def shifted(self, by: float) -> "Influence":
        """The metric plus a constant."""
        return Influence(self.value + by, self.of_patient)

    def logit(self) -> "Influence":
        """log(v / (1 - v)) of a metric that lies between 0 and 1, both ends excluded."""
        slope = 1 / (self.value * (1 - self.value))
        return Influence(float(np.log(self.value / (1 - self.value))), slope * self.of_patient)

    @property
    def error(self) -> float:
        """Standard error over patients."""
        return float(np.sqrt(self.of_patient @ self.of_patient))

    def differs(self) -> float:
        """Two-sided p of the hypothesis that the metric is 0; 1 where patients do not spread."""
        return min(1.0, 2 * float(norm.sf(abs(self.value) / self.error))) if self.error > 1e-9 else 1.0

    def estimate(self, confidence: float) -> Estimate:
        """Value and normal interval."""
        if self.error <= 1e-9:
            return Estimate(self.value, reason=f"no interval: {NO_SPREAD}")
        half = float(norm.ppf((1 + confidence) / 2)) * self.error
        return Estimate(self.value, self.value - half, self.value + half, PAIRED)


def auroc(truth: np.ndarray, score: np.ndarray, patient: np.ndarray, patients: int) -> Influence | None:
    """Influences on the area under the ROC curve; None where a class has fewer than two patients.

    Args:
        truth: ``(N,)`` of 0 and 1.
        score: ``(N,)``.
        patient: ``(N,)`` int, 0 … patients - 1.
        patients: of the whole part, so that groups of it can be compared.
    """
    positive = truth > 0
    fewest = min(len(np.unique(patient[positive])), len(np.unique(patient[~positive])))
    if fewest < 2:
        return None
    m, n = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(score)
    placed = np.empty(len(truth))
    placed[positive] = (ranks[positive] - rankdata(score[positive])) / n
    placed[~positive] = 1 - (ranks[~positive] - rankdata(score[~positive])) / m
    area = float(placed[positive].mean())
    each = (placed - area) / np.where(positive, m, n)
    scale = np.sqrt(fewest / (fewest - 1))
    return Influence(area, scale * np.bincount(patient, weights=each, minlength=patients))


def askable(truth: np.ndarray, score: np.ndarray, patient: np.ndarray) -> dict[int, Ranked]:
    """Columns of ``truth`` and ``score``, ``(N, K)`` each, that hold two patients or more of either class.

    Column → truth, score and patient where the truth is known.
    """
    found = {}
    for k, (column, of) in enumerate(zip(truth.T, score.T, strict=True)):
        if min(len(np.unique(patient[column == value])) for value in (0, 1)) > 1:
            known = np.isfinite(column)
            found[k] = (column[known], of[known], patient[known])
    return found


def mean_auroc(truth: np.ndarray, score: np.ndarray, patient: np.ndarray, patients: int) -> Influence | None:
    """Influences on the mean AUROC over the columns of ``truth`` and ``score``, ``(N, K)`` each; NaN truths left out.

    Columns with fewer than two patients in a class are left out of the mean; None where none is left.
    """
    questions = askable(truth, score, patient).values()
    areas = [area for question in questions if (area := auroc(*question, patients))]
    if not areas:
        return None
    return Influence(
        float(np.mean([area.value for area in areas])), np.mean([area.of_patient for area in areas], axis=0)
    )


def mean(values: np.ndarray, patient: np.ndarray, patients: int) -> Influence | None:
    """Influences on the mean of ``values`` ``(N,)``; None with fewer than two patients."""
    there = len(np.unique(patient))
    if there < 2:
        return None
    average = float(values.mean())
    scale = np.sqrt(there / (there - 1)) / len(values)
    return Influence(average, scale * np.bincount(patient, weights=values - average, minlength=patients))


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for having looked as often as there are (Holm 1979, Scand J Stat 6:65)."""
    order = np.argsort(p, kind="stable")
    steps = (len(p) - np.arange(len(p))) * np.asarray(p, np.float64)[order]
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(value) for value in corrected]
