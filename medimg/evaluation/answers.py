"""The units of test as subgroups and audit see them: whatever the task, yes-or-no questions or an error."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from medimg.evaluation.units import KEYS, Cases

SEVERAL = "several"


@dataclass(frozen=True)
class Answers:
    """N units of one part and K yes-or-no questions about each; a regression has an error instead."""

    patient: np.ndarray
    """``(N,)`` int64, 0 … patients - 1"""
    names: tuple[str, ...]
    """K texts: what each question is about"""
    truth: np.ndarray
    """``(N, K)`` float64: 0, 1, or NaN where not known"""
    score: np.ndarray
    """``(N, K)`` float64: higher means yes"""
    value: np.ndarray
    """``(N, K)`` float64: what the network says; of a regression, the number"""
    called: np.ndarray | None
    """``(N,)`` bool: decided yes at the threshold; None where there is not one question with a threshold"""
    error: np.ndarray | None
    """``(N,)`` float64: absolute error of a regression, else None"""
    about: pd.DataFrame
    """N rows: the index's columns; a unit whose images differ holds ``several``, of numbers the mean"""

    @property
    def patients(self) -> int:
        """Number of patients."""
        return int(self.patient.max()) + 1 if len(self.patient) else 0

    def fewest(self, inside: np.ndarray) -> int:
        """Patients of the rarer class among the units ``inside``, of the question where they are fewest."""
        counts = [
            len(np.unique(self.patient[inside & (column == value)])) for column in self.truth.T for value in (0, 1)
        ]
        return min(counts) if counts else len(np.unique(self.patient[inside]))

    def patients_by_truth(self, inside: np.ndarray) -> tuple[int | None, int | None]:
        """Positive and negative patients among the units ``inside``; None each unless there is one question."""
        if self.truth.shape[1] != 1:
            return None, None
        truth = self.truth[:, 0]
        positive, negative = (len(np.unique(self.patient[inside & (truth == value)])) for value in (1, 0))
        return positive, negative


def answers_of(cases: Cases, rows: pd.DataFrame, index: pd.DataFrame, unit: str, threshold: float | None) -> Answers:
    """The units of ``cases`` with what is known of their images.

    Args:
        cases: units in the order of ``units.cases_of``.
        rows: of the predictions, those that ``cases`` was made of.
        index: the study's index.
        unit: ``study.unit``.
        threshold: of the one question there is; None where there are several or none.
    """
    truth = cases.task.questions(cases.truth)
    one = threshold is not None and truth.shape[1] == 1
    return Answers(
        patient=cases.patient,
        names=cases.task.names,
        truth=truth,
        score=cases.probability[:, : truth.shape[1]],
        value=cases.probability,
        called=cases.probability[:, 0] >= threshold if one else None,
        error=None if truth.shape[1] else np.abs(cases.probability[:, 0] - cases.truth[:, 0]),
        about=_about(rows, index, unit),
    )


def _about(rows: pd.DataFrame, index: pd.DataFrame, unit: str) -> pd.DataFrame:
    """The index's columns of each unit, in the order of the units."""
    there = index.drop(columns=["sample", "patient", "study"])
    table = rows[["sample", "patient", "study"]].merge(there.assign(sample=index["sample"]), on="sample", how="left")
    if unit == "image":
        return table.sort_values("sample", ignore_index=True)
    code = table.groupby(KEYS[unit], sort=True, dropna=False).ngroup()
    groups = table.groupby(code, sort=True)
    columns = {}
    for name in there.columns:
        if pd.api.types.is_numeric_dtype(table[name]):
            columns[name] = groups[name].mean()
        else:
            differ = groups[name].nunique() > 1
            columns[name] = groups[name].first().where(~differ, SEVERAL)
    return pd.DataFrame(columns).reset_index(drop=True)
