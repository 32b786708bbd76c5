"""The average of the weights over the steps (EMA), which is validated and kept instead of the last ones."""

import torch
from torch import Tensor, nn


class Average:
    """An exponential moving average of a network's weights and batch statistics.

    The decay grows to ``decay`` over the first steps, (1 + n) / (10 + n), so that the fresh weights are soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network, self._decay, self.steps = network, decay, 0
        self.weights: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self) -> None:
        """After a step of the optimizer."""
        state = self._network.state_dict()
        if not self.weights:
            self.weights = {name: values.clone() for name, values in state.items()}
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, values in state.items():
            average = self.weights[name] = self.weights[name].to(values.device)  # a checkpoint's is on the CPU
            if values.is_floating_point():
                average.lerp_(values, 1 - decay)
            else:
                average.copy_(values)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the average and what stands in the network."""
        for name, values in self._network.state_dict().items():
            kept = values.clone()
            values.copy_(self.weights[name])
            self.weights[name].copy_(kept)
