"""One yes-or-no question: one logit, binary cross-entropy, AUROC."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medimg.errors import LabelsError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Binary:
    """Positive or negative; ``positive`` is the text in column ``label`` that counts as positive."""

    label: str
    positive: str
    outputs: int = 1

    def truth(self, labels: pd.Series) -> np.ndarray:
        """Labels as text → 0.0 or 1.0, float64 ``(N,)``.

        Raises:
            LabelsError: no row is positive, or every row is.
        """
        truth = (labels == self.positive).to_numpy(np.float64)
        if not 0 < truth.sum() < len(truth):
            found = sorted(set(labels))
            shown = ", ".join(repr(str(value)) for value in found[:10]) + (", …" if len(found) > 10 else "")
            which = "none" if not truth.sum() else "all"
            raise LabelsError(
                f"Column {self.label!r} of labels.csv has one class only: {which} of {len(truth)} images has the value "
                f"{self.positive!r} that study.positive names. Values found: {shown}. "
                "Set study.positive to one of them, or add images of the other class."
            )
        return truth

    def strata(self, labels: pd.Series) -> np.ndarray:
        """``positive`` or ``negative``, ``(N,)``."""
        return np.where(labels == self.positive, "positive", "negative")

    def loss(self, logits: "Tensor", truth: "Tensor") -> "Tensor":
        """Binary cross-entropy of each sample, ``(N, 1)`` and ``(N,)`` → ``(N,)``."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(logits[:, 0].float(), truth.float(), reduction="none")

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Logistic function of ``(N, 1)`` logits, float64 ``(N,)``."""
        from scipy.special import expit

        return np.asarray(expit(logits[:, 0].astype(np.float64)))

    def score(self, logits: np.ndarray, truth: np.ndarray) -> float:
        """Area under the ROC curve; NaN when one class is missing or a logit is not finite."""
        from sklearn.metrics import roc_auc_score

        if len(set(truth.tolist())) < 2 or not np.isfinite(logits).all():
            return float("nan")
        return float(roc_auc_score(truth, logits[:, 0]))
