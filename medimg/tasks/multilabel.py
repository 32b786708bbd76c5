"""Several yes-or-no questions about one image: a logit each, binary cross-entropy of the labels that are known."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medimg.errors import LabelsError
from medimg.params import Study
from medimg.tasks.ranking import mean_area
from medimg.tasks.yesorno import YesOrNo

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Multilabel(YesOrNo):
    """``positive`` is the text that counts as positive in each column of ``labels``; an empty cell is not known.

    A label of the index is a JSON object of column and text, or null where the cell is empty.
    """

    labels: tuple[str, ...]
    positive: str
    score_name: str = "mean AUROC of the labels"

    @classmethod
    def of(cls, study: Study) -> "Multilabel":
        """The task of a study block."""
        assert study.positive is not None  # the block was checked
        return cls(study.columns, study.positive)

    @property
    def outputs(self) -> int:
        """One for each label."""
        return len(self.labels)

    @property
    def names(self) -> tuple[str, ...]:
        """The label columns."""
        return self.labels

    def check(self, labels: pd.Series) -> None:
        """Every label has images of both kinds.

        Raises:
            LabelsError: a label has none that is positive, or none that is negative.
        """
        truth = self.truth(labels)
        for name, column in zip(self.labels, truth.T, strict=True):
            for value, word in ((1, "positive"), (0, "negative")):
                if not (column == value).any():
                    raise LabelsError(
                        f"Column {name!r} of labels.csv has no {word} image among {int(np.isfinite(column).sum())} "
                        f"that are labelled (positive is {self.positive!r}, as study.positive says; an empty cell "
                        "means not known). Take the column out of study.label, or add images."
                    )

    def truth(self, labels: pd.Series) -> np.ndarray:
        """0.0, 1.0 or NaN (not known), float64 ``(N, K)``.

        Raises:
            LabelsError: the index was made for other label columns.
        """
        rows = [json.loads(text) for text in labels]
        if any(set(row) != set(self.labels) for row in rows):
            raise LabelsError("The index was made with another study.label. Run dvc repro to make it again.")
        values = [[np.nan if row[name] is None else float(row[name] == self.positive) for name in self.labels]
                  for row in rows]  # fmt: skip
        return np.array(values, dtype=np.float64).reshape(len(rows), self.outputs)

    def strata(self, labels: pd.Series) -> np.ndarray:
        """The labels that are positive, joined by `` + ``, or ``none``, ``(N,)``."""
        return np.array([" + ".join(self._positive(row)) or "none" for row in self.truth(labels)], dtype=object)

    def at_odds(self, truth: np.ndarray) -> bool:
        """Whether a label is positive in one and negative in another; a missing one contradicts nothing."""
        return bool(((truth == 1).any(axis=0) & (truth == 0).any(axis=0)).any())

    def counts(self, truth: np.ndarray) -> dict[str, int]:
        """Images positive for each label."""
        return dict(zip(self.labels, (truth == 1).sum(axis=0).tolist(), strict=True))

    def lacking(self, truth: np.ndarray) -> str:
        """Whether no label has both positive and negative images."""
        both = (truth == 1).any(axis=0) & (truth == 0).any(axis=0)
        return "" if both.any() else "no label with positive and negative images"

    def describe(self, truth: np.ndarray) -> list[str]:
        """The labels that are positive."""
        return [", ".join(self._positive(row)) or "none" for row in truth]

    def _positive(self, row: np.ndarray) -> Iterator[str]:
        return (name for name, value in zip(self.labels, row, strict=True) if value == 1)

    def loss(self, logits: "Tensor", truth: "Tensor") -> "Tensor":
        """Mean binary cross-entropy over the known labels of each sample, ``(N, K)`` both → ``(N,)``; 0 for none."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        known = truth.isfinite()
        terms = binary_cross_entropy_with_logits(logits.float(), truth.nan_to_num().float(), reduction="none")
        return (terms * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)

    def score(self, logits: np.ndarray, truth: np.ndarray) -> float:
        """Mean over the labels of the AUROC among the samples whose label is known."""
        return mean_area(truth, logits)
