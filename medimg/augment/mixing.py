"""Mixup and CutMix: some pictures of a batch take in another one of it, and their loss is shared between both truths.

Zhang et al., mixup: Beyond empirical risk minimization, ICLR 2018; Yun et al., CutMix, ICCV 2019. As in MONAI's
``MixUp`` and ``CutMix``, but that a truth's share is that of the box as it was cut at the picture's edge.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medimg.augment.intensity import boxes
from medimg.augment.keyed import Keyed
from medimg.params import Augment

if TYPE_CHECKING:
    from torch import Tensor


class Mixture(NamedTuple):
    """The ``k`` samples of a batch that take in another one."""

    at: np.ndarray
    """their positions, int64 ``(k,)``"""
    other: np.ndarray
    """positions of what they take in, int64 ``(k,)``"""
    share: np.ndarray
    """of the truth that stays their own, float64 ``(k,)``"""
    cut: np.ndarray
    """whether it is a box that they take in, bool ``(k,)``; else all of the picture, ``1 - share`` of it"""
    start: np.ndarray
    """of the box, pixels, int64 ``(k, R)``"""
    end: np.ndarray
    """int64 ``(k, R)``"""


def draw_mixture(settings: Augment, seed: int, epoch: int, samples: np.ndarray, shape: tuple[int, ...]) -> Mixture:
    """Which samples of a batch take in how much of another; which other, the batch says (``other`` is ``at`` here).

    Args:
        settings: the block ``augment``.
        seed: ``study.seed``.
        epoch: from 0.
        samples: a number that is the sample's own, uint64 ``(N,)``.
        shape: of a picture, pixels.
    """
    from scipy.special import betaincinv

    keyed = Keyed(seed, epoch, samples)
    chance = keyed.uniform("mix?")[:, 0]
    at = np.flatnonzero(chance < settings.mixup.probability + settings.cutmix.probability)
    cut, keyed, side = chance[at] >= settings.mixup.probability, keyed.of(at), np.array(shape)
    alpha = np.where(cut, settings.cutmix.alpha, settings.mixup.alpha)
    share = betaincinv(alpha, alpha, keyed.uniform("mix share")[:, 0])
    start = np.floor(keyed.uniform("mix box", count=len(shape)) * side).astype(np.int64)
    length = side * np.sqrt(1 - share)[:, None] ** (2 / len(shape))  # 1 - share of the picture, before the edge cuts it
    end = np.minimum(np.ceil(start + length), side).astype(np.int64)
    share = np.where(cut, 1 - (end - start).prod(1) / side.prod(), share)
    return Mixture(at, at, share, cut, start, end)


def mix(images: "Tensor", mixture: Mixture, count: int) -> "Tensor":
    """Mix augmented pictures.

    Args:
        images: ``(≥ count, C, *shape)``: those of the batch, then others that some of them take in.
        mixture: whose ``other`` are positions among ``images``.
        count: of the pictures in the batch.

    Returns:
        ``(count, C, *shape)``
    """
    import torch

    def there(values: np.ndarray) -> "Tensor":
        return torch.from_numpy(values).to(images.device, non_blocking=True)

    own, other = images[there(mixture.at)], images[there(mixture.other)]
    column = (-1, *(1,) * (images.ndim - 1))
    share = there(mixture.share.astype(np.float32)).reshape(column)
    taken = torch.where(boxes(mixture.start[:, None], mixture.end[:, None], own), other, own)
    mixed = torch.where(there(mixture.cut).reshape(column), taken, share * own + (1 - share) * other)
    return images[:count].index_copy(0, there(mixture.at), mixed)


def mixed_loss(
    loss: Callable[["Tensor", "Tensor"], "Tensor"],
    logits: "Tensor",
    truth: "Tensor",
    mixture: Mixture,
    other: "Tensor",
) -> "Tensor":
    """The loss of each sample ``(N,)``: of a mixed one, its own truth's and the other's ``(k, T)`` by their shares.

    Right for every task: cross-entropy is linear in the truth, and for a squared error the sum differs from that of the
    mixed truth by what no weight can change.
    """
    import torch

    losses = loss(logits, truth)
    at, share = (torch.from_numpy(values).to(logits.device) for values in (mixture.at, mixture.share))
    share = share.to(losses.dtype)
    return losses.index_copy(0, at, share * losses[at] + (1 - share) * loss(logits[at], other))
