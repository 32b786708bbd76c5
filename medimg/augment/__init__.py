"""Augmentation at batch speed: the parameters are drawn for each sample, then applied to the whole batch at once.

A draw is keyed by (seed, epoch, sample) and by nothing else: not by the worker, not by the order of arrival. With the
same parameters, MONAI's per-sample transforms give the same picture; tests hold that, transform by transform.
"""

from medimg.augment.apply import augment, augment_masks
from medimg.augment.drawing import draw
from medimg.augment.draws import Draws
from medimg.augment.mixing import Mixture, draw_mixture, mix, mixed_loss

__all__ = ["Draws", "Mixture", "augment", "augment_masks", "draw", "draw_mixture", "mix", "mixed_loss"]
