"""Convolutional networks, MONAI's, in 2D and 3D: ``(N, C, H, W)`` or ``(N, C, D, H, W)`` in, logits out."""

from typing import Any

from monai.networks import nets
from torch import nn

RESNETS = {  # He et al. 2016, table 1; resnet10 has one block in each layer
    "resnet10": ("basic", [1, 1, 1, 1]),
    "resnet18": ("basic", [2, 2, 2, 2]),
    "resnet34": ("basic", [3, 4, 6, 3]),
    "resnet50": ("bottleneck", [3, 4, 6, 3]),
    "resnet101": ("bottleneck", [3, 4, 23, 3]),
    "resnet152": ("bottleneck", [3, 8, 36, 3]),
}


def body(name: str, dimensions: int, channels: int, outputs: int) -> nn.Module:
    """A network with fresh weights.

    Args:
        name: ``model.name`` of params.yaml.
        dimensions: 2 or 3.
        channels: of the input.
        outputs: width of the last layer.
    """
    common: dict[str, Any] = {"spatial_dims": dimensions, "in_channels": channels}
    if name.startswith("densenet"):
        made: nn.Module = getattr(nets, f"DenseNet{name.removeprefix('densenet')}")(**common, out_channels=outputs)
    elif name.startswith("seresnet"):
        made = getattr(nets, f"SEResNet{name.removeprefix('seresnet')}")(**common, num_classes=outputs)
    elif name.startswith("efficientnet"):
        norm = ("batch", {"eps": 1e-3})  # MONAI's momentum of 0.01 is too slow for a few hundred images
        made = nets.EfficientNetBN(name, pretrained=False, **common, num_classes=outputs, norm=norm)
    else:
        made = resnet(name, dimensions, channels, num_classes=outputs)
    return made


def resnet(name: str, dimensions: int, channels: int, **more: Any) -> nn.Module:
    """MONAI's ResNet as published: He et al. 2016 in 2D, MedicalNet (Chen et al. 2019) in 3D; their weights fit.

    The first convolution halves the grid, as in both; MONAI's default costs six times as much.
    """
    block, layers = RESNETS[name]
    padded = dimensions == 3 and name in ("resnet18", "resnet34")  # MedicalNet's shortcuts there have no weights
    made: nn.Module = nets.ResNet(
        block,
        layers,
        [64, 128, 256, 512],
        spatial_dims=dimensions,
        n_input_channels=channels,
        conv1_t_stride=2,
        shortcut_type="A" if padded else "B",
        bias_downsample=padded,  # a bias before a batch norm does nothing; MONAI wants it named for shortcut A
        **more,
    )
    return made
