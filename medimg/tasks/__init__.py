"""What kind of answer the network gives: one file a task, the only place that knows which task it is.

Here stands what training and prediction need of a task. Its metrics stand under the same name in
``medimg/evaluation/tasks/``, so that a change to a metric trains nothing anew.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from medimg.params import Study

if TYPE_CHECKING:
    from torch import Tensor


class Task(Protocol):
    """What training, prediction and evaluation ask of a task. Nothing here needs torch before ``loss`` is called.

    N samples, T truths a sample, K outputs of the network. A label is the text of the index's column ``label``.
    """

    @property
    def outputs(self) -> int:
        """K: width of the network's last layer."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """What each output is about, ``K`` texts: the label column, a class, one of several label columns."""
        ...

    @property
    def score_name(self) -> str:
        """What ``score`` is, in words."""
        ...

    def check(self, labels: pd.Series) -> None:
        """Whether the labels of a whole study can be learned.

        Raises:
            LabelsError: a class has no image, or a value is none that params.yaml allows.
        """
        ...

    def truth(self, labels: pd.Series) -> np.ndarray:
        """Labels → float64 truth ``(N, T)``; NaN where one of several labels is not known.

        Raises:
            LabelsError: a value is none that params.yaml allows.
        """
        ...

    def strata(self, labels: pd.Series) -> np.ndarray:
        """Labels → a class ``(N,)`` of text to stratify patients by; several of one sample joined by `` + ``."""
        ...

    def at_odds(self, truth: np.ndarray) -> bool:
        """Whether ``(N, T)`` truths, all of one picture, contradict each other."""
        ...

    def counts(self, truth: np.ndarray) -> dict[str, int]:
        """``(N, T)`` truth → images of each class, for people to read; empty where there are no classes."""
        ...

    def lacking(self, truth: np.ndarray) -> str:
        """Why nothing can be learned from ``(N, T)`` truths or measured on them, as a clause; empty where it can."""
        ...

    def describe(self, truth: np.ndarray) -> list[str]:
        """``(N, T)`` truth → the truth of each sample in words."""
        ...

    def loss(self, logits: "Tensor", truth: "Tensor") -> "Tensor":
        """``(N, K)`` logits and ``(N, T)`` truth → ``(N,)`` loss of each sample; a truth that is NaN has no say."""
        ...

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """``(N, K)`` logits → ``(N, K)`` float64: a probability for each output; of a regression, the value itself."""
        ...

    def logits(self, probabilities: np.ndarray) -> np.ndarray:
        """The opposite of ``probabilities``, finite also where a probability is 0 or 1."""
        ...

    def questions(self, truth: np.ndarray) -> np.ndarray:
        """``(N, T)`` truth → ``(N, K)``: 1 where the answer to output k's yes-or-no question is yes, NaN where unknown.

        ``(N, 0)`` where outputs are no answers to such questions.
        """
        ...

    def odds(self, logits: np.ndarray) -> np.ndarray:
        """``(N, K)`` logits → ``(N, K)`` log odds of each yes-or-no question; ``(N, 0)`` where there is none."""
        ...

    def pooled(self, truth: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """``(N, T)`` truths of images, those of a unit together from each of ``starts`` on → truth of each unit."""
        ...

    def score(self, logits: np.ndarray, truth: np.ndarray) -> float:
        """How good ``(N, K)`` logits are on all of validation, higher is better; NaN where that is undefined."""
        ...

    def measure(self, name: str, logits: np.ndarray, truth: np.ndarray) -> float:
        """A metric that ``params.learning.MONITORS`` names for the task, of all of validation; NaN where undefined."""
        ...


def task_of(study: Study) -> Task:
    """The task that ``study.task`` names."""
    from medimg.tasks.binary import Binary
    from medimg.tasks.multiclass import Multiclass
    from medimg.tasks.multilabel import Multilabel
    from medimg.tasks.regression import Regression

    makers: dict[str, Callable[[Study], Task]] = {
        "binary": Binary.of,
        "multiclass": Multiclass.of,
        "multilabel": Multilabel.of,
        "regression": Regression.of,
    }
    return makers[study.task](study)
