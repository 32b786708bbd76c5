"""Applying what was drawn, step by step, to the samples to which it happens."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from medimg.augment import intensity, linear
from medimg.augment.draws import Chosen, Draws
from medimg.augment.warp import flip, move, moves

if TYPE_CHECKING:
    from torch import Tensor

STEPS: dict[str, Callable[["Tensor", Any], "Tensor"]] = {
    "flip": flip,
    "move": move,
    "low_resolution": linear.low_resolution,
    "blur": linear.blur,
    "gibbs": intensity.gibbs,
    "bias_field": intensity.bias_field,
    "brightness": intensity.brightness,
    "contrast": intensity.contrast,
    "gamma": intensity.gamma,
    "noise": intensity.noise,
    "cutout": intensity.cutout,
}
"""in the order in which they are applied; crop, affine and elastic changes are one move, with its samples' flips"""


def augment(images: "Tensor", draws: Draws, level: float = 0.0) -> "Tensor":
    """Apply drawn parameters to a batch: crop, flip, affine and elastic as one interpolation, then grey values.

    Args:
        images: float ``(N, C, H, W)`` or ``(N, C, D, H, W)`` in 0…1, on any device.
        draws: of the same ``N`` samples.
        level: where background lies in 0…1 (``Store.level``). Values are counted from it: what comes from beyond the
            edge is background, and what leaves 0 as it is in MONAI (blur, a bias field) leaves background as it is.

    Returns:
        as ``images``, in 0…1.
    """
    import torch

    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        return (_in_place if images.device.type == "cpu" else at_once)(images, _steps(draws), level)


def _steps(draws: Draws) -> dict[str, Chosen]:
    """What happens, in order."""
    flipped, moved = moves(draws)
    happening = vars(draws) | {"flip": flipped, "move": moved}
    return {name: found for name in STEPS if (found := happening[name]) is not None}


def at_once(images: "Tensor", steps: dict[str, Chosen], level: float = 0.0) -> "Tensor":
    """Each step for the whole batch, on whatever device."""
    images = images.float() - level if level else images.float()
    for name, drawn in steps.items():
        images = _some(images, drawn, STEPS[name])
    return (images + level if level else images).clamp(0, 1)


def _in_place(images: "Tensor", steps: dict[str, Chosen], level: float) -> "Tensor":
    """On a CPU: a copy of the images, changed where it lies."""
    import torch

    from medimg.augment import cpu  # Numba takes a while to import

    result = torch.empty(images.shape).copy_(images)
    if level:
        result -= level
    for name, drawn in steps.items():
        if name in cpu.STEPS:
            cpu.STEPS[name](result, drawn)
        else:
            at = torch.from_numpy(drawn.at)
            result[at] = STEPS[name](result[at], drawn)
    if level:
        result += level
    return result.clamp_(0, 1)


def augment_masks(masks: "Tensor", draws: Draws) -> "Tensor":
    """What happens to the pictures' geometry happens to their masks ``(N, C, …)``; a class stays a class."""
    import torch

    result = masks.float()
    with torch.no_grad(), torch.autocast(masks.device.type, enabled=False):
        flipped, moved = moves(draws)
        if flipped is not None:
            result = _some(result, flipped, flip)
        if moved is not None:
            result = _some(result, moved, lambda some, drawn: move(some, drawn, "nearest"))
    return result.to(masks.dtype)


def _some(images: "Tensor", drawn: Chosen, step: Callable[["Tensor", Any], "Tensor"]) -> "Tensor":
    """``images`` with those changed to which something happens."""
    import torch

    if len(drawn.at) == len(images):
        return step(images, drawn)
    at = torch.from_numpy(drawn.at).to(images.device, non_blocking=True)
    return images.index_copy(0, at, step(images[at], drawn))
