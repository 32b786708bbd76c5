"""EfficientNet-Lite0 in 2D: EfficientNet-B0 (Tan and Le 2019) without squeeze-and-excitation, with ReLU6 for swish.

Names of its tensors are those of the package efficientnet-lite-pytorch, whose ImageNet weights it takes.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

BLOCKS = (  # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
DROP_BLOCK, DROPOUT = 0.2, 0.2


class EfficientNetLite0(nn.Module):
    """``(N, channels, H, W)`` → ``(N, outputs)``."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self._conv_stem = _Same(channels, 32, 3, stride=2)
        self._bn0 = _norm(32)
        self._blocks = nn.ModuleList()
        width, total = 32, sum(row[0] for row in BLOCKS)
        for repeats, kernel, stride, expansion, channels_out in BLOCKS:
            for repeat in range(repeats):
                drop = DROP_BLOCK * len(self._blocks) / total
                steps = stride if repeat == 0 else 1
                self._blocks.append(_Block(width, channels_out, kernel, steps, expansion, drop))
                width = channels_out
        self._conv_head = _Same(width, 1280, 1)
        self._bn1 = _norm(1280)
        self._dropout = nn.Dropout(DROPOUT)
        self._fc = nn.Linear(1280, outputs)
        self._act = nn.ReLU6()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.zeros_(self._fc.bias)

    def forward(self, image: Tensor) -> Tensor:
        """``(N, channels, H, W)`` → ``(N, outputs)``."""
        maps = self._act(self._bn0(self._conv_stem(image)))
        for block in self._blocks:
            maps = block(maps)
        maps = self._act(self._bn1(self._conv_head(maps)))
        logits: Tensor = self._fc(self._dropout(maps.mean((2, 3))))
        return logits


class _Block(nn.Module):
    """Inverted residual: expand, filter each channel, project; dropped whole for some samples in training."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, drop: float) -> None:
        super().__init__()
        inner = inputs * expansion
        if expansion != 1:
            self._expand_conv = _Same(inputs, inner, 1)
            self._bn0 = _norm(inner)
        self._depthwise_conv = _Same(inner, inner, kernel, stride=stride, groups=inner)
        self._bn1 = _norm(inner)
        self._project_conv = _Same(inner, outputs, 1)
        self._bn2 = _norm(outputs)
        self._act = nn.ReLU6()
        self._expands, self._adds, self._drop = expansion != 1, stride == 1 and inputs == outputs, drop

    def forward(self, maps: Tensor) -> Tensor:
        inner: Tensor = self._act(self._bn0(self._expand_conv(maps))) if self._expands else maps
        inner = self._act(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        if not self._adds:
            return inner
        if self.training and self._drop:
            keep = torch.rand(len(maps), 1, 1, 1, dtype=inner.dtype, device=inner.device) >= self._drop
            inner = inner * keep / (1 - self._drop)
        return inner + maps


class _Same(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: as many outputs as inputs / stride, rounded up; no bias."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if kernel > 1:
            down, right = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in maps.shape[2:])
            maps = pad(maps, [right // 2, right - right // 2, down // 2, down - down // 2])
        filtered: Tensor = super().forward(maps)
        return filtered


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)  # TensorFlow's momentum of 0.01 is too slow for a few hundred images
