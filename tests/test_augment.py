import math

import numpy as np
import pytest
import torch
from monai.transforms import AdjustContrast, Affine, Flip

from medimg.augment import Draws, augment, draw
from medimg.params import Augment

NOTHING = Augment(flip=0, affine=0, contrast=0, noise=0)
SAMPLES = np.arange(1000, 1400, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def draws(count=1, **changes):
    fields = {
        "flip": np.zeros(count, bool),
        "rotate": np.zeros(count, np.float32),
        "scale": np.ones(count, np.float32),
        "translate": np.zeros((count, 2), np.float32),
        "gamma": np.ones(count, np.float32),
        "noise": np.zeros(count, np.float32),
        "key": np.arange(count, dtype=np.uint64),
    }
    return Draws(**fields | {name: np.array(value, fields[name].dtype) for name, value in changes.items()})


def picture(height=40, width=40, count=1):
    noise = torch.from_numpy(np.random.default_rng(0).random((count, 1, height, width), np.float32))
    return torch.nn.functional.avg_pool2d(noise, 5, 1, 2)


@pytest.mark.parametrize("size", [(40, 40), (40, 56)])
@pytest.mark.parametrize(
    ("rotate", "scale", "shift"), [(0.3, 1.1, (4.0, -2.0)), (-1.2, 0.8, (0.0, 6.0)), (0.0, 1.0, (3.0, 0.0))]
)
def test_the_same_parameters_give_the_picture_that_monai_gives(size, rotate, scale, shift):
    image = picture(*size)
    fractions = [[shift[0] / size[0], shift[1] / size[1]]]
    ours = augment(image, draws(rotate=[rotate], scale=[scale], translate=fractions), seed=0, epoch=0)
    monai = Affine(
        rotate_params=rotate, scale_params=(scale, scale), translate_params=shift, padding_mode="zeros", image_only=True
    )
    assert torch.allclose(ours[0], torch.as_tensor(monai(image[0])), atol=2e-5)


def test_flip_and_gamma_are_monais():
    image = picture()
    assert torch.equal(augment(image, draws(flip=[True]), 0, 0)[0], torch.as_tensor(Flip(1)(image[0])))
    image = (image - image.min()) / (image.max() - image.min())  # MONAI's gamma works on the image's own range
    ours = augment(image, draws(gamma=[1.3]), 0, 0)[0]
    assert torch.allclose(ours, torch.as_tensor(AdjustContrast(1.3)(image[0])), atol=1e-5)


def test_a_draw_depends_on_seed_epoch_and_sample_and_on_no_neighbour():
    settings = Augment(flip=0.5)
    together = draw(settings, 3, 7, SAMPLES)
    alone = draw(settings, 3, 7, SAMPLES[5:6])
    for name, values in vars(alone).items():
        assert np.array_equal(values[0], getattr(together, name)[5])
    assert not np.array_equal(together.rotate, draw(settings, 3, 8, SAMPLES).rotate)
    assert not np.array_equal(together.rotate, draw(settings, 4, 7, SAMPLES).rotate)


def test_a_batch_is_augmented_as_its_samples_alone():
    settings = Augment(flip=0.5, affine=1, contrast=1, noise=1)
    images, samples = picture(count=8), SAMPLES[:8]
    whole = augment(images, draw(settings, 0, 1, samples), 0, 1)
    for at in range(8):
        alone = augment(images[at : at + 1], draw(settings, 0, 1, samples[at : at + 1]), 0, 1)
        assert torch.allclose(whole[at], alone[0], atol=1e-6)


def test_probabilities_and_ranges_are_those_of_the_parameters():
    settings = Augment(flip=0.5, affine=0.25, rotate=10, scale=0.1, translate=0.05, contrast=0.75, gamma=2, noise=1)
    drawn = draw(settings, 0, 0, SAMPLES)
    moved = drawn.rotate != 0
    assert drawn.flip.mean() == pytest.approx(0.5, abs=0.08)
    assert moved.mean() == pytest.approx(0.25, abs=0.08)
    assert np.array_equal(moved, drawn.scale != 1)
    assert math.radians(9) < abs(drawn.rotate).max() <= math.radians(10)
    assert abs(drawn.translate).max() <= 0.05
    assert (drawn.gamma != 1).mean() == pytest.approx(0.75, abs=0.08)
    assert 0.5 <= drawn.gamma.min() < 0.6
    assert np.log(drawn.gamma).mean() == pytest.approx(0, abs=0.08)
    assert drawn.noise.min() >= 0
    assert 0.018 < drawn.noise.max() <= 0.02


def test_with_every_probability_zero_nothing_changes():
    image = picture(count=4)
    assert torch.equal(augment(image, draw(NOTHING, 0, 0, SAMPLES[:4]), 0, 0), image)


def test_noise_has_the_standard_deviation_that_was_drawn():
    image = torch.full((1, 1, 64, 64), 0.5)
    noisy = augment(image, draws(noise=[0.05]), 0, 0)
    assert float(noisy.std()) == pytest.approx(0.05, rel=0.1)
