"""From one neuron to AlexNet: the networks of the lecture, in 2D and 3D, for any channels and outputs.

Rosenblatt 1958 (perceptron); Rumelhart, Hinton and Williams 1986 (one hidden layer); LeCun et al. 1998 (LeNet-5);
Krizhevsky, Sutskever and Hinton 2012 (AlexNet).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, avg_pool3d

FIRST_SIX = [{at, (at + 1) % 6, (at + 2) % 6} for at in range(6)]
NEXT_SIX = [{at, (at + 1) % 6, (at + 2) % 6, (at + 3) % 6} for at in range(6)]
TABLE_I = [*FIRST_SIX, *NEXT_SIX, {0, 1, 3, 4}, {1, 2, 4, 5}, {0, 2, 3, 5}, set(range(6))]
"""LeCun et al. 1998: the maps of S2 that each of the 16 maps of C3 sees."""


def body(name: str, shape: tuple[int, ...], outputs: int, hidden: int) -> nn.Module:
    """A classic network for images of ``shape``: ``(C, H, W)`` or ``(C, D, H, W)``."""
    match name:
        case "perceptron":
            return Perceptron(math.prod(shape), outputs)
        case "mlp":
            return Mlp(math.prod(shape), hidden, outputs)
        case "lenet5":
            return LeNet5(len(shape) - 1, shape[0], outputs)
        case _:
            return AlexNet(len(shape) - 1, shape[0], outputs)


class Perceptron(nn.Module):
    """One neuron an output: w·x + b. The sigmoid stands in the loss and in the probability."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, image: Tensor) -> Tensor:
        """``(N, …)`` → ``(N, outputs)``."""
        logits: Tensor = self.linear(image.flatten(1))
        return logits


class Mlp(nn.Module):
    """One hidden layer of sigmoid neurons."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, hidden)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, image: Tensor) -> Tensor:
        """``(N, …)`` → ``(N, outputs)``."""
        logits: Tensor = self.output(torch.sigmoid(self.hidden(image.flatten(1))))
        return logits


class LeNet5(nn.Module):
    """LeNet-5 as in the paper, up to its last layer, which is linear here: 60 000 free parameters before it.

    Larger images than the paper's 32 × 32 are averaged to its 5 × 5 maps before C5.
    """

    def __init__(self, dimensions: int, channels: int, outputs: int) -> None:
        super().__init__()
        conv: Any = getattr(nn, f"Conv{dimensions}d")
        self.c1 = conv(channels, 6, 5)
        self.s2 = _Subsample(dimensions, 6)
        self.c3 = conv(6, 16, 5)
        sees = torch.tensor([[float(seen in row) for seen in range(6)] for row in TABLE_I])
        self.register_buffer("sees", sees.view(16, 6, *[1] * dimensions), persistent=False)
        self.s4 = _Subsample(dimensions, 16)
        self.fit = getattr(nn, f"AdaptiveAvgPool{dimensions}d")(5)
        self.c5 = conv(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, outputs)
        for layer, inputs in ((self.c1, channels), (self.c3, 4), (self.c5, 16)):
            _start(layer, inputs * 5**dimensions)
        _start(self.f6, 120)

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, …)`` → ``(N, outputs)``."""
        maps = self.s2(_squash(self.c1(image)))
        maps = self.s4(_squash(self.c3._conv_forward(maps, self.c3.weight * self.sees, self.c3.bias)))
        features = _squash(self.c5(self.fit(maps))).flatten(1)
        logits: Tensor = self.output(_squash(self.f6(features)))
        return logits


class _Subsample(nn.Module):
    """The mean of 2 × 2, times a coefficient, plus a bias, squashed: two free parameters a map."""

    def __init__(self, dimensions: int, maps: int) -> None:
        super().__init__()
        self._pool = avg_pool2d if dimensions == 2 else avg_pool3d
        self.weight = nn.Parameter(torch.ones(maps, *[1] * dimensions))
        self.bias = nn.Parameter(torch.zeros(maps, *[1] * dimensions))

    def forward(self, maps: Tensor) -> Tensor:
        return _squash(self._pool(maps, 2) * self.weight + self.bias)


def _squash(values: Tensor) -> Tensor:
    return 1.7159 * torch.tanh(2 / 3 * values)  # LeCun et al. 1998, appendix A


def _start(layer: Any, inputs: int) -> None:
    """Uniform in ±2.4 / number of inputs (LeCun et al. 1998, appendix A)."""
    for values in (layer.weight, layer.bias):
        nn.init.uniform_(values, -2.4 / inputs, 2.4 / inputs)


class AlexNet(nn.Module):
    """AlexNet of 2012: five convolutions, two of them and the fourth in two groups, three fully connected layers."""

    def __init__(self, dimensions: int, channels: int, outputs: int) -> None:
        super().__init__()
        conv: Any = getattr(nn, f"Conv{dimensions}d")
        pool: Any = getattr(nn, f"MaxPool{dimensions}d")
        self.features = nn.Sequential(
            *(conv(channels, 96, 11, stride=4, padding=2), nn.ReLU(), _responses(), pool(3, 2)),
            *(conv(96, 256, 5, padding=2, groups=2), nn.ReLU(), _responses(), pool(3, 2)),
            *(conv(256, 384, 3, padding=1), nn.ReLU()),
            *(conv(384, 384, 3, padding=1, groups=2), nn.ReLU()),
            *(conv(384, 256, 3, padding=1, groups=2), nn.ReLU(), pool(3, 2)),
            getattr(nn, f"AdaptiveAvgPool{dimensions}d")(6),
        )
        self.classifier = nn.Sequential(
            *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(256 * 6**dimensions, 4096), nn.ReLU()),
            *(nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU()),
            nn.Linear(4096, outputs),
        )

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, …)`` → ``(N, outputs)``."""
        logits: Tensor = self.classifier(self.features(image))
        return logits


def _responses() -> nn.Module:
    return nn.LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=2.0)
