"""What is counted once: scores of images become scores of units before any threshold or metric sees them."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from medimg.errors import DataError
from medimg.records import PREDICTIONS, Predictions
from medimg.tasks import Task

KEYS = {"image": ["sample"], "study": ["patient", "study"], "patient": ["patient"]}


@dataclass(frozen=True)
class Units:
    """The scored units of one part as answers to one yes-or-no question."""

    patient: np.ndarray
    """``(N,)`` int64 code of the patient, 0 … patients - 1."""
    truth: np.ndarray
    """``(N,)`` float64, 0 or 1."""
    probability: np.ndarray
    """``(N,)`` float64 in [0, 1]: what thresholds and ranks are taken on."""
    logit: np.ndarray
    """``(N,)`` float64: of the probability; that of the network where a unit is one image."""
    images: int
    """Images behind the units."""
    mixed: int
    """Units whose images disagree about the truth."""

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def patients(self) -> int:
        """Number of patients."""
        return int(self.patient.max()) + 1 if len(self) else 0

    @property
    def positive(self) -> int:
        """Number of positive units."""
        return int(self.truth.sum())

    @property
    def clustered(self) -> bool:
        """Whether some patient has more than one unit."""
        return self.patients < len(self)

    def patients_with(self, truth: int) -> int:
        """Patients who have at least one unit of this truth (0 or 1)."""
        return len(np.unique(self.patient[self.truth == truth]))

    @property
    def rarer(self) -> int:
        """Patients of the rarer class."""
        return min(self.patients_with(truth) for truth in (0, 1))


@dataclass(frozen=True)
class Cases:
    """The scored units of one part for any task, sorted by key, so that the order of rows in a file never matters.

    K outputs of the network, T truths a unit.
    """

    task: Task
    patient: np.ndarray
    """``(N,)`` int64 code of the patient, 0 … patients - 1."""
    truth: np.ndarray
    """``(N, T)`` float64, NaN where not known; of a group as ``Task.pooled`` says"""
    probability: np.ndarray
    """``(N, K)`` float64; of a regression, the predicted value"""
    logit: np.ndarray
    """``(N, K)`` float64: of the probability; that of the network where a unit is one image."""
    images: int
    """Images behind the units."""
    mixed: int
    """Units whose images disagree about the truth."""

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def patients(self) -> int:
        """Number of patients."""
        return int(self.patient.max()) + 1 if len(self) else 0

    def ranked(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Truth, score and patient of each yes-or-no question, where its truth is known; one numbering of patients."""
        truth = self.task.questions(self.truth)
        known = np.isfinite(truth)
        return [
            (truth[known[:, k], k], self.probability[known[:, k], k], self.patient[known[:, k]])
            for k in range(truth.shape[1])
        ]

    def rarer(self) -> list[int]:
        """Patients of the rarer class of each question; where there are no questions, all patients."""
        asked = self.task.questions(self.truth).shape[1]
        return [self.question(k).rarer for k in range(asked)] or [self.patients]

    def question(self, k: int) -> Units:
        """The yes-or-no question of output ``k``: the units where its truth is known."""
        truth = self.task.questions(self.truth)[:, k]
        known = np.isfinite(truth)
        _, patient = np.unique(self.patient[known], return_inverse=True)
        return Units(
            patient.astype(np.int64), truth[known], self.probability[known, k], self.task.odds(self.logit)[known, k],
            self.images, self.mixed,
        )  # fmt: skip


def cases_of(predictions: Predictions, task: Task, unit: str, aggregate: Literal["mean", "max"], part: str) -> Cases:
    """Images of one part → its units (``image``, ``study``, ``patient``); ``part`` names it in messages.

    Images of a patient that name no study count as one study of that patient.

    Raises:
        DataError: the part is empty.
    """
    if not len(predictions):
        raise DataError(
            f"The {part} part of {PREDICTIONS} is empty, so there is nothing to evaluate. "
            f"Raise split.{part} in params.yaml or add patients, and run dvc repro."
        )
    rows = predictions.rows
    code = rows.groupby(KEYS[unit], sort=True, dropna=False).ngroup().to_numpy()
    order = np.lexsort((rows["sample"].to_numpy(str), code))
    predictions = predictions.where(order)
    starts = np.flatnonzero(np.diff(code[order], prepend=-1))
    size = np.diff(starts, append=len(order))
    patient = pd.factorize(predictions.rows["patient"], sort=True)[0][starts]
    truth, logit, probability = predictions.truth, predictions.logits, predictions.probabilities
    mixed = (np.fmax.reduceat(truth, starts) > np.fmin.reduceat(truth, starts)).any(axis=1)
    if len(starts) < len(order):
        together = np.maximum.reduceat(probability, starts) if aggregate == "max" else (
            np.add.reduceat(probability, starts) / size[:, None])  # fmt: skip
        several = (size > 1)[:, None]
        logit = np.where(several, task.logits(together), logit[starts])
        probability = np.where(several, task.probabilities(logit), probability[starts])
    return Cases(
        task, patient.astype(np.int64), task.pooled(truth, starts), probability, logit, len(order), int(mixed.sum())
    )


def counts_of(cases: Cases) -> dict[str, Any]:
    """Patients, units and images of a part, and of each question its positive units and the patients of either truth.

    Of several questions, each stands under ``questions`` by its name.
    """
    asked = cases.task.questions(cases.truth).shape[1]
    each = {name: _of_question(cases.question(k)) for k, name in enumerate(cases.task.names[:asked])}
    about = {"patients": cases.patients, "units": len(cases), "images": cases.images}
    return about | (next(iter(each.values())) if len(each) == 1 else {"questions": each} if each else {})


def _of_question(units: Units) -> dict[str, int]:
    return {
        "positive": units.positive,
        "positive_patients": units.patients_with(1),
        "negative_patients": units.patients_with(0),
    }
