"""Altered copies are found, and different patients are not taken for one another."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.duplicates import KINDS, RADIOGRAPHS, cropped, everything, planted, small
from medimg.duplicates.likeness import alike, ranks
from medimg.duplicates.thumbnail import SIDE, thumbnail
from medimg.errors import ImageError
from medimg.images import read
from medimg.ingest import ingest
from medimg.params import Ingest, Split
from medimg.records import DUPLICATES, INDEX, INDEX_SCHEMA, THUMBNAILS, THUMBNAILS_SCHEMA, read_table
from medimg.split import split
from medimg.tasks.binary import Binary


@pytest.fixture(scope="module")
def pictures(demo_data):
    """One image of each patient of the demo study, as bytes."""
    shown = []
    files = sorted(path for path in (demo_data / "images").rglob("*") if path.is_file())
    for path in files[:300:3]:
        try:
            pixels = read(path).pixels[0].astype(float)
        except ImageError:
            continue
        shown.append((255 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint8))
    return shown


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_altered_copies_of_the_demo_study_are_found(pictures, kind):
    recall, precision = planted(pictures, kind)
    assert recall >= 0.97
    assert precision == 1
    assert not len(alike(small(pictures), np.arange(len(pictures)))[0])


@pytest.fixture(scope="module")
def radiographs():
    paths = sorted(RADIOGRAPHS.glob("*/*.jpeg"))[::40]
    return [np.asarray(Image.open(path).convert("L")) for path in paths]


@pytest.mark.skipif(not RADIOGRAPHS.exists(), reason="no radiographs beside the repository")
@pytest.mark.parametrize("kind", [cropped, everything], ids=lambda kind: kind.__name__)
def test_altered_copies_of_radiographs_are_found_and_no_others(radiographs, kind):
    recall, precision = planted(radiographs, kind)
    assert recall >= 0.97
    assert precision == 1


def test_images_of_one_owner_are_not_compared():
    picture = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE)).astype(np.uint8)
    twice = np.concatenate([picture, picture])
    assert len(alike(twice, np.arange(6))[0]) == 3
    assert len(alike(twice, np.array([0, 1, 2] * 2))[0]) == 0
    assert len(alike(picture[:1], np.arange(1))[0]) == len(alike(picture[:0], np.arange(0))[0]) == 0


def test_the_answer_does_not_depend_on_the_order():
    dice = np.random.default_rng(0)
    picture = small([dice.integers(0, 256, (40, 40)) for _ in range(30)])
    whole = np.concatenate([picture, 255 - picture])
    order = dice.permutation(60)
    turned = {tuple(sorted(order[list(pair)])) for pair in alike(whole[order], order)[0].tolist()}
    assert turned == set(map(tuple, alike(whole, np.arange(60))[0].tolist())) == {(n, n + 30) for n in range(30)}


def test_a_thumbnail_holds_means_over_equal_areas():
    pixels = np.zeros((3, 50, 70))
    pixels[:, :25] = 100
    assert thumbnail(pixels).tolist() == [[255] * SIDE] * (SIDE // 2) + [[0] * SIDE] * (SIDE // 2)
    assert thumbnail(np.ones((1, 9, 9))) is None
    assert thumbnail(np.zeros((1, 5, 9, 9))) is None  # a volume
    assert thumbnail(np.arange(12.0).reshape(1, 3, 4)).shape == (SIDE, SIDE)


def test_ranks_are_those_of_scipy_and_do_not_see_a_change_of_contrast():
    from scipy.stats import rankdata

    picture = np.random.default_rng(0).integers(0, 40, (3, SIDE, SIDE)).astype(np.uint8)
    expected = (rankdata(picture.reshape(3, -1), axis=1) - 0.5) / SIDE**2 - 0.5
    np.testing.assert_allclose(ranks(picture).reshape(3, -1), expected, atol=1e-6)
    np.testing.assert_array_equal(ranks(picture), ranks(5 * picture + 3))


def test_ingest_keeps_a_thumbnail_of_each_image_and_the_split_finds_a_copy_by_it(tmp_path, monkeypatch, pictures):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    shown = [*pictures[:30], 255 - pictures[0]]
    for number, picture in enumerate(shown):
        Image.fromarray(picture).save(f"data/{number:02d}.png")
    rows = [f"{number:02d}.png,P{number:02d},{number % 2}" for number in range(len(shown))]
    Path("data/labels.csv").write_text("\n".join(["path,patient,finding", *rows]))
    ingest("finding", Ingest(allow_unverified=True))
    kept = read_table(THUMBNAILS, THUMBNAILS_SCHEMA)
    index = read_table(INDEX, INDEX_SCHEMA).set_index("sample")
    assert len(kept) == len(shown)
    for sample, found in zip(kept["sample"], kept["thumbnail"], strict=True):
        assert found == thumbnail(shown[int(index["path"][sample][:2])][None]).tobytes()
    split(Binary("finding", "1"), 0, Split())
    found = pd.read_csv(DUPLICATES)
    assert {index["path"][found["sample"][0]], index["path"][found["copy"][0]]} == {"00.png", "30.png"}
    assert len(found) == 1
