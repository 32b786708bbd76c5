import numpy as np
import pytest
import torch
from monai.transforms import Compose, Resize, ScaleIntensityRange, ScaleIntensityRangePercentiles, SpatialPad

from medimg.errors import DataError
from medimg.ingest import ingest
from medimg.params import Ingest, Preprocess
from medimg.preprocess import apply, key_of, preprocess
from medimg.records import INDEX, INDEX_SCHEMA, STORE, read_table
from medimg.store import Store

RANDOM = np.random.default_rng(0)


def test_the_result_is_the_plain_monai_compose_within_rounding():
    pixels = RANDOM.integers(0, 4096, (1, 120, 90)).astype(np.uint16)
    plain = Compose(
        [
            ScaleIntensityRangePercentiles(0.5, 99.5, 0.0, 1.0, clip=True),
            Resize(64, size_mode="longest", mode="bilinear", anti_aliasing=True),
            SpatialPad((64, 64)),
        ]
    )(torch.from_numpy(pixels.astype(np.float32)))
    result = apply(pixels, Preprocess(size=64))
    assert result.dtype == np.uint8
    assert np.array_equal(result, np.rint(np.clip(np.asarray(plain), 0, 1) * 255).astype(np.uint8))


def test_a_window_is_in_the_units_of_the_image():
    pixels = np.array([[[-1000.0, -160.0], [40.0, 240.0]]], np.float32).repeat(16, 1).repeat(16, 2)
    plain = ScaleIntensityRange(-160, 240, 0, 1, clip=True)(pixels)
    result = apply(pixels, Preprocess(size=32, window=(-160, 240)))
    assert np.array_equal(result, np.rint(np.asarray(plain) * 255).astype(np.uint8))
    assert result[0, 0, 0] == 0
    assert result[0, -1, -1] == 255


def test_the_aspect_is_kept_and_padded_with_black_or_stretched():
    pixels = np.ones((1, 20, 60), np.float32) * np.linspace(1, 2, 60, dtype=np.float32)
    padded = apply(pixels, Preprocess(size=60))
    assert not padded[0, :20].any()
    assert padded[0, 30, -1] == 255
    assert apply(pixels, Preprocess(size=60, fit="stretch"))[0, 0, -1] == 255


def test_colour_becomes_luminance_and_grey_is_repeated():
    red = np.zeros((3, 16, 16), np.uint8)
    red[0] = 255
    settings = Preprocess(size=16, window=(0, 255))
    assert np.unique(apply(red, settings)).tolist() == [76]  # 0.299 · 255
    grey = RANDOM.integers(0, 255, (1, 16, 16)).astype(np.uint8)
    colour = apply(grey, settings.model_copy(update={"channels": 3}))
    assert (colour == colour[:1]).all()
    assert colour.shape == (3, 16, 16)


def test_uint16_keeps_what_uint8_rounds_away():
    pixels = np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 16, 16) ** 2
    fine = apply(pixels, Preprocess(size=16, dtype="uint16", window=(0, 1)))
    assert np.allclose(fine / 65535, pixels, atol=1e-5)


def test_the_key_changes_with_bytes_parameters_and_code():
    keys = {
        key_of("a", Preprocess(), "1"),
        key_of("b", Preprocess(), "1"),
        key_of("a", Preprocess(size=32), "1"),
        key_of("a", Preprocess(), "2"),
    }
    assert len(keys) == 4
    assert key_of("a", Preprocess(), "1") in keys


@pytest.fixture
def indexed(study):
    ingest("lesion", Ingest())
    return study


def test_a_second_run_computes_nothing_and_a_rebuild_is_byte_equal(indexed, capsys):
    preprocess(Preprocess(size=32))
    first = {path.name: path.read_bytes() for path in STORE.iterdir()}
    assert "450 computed, 0 kept" in capsys.readouterr().out
    preprocess(Preprocess(size=32))
    assert "0 computed, 450 kept" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in STORE.iterdir()} == first
    store = Store.open(STORE)
    assert store.images.shape == (450, 1, 32, 32)
    assert len(store.samples) == 451  # one is a copy of another
    preprocess(Preprocess(size=24))
    assert "450 computed, 0 kept" in capsys.readouterr().out


def test_a_store_that_is_not_whole_is_computed_again(indexed):
    preprocess(Preprocess(size=32))
    whole = (STORE / "images.npy").read_bytes()
    (STORE / "images.npy").unlink()
    preprocess(Preprocess(size=32))
    assert (STORE / "images.npy").read_bytes() == whole


def test_an_image_that_cannot_be_preprocessed_is_named_and_no_store_is_left(indexed):
    index = read_table(INDEX, INDEX_SCHEMA)
    broken = index["path"][7]
    (indexed / "data" / broken).write_bytes(b"")
    with pytest.raises(DataError, match=rf"1 of 451 images could be read but not preprocessed.*\n  {broken} \(unread"):
        preprocess(Preprocess(size=32))
    assert not STORE.exists()


@pytest.mark.parametrize("shape", [(3000, 10), (10, 3000), (1, 1)])
def test_any_aspect_fits(shape):
    result = apply(RANDOM.integers(0, 255, (1, *shape)).astype(np.uint8), Preprocess(size=96))
    assert result.shape == (1, 96, 96)
