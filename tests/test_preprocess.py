import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    NormalizeIntensity,
    Resize,
    ResizeWithPadOrCrop,
    ScaleIntensityRange,
    ScaleIntensityRangePercentiles,
    Spacing,
    SpatialPad,
)
from series import image, write

from medimg.errors import DataError, ImageError
from medimg.files import sha256_file
from medimg.ingest import ingest
from medimg.params import Ingest, Preprocess
from medimg.params.geometry import Geometry as Stacking
from medimg.preprocess import key_of, preprocess
from medimg.preprocess.intensity import coding, percentiles
from medimg.preprocess.sample import Source, compute
from medimg.preprocess.steps import Picture, process
from medimg.records import DATA, INDEX, INDEX_SCHEMA, STORE, UNPROCESSED, read_table, write_table
from medimg.store import Store

RANDOM = np.random.default_rng(0)
KERNELS = pytest.mark.parametrize(("kernel", "levels"), [("monai", 0), ("separable", 1)])


def apply(pixels, settings, windowed=False):
    return process(Picture(pixels, windowed=windowed), settings).image


def away(one, other):
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@KERNELS
@pytest.mark.parametrize("shape", [(120, 90), (90, 1200), (31, 64)])
def test_the_result_is_the_plain_monai_compose(kernel, levels, shape):
    pixels = RANDOM.integers(0, 4096, (1, *shape)).astype(np.uint16)
    plain = Compose(
        [
            ScaleIntensityRangePercentiles(0.5, 99.5, 0.0, 1.0, clip=True),
            Resize(64, size_mode="longest", mode="bilinear", anti_aliasing=True),
            SpatialPad((64, 64)),
        ]
    )(torch.from_numpy(pixels.astype(np.float32)))
    result = apply(pixels, Preprocess(size=64, kernel=kernel))
    assert result.dtype == np.uint8
    assert away(result, np.rint(np.clip(np.asarray(plain), 0, 1) * 255)) <= levels


@KERNELS
def test_a_window_is_in_the_units_of_the_image(kernel, levels):
    pixels = np.array([[[-1000.0, -160.0], [40.0, 240.0]]], np.float32).repeat(16, 1).repeat(16, 2)
    plain = ScaleIntensityRange(-160, 240, 0, 1, clip=True)(pixels)
    result = apply(pixels, Preprocess(size=32, window=(-160, 240), kernel=kernel))
    assert away(result, np.rint(np.asarray(plain) * 255)) <= levels
    assert np.array_equal(result, apply(pixels, Preprocess(size=32, window="abdomen", kernel=kernel)))
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


def test_the_key_changes_with_bytes_parameters_and_code_and_with_nothing_else():
    plain = key_of(("a", None), None, Preprocess(), "1")
    others = {
        key_of(("b", None), None, Preprocess(), "1"),
        key_of(("a", "mask"), None, Preprocess(), "1"),
        key_of(("a", None), 1, Preprocess(), "1"),
        key_of(("a", None), None, Preprocess(size=32), "1"),
        key_of(("a", None), None, Preprocess(window="lung"), "1"),
        key_of(("a", None), None, Preprocess(intensity="zscore"), "1"),
        key_of(("a", None), None, Preprocess(), "2"),
        key_of(("a", None), None, Preprocess(), "1", Stacking()),
    }
    assert len(others | {plain}) == 9
    idle = Preprocess(max_quarantined=0.5, seconds=3, memory=1, margin=4, deviations=2)  # they touch nothing here
    assert key_of(("a", None), None, idle, "1") == plain
    lung = Preprocess(window=(-1350, 150), percentiles=(1, 99))
    assert lung.touching() == Preprocess(window="lung").touching()


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
    assert len(store.samples) == 450
    preprocess(Preprocess(size=24))
    assert "450 computed, 0 kept" in capsys.readouterr().out


def test_a_store_that_is_not_whole_is_computed_again_and_said(indexed, capsys):
    preprocess(Preprocess(size=32))
    whole = (STORE / "images.npy").read_bytes()
    (STORE / "images.npy").unlink()
    preprocess(Preprocess(size=32))
    assert (STORE / "images.npy").read_bytes() == whole
    said = capsys.readouterr().err
    assert said.startswith("warning: every sample is computed anew, since the last store cannot be used. ")
    assert "not whole" in said or "no whole store" in said


