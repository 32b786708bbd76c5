import json
from pathlib import Path

import matplotlib.image
import nibabel
import numpy as np
import pandas as pd
import pytest
import torch

from medimg import preview as room
from medimg.augment import augment_masks
from medimg.ingest import ingest
from medimg.params import Augment, Ingest, Preprocess, Preview, Study, load
from medimg.params.geometry import Geometry as Stacking
from medimg.preprocess import preprocess
from medimg.preview.checks import augmented
from medimg.preview.raw import raw
from medimg.records import (
    INDEX,
    INDEX_SCHEMA,
    PARTS,
    PARTS_SCHEMA,
    PREVIEW,
    PREVIEW_FINDINGS,
    read_table,
    write_table,
)
from medimg.tasks import task_of
from medimg.training.data import read_parts


def look(augmentation, samples=4):
    params = load()
    room.preview(task_of(params.study), params.study.seed, Preview(samples=samples, draws=2), augmentation)
    return json.loads(PREVIEW_FINDINGS.read_text())


def test_the_sheet_and_its_findings_are_the_same_each_time(ready):
    found, sheet = look(Augment(preset="cxr")), PREVIEW.read_bytes()
    assert look(Augment(preset="cxr")) == found
    assert PREVIEW.read_bytes() == sheet
    assert found["warnings"] == []
    assert found["preset"] == "cxr"


def test_each_class_and_site_has_its_turn():
    truths = ["a"] * 10 + ["b"] * 10
    sites = ["x"] * 9 + ["y"] + ["x"] * 10
    shown = room._chosen(truths, sites, 3)
    assert {(truths[at], sites[at]) for at in shown} == {("a", "x"), ("a", "y"), ("b", "x")}
    assert len(room._chosen(truths, sites, 30)) == 20


def test_mixed_pictures_are_on_the_sheet(ready):
    look(Augment(preset="none"))
    plain = matplotlib.image.imread(PREVIEW)
    look(Augment(preset="none", cutmix={"probability": 1, "alpha": 1}))
    mixed = matplotlib.image.imread(PREVIEW)
    assert np.abs(mixed - plain).max() > 0.5


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ({"affine": {"probability": 1, "translate": 0.8}}, "empty over nearly a third"),
        ({"affine": {"probability": 1, "scale": 0.6}}, "another aspect"),
        ({"brightness": {"probability": 1, "factor": 0, "offset": 0.9}}, "driven to black or white"),
        ({"blur": {"probability": 1, "sigma": [12, 16]}}, "lost three quarters of their detail"),
        ({"gamma": {"probability": 1, "exponent": [200, 200]}}, "nearly blank"),
    ],
)
def test_what_destroys_pictures_is_named_with_the_key_that_does_it(ready, capsys, blocks, said):
    found = look(Augment(preset="none", **blocks))
    (warning,) = [warning for warning in found["warnings"] if said in warning]
    assert f"augment.{next(iter(blocks))}" in warning or "gamma" in warning
    assert f"warning: {warning}" in capsys.readouterr().out


def test_the_sheet_of_z_scores_is_filled_with_their_background(ready):
    preprocess(Preprocess(size=32, intensity="zscore", nonzero=True))
    found = look(Augment(preset="none", affine={"probability": 1, "translate": 0.6}))
    assert found["mean"]["outside"] > 0.2
    assert found["mean"]["clipped"] == 0
    part = read_parts(task_of(load().study), "train")["train"]
    (after, drawn) = augmented(part, 0, 0, 0, Augment(preset="none", affine={"probability": 1, "translate": 0.6}))
    outside = augment_masks(torch.ones_like(after), drawn) == 0
    assert outside.any()
    assert (after[outside] - 128 / 255).abs().median() < 1e-6


def test_raw_is_the_file_as_it_came(ready):
    row = pd.read_parquet(INDEX).set_index("sample").iloc[0]
    picture, aspect = raw(row)
    assert picture.shape == (row["channels"], row["height"], row["width"])
    assert (picture.min(), picture.max()) == (0, 1)
    assert aspect == pytest.approx(row["spacing_row"] / row["spacing_column"])
    missing = row.copy()
    missing["path"] = "not-there.dcm"
    assert raw(missing) is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"window": (2000, 2001)}, "hardly more than black and white"), ({"window": (9000, 9001)}, "are blank")],
)
def test_a_window_that_destroys_pictures_is_named(ready, settings, said):
    preprocess(Preprocess(size=32, **settings))
    warnings = look(Augment(preset="none"))["warnings"]
    assert any(said in one for one in warnings)
    assert all("preprocess.window" in one for one in warnings)


