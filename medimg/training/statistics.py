"""Batch norm's running statistics where a batch is taken in shares: by one worker in turn, by several at once, or both.

Each share is normalised by its own statistics, as DDP does it. The running ones then move by the mean of what the
shares say, once a step, whoever took them; PyTorch alone would move them once a share, and keep those of worker 0.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from medimg.errors import TrainingError
from medimg.models.architecture import Architecture
from medimg.training import Job
from medimg.training.optimise import Depth


def check_alone(job: Job, shape: tuple[int, ...]) -> None:
    """Whether a share of one image gives every batch norm that learns several values a channel, as statistics need.

    Args:
        job: whose network.
        shape: of an image, ``(C, …)``.

    Raises:
        TrainingError: the image is one pixel by the time that it reaches one.
    """
    network = Architecture(job.model.name, shape, job.task.outputs, job.model.hidden).network(0).to("meta")
    Depth(network.body, job.train).set_epoch(job.train.unfreeze_epochs)  # all that will ever learn
    try:
        network(torch.empty((1, *shape), device="meta"))
    except ValueError:  # how PyTorch refuses, of whatever size
        raise TrainingError(
            f"A share of a batch is one image, and at {' × '.join(map(str, shape[1:]))} pixels {job.model.name} leaves "
            "one pixel of it, of which batch norm can take no statistics. Raise train.batch_size, lower train.workers "
            "or train.accumulate, which part every batch into shares, or raise preprocess.size."
        ) from None


class Statistics:
    """The running statistics of every norm in a network.

    Args:
        network: holds the norms.
        shares: in which each batch is taken, of all workers.
        sum_over_workers: a tensor → its sum over all workers.
    """

    def __init__(self, network: nn.Module, shares: int, sum_over_workers: Callable[[Tensor], Tensor]) -> None:
        self._norms: list[Any] = [
            module for module in network.modules() if getattr(module, "running_mean", None) is not None
        ]
        self._shares, self._sum = shares, sum_over_workers
        self._before: list[Tensor] = []
        self._counts: list[Tensor] = []
        self._change: Tensor | None = None

    @property
    def norms(self) -> int:
        """How many there are."""
        return len(self._norms)

    def begin(self) -> None:
        """Before a share: go on from where the step began."""
        if self._shares == 1 or not self._norms:
            return
        if self._change is None:
            self._before = [values.clone() for values in self._values()]
            self._counts = [values.clone() for values in self._numbers()]
            self._change = torch.zeros_like(torch.cat(self._before))
        else:
            self._change += self._since()
            torch._foreach_copy_(self._values(), self._before)
            torch._foreach_copy_(self._numbers(), self._counts)

    @torch.no_grad()
    def end(self) -> None:
        """After a step: the mean of what all shares of all workers changed."""
        if self._change is None:
            return
        change = self._sum(self._change + self._since()) / self._shares
        changes = torch.split(change, [len(values) for values in self._before])
        torch._foreach_copy_(self._values(), torch._foreach_add(self._before, changes))
        self._change = None

    def _values(self) -> list[Tensor]:
        return [values for norm in self._norms for values in (norm.running_mean, norm.running_var)]

    def _numbers(self) -> list[Tensor]:
        """How many batches each norm has seen."""
        return [norm.num_batches_tracked for norm in self._norms if norm.num_batches_tracked is not None]

    def _since(self) -> Tensor:
        return torch.cat(torch._foreach_sub(self._values(), self._before))
