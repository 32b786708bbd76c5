"""Volumes: the same voxels as plain MONAI, whatever their orientation, masks on their grid, and the way back."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    CropForeground,
    Orientation,
    Resize,
    ScaleIntensityRange,
    Spacing,
)
from series import write_stack

from medimg.errors import ImageError
from medimg.ingest import ingest
from medimg.params import Ingest, Preprocess
from medimg.params.geometry import Geometry as Stacking
from medimg.preprocess import preprocess
from medimg.preprocess.sample import Source, compute
from medimg.preprocess.steps import Picture, process
from medimg.records import STORE
from medimg.store import Store

RANDOM = np.random.default_rng(0)
REAL = Path(__file__).parent.parent.parent / "shared/data/msd_hippocampus"


def affine_of(codes, spacing, shear=0.0):
    """RAS affine of ``(d, h, w)`` axes that increase toward ``codes``."""
    affine = np.zeros((4, 4))
    for axis, code in enumerate(codes):
        along = next(row for row, pair in enumerate(("RL", "AP", "SI")) if code in pair)
        affine[along, axis] = spacing[axis] if code in "RAS" else -spacing[axis]
    affine[:, 3] = [7, -11, 13, 1]
    affine[0, 0] += shear
    return affine


def volume(codes, shape=(9, 20, 17), spacing=(3.0, 0.8, 0.9), **more):
    grid = np.stack(np.meshgrid(*(np.linspace(0, 1, side) for side in shape), indexing="ij"))
    pixels = 1000 * np.sin(3 * grid[0] + 1) * grid[1] + 500 * np.cos(4 * grid[2]) + RANDOM.normal(0, 30, shape)
    mask = (grid[1] > 0.4) & (grid[2] < 0.7) & (grid[0] > 0.2)
    return Picture(
        pixels[None].astype(np.float32), mask[None].astype(np.uint8), spacing, affine_of(codes, spacing), **more
    )


def by_kernel(picture, **settings):
    return [process(picture, Preprocess(kernel=kernel, **settings)) for kernel in ("separable", "monai")]


@pytest.mark.parametrize("codes", ["SPL", "SAR", "RSA", "LIP"])
@pytest.mark.parametrize(
    "options",
    [
        {"size": 24},
        {"size": (10, 24, 24), "fit": "stretch"},
        {"size": (8, 16, 32), "fit": "crop"},
        {"size": None, "foreground": 300.0, "margin": 1},
    ],
)
def test_a_volume_is_monais_with_its_mask_and_the_same_way_back(codes, options):
    ours, plain = by_kernel(volume(codes), orientation="SPL", spacing=1.1, window=(-500, 1500), **options)
    assert ours.image.shape == plain.image.shape
    assert np.abs(ours.image.astype(int) - plain.image).max() <= 1
    assert (ours.mask != plain.mask).mean() < 0.002  # ties between two voxels
    assert np.allclose(ours.geometry.to_original, plain.geometry.to_original, atol=1e-4)


def test_monais_kernel_is_the_plain_compose_bit_for_bit():
    picture = volume("LIP")
    plain = Compose(
        [
            Orientation("SPL", labels=None),
            CropForeground(select_fn=lambda x: x > 300, allow_smaller=True),
            Spacing((2.0, 1.0, 1.0), padding_mode="border"),
            ScaleIntensityRange(-500, 1500, 0, 1, clip=True),
            Resize((16, 16, 16), mode="trilinear", anti_aliasing=True),
        ]
    )(MetaTensor(torch.from_numpy(picture.pixels), affine=torch.from_numpy(picture.affine)))
    settings = {"orientation": "SPL", "foreground": 300, "spacing": (2.0, 1.0, 1.0), "window": (-500, 1500)}
    ours, monais = by_kernel(picture, size=16, fit="stretch", **settings)
    expected = np.rint(plain.numpy() * 255)
    assert np.array_equal(monais.image, expected)
    assert np.abs(ours.image - expected).max() <= 1


@pytest.mark.parametrize("kernel", ["separable", "monai"])
def test_directions_that_rounding_has_bent_lead_back_as_exact_ones_do(kernel):
    """MONAI may lay the new grid around the middle then, and the fast kernel does not; both say where theirs lies."""
    straight = volume("SPL")
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    bent = turn @ straight.affine
    bent[:3, :3] += np.random.default_rng(0).normal(0, 3e-8, (3, 3))
    picture = Picture(straight.pixels, straight.mask, straight.spacing, bent)
    settings = Preprocess(orientation="RSA", spacing=(0.7, 1.3, 0.6), size=None, window=(-800, 1700), kernel=kernel)
    found = process(picture, settings)
    if kernel == "separable":
        exact = process(Picture(straight.pixels, straight.mask, straight.spacing, turn @ straight.affine), settings)
        assert np.array_equal(found.image, exact.image) and found.geometry.to_original == exact.geometry.to_original
    back = found.geometry.restore(found.image) / 255 * 2500 - 800
    inner = (slice(None), *(slice(2, -2) for _ in range(3)))
    away = np.abs(back - straight.pixels)[inner]
    assert away.mean() < 20  # a voxel off along any axis it is 40 or more


def test_a_slanted_grid_is_resampled_as_monai_does_it():
    picture = volume("SPL")
    slanted = Picture(picture.pixels, picture.mask, picture.spacing, affine_of("SPL", picture.spacing, shear=0.6))
    ours, plain = by_kernel(slanted, spacing=1.5, size=None)
    assert np.array_equal(ours.image, plain.image)


@pytest.mark.parametrize("codes", ["SPL", "RSA", "LIP"])
def test_what_the_network_marks_goes_back_to_where_the_mask_was(codes):
    picture = volume(codes, shape=(24, 30, 28), spacing=(1.5, 1.0, 1.2))
    found = process(picture, Preprocess(orientation="SPL", spacing=0.75, size=56, foreground=-2000))
    back = found.geometry.restore(found.mask, nearest=True)
    both = 2 * (back & picture.mask).sum() / (back.sum() + picture.mask.sum())
    assert back.shape == picture.mask.shape and both > 0.97
    voxel = np.array([3, 5, 7, 1])
    original = np.array(found.geometry.to_original) @ voxel
    assert np.allclose(found.geometry.stored_affine @ voxel, picture.affine @ original)


def test_what_does_not_say_how_it_lies_is_not_turned():
    picture = volume("SPL")
    unknown = Picture(picture.pixels)
    assert process(unknown, Preprocess(size=16)).image.shape == (1, 16, 16, 16)
    for kernel in ("separable", "monai"):
        with pytest.raises(ImageError, match="nothing says how it lies"):
            process(unknown, Preprocess(size=16, orientation="SPL", kernel=kernel))


def save(path, pixels, affine):
    """Write ``(D, H, W)`` as NIfTI, whose axes are X, Y, Z."""
    nib.save(nib.Nifti1Image(pixels.T, affine[:, [2, 1, 0, 3]]), path)


def test_a_mask_in_another_order_of_axes_is_turned_onto_its_volume(tmp_path):
    picture = volume("SPL")
    save(tmp_path / "image.nii", picture.pixels[0], picture.affine)
    turned, affine = picture.mask[0][:, ::-1, :], picture.affine.copy()
    affine[:3, 3] += affine[:3, 1] * (turned.shape[1] - 1)
    affine[:3, 1] *= -1
    save(tmp_path / "mask.nii", turned, affine)

    def row():
        source = Source("", ("image.nii",), volume=True, mask="mask.nii")
        return compute(("", source), tmp_path, Preprocess(size=None), Stacking())

    with pytest.raises(ImageError, match="another volume than ingest found"):
        row()
    (plan,) = plans(tmp_path / "image.nii")

    def named():
        source = Source(plan, ("image.nii",), volume=True, mask="mask.nii")
        return compute(("", source), tmp_path, Preprocess(size=None), Stacking())

    assert np.array_equal(named().mask, picture.mask)
    affine[0, 3] += 2
    save(tmp_path / "mask.nii", turned, affine)
    with pytest.raises(ImageError, match="its mask does not lie on its grid"):
        named()


def plans(path):
    from medimg.images.headers import header
    from medimg.images.series import assemble

    return [plan.key for plan in assemble([header(path, path.name)], Stacking())[0]]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def test_a_series_and_the_time_points_of_a_file_go_through_the_stage(data, capsys):
    (data / "labels.csv").write_text("series,finding\n1.2.3,1\n")
    write_stack(data / "a", [(10.0, 20.0, float(height)) for height in (4, 0, 2, 6)])
    times = RANDOM.integers(0, 1000, (2, 5, 8, 8)).astype(np.int16)
    nib.save(nib.Nifti1Image(times.transpose(3, 2, 1, 0), np.eye(4)), data / "times.nii")
    ingest("finding", Ingest(sample="volume", allow_unverified=True, max_unlabelled=1))
    preprocess(Preprocess(size=None, window=(0, 1000), dtype="uint16"), "volume", Stacking())
    assert "3 samples (3 different) in artifacts/store: 3 computed, 0 kept" in capsys.readouterr().out
    store = Store.open(STORE)
    assert sorted(store.images[row].shape for row in range(3)) == [(1, 4, 5, 4), (1, 5, 8, 8), (1, 5, 8, 8)]
    for time in times:
        shown = np.rint(time[None] / np.float32(1000) * 65535)
        assert any(np.abs(store.images[row].astype(float) - shown).max() <= 1 for row in range(3)
                   if store.images[row].shape == shown.shape)  # fmt: skip
    preprocess(Preprocess(size=16, window=(0, 1000)), "volume", Stacking())
    assert Store.open(STORE).images.shape == (3, 1, 16, 16, 16)


@pytest.mark.skipif(not REAL.is_dir(), reason="no real volumes here")
def test_real_volumes_with_masks(data, capsys):
    images = sorted((REAL / "images").glob("*.nii.gz"))[:6]
    rows = ["path,finding,mask"]
    for image in images:
        (data / image.name).symlink_to(image)
        (data / f"mask-{image.name}").symlink_to(REAL / "labels" / image.name)
        rows.append(f"{image.name},1,mask-{image.name}")
    (data / "labels.csv").write_text("\n".join(rows) + "\n")
    ingest("finding", Ingest(sample="volume", allow_unverified=True, max_quarantined=1))
    settings = Preprocess(orientation="SPL", spacing=1, size=48, fit="crop", intensity="zscore")
    preprocess(settings, "volume", Stacking())
    store = Store.open(STORE)
    assert store.images.shape == (6, 1, 48, 48, 48) and store.samples["masked"].all()
    assert json.loads((STORE / "store.json").read_text())["mask_shape"] == [6, 1, 48, 48, 48]
    index = pd.read_parquet("artifacts/index.parquet").set_index("sample")
    for sample in store.samples["sample"]:
        (row,) = store.rows([sample])
        original = np.asarray(nib.load(data / index["mask"][sample]).dataobj).T[None].astype(np.uint8)
        assert np.array_equal(store.geometry(sample).restore(store.masks[row], nearest=True), original)
