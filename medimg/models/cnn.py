"""Convolutional networks, MONAI's, in 2D: ``(N, C, H, W)`` in, ``(N, outputs)`` logits out."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Module

BLOCKS = {  # He et al. 2016, table 1; resnet10 has one block in each layer
    "resnet10": ("basic", [1, 1, 1, 1]),
    "resnet18": ("basic", [2, 2, 2, 2]),
    "resnet34": ("basic", [3, 4, 6, 3]),
    "resnet50": ("bottleneck", [3, 4, 6, 3]),
}


def build(name: str, channels: int, outputs: int, seed: int) -> "Module":
    """A network with fresh weights, the same for the same seed.

    Args:
        name: ``model.name`` of params.yaml.
        channels: of the input.
        outputs: width of the last layer.
        seed: of the initialisation.
    """
    import torch
    from monai.networks.nets import DenseNet121, ResNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "densenet121":
            network: Module = DenseNet121(spatial_dims=2, in_channels=channels, out_channels=outputs)
        else:
            block, layers = BLOCKS[name]
            network = ResNet(
                block,
                layers,
                [64, 128, 256, 512],
                spatial_dims=2,
                n_input_channels=channels,
                num_classes=outputs,
                conv1_t_stride=2,  # as in the paper; MONAI's default of 1 costs six times as much
            )
        return network
