"""What is made of the task's loss: focal, squared, smoothed labels, weights of classes. All of it sample by sample.

Nothing here knows which task it is. A task has one truth a sample (a class, a yes or no, a number) or several labels of
which some are not known; ``terms`` gives the loss of each, and the mean over those known is the sample's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from medimg.errors import TrainingError
from medimg.params import Train
from medimg.tasks import Task


@dataclass(frozen=True)
class Loss:
    """``(N, K)`` logits and ``(N, T)`` truth → ``(N,)`` loss of each sample."""

    task: Task
    settings: Train
    weights: tuple[dict[float, float], ...] = ()
    """of each truth's values, where classes are weighted"""

    @classmethod
    def of(cls, task: Task, settings: Train, truth: np.ndarray) -> "Loss":
        """The loss that ``settings`` describe, its class weights from the ``(N, T)`` truth of the train part.

        Raises:
            TrainingError: the task has no classes, and the settings are about classes.
        """
        asked = {
            "loss: focal": settings.loss == "focal",
            "loss: squared": settings.loss == "squared",
            "label_smoothing": settings.label_smoothing > 0,
            "class_weights: balanced": settings.class_weights == "balanced",
            "sampling: balanced": settings.sampling == "balanced",
        }
        if any(asked.values()) and not task.questions(truth).shape[1]:
            what = ", ".join(name for name, is_asked in asked.items() if is_asked)
            raise TrainingError(f"train.{what} is about classes, and study.task has none. Take it out.")
        weigh = settings.class_weights == "balanced"
        return cls(task, settings, tuple(balanced(column) for column in truth.T) if weigh else ())

    def __call__(self, logits: Tensor, truth: Tensor) -> Tensor:
        """``(N, K)`` and ``(N, T)`` → ``(N,)``; a truth that is NaN has no say."""
        if self.settings.loss == "auto" and not self.weights:
            return self._smoothed(logits, truth, self.task.loss)
        known = truth.isfinite()
        losses = self._terms(logits, truth) * known
        for at, of in enumerate(self.weights):
            weight = torch.ones_like(losses[:, at])
            for value, factor in of.items():
                weight[truth[:, at] == value] = factor
            losses[:, at] = losses[:, at] * weight
        return losses.sum(1) / known.sum(1).clamp(min=1)

    def _terms(self, logits: Tensor, truth: Tensor) -> Tensor:
        """The loss of each truth alone, ``(N, T)``; 0 where it is not known."""
        if self.settings.loss == "squared":
            return self._smoothed(logits, truth, _squared)
        alone = []
        for at in range(truth.shape[1]):
            others = torch.arange(truth.shape[1], device=truth.device) != at
            one = truth.masked_fill(others, float("nan")) if truth.shape[1] > 1 else truth
            losses = self._smoothed(logits, one, self.task.loss)
            if self.settings.loss == "focal":  # Lin et al. 2017: (1 - p)^γ, p being what the truth was given
                losses = (1 - torch.exp(-self.task.loss(logits, one))) ** self.settings.focal_gamma * losses
            alone.append(losses)
        return torch.stack(alone, 1)

    def _smoothed(self, logits: Tensor, truth: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Of the loss, a share of ``label_smoothing`` is that of every class alike (Szegedy et al. 2016)."""
        smoothing = self.settings.label_smoothing
        if not smoothing:
            return loss(logits, truth)
        values = range(logits.shape[1]) if _exclusive(logits, truth) else range(2)
        everything = [loss(logits, truth * 0 + value) for value in values]  # NaN stays NaN
        return (1 - smoothing) * loss(logits, truth) + smoothing * torch.stack(everything).mean(0)


def balanced(truth: np.ndarray) -> dict[float, float]:
    """``(N,)`` truth → a weight for each value: classes count alike, and the mean weight of a sample is 1."""
    values, counts = np.unique(truth[np.isfinite(truth)], return_counts=True)
    weights = counts.sum() / (len(values) * counts)
    return dict(zip(values.tolist(), weights.tolist(), strict=True))


def _exclusive(logits: Tensor, truth: Tensor) -> bool:
    """Whether a truth is the place of one of several classes."""
    return truth.shape[1] == 1 and logits.shape[1] > 1


def _squared(logits: Tensor, truth: Tensor) -> Tensor:
    """½ (y - t)² of each truth, ``(N, T)``; y the probability; summed over classes that exclude each other."""
    if _exclusive(logits, truth):
        wanted = one_hot(truth[:, 0].long(), logits.shape[1])
        return ((logits.float().softmax(1) - wanted) ** 2).sum(1, keepdim=True) / 2
    return (logits.float().sigmoid() - truth.nan_to_num()) ** 2 / 2
