"""Maps of where a network looked, on the grids that images came on."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from studies import ROOT

from medimg.evaluation.frozen import Frozen
from medimg.evaluation.operating import OperatingPoint
from medimg.images.headers import header
from medimg.images.series import assemble
from medimg.images.volume import Volume, read_volume
from medimg.models.architecture import Architecture
from medimg.params import Params, Preprocess
from medimg.params.geometry import Geometry as Stacking
from medimg.predict.answers import called
from medimg.predict.heatmaps import heatmaps, write_map
from medimg.predict.look import Look
from medimg.preprocess.sample import picture_of_volume
from medimg.preprocess.steps import Picture, process
from medimg.saliency import Case, cams, target
from medimg.store import Geometry, Row
from medimg.tasks import task_of

SHARED = ROOT.parent / "shared/data"
NIFTI, SERIES = SHARED / "msd_hippocampus", SHARED / "mr_series/Study3"


def row_of(paths: list[Path], settings: Preprocess, mask: Path | None = None) -> Row:
    volume = whole(paths)
    return process(picture_of_volume(volume, whole([mask]).pixels.astype(np.uint8) if mask else None), settings)


def whole(paths: list[Path]) -> Volume:
    (plan,), _ = assemble([header(path, str(path)) for path in paths], Stacking())
    return read_volume(plan, Path("/"))


@pytest.mark.skipif(not NIFTI.is_dir(), reason="no real volumes here")
@pytest.mark.parametrize(("codes", "spacing"), [("SPL", None), ("RAI", None), ("SPL", 0.8)])
def test_a_map_of_a_real_volume_lies_on_the_voxels_of_its_file(
    codes: str, spacing: float | None, tmp_path: Path
) -> None:
    settings = Preprocess(orientation=codes, spacing=spacing, size=72, fit="crop", foreground=0, margin=2)
    for image in sorted((NIFTI / "images").glob("*.nii.gz"))[:3]:
        row = row_of([image.resolve()], settings, (NIFTI / "labels" / image.name).resolve())
        assert row.mask is not None
        write_map((row.mask[0] > 0).astype(np.float32), "s", row.geometry, tmp_path)
        written, original = nibabel.load(tmp_path / "s.nii.gz"), nibabel.load(image)
        assert written.shape == original.shape
        assert np.allclose(written.affine, original.affine, atol=1e-4)
        found = np.asarray(written.dataobj) > 127
        truth = np.asarray(nibabel.load(NIFTI / "labels" / image.name).dataobj) > 0
        if spacing is None:
            assert np.array_equal(found, truth)
        middles = [np.argwhere(one).mean(axis=0) for one in (found, truth)]
        assert np.abs(middles[0] - middles[1]).max() < 0.2


@pytest.mark.skipif(not SERIES.is_dir(), reason="no real series here")
def test_a_map_of_a_real_series_lies_where_its_headers_say(tmp_path: Path) -> None:
    files = sorted(next(path for path in sorted(SERIES.iterdir()) if path.is_dir()).glob("*.dcm"))
    slices = [dcmread(path) for path in files]
    rows, columns = slices[0].pixel_array.shape
    settings = Preprocess(orientation="SPL", size=max(rows, columns, len(slices)), fit="crop", percentiles=(0, 100))
    row = row_of([path.resolve() for path in files], settings)
    write_map(row.image[0] / np.float32(255), "s", row.geometry, tmp_path)
    written = nibabel.load(tmp_path / "s.nii.gz")
    assert written.shape == (columns, rows, len(slices))
    values, to_voxel = np.asarray(written.dataobj), np.linalg.inv(written.affine)
    for one in slices:
        corner = np.array([*map(float, one.ImagePositionPatient)]) * [-1, -1, 1]  # LPS → RAS
        column, line, place = np.rint(to_voxel @ [*corner, 1])[:3].astype(int)
        assert (column, line) == (0, 0)
        assert np.corrcoef(values[:, :, place].T.ravel(), one.pixel_array.ravel())[0, 1] > 0.995


def test_a_map_of_an_image_has_its_height_and_width(tmp_path: Path) -> None:
    heat = np.zeros((32, 32), np.float32)
    heat[8:16, 4:8] = 1  # twice as large in the original, and 10 rows lower
    back = ((2.0, 0.0, 10.5), (0.0, 2.0, 0.5), (0.0, 0.0, 1.0))
    write_map(heat, "s", Geometry((80, 60), to_original=back), tmp_path)
    pixels = np.asarray(Image.open(tmp_path / "s.png"))
    assert pixels.shape == (80, 60) and pixels.dtype == np.uint8
    rows, columns = np.nonzero(pixels > 127)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (26, 41, 8, 15)


def test_a_volume_that_does_not_say_how_it_lies_keeps_its_spacing_and_the_bytes_are_the_same_again(
    tmp_path: Path,
) -> None:
    heat = np.random.default_rng(0).random((4, 5, 6), np.float32)
    for name in ("one", "two"):
        write_map(heat, "s", Geometry((4, 5, 6), spacing=(3.0, 2.0, 1.0)), tmp_path / name)
    assert (tmp_path / "one/s.nii.gz").read_bytes() == (tmp_path / "two/s.nii.gz").read_bytes()
    written = nibabel.load(tmp_path / "one/s.nii.gz")
    assert written.header.get_zooms() == (1, 2, 3)
    assert int(written.header["sform_code"]) == int(written.header["qform_code"]) == 0
    assert np.array_equal(np.asarray(written.dataobj).T, np.rint(255 * heat))


def page_of(count: int) -> list[Look]:
    images = np.random.default_rng(0).integers(0, 256, (count, 1, 32, 32), np.uint8)
    return [
        Look(f"{at:016x}", f"patient-{at}", None, None, image, Geometry((32, 32)), {}, {})
        for at, image in enumerate(images)
    ]


def test_the_map_explains_the_answer_that_the_threshold_gives_and_of_several_labels_the_surest_yes() -> None:
    page, network = page_of(2), Architecture("lenet5", (1, 32, 32), 2).network(0).eval()
    layer, images = target(network, page[0].image[None]), np.stack([one.image for one in page])
    assert layer
    logits = np.array([[-1.0, -2.0], [-1.0, -2.0]])
    answers = np.array([[False, True], [False, False]])  # a threshold far below one half makes a yes of -2
    found = heatmaps(network, page, logits, answers)
    wanted = [Case(0, "", "", "", 0.0, True, 1, 1), Case(1, "", "", "", 0.0, True, 0, -1)]
    for one, heat in zip(found, cams(network, layer, images, wanted)[1], strict=True):
        assert one and np.array_equal(one.heat, heat)


def test_networks_that_answer_together_are_shown_by_the_mean_of_their_maps() -> None:
    page, network = page_of(3), Architecture("lenet5", (1, 32, 32), 1, members=3).network(0).eval()
    logits = np.array([[2.0], [1.0], [3.0]])
    whole = heatmaps(network, page, logits, logits > 0)
    alone = [heatmaps(member, page, logits, logits > 0) for member in network.alone()]
    for one, *each in zip(whole, *alone, strict=True):
        mean = np.mean([member.heat for member in each if member], axis=0)
        assert one and len(each) == 3 and np.allclose(one.heat, mean / mean.max(), atol=1e-6)


def test_images_are_called_at_the_threshold_of_the_bundle() -> None:
    params = Params.model_validate({"study": {"question": "q?", "label": "lesion", "positive": "1"}})
    point = OperatingPoint("youden", None, 0.1, True, "", 0.9, 0.9)
    probability = np.array([0.05, 0.2, 0.09999, 0.1])
    logits = np.log(probability / (1 - probability))[:, None]
    answers = called(page_of(4), logits, task_of(params.study), params, Frozen(None, False, {"lesion": point}))
    assert answers is not None and answers[:, 0].tolist()[:3] == [False, True, False]
    assert called(page_of(4), logits, task_of(params.study), params, Frozen(None, False, {})) is None


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((60, 40), {"size": 16}),
        ((60, 40), {"size": 16, "fit": "stretch"}),
        ((24, 30, 6), {"size": (8, 16, 16), "fit": "stretch"}),
        ((60, 40), {"size": 16, "fit": "stretch", "foreground": 0.5}),
    ],
)
def test_a_map_that_is_high_everywhere_is_so_to_the_edge_and_no_further(
    shape: tuple[int, ...], settings: dict[str, object]
) -> None:
    pixels = np.ones((1, *shape), np.uint8)
    inside = np.ones(shape, bool)
    if "foreground" in settings:
        inside[:7] = False
        inside[:, 33:] = False
        pixels[0][~inside] = 0
    row = process(Picture(pixels, spacing=(1.0,) * len(shape)), Preprocess.model_validate(settings))
    whole = row.geometry.restore(np.ones(row.image.shape, np.float32), fill=-1.0)[0]
    assert np.abs(whole[inside] - 1).max() < 1e-6 and (whole[~inside] == -1).all()
