"""What kind of answer the network gives: one file a task, the only place that knows which task it is."""

from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from medimg.params import Study

if TYPE_CHECKING:
    from torch import Tensor


class Task(Protocol):
    """What training, prediction and evaluation ask of a task. Nothing here needs torch before ``loss`` is called."""

    @property
    def outputs(self) -> int:
        """Width of the network's last layer."""
        ...

    def truth(self, labels: pd.Series) -> np.ndarray:
        """Labels as text → float64 truth ``(N,)``.

        Raises:
            LabelsError: the labels cannot be learned (one class only).
        """
        ...

    def strata(self, labels: pd.Series) -> np.ndarray:
        """Labels as text → a class ``(N,)`` of text by which patients are stratified."""
        ...

    def loss(self, logits: "Tensor", truth: "Tensor") -> "Tensor":
        """``(N, outputs)`` logits and ``(N,)`` truth → ``(N,)`` loss of each sample."""
        ...

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """``(N, outputs)`` logits → ``(N,)`` probability of the positive class, float64."""
        ...

    def score(self, logits: np.ndarray, truth: np.ndarray) -> float:
        """Headline metric over all of validation, higher is better; NaN where it is undefined."""
        ...


def task_of(study: Study) -> Task:
    """The task that ``study.task`` names."""
    from medimg.tasks.binary import Binary

    return Binary(label=study.label, positive=study.positive)