def test_a_store_whose_tables_rotted_is_computed_again(indexed, capsys):
    preprocess(Preprocess(size=16))
    whole = {path.name: path.read_bytes() for path in STORE.iterdir()}
    places = {"samples.parquet": len(whole["samples.parquet"]) // 2, "store.json": whole["store.json"].index(b"shape")}
    for name, place in places.items():
        rotten = bytearray(whole[name])
        rotten[place] ^= 2
        (STORE / name).unlink()
        (STORE / name).write_bytes(rotten)
        capsys.readouterr()
        preprocess(Preprocess(size=16))
        assert "450 computed, 0 kept" in capsys.readouterr().out
        assert {path.name: path.read_bytes() for path in STORE.iterdir()} == whole


def test_an_image_that_cannot_be_preprocessed_is_named_and_the_rest_goes_on(indexed, capsys):
    index = read_table(INDEX, INDEX_SCHEMA)
    broken, sample = index["path"][7], index["sample"][7]
    whole = (indexed / "data" / broken).read_bytes()
    (indexed / "data" / broken).write_bytes(b"")
    with pytest.raises(DataError, match=rf"1 of 450 samples could be read but not.*\n  {broken} \(unread"):
        preprocess(Preprocess(size=32, max_quarantined=0.002))
    assert not STORE.exists()
    preprocess(Preprocess(size=32))
    said = capsys.readouterr().out
    assert "449 samples (449 different) in artifacts/store: 0 computed, 449 kept; 1 could not" in said
    header, line = UNPROCESSED.read_text().splitlines()
    assert (header, line.split(",")[:3]) == ("sample,path,code,detail", [sample, broken, "unreadable"])
    assert sample not in set(Store.open(STORE).samples["sample"])
    (indexed / "data" / broken).write_bytes(whole)
    preprocess(Preprocess(size=32))
    assert "450 samples (450 different) in artifacts/store: 1 computed, 449 kept\n" in capsys.readouterr().out
    assert UNPROCESSED.read_text().splitlines() == [header]


def test_one_image_changed_computes_that_one_and_a_label_changes_nothing(indexed, capsys):
    preprocess(Preprocess(size=32))
    before = Store.open(STORE)
    index = read_table(INDEX, INDEX_SCHEMA)
    index["label"] = "0"
    changed = index["path"][3]
    path = indexed / "data" / changed
    path.write_bytes(path.read_bytes()[:-2] + b"\1\1")
    index.loc[3, "file_sha256"] = sha256_file(path)
    write_table(INDEX, index, INDEX_SCHEMA)
    preprocess(Preprocess(size=32))
    assert "1 computed, 449 kept" in capsys.readouterr().out
    keys, others = (set(store.samples["key"]) for store in (before, Store.open(STORE)))
    assert len(keys - others) == 1


@pytest.mark.parametrize("shape", [(3000, 10), (10, 3000), (1, 1)])
def test_any_aspect_fits(shape):
    result = apply(RANDOM.integers(0, 255, (1, *shape)).astype(np.uint8), Preprocess(size=96))
    assert result.shape == (1, 96, 96)


def test_the_files_own_window_is_shown_where_it_has_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    pixels = RANDOM.integers(0, 4096, (40, 30)).astype(np.uint16)
    own = {"WindowCenter": 1000, "WindowWidth": 500, "VOILUTFunction": "LINEAR_EXACT"}

    def shown(window, **elements):
        write(tmp_path / "data" / "a.dcm", image(pixels, **elements))
        settings = Preprocess(size=32, window=window)
        return compute(("", Source("", ("a.dcm",))), DATA, settings, Stacking()).image

    assert np.array_equal(shown("header", **own), shown((750, 1250)))
    assert np.array_equal(shown("header"), shown(None))


def test_spacing_in_mm_is_monais_and_needs_to_be_known():
    pixels = RANDOM.integers(0, 4096, (1, 40, 50)).astype(np.uint16)
    affine = torch.diag(torch.tensor([0.5, 0.8, 1.0, 1.0], dtype=torch.float64))
    moved = Spacing((0.7, 0.7), padding_mode="border")(MetaTensor(torch.from_numpy(pixels.astype(np.float32)), affine))
    plain = Compose([ScaleIntensityRange(0, 4096, 0, 1, clip=True), ResizeWithPadOrCrop((32, 32))])(moved)
    settings = Preprocess(spacing=0.7, size=32, fit="crop", window=(0, 4096))
    result = process(Picture(pixels, spacing=(0.5, 0.8)), settings).image
    assert away(result, np.rint(np.asarray(plain) * 255)) <= 1
    with pytest.raises(ImageError, match="nothing says how large its pixels are"):
        process(Picture(pixels), settings)


@KERNELS
@pytest.mark.parametrize("nonzero", [False, True])
def test_zscore_is_monais_and_its_codes_say_deviations(kernel, levels, nonzero):
    pixels = RANDOM.normal(100, 20, (1, 48, 48)).astype(np.float32)
    pixels[:, :10] = 0
    plain = Compose([NormalizeIntensity(nonzero=nonzero), Resize((32, 32), mode="bilinear", anti_aliasing=True)])(
        pixels
    )
    settings = Preprocess(size=32, intensity="zscore", nonzero=nonzero, kernel=kernel, dtype="uint16")
    code = coding(settings)
    values = apply(pixels, settings) * code.scale + code.offset
    assert np.abs(values - np.asarray(plain).clip(-5, 5)).max() < (1.01 if levels else 0.51) * code.scale
    assert code.encode(np.zeros(1, np.float32)) * code.scale + code.offset == 0


def test_percentiles_of_what_is_not_zero_do_not_see_the_background():
    pixels = np.zeros((1, 32, 32), np.float32)
    pixels[:, 8:24, 8:24] = np.linspace(100, 200, 256).reshape(16, 16)
    shown = apply(pixels, Preprocess(size=32, percentiles=(0, 100), nonzero=True))
    assert shown[0, 8, 8] == 0 and shown[0, 23, 23] == 255
    assert 100 < shown[0, 16, 8] < 155
    again = apply(pixels, Preprocess(size=32, percentiles=(0, 100), nonzero=True, kernel="monai"))
    assert away(shown, again) <= 1


@pytest.mark.parametrize("options", [{"intensity": "zscore"}, {"percentiles": (1, 99)}])
def test_after_spacing_no_rounding_makes_something_of_what_is_zero(options):
    """MONAI's own rounding leaves 1e-13 where a pixel falls on one that is 0: there alone the kernels may differ."""
    pixels = RANDOM.uniform(500, 900, (1, 90, 80)).astype(np.float32)
    pixels[:, 51:] = pixels[..., :21] = 0
    spacing, wanted = (0.2, 0.3), (0.3, 0.4)
    ours = process(Picture(pixels, spacing=spacing), Preprocess(spacing=wanted, size=None, nonzero=True, **options))
    affine = torch.diag(torch.tensor([*spacing, 1.0, 1.0], dtype=torch.float64))
    values = np.asarray(Spacing(wanted, padding_mode="border")(MetaTensor(torch.from_numpy(pixels), affine)))
    values = np.where(np.abs(values) < 1e-6 * values.max(), np.float32(0), values)
    if "intensity" in options:
        plain = NormalizeIntensity(nonzero=True)(values)
    else:
        low, high = np.percentile(values[values != 0], options["percentiles"])
        plain = ScaleIntensityRange(low, high, 0, 1, clip=True)(values)
    code = coding(Preprocess(**options))
    assert away(ours.image, code.encode(np.asarray(plain))) <= 1
    assert (ours.image[values == 0] == code.encode(np.zeros(1, np.float32))).all()


@KERNELS
def test_the_foreground_is_cut_out_and_the_way_back_is_kept(kernel, levels):
    pixels = np.zeros((1, 40, 60), np.float32)
    pixels[:, 10:26, 20:36] = RANDOM.uniform(1, 2, (16, 16))
    settings = Preprocess(foreground=0, margin=2, size=32, fit="crop", window=(0, 2), kernel=kernel)
    found = process(Picture(pixels, (pixels > 0).astype(np.uint8)), settings)
    assert (found.image[0, 8:24, 8:24] > 0).all() and found.image[0].astype(bool).sum() == 256
    assert np.array_equal(found.geometry.restore(found.mask, nearest=True), pixels > 0)
    assert np.abs(found.geometry.restore(found.image) / 255 * 2 - pixels).max() < 0.01
    with pytest.raises(ImageError, match="blank: no pixel is above 3"):
        apply(pixels, Preprocess(foreground=3, kernel=kernel))


@pytest.mark.parametrize("options", [{"fit": "pad"}, {"fit": "stretch"}, {"fit": "crop"}, {"size": None}])
def test_both_kernels_keep_the_same_way_back(options):
    pixels = RANDOM.integers(0, 4096, (1, 70, 45)).astype(np.uint16)
    settings = Preprocess(**({"size": 64, "spacing": 0.9} | options))
    ours, plain = (
        process(Picture(pixels, spacing=(0.5, 0.8)), settings.model_copy(update={"kernel": kernel}))
        for kernel in ("separable", "monai")
    )
    assert np.allclose(ours.geometry.to_original, plain.geometry.to_original, atol=1e-5)
    assert away(ours.image, plain.image) <= 1


def test_parameters_that_do_not_fit_are_refused_before_anything_is_computed(indexed):
    with pytest.raises(DataError, match=r"preprocess\.size has 3 numbers, but the samples are images, of 2 axes"):
        preprocess(Preprocess(size=(16, 16, 16)))
    with pytest.raises(DataError, match=r"preprocess\.orientation is for volumes"):
        preprocess(Preprocess(orientation="SPL"))
    with pytest.raises(DataError, match="lung is a window of CT, and 400 of 450 samples are of another modality"):
        preprocess(Preprocess(window="lung"))
    with pytest.raises(ValueError, match="orientation: SPI names an axis twice"):
        Preprocess(orientation="SPI")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_percentiles_of_counted_numbers_are_those_of_sorted_ones(dtype, whole, size):
    values = RANDOM.normal(40, 20, size)
    values = (values.astype(int).clip(0) if np.dtype(dtype).kind == "u" else values - 50).astype(dtype)
    values = np.trunc(values) if whole else values
    for wanted in [(0.5, 99.5), (0, 100), (33, 66.6)]:
        assert percentiles(values.astype(dtype), wanted) == pytest.approx(np.percentile(values, wanted), abs=1e-4)
