"""How gradients become steps: the optimizer, its learning rate over time and depth, what is frozen until when."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from medimg.models.stages import stages
from medimg.params import Train


class Depth:
    """The stages of a network and when each learns.

    Args:
        body: the network without its first step.
        settings: the block ``train``.
    """

    def __init__(self, body: nn.Module, settings: Train) -> None:
        self._stages = stages(body)
        below = len(self._stages) - 1  # stages below the last layer
        self._settings = settings
        self._height = [(below - at) / max(below, 1) for at in range(below + 1)]  # 1 at the input, 0 at the last layer
        self._frozen = round(settings.freeze * below)
        for stage in self._stages[: self._frozen]:
            stage.requires_grad_(False)

    def set_epoch(self, epoch: int) -> None:
        """What does not learn in this epoch keeps its batch statistics too."""
        for at, stage in enumerate(self._stages):
            stage.train(at >= self._frozen and epoch >= self.freed(at))

    def freed(self, at: int) -> int:
        """The epoch from which stage ``at`` learns."""
        return round(self._settings.unfreeze_epochs * self._height[at])

    def groups(self) -> list[tuple[float, int, list[nn.Parameter]]]:
        """Learning rate, first epoch and parameters of those that learn, fewest groups first to last."""
        together: dict[tuple[float, int], list[nn.Parameter]] = defaultdict(list)
        for at, stage in enumerate(self._stages):
            rate = self._settings.learning_rate * self._settings.depth_decay ** self._height[at]
            together[rate, self.freed(at)] += [values for values in stage.parameters() if values.requires_grad]
        return [(rate, epoch, values) for (rate, epoch), values in together.items() if values]


def optimizer(depth: Depth, settings: Train, steps: int) -> dict[str, Any]:
    """Optimizer and schedule as Lightning takes them; the schedule is stepped with each batch.

    A stage that is not freed yet has a learning rate of 0 rather than no gradient: DDP would wait for the gradient.

    Args:
        depth: the network's stages.
        settings: the block ``train``.
        steps: optimizer steps in an epoch.
    """
    groups = depth.groups()
    parameters = [{"params": values, "lr": rate} for rate, _, values in groups]
    made: torch.optim.Optimizer
    if settings.optimizer == "adamw":
        made = torch.optim.AdamW(parameters, weight_decay=settings.weight_decay)
    else:
        momentum, decay = settings.momentum, settings.weight_decay
        made = torch.optim.SGD(parameters, momentum=momentum, weight_decay=decay, nesterov=momentum > 0)
    factors = [_factor(settings, steps, epoch * steps) for _, epoch, _ in groups]
    schedule = torch.optim.lr_scheduler.LambdaLR(made, factors)
    return {"optimizer": made, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _factor(settings: Train, steps: int, start: int) -> Callable[[int], float]:
    """Of the learning rate, by step: 0 before ``start``, linear warm-up, then a cosine to zero or constant."""
    total, warmup = settings.max_epochs * steps, max(1, round(settings.warmup_epochs * steps))

    def factor(step: int) -> float:
        if step < start:
            return 0.0
        if step < warmup:
            return (step + 1) / warmup
        if settings.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    return factor