@pytest.fixture
def volumes(tmp_path, monkeypatch):
    """Six volumes of two thick slices, which a study must ask for, each with a mask; ready to train."""
    monkeypatch.chdir(tmp_path)
    random, rows = np.random.default_rng(0), ["path,patient,ball,mask"]
    (tmp_path / "data").mkdir()
    for number in range(6):
        pixels = random.uniform(100, 900, (24, 32, 2)).astype(np.float32)
        mask = np.zeros(pixels.shape, np.uint8)
        mask[4:12, 6:20] = 1
        for name, values in ((f"v{number}", pixels), (f"m{number}", mask)):
            nibabel.save(nibabel.Nifti1Image(values, np.diag([0.7, 0.7, 5, 1])), f"data/{name}.nii")
        rows.append(f"v{number}.nii,p{number},{number % 2},m{number}.nii")
    Path("data/labels.csv").write_text("\n".join(rows) + "\n")
    stacking = Stacking(min_slices=2)
    ingest("ball", Ingest(sample="volume", allow_unverified=True, geometry=stacking))
    table = read_table(INDEX, INDEX_SCHEMA)
    parts = pd.DataFrame({"sample": table["sample"], "patient": table["patient"], "part": "train"})
    write_table(PARTS, parts.reindex(columns=PARTS_SCHEMA.names), PARTS_SCHEMA)

    def look(augmentation=None, **settings):
        preprocess(Preprocess(**settings), "volume", stacking)
        task = task_of(Study(question="?", label="ball", positive="1"))
        room.preview(task, 0, Preview(samples=2, draws=1), augmentation or Augment(), stacking)
        return json.loads(PREVIEW_FINDINGS.read_text())

    return look


def test_volumes_are_shown_raw_with_their_masks_as_the_study_puts_them_together(volumes):
    found = volumes(size=(8, 48, 48))
    assert found["warnings"] == []
    row = read_table(INDEX, INDEX_SCHEMA).set_index("sample").iloc[0]
    picture, aspect = raw(row, Stacking(min_slices=2))
    assert picture.shape == (1, 32, 24) and aspect == 1
    assert raw(row, Stacking()) is None
    amber = (np.abs(matplotlib.image.imread(PREVIEW)[..., :3] - (1, 0xB0 / 255, 0)) < 0.1).all(axis=-1)
    assert amber.sum() > 100


def test_a_mask_is_drawn_where_augmentation_moved_it(volumes):
    volumes(size=(8, 48, 48))
    part = read_parts(task_of(Study(question="?", label="ball", positive="1")), "train")["train"]
    turned = Augment(preset="none", flip={"width": 1, "height": 0, "depth": 0})
    ((plain, (flipped,)),) = room._pictures(part, np.array([3]), 0, 1, turned)
    assert plain.mask.any() and not np.array_equal(plain.mask, flipped.mask)
    assert np.array_equal(plain.mask[..., ::-1], flipped.mask)
    assert np.array_equal(plain.image[..., ::-1], flipped.image)


@pytest.mark.parametrize(
    ("settings", "stretched"),
    [
        ({"size": (8, 48, 36), "fit": "stretch"}, False),
        ({"size": (8, 48, 96), "fit": "stretch"}, True),
        ({"size": (48, 48, 8), "fit": "stretch", "orientation": "RPS"}, True),
        ({"size": 32, "spacing": 1.0, "fit": "crop", "orientation": "LPS"}, False),
    ],
)
def test_a_stretched_volume_is_named_and_thick_slices_are_not(volumes, settings, stretched):
    assert any("another aspect" in one for one in volumes(**settings)["warnings"]) == stretched


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"size": (16, 8, 8), "fit": "crop", "orientation": "LPS"}, 128 / (32 * 24)),
        ({"size": (8, 8, 16), "fit": "crop", "spacing": (5, 0.7, 1.4)}, 8 * 24 / (32 * 24)),
    ],
)
def test_a_crop_that_loses_nearly_all_is_named(volumes, settings, kept):
    found = volumes(**settings)
    assert found["mean"]["cut"] == pytest.approx(1 - kept, abs=0.01)
    assert any("have lost four fifths" in one for one in found["warnings"]) == (kept < 0.2)
