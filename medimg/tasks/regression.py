"""A number: one output, squared error on the scale of ``study.range``, R²."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medimg.errors import LabelsError
from medimg.params import Study

if TYPE_CHECKING:
    from torch import Tensor

STRATA = 4  # quarters of the values, from which each part gets its share
TOLERANCE = 0.05  # of the range: two numbers for one picture that differ by more contradict each other


@dataclass(frozen=True)
class Regression:
    """Column ``label`` holds a number between ``low`` and ``high``.

    The network's output is that number on a scale where ``low`` is -1 and ``high`` is 1: a training starts where the
    answers are, whatever the unit.
    """

    label: str
    low: float
    high: float
    outputs: int = 1
    score_name: str = "R²"

    @classmethod
    def of(cls, study: Study) -> "Regression":
        """The task of a study block."""
        assert study.range is not None  # the block was checked
        return cls(study.columns[0], *study.range)

    @property
    def names(self) -> tuple[str, ...]:
        """The label column."""
        return (self.label,)

    def check(self, labels: pd.Series) -> None:
        """Numbers within the range that differ.

        Raises:
            LabelsError: a value is no number, is out of ``study.range``, or all are equal.
        """
        if self.lacking(self.truth(labels)):
            raise LabelsError(f"Column {self.label!r} of labels.csv has the same number everywhere: nothing to learn.")

    def truth(self, labels: pd.Series) -> np.ndarray:
        """The number, float64 ``(N, 1)``.

        Raises:
            LabelsError: a value is no number or out of ``study.range``.
        """
        values = pd.to_numeric(labels, errors="coerce").to_numpy(np.float64)
        wrong = int((~np.isfinite(values)).sum())
        if wrong:
            raise LabelsError(
                f"{wrong} of {len(labels)} images have a value in column {self.label!r} of labels.csv that is no "
                "number. Write numbers with a decimal point and no unit, or leave the cell empty."
            )
        outside = (values < self.low) | (values > self.high)
        if outside.any():
            raise LabelsError(
                f"{int(outside.sum())} of {len(labels)} images have a number in column {self.label!r} of labels.csv "
                f"outside study.range, {self.low:g} to {self.high:g}: the values go from {values.min():g} to "
                f"{values.max():g}. Correct them, or widen study.range."
            )
        return values[:, None]

    def strata(self, labels: pd.Series) -> np.ndarray:
        """The quarter of the values in which each is, ``(N,)``."""
        values = self.truth(labels)[:, 0]
        edges = np.quantile(values, np.arange(1, STRATA) / STRATA)
        return np.array(
            [f"quarter {quarter + 1}" for quarter in np.searchsorted(edges, values, side="right")], dtype=object
        )

    def at_odds(self, truth: np.ndarray) -> bool:
        """Whether they lie further apart than two readers' numbers may."""
        return bool(np.ptp(truth) > TOLERANCE * (self.high - self.low))

    def counts(self, truth: np.ndarray) -> dict[str, int]:
        """There are no classes."""
        return {}

    def lacking(self, truth: np.ndarray) -> str:
        """Whether all numbers are equal."""
        return "" if len(truth) and np.ptp(truth) > 0 else "no two images with different numbers"

    def describe(self, truth: np.ndarray) -> list[str]:
        """The number."""
        return [f"{value:g}" for value in truth[:, 0]]

    def loss(self, logits: "Tensor", truth: "Tensor") -> "Tensor":
        """Squared error of each sample on the network's scale, ``(N, 1)`` both → ``(N,)``."""
        wanted = (truth[:, 0].float() - self.low) / (self.high - self.low) * 2 - 1
        return (logits[:, 0].float() - wanted) ** 2

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """The number that each output stands for, in the label's unit, float64 ``(N, 1)``."""
        return self.low + (logits.astype(np.float64) + 1) / 2 * (self.high - self.low)

    def logits(self, probabilities: np.ndarray) -> np.ndarray:
        """What the network would say for each number, float64 ``(N, 1)``."""
        return (probabilities - self.low) / (self.high - self.low) * 2 - 1

    def questions(self, truth: np.ndarray) -> np.ndarray:
        """None."""
        return truth[:, :0]

    def odds(self, logits: np.ndarray) -> np.ndarray:
        """None."""
        return logits[:, :0]

    def pooled(self, truth: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """The mean of the images."""
        return np.asarray(np.add.reduceat(truth, starts) / np.diff(starts, append=len(truth))[:, None])

    def score(self, logits: np.ndarray, truth: np.ndarray) -> float:
        """R²: 1 less the share of the variance that is left; NaN when truths are all equal or outputs not finite."""
        if self.lacking(truth) or not np.isfinite(logits).all():
            return float("nan")
        left = ((truth - self.probabilities(logits)) ** 2).sum()
        return float(1 - left / ((truth - truth.mean()) ** 2).sum())

    def measure(self, name: str, logits: np.ndarray, truth: np.ndarray) -> float:
        """R²; or the mean absolute error, or the root of the mean squared one, in the label's unit."""
        if name == "r2":
            return self.score(logits, truth)
        off = self.probabilities(logits) - truth
        return float(np.abs(off).mean() if name == "mae" else np.sqrt((off**2).mean()))
