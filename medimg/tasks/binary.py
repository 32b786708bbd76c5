"""One yes-or-no question: one logit, binary cross-entropy, AUROC."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medimg.errors import LabelsError
from medimg.params import Study
from medimg.tasks.ranking import area, shown
from medimg.tasks.yesorno import YesOrNo

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Binary(YesOrNo):
    """Positive or negative; ``positive`` is the text in column ``label`` that counts as positive."""

    label: str
    positive: str
    outputs: int = 1
    score_name: str = "AUROC"

    @classmethod
    def of(cls, study: Study) -> "Binary":
        """The task of a study block."""
        assert study.positive is not None  # the block was checked
        return cls(study.columns[0], study.positive)

    @property
    def names(self) -> tuple[str, ...]:
        """The label column."""
        return (self.label,)

    def check(self, labels: pd.Series) -> None:
        """Both classes are there.

        Raises:
            LabelsError: no row is positive, or every row is.
        """
        positive = int(self.truth(labels).sum())
        if not 0 < positive < len(labels):
            raise LabelsError(
                f"Column {self.label!r} of labels.csv has one class only: {'all' if positive else 'none'} of "
                f"{len(labels)} images has the value {self.positive!r} that study.positive names. Values found: "
                f"{shown(labels)}. Set study.positive to one of them, or add images of the other class."
            )

    def truth(self, labels: pd.Series) -> np.ndarray:
        """0.0 or 1.0, float64 ``(N, 1)``."""
        return (labels == self.positive).to_numpy(np.float64)[:, None]

    def strata(self, labels: pd.Series) -> np.ndarray:
        """``positive`` or ``negative``, ``(N,)``."""
        return np.where(labels == self.positive, "positive", "negative")

    def at_odds(self, truth: np.ndarray) -> bool:
        """Whether they differ."""
        return bool((truth != truth[0]).any())

    def counts(self, truth: np.ndarray) -> dict[str, int]:
        """Positive and negative images."""
        return {"positive": int((truth == 1).sum()), "negative": int((truth == 0).sum())}

    def lacking(self, truth: np.ndarray) -> str:
        """Whether a class is missing."""
        missing = [name for name, count in self.counts(truth).items() if not count]
        return f"no {' and no '.join(missing)} image" if missing else ""

    def describe(self, truth: np.ndarray) -> list[str]:
        """``positive`` or ``negative``."""
        return ["positive" if value else "negative" for value in truth[:, 0]]

    def loss(self, logits: "Tensor", truth: "Tensor") -> "Tensor":
        """Binary cross-entropy of each sample, ``(N, 1)`` both → ``(N,)``."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(logits[:, 0].float(), truth[:, 0].float(), reduction="none")

    def score(self, logits: np.ndarray, truth: np.ndarray) -> float:
        """Area under the ROC curve; NaN when one class is missing or a logit is not finite."""
        return area(truth[:, 0], logits[:, 0])
