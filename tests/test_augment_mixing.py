"""Mixup and CutMix: MONAI's pictures, and losses that are right for every task and any number of workers."""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from monai.transforms import CutMix, MixUp
from scipy.special import betaincinv
from scipy.stats import kstest

from medimg.augment import draw_mixture, mix, mixed_loss
from medimg.augment.keyed import Keyed
from medimg.params import Augment, Study
from medimg.tasks import task_of
from medimg.training.data import Part, TrainBatches, loader

SAMPLES = np.arange(3000, dtype=np.uint64)
MIXUP = Augment(preset="none", mixup={"probability": 1, "alpha": 0.4})
CUTMIX = Augment(preset="none", cutmix={"probability": 1, "alpha": 1})
BOTH = Augment(preset="none", mixup={"probability": 0.3}, cutmix={"probability": 0.4})


def test_mixup_is_monais():
    images = torch.rand(8, 1, 20, 30)
    drawn = draw_mixture(MIXUP, 0, 0, SAMPLES[:8], (20, 30))._replace(other=np.roll(np.arange(8), 3))
    peer = MixUp(8)
    peer._params = torch.from_numpy(drawn.share).float(), drawn.other, []
    assert torch.allclose(mix(images, drawn, 8), peer.apply(images), atol=1e-6)


@pytest.mark.parametrize("size", [(20, 30), (8, 10, 12)])
def test_cutmix_pastes_a_box_and_the_truth_has_its_share(size):
    images = torch.randperm(40 * math.prod(size)).float().reshape(40, 1, *size)  # no two pixels are equal
    drawn = draw_mixture(CUTMIX, 0, 0, SAMPLES[:40], size)._replace(other=np.roll(np.arange(40), 3))
    ours = mix(images, drawn, 40)
    pixels = math.prod(size)
    for at in range(40):
        changed = (ours[at] != images[at]).any(0)
        assert int(changed.sum()) == round((1 - drawn.share[at]) * pixels)
        box = tuple(slice(low, high) for low, high in zip(drawn.start[at], drawn.end[at], strict=True))
        assert torch.equal(ours[at, 0][box], images[drawn.other[at], 0][box])


def test_cutmix_cuts_the_box_that_monai_cuts():
    images = torch.rand(1, 1, 20, 30)
    others = torch.rand(1, 1, 20, 30)
    drawn = draw_mixture(CUTMIX, 3, 0, SAMPLES[5:6], (20, 30))._replace(other=np.array([1]))
    weight = betaincinv(1, 1, Keyed(3, 0, SAMPLES[5:6]).uniform("mix share")[0, 0])
    peer = CutMix(2)
    corner = [torch.tensor([value]) for value in drawn.start[0].tolist()]
    peer._params = torch.tensor([weight, 1.0]), np.array([1, 0]), corner
    both = torch.cat([images, others])
    assert torch.equal(mix(both, drawn, 1)[0], peer.apply(both)[0])


def test_shares_have_the_beta_distribution_and_each_kind_its_probability():
    drawn = draw_mixture(MIXUP, 0, 0, SAMPLES, (20, 30))
    assert kstest(drawn.share, "beta", (0.4, 0.4)).pvalue > 1e-4
    both = draw_mixture(BOTH, 0, 0, SAMPLES, (20, 30))
    assert len(both.at) == pytest.approx(0.7 * 3000, abs=120)
    assert both.cut.mean() == pytest.approx(4 / 7, abs=0.05)


STUDIES = {
    "binary": ({"label": "a", "positive": "1"}, 1),
    "multiclass": ({"label": "a", "classes": ["x", "y", "z"]}, 1),
    "multilabel": ({"label": ["a", "b", "c"], "positive": "1"}, 3),
    "regression": ({"label": "a", "range": [0, 100]}, 1),
}


@pytest.mark.parametrize("name", STUDIES)
def test_a_mixed_loss_pulls_as_the_loss_of_the_mixed_truth_does(name):
    more, truths = STUDIES[name]
    task = task_of(Study(question="q", task=name, **more))
    generator = np.random.default_rng(0)
    classes = 3 if name == "multiclass" else 2
    truth = torch.from_numpy(generator.integers(0, classes, (6, truths)).astype(np.float32))
    drawn = draw_mixture(BOTH, 0, 0, SAMPLES[:6], (20, 30))
    drawn = drawn._replace(other=(drawn.at + 2) % 6)
    logits = torch.randn(6, task.outputs, requires_grad=True)
    losses = mixed_loss(task.loss, logits, truth, drawn, truth[torch.from_numpy(drawn.other)])
    untouched = np.setdiff1d(np.arange(6), drawn.at)
    assert 0 < len(untouched) < 6
    assert torch.equal(losses[untouched], task.loss(logits, truth)[untouched])
    (pull,) = torch.autograd.grad(losses.sum(), logits)
    for at, other, share in zip(drawn.at, drawn.other, drawn.share, strict=True):
        pulls = [torch.autograd.grad(task.loss(logits, truth[[one] * 6])[at], logits)[0][at] for one in (at, other)]
        assert torch.allclose(pull[at], share * pulls[0] + (1 - share) * pulls[1], atol=1e-6)


def part_of(count):
    about = pd.DataFrame({"sample": range(count), "patient": "", "study": None})
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 4, 4), np.uint8)
    return Part(images, np.arange(count), np.arange(count)[:, None], np.arange(count, dtype=np.uint64), about)


def test_the_same_pictures_are_mixed_for_any_number_of_workers():
    part = part_of(48)

    def mixed(world):
        pairs = set()
        for rank in range(world):
            batches = TrainBatches(48, 16, 1, rank, world)
            batches.set_epoch(2)
            for step, batch in enumerate(loader(part, batches, partial(draw_mixture, BOTH, 1))):
                mixture, pictures = batch["mixture"], batch["image"][:, 0, 0, 0]
                assert len(batch["truth"]) == 16 // world <= len(pictures) == len(batch["number"])
                assert torch.equal(pictures[mixture.other], batch["other"][:, 0])
                assert torch.equal(pictures[: len(batch["truth"])], batch["truth"][:, 0])
                for at, other, share in zip(mixture.at, mixture.other, mixture.share, strict=True):
                    pairs.add((step, int(pictures[at]), int(pictures[other]), float(share)))
        return pairs

    alone = mixed(1)
    assert len(alone) > 10
    assert mixed(2) == alone
    assert mixed(4) == alone


def test_a_batch_whose_samples_are_not_mixed_is_as_without():
    rare = Augment(preset="none", mixup={"probability": 1e-9})
    batch = next(iter(loader(part_of(8), TrainBatches(8, 8, 0, 0, 1), partial(draw_mixture, rare, 0))))
    assert not len(batch["mixture"].at)
    image = batch["image"].float()
    assert torch.equal(mix(image, batch["mixture"], 8), image)
