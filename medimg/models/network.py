"""The network that is trained, stored and used: an image in 0…1 in, logits out; normalisation is its first step."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from medimg.models.architecture import CLASSIC, Architecture

# A training step on a CPU is 1.7 and 1.3 times as fast so; that of a ResNet is slower.
CHANNELS_LAST = ("efficientnet-lite0", "densenet121", "densenet169", "densenet201", "densenet264")


class Network(nn.Module):
    """``(N, C, H, W)`` or ``(N, C, D, H, W)`` in 0…1 → ``(N, outputs)`` logits.

    A grey image becomes as many equal colours as the first layer takes; then mean and std bring it to the range that
    the weights were trained with.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, body: nn.Module, architecture: Architecture) -> None:
        super().__init__()
        self.body, self.architecture = body, architecture
        std = torch.tensor(architecture.std).view(-1, *[1] * architecture.dimensions)
        mean = torch.tensor(architecture.mean).view(-1, *[1] * architecture.dimensions)
        self.register_buffer("scale", 1 / std, persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, …)`` in 0…1 → ``(N, outputs)``."""
        if self.architecture.channels != image.shape[1]:
            image = image.expand(-1, self.architecture.channels, *image.shape[2:])
        ready = zscore(image) if self.architecture.zscore else image * self.scale + self.shift
        logits: Tensor = self.body(ready)
        return logits

    def alone(self) -> "list[Network]":
        """The networks that answer together, each as a network of its own that shares its weights; one of one."""
        if not isinstance(self.body, Ensemble):
            return [self]
        one = replace(self.architecture, members=1)
        return [Network(body, one).to(self.scale.device).train(self.training) for body in self.body.members]


def zscore(image: Tensor) -> Tensor:
    """``(N, C, …)``: each channel by mean and deviation of its values above 0; what is 0 stays 0 (Chen et al. 2019).

    MedicalNet fills the background with noise of mean 0 instead.
    """
    axes, inside = tuple(range(2, image.ndim)), image > 0
    count = inside.sum(axes, keepdim=True).clamp(min=1)
    centred = (image - image.sum(axes, keepdim=True) / count) * inside
    deviation = (centred.square().sum(axes, keepdim=True) / count).sqrt().clamp(min=1e-6)
    return centred / deviation


class Ensemble(nn.Module):
    """Networks of one architecture, such as those of a cross-validation; their answer is the mean of their logits."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor) -> Tensor:
        """``(N, channels, …)`` → ``(N, outputs)``."""
        return torch.stack([member(image) for member in self.members]).mean(0)


def build(architecture: Architecture, seed: int) -> Network:
    """The network with fresh weights, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bodies = [_body(architecture) for _ in range(architecture.members)]
        network = Network(bodies[0] if len(bodies) == 1 else Ensemble(bodies), architecture)
    if architecture.dimensions == 2 and architecture.name in CHANNELS_LAST:
        network.body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _body(architecture: Architecture) -> nn.Module:
    shape = (architecture.channels, *architecture.shape[1:])
    match architecture.name:
        case name if name in CLASSIC:
            from medimg.models import classic

            return classic.body(name, shape, architecture.outputs, architecture.hidden)
        case "efficientnet-lite0":
            from medimg.models.lite import EfficientNetLite0

            return EfficientNetLite0(architecture.channels, architecture.outputs)
        case _:
            from medimg.models.cnn import body

            return body(architecture.name, architecture.dimensions, architecture.channels, architecture.outputs)
