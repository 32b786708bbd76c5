"""With MONAI's parameters MONAI's picture, transform by transform; and draws that depend on nothing but their key."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from monai import transforms as monai
from scipy.stats import kstest

from medimg import augment as room
from medimg.augment import Draws, augment_masks, draw, draws
from medimg.augment.apply import _steps, at_once
from medimg.augment.compiled import compiled
from medimg.augment.warp import displacement
from medimg.params import Augment

SIZES = [(40, 40), (40, 57), (12, 20, 24), (13, 22, 17)]
SAMPLES = np.arange(1000, 1400, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
ALL = {
    "preset": "none",
    "flip": {"width": 0.5, "height": 0.3, "depth": 0.3},
    "affine": {"probability": 0.5, "rotate": 20, "tilt": 10, "shear": 0.1},
    "elastic": {"probability": 0.3, "spacing": 0.2},
    "noise": {"probability": 0.5, "std": 0.05},
} | {
    name: {"probability": 0.5}
    for name in ("crop", "low_resolution", "blur", "gibbs", "bias_field", "brightness", "contrast", "gamma", "cutout")
}


def augment(images, drawn):
    """As on a CPU; what is done on a GPU, done here too, gives the same picture, but for the noise."""
    result = room.augment(images, drawn)
    if drawn.noise is None:
        assert torch.allclose(result, at_once(images, _steps(drawn)), atol=1e-4)
    return result


def picture(size, count=1, channels=1):
    noise = torch.from_numpy(np.random.default_rng(0).random((count, channels, *size), np.float32))
    pool = torch.nn.functional.avg_pool2d if len(size) == 2 else torch.nn.functional.avg_pool3d
    return pool(noise, 3, 1, 1, count_include_pad=False)


def only(size, **chosen):
    return Draws(1, size, np.zeros((1, len(size)), bool), **chosen)


def one(kind, **values):
    return kind(np.array([0]), **{name: np.array([value]) for name, value in values.items()})


def close(ours, theirs, atol):
    theirs = torch.as_tensor(np.asarray(theirs)).clamp(0, 1)
    return torch.allclose(ours, theirs, atol=atol)


def affine_of(size, rotate, scale, shift, shear):
    axes = len(size)
    turns = (rotate,) if axes == 2 else (rotate, rotate / 2, -rotate / 3)
    shears = (shear, -shear / 2) if axes == 2 else tuple(shear / count for count in range(1, 7))
    scales = tuple(scale + 0.05 * axis for axis in range(axes))
    shifts = tuple(shift - 2 * axis for axis in range(axes))
    ours = one(draws.Affine, rotate=turns, shear=shears, translate=shifts, scale=scales)
    peers = {"rotate_params": turns, "shear_params": shears, "translate_params": shifts, "scale_params": scales}
    return ours, monai.Affine(**peers, padding_mode="zeros", image_only=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("rotate", "scale", "shift", "shear"),
    [(0.3, 1.1, 4.0, 0.0), (-1.2, 0.8, 0.0, 0.2), (0.0, 1.0, 3.5, 0.0), (3.0, 1.4, 9.0, 0.1)],
)
def test_an_affine_change_is_monais(size, rotate, scale, shift, shear):
    image = picture(size, channels=2)
    ours, peer = affine_of(size, rotate, scale, shift, shear)
    assert close(augment(image, only(size, affine=ours))[0], peer(image[0]), atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_a_mask_goes_where_its_picture_goes(size):
    mask = (picture(size) * 8).to(torch.uint8)
    ours, peer = affine_of(size, 0.4, 0.9, 3.0, 0.1)
    result = augment_masks(mask, only(size, affine=ours))
    assert result.dtype == torch.uint8
    assert torch.equal(result[0].float(), torch.as_tensor(peer(mask[0].float(), mode="nearest")))


@pytest.mark.parametrize("size", SIZES)
def test_flips_are_monais(size):
    image = picture(size)
    for axes in ([0], [1], [len(size) - 1], [0, 1]):
        flip = np.isin(np.arange(len(size)), axes)[None]
        assert torch.equal(augment(image, Draws(1, size, flip))[0], torch.as_tensor(monai.Flip(axes)(image[0])))


@pytest.mark.parametrize("size", SIZES)
def test_a_crop_is_monais_but_for_the_outermost_pixel(size):
    start, extent = [2, 3, 1][: len(size)], [int(side * 0.7) for side in size]
    image = picture(size)
    ours = augment(image, only(size, crop=one(draws.Crop, start=start, size=extent)))[0]
    crop = monai.SpatialCrop(roi_start=start, roi_end=np.add(start, extent))(image[0])
    peer = monai.Resize(size, mode="bilinear" if len(size) == 2 else "trilinear")(crop)
    inner = (slice(None), *(slice(1, -1) for _ in size))
    assert close(ours[inner], peer[inner], atol=0.06)  # the outermost pixel of the crop: MONAI knows no neighbour
    deep = (slice(None), *(slice(2, -2) for _ in size))
    assert close(ours[deep], peer[deep], atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_one_interpolation_does_what_several_transforms_do_one_after_another(size):
    """MONAI's Compose, lazy, makes one interpolation of crop-free geometry too: flip, then affine."""
    image = picture(size)
    ours, peer = affine_of(size, 0.3, 1.1, 2.0, 0.0)
    flip = np.array([[True] + [False] * (len(size) - 1)])
    result = augment(image, Draws(1, size, flip, affine=ours))[0]
    assert close(result, monai.Compose([monai.Flip(0), peer])(image[0]), atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_an_elastic_change_is_monais(size):
    settings = Augment(preset="none", elastic={"probability": 1, "spacing": 0.2, "magnitude": (0.01, 0.02)})
    drawn = draw(settings, 0, 0, SAMPLES[:1], size).elastic
    image = picture(size)
    ours = augment(image, only(size, elastic=drawn))[0]
    if len(size) == 2:
        peer = monai.Rand2DElastic(tuple(drawn.spacing[0].tolist()), (1, 1), prob=1, padding_mode="zeros")
        peer.deform_grid.randomize = lambda points: None
        generator = torch.Generator().manual_seed(int(drawn.seed[0]))
        peer.deform_grid.random_offset = torch.randn((1, 2, *_points(size, drawn)), generator=generator)[0].numpy()
        peer.deform_grid.rand_mag = drawn.magnitude[0]
    else:
        peer = monai.Rand3DElastic((1, 1), (1, 1), prob=1, padding_mode="zeros")
        peer.sigma, peer.magnitude = float(drawn.sigma[0]), float(drawn.magnitude[0])
        generator = torch.Generator().manual_seed(int(drawn.seed[0]))
        peer.rand_offset = torch.empty((3, *size)).uniform_(-1, 1, generator=generator).numpy()
    peer._do_transform = True
    peer.rand_affine_grid.rotate_params = peer.rand_affine_grid.shear_params = None
    theirs = _without_drawing(peer, image[0], size)
    assert (ours - image[0]).abs().max() > 0.01
    assert close(ours, theirs, atol=5e-4)


def _points(size, drawn):
    from monai.transforms.utils import create_control_grid

    return create_control_grid(size, drawn.spacing[0].tolist()).shape[1:]


def _without_drawing(peer, image, size):
    peer.rand_affine_grid.randomize = lambda *_: None
    peer.randomize = lambda *_, **__: None
    return peer(image, spatial_size=size)


def test_a_displacement_has_the_size_that_was_asked_for():
    for size in ((96, 96), (40, 48, 56)):
        settings = Augment(preset="none", elastic={"probability": 1, "spacing": 0.2, "magnitude": (0.02, 0.02)})
        drawn = draw(settings, 0, 0, SAMPLES[:6], size).elastic
        inner = displacement(drawn, size, "cpu")[:, :, *(slice(side // 5, -side // 5) for side in size)]
        assert float(inner.std()) == pytest.approx(0.02 * np.mean(size), rel=0.35)


GREY = {
    "low_resolution": (
        draws.LowResolution,
        {"zoom": 0.43},
        lambda size: _zoomed(size, 0.43),
        1e-5,
    ),
    "blur": (
        draws.Blur,
        {"sigma": (1.3, 0.4, 0.8)},
        lambda size: monai.GaussianSmooth((1.3, 0.4, 0.8)[: len(size)]),
        1e-5,
    ),
    "gibbs": (draws.Gibbs, {"alpha": 0.6}, lambda size: monai.GibbsNoise(0.6), 1e-5),
    "brightness": (
        draws.Brightness,
        {"factor": -0.3, "offset": 0.1},
        lambda size: monai.Compose([monai.ScaleIntensity(None, None, -0.3), monai.ShiftIntensity(0.1)]),
        1e-6,
    ),
    "contrast": (
        draws.Contrast,
        {"factor": 0.4},
        lambda size: monai.ScaleIntensityFixedMean(0.4, preserve_range=True, fixed_mean=True),
        1e-5,
    ),
    "gamma": (draws.Gamma, {"exponent": 1.7}, lambda size: monai.AdjustContrast(1.7), 1e-5),
}


def _zoomed(size, zoom):
    peer = monai.RandSimulateLowResolution(1, upsample_mode="bilinear" if len(size) == 2 else "trilinear")
    peer._do_transform, peer.zoom_factor = True, zoom
    return lambda image: peer(image, randomize=False)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", GREY)
def test_a_change_of_grey_values_is_monais(name, size):
    kind, values, peer, tolerance = GREY[name]
    if name == "blur":
        values = {"sigma": values["sigma"][: len(size)]}
    image = picture(size, channels=2) * 0.8 + 0.1
    result = augment(image, only(size, **{name: one(kind, **values)}))[0]
    assert (result - image[0]).abs().max() > 0.01
    assert close(result, peer(size)(image[0]), atol=tolerance)


@pytest.mark.parametrize("size", SIZES)
def test_a_bias_field_is_monais(size):
    settings = Augment(preset="none", bias_field={"probability": 1, "degree": 3, "coefficient": (-0.2, 0.2)})
    drawn = draw(settings, 0, 0, SAMPLES[:1], size).bias_field
    image, peer = picture(size, channels=2) * 0.5, monai.RandBiasField(3, prob=1)
    kept = drawn.coefficients[0]
    order = np.tril_indices(4) if len(size) == 2 else np.nonzero(np.indices((4,) * 3).sum(0) <= 3)
    peer._coeff, peer._do_transform = kept[order].tolist(), True
    result = augment(image, only(size, bias_field=drawn))[0]
    assert close(result, peer(image[0], randomize=False), atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_boxes_are_black_and_all_else_is_as_it_was(size):
    settings = Augment(preset="none", cutout={"probability": 1, "holes": (1, 3), "size": (0.2, 0.3)})
    drawn = draw(settings, 0, 0, SAMPLES[:20], size)
    image = picture(size, 20) * 0.5 + 0.3
    result = augment(image, drawn)
    expected = image.clone()
    counts = []
    for at in range(20):
        boxes = [
            (low, high)
            for low, high in zip(drawn.cutout.start[at], drawn.cutout.end[at], strict=True)
            if (high > low).all()
        ]
        counts.append(len(boxes))
        for low, high in boxes:
            assert (low >= 0).all() and (high <= size).all()
            expected[at, :, *(slice(a, b) for a, b in zip(low, high, strict=True))] = 0
    assert set(counts) == {1, 2, 3}
    assert torch.equal(result, expected)


def test_noise_has_the_standard_deviation_that_was_drawn():
    settings = Augment(preset="none", noise={"probability": 1, "std": 0.05})
    drawn = draw(settings, 0, 0, SAMPLES[:8], (96, 96))
    noisy = augment(torch.full((8, 1, 96, 96), 0.5), drawn)
    assert np.allclose(noisy.std((1, 2, 3)), drawn.noise.std, rtol=0.05)
    assert not torch.equal(noisy[0] - 0.5, noisy[1] - 0.5)
    values = ((noisy - 0.5) / torch.from_numpy(drawn.noise.std)[:, None, None, None])[drawn.noise.std > 0.02, 0].numpy()
    assert kstest(values.ravel(), "norm").pvalue > 1e-4
    for shift in (1, 2, 3, 4):
        assert abs(np.corrcoef(values[..., shift:].ravel(), values[..., :-shift].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("size", [(48, 48), (12, 16, 20)])
def test_a_draw_depends_on_seed_epoch_and_sample_and_on_no_neighbour(size):
    together, alone = (draw(Augment(**ALL), 3, 7, samples, size) for samples in (SAMPLES[:40], SAMPLES[5:6]))
    for field in fields(Draws)[3:]:
        kept, mine = getattr(together, field.name), getattr(alone, field.name)
        here = np.flatnonzero(kept.at == 5)
        assert (mine is None) == (not len(here))
        if mine is not None:
            for values in fields(mine)[1:]:
                assert np.array_equal(getattr(mine, values.name)[0], getattr(kept, values.name)[here[0]])
    assert np.array_equal(alone.flip[0], together.flip[5])
    for other in (draw(Augment(**ALL), 3, 8, SAMPLES[:40], size), draw(Augment(**ALL), 4, 7, SAMPLES[:40], size)):
        assert not np.array_equal(other.affine.at, together.affine.at)


def test_one_transform_more_changes_the_draws_of_no_other():
    without = draw(Augment(**ALL | {"blur": {"probability": 0}}), 0, 0, SAMPLES, (48, 48))
    whole = draw(Augment(**ALL), 0, 0, SAMPLES, (48, 48))
    assert without.blur is None
    assert np.array_equal(without.affine.rotate, whole.affine.rotate)
    assert np.array_equal(without.gamma.exponent, whole.gamma.exponent)


@pytest.mark.parametrize("size", [(40, 48), (12, 16, 20)])
def test_a_batch_is_augmented_as_its_samples_alone(size):
    count = 12
    images, samples = picture(size, count), SAMPLES[:count]
    before = images.clone()
    whole = augment(images, draw(Augment(**ALL), 0, 1, samples, size))
    assert torch.equal(images, before)
    for at in range(count):
        alone = augment(images[at : at + 1], draw(Augment(**ALL), 0, 1, samples[at : at + 1], size))
        assert torch.allclose(whole[at], alone[0], atol=2e-5)
    assert float(whole.min()) >= 0 and float(whole.max()) <= 1


def test_with_every_probability_zero_nothing_changes():
    image = picture((40, 40), 4)
    assert torch.equal(augment(image, draw(Augment(preset="none"), 0, 0, SAMPLES[:4], (40, 40))), image)


EFFECTS = {
    "flip": {"width": 0.5, "height": 0.5},
    "crop": {"probability": 1, "smallest": 0.6},
    "affine": {"probability": 1, "rotate": 40, "tilt": 20, "scale": 0.3, "shear": 0.2, "translate": 0.3},
    "elastic": {"probability": 1, "spacing": 0.2},
    "low_resolution": {"probability": 1},
    "blur": {"probability": 1, "sigma": [1, 3]},
    "gibbs": {"probability": 1, "alpha": [0.3, 0.9]},
    "bias_field": {"probability": 1, "coefficient": [-0.1, 0.1]},
    "brightness": {"probability": 1, "factor": 0.3},
    "contrast": {"probability": 1},
    "gamma": {"probability": 1},
    "cutout": {"probability": 1, "holes": [2, 3]},
}
BACKGROUND = 128 / 255
"""where a store of ``intensity: zscore`` has it"""


def with_background(images, drawn, level):
    """As on a CPU; what is done on a GPU, done here too, gives the same picture."""
    result = room.augment(images, drawn, level)
    assert torch.allclose(result, at_once(images, _steps(drawn), level), atol=1e-4)
    return result


@pytest.mark.parametrize("size", [(40, 57), (13, 22, 17)])
@pytest.mark.parametrize("effect", EFFECTS)
def test_an_image_that_is_all_background_stays_all_background(effect, size):
    drawn = draw(Augment(preset="none", **{effect: EFFECTS[effect]}), 0, 0, SAMPLES[:6], size)
    assert _steps(drawn)
    for level in (0.0, BACKGROUND):
        images = torch.full((6, 2, *size), level)
        assert torch.allclose(with_background(images, drawn, level), images, atol=1e-6)


@pytest.mark.parametrize("size", [(40, 57), (13, 22, 17)])
@pytest.mark.parametrize("effect", EFFECTS)
def test_an_image_on_grey_background_becomes_what_it_becomes_on_black(effect, size):
    """What is cut off below black is not there to compare."""
    drawn = draw(Augment(preset="none", **{effect: EFFECTS[effect]}), 0, 0, SAMPLES[:6], size)
    images = picture(size, 6, channels=2) * 0.25
    black = with_background(images, drawn, 0.0)
    assert (black - images).abs().max() > 0.01
    assert torch.allclose(with_background(images + 0.5, drawn, 0.5).clamp(min=0.5), black + 0.5, atol=1e-5)


MANY = np.arange(4000, dtype=np.uint64)


@pytest.mark.parametrize("size", [(64, 64), (24, 32, 32)])
def test_parameters_have_monais_distributions(size):
    """Two samples of 4000, ours and what MONAI's transforms drew: Kolmogorov-Smirnov, each at 1 in 10,000."""
    axes = len(size)
    settings = Augment(**ALL | {"affine": {"probability": 1, "rotate": 20, "tilt": 20, "scale": 0.2, "translate": 0.1}})
    drawn = draw(settings, 5, 2, MANY, size)
    turn, shift = np.deg2rad(20), tuple(0.1 * side for side in size)
    peer = monai.RandAffine(
        1, rotate_range=(turn,) * (1 if axes == 2 else 3), translate_range=shift, scale_range=(0.2,) * axes
    )
    peer.set_random_state(0)
    theirs = {"rotate": [], "translate": [], "scale": []}
    for _ in range(len(MANY)):
        peer.rand_affine_grid.randomize()
        for name, values in theirs.items():
            values.append(getattr(peer.rand_affine_grid, f"{name}_params"))
    for name, values in theirs.items():
        ours, column = getattr(drawn.affine, name), np.array(values)
        assert ours.shape == column.shape
        assert min(kstest(a, b).pvalue for a, b in zip(ours.T, column.T, strict=True)) > 1e-4, name
        assert abs(np.corrcoef(ours.T) - np.eye(ours.shape[1])).max() < 0.1
    for name, kind, attribute, ours in [
        ("gamma", monai.RandAdjustContrast(1, (0.77, 1.3)), "gamma_value", drawn.gamma.exponent),
        ("gibbs", monai.RandGibbsNoise(1, (0.0, 0.5)), "sampled_alpha", drawn.gibbs.alpha),
        ("zoom", monai.RandSimulateLowResolution(1), "zoom_factor", drawn.low_resolution.zoom),
        ("sigma", monai.RandGaussianSmooth(prob=1), "x", drawn.blur.sigma[:, 0]),
        ("contrast", monai.RandScaleIntensityFixedMean(1, 0.25), "factor", drawn.contrast.factor),
    ]:
        kind.set_random_state(1)
        values = [(kind.randomize(None), getattr(kind, attribute))[1] for _ in range(2000)]
        assert kstest(ours, values).pvalue > 1e-4, name
    assert kstest(drawn.noise.std, "uniform", (0, 0.05)).pvalue > 1e-4
    for name in ("crop", "blur", "gibbs", "cutout", "noise"):
        assert len(getattr(drawn, name).at) == pytest.approx(2000, abs=130)


def test_crops_have_monais_distribution():
    drawn = draw(Augment(preset="none", crop={"probability": 1, "smallest": 0.7}), 0, 0, MANY, (50, 64)).crop
    peer = monai.RandScaleCrop(0.7, random_size=True, random_center=True)
    peer.set_random_state(0)
    theirs = []
    for _ in range(len(MANY)):
        peer.randomize((50, 64))
        theirs.append([(part.start, part.stop - part.start) for part in peer._slices])
    for axis in range(2):
        values = np.array(theirs)[:, axis]
        assert kstest(drawn.start[:, axis], values[:, 0]).pvalue > 1e-4
        assert kstest(drawn.size[:, axis], values[:, 1]).pvalue > 1e-4


def test_loops_are_compiled_where_no_folder_can_keep_them():
    function = {}
    exec("def twice(values):\n    values *= 2", function)  # of no file, which Numba cannot keep anything beside
    values = np.ones(3, np.float32)
    compiled(function["twice"])(values)
    assert values.tolist() == [2, 2, 2]
