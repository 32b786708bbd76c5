"""One of several classes: a logit each, softmax, cross-entropy, mean AUROC of one class against the rest."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medimg.errors import LabelsError
from medimg.params import Study
from medimg.tasks.ranking import SURE, mean_area, measured, shown

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Multiclass:
    """``classes`` are the values of column ``label``; the truth is a class's place among them, from 0."""

    label: str
    classes: tuple[str, ...]
    score_name: str = "mean AUROC of each class against the rest"

    @classmethod
    def of(cls, study: Study) -> "Multiclass":
        """The task of a study block."""
        assert study.classes is not None  # the block was checked
        return cls(study.columns[0], study.classes)

    @property
    def outputs(self) -> int:
        """One for each class."""
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return self.classes

    def check(self, labels: pd.Series) -> None:
        """Every class is there, and no other.

        Raises:
            LabelsError: a class has no image, or a value is no class.
        """
        empty = [name for name, count in self.counts(self.truth(labels)).items() if not count]
        if empty:
            raise LabelsError(
                f"No image has the class {empty[0]!r} of study.classes in column {self.label!r} of labels.csv. "
                f"Values found: {shown(labels)}. Take it out of study.classes, or add images."
            )

    def truth(self, labels: pd.Series) -> np.ndarray:
        """Place of the class in ``classes``, float64 ``(N, 1)``.

        Raises:
            LabelsError: a value is no class.
        """
        place = labels.map({name: number for number, name in enumerate(self.classes)})
        if place.isna().any():
            raise LabelsError(
                f"{int(place.isna().sum())} of {len(labels)} images have a value in column {self.label!r} of "
                f"labels.csv that is not in study.classes. Values found: {shown(labels)}. "
                f"Classes: {', '.join(self.classes)}. Add them there, or leave the label of those images empty."
            )
        return place.to_numpy(np.float64)[:, None]

    def strata(self, labels: pd.Series) -> np.ndarray:
        """The class, ``(N,)``."""
        return labels.to_numpy(dtype=object)

    def at_odds(self, truth: np.ndarray) -> bool:
        """Whether they differ."""
        return bool((truth != truth[0]).any())

    def counts(self, truth: np.ndarray) -> dict[str, int]:
        """Images of each class."""
        found = np.bincount(truth[:, 0].astype(int), minlength=self.outputs)
        return dict(zip(self.classes, found.tolist(), strict=True))

    def lacking(self, truth: np.ndarray) -> str:
        """Whether fewer than two classes are there."""
        present = [name for name, count in self.counts(truth).items() if count]
        return "" if len(present) > 1 else f"images of {len(present)} of the {self.outputs} classes only"

    def describe(self, truth: np.ndarray) -> list[str]:
        """The class."""
        return [self.classes[int(value)] for value in truth[:, 0]]

    def loss(self, logits: "Tensor", truth: "Tensor") -> "Tensor":
        """Cross-entropy of each sample, ``(N, K)`` and ``(N, 1)`` → ``(N,)``."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits.float(), truth[:, 0].long(), reduction="none")

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Softmax over the classes, float64 ``(N, K)``."""
        from scipy.special import softmax

        return np.asarray(softmax(logits.astype(np.float64), axis=1))

    def logits(self, probabilities: np.ndarray) -> np.ndarray:
        """Logarithm of each probability, float64 ``(N, K)``."""
        return np.asarray(np.log(np.maximum(probabilities, SURE)))

    def questions(self, truth: np.ndarray) -> np.ndarray:
        """Each class against the rest, ``(N, K)``."""
        return np.asarray(truth == np.arange(self.outputs), np.float64)

    def odds(self, logits: np.ndarray) -> np.ndarray:
        """Log odds of each class against the rest, float64 ``(N, K)``."""
        from scipy.special import logsumexp

        rest = [logsumexp(np.delete(logits, k, axis=1), axis=1) for k in range(self.outputs)]
        return np.asarray(logits - np.stack(rest, axis=1), np.float64)

    def pooled(self, truth: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """The last of the classes that occur."""
        return np.asarray(np.fmax.reduceat(truth, starts))

    def score(self, logits: np.ndarray, truth: np.ndarray) -> float:
        """Mean over the classes of the AUROC of one against the rest."""
        if not np.isfinite(logits).all():
            return float("nan")
        return mean_area(self.questions(truth), self.probabilities(logits))

    def measure(self, name: str, logits: np.ndarray, truth: np.ndarray) -> float:
        """See ``ranking.measured``; the likeliest class is the answer."""
        probability = self.probabilities(logits)
        said = probability.argmax(axis=1)[:, None] == np.arange(self.outputs)
        return measured(name, self.questions(truth), probability, said, exclusive=True)
