"""Series become volumes: known answers of made-up series, and agreement with reference conversions of real ones."""

import struct
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from series import AXIAL, ENHANCED_MR, MR, OBLIQUE, block, csa, image, write, write_stack

from medimg.errors import ImageError, NotAnImage
from medimg.images import nifti, read
from medimg.images.headers import Header, header
from medimg.images.scan import scan
from medimg.images.series import Plan, Refused, assemble
from medimg.images.volume import read_volume
from medimg.params.geometry import Geometry

SHARED = Path(__file__).parents[2] / "shared" / "data"


def headers_below(folder: Path) -> list[Header]:
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            try:
                found.append(header(path))
            except NotAnImage:
                continue
    return found


def canonical(pixels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(C, D, H, W)`` turned so that its axes run to right, anterior, superior, and its affine."""
    image = nibabel.Nifti1Image(pixels.transpose(1, 2, 3, 0), affine)
    turned = nibabel.as_closest_canonical(image)
    return np.asarray(turned.dataobj), turned.affine


@pytest.mark.skipif(not (SHARED / "dcm_qa_nih").is_dir(), reason="the reference conversions are not here")
def test_every_series_agrees_with_its_reference_conversion() -> None:
    plans, refused = assemble(headers_below(SHARED / "dcm_qa_nih" / "In"), Geometry(time="channels"))
    assert not refused
    volumes = [read_volume(plan) for plan in plans]
    ours = {
        (volume.facts.manufacturer[:2], int(Path(plan.paths[0]).parent.name[-1])): canonical(
            volume.pixels, volume.affine
        )
        for plan, volume in zip(plans, volumes, strict=True)
    }
    agreed = 0
    references = sorted((SHARED / "dcm_qa_nih" / "Ref").glob("*.nii"))
    for path in references:
        vendor = "SI" if path.name.startswith("EPI") else "GE"
        pixels, affine = ours[vendor, int(path.stem[-1])]
        reference = nibabel.as_closest_canonical(nibabel.load(path))
        assert np.abs(affine - reference.affine).max() <= 1e-3, path.name
        assert np.array_equal(pixels, np.asarray(reference.dataobj)), path.name
        agreed += 1
    assert agreed == len(references) == len(ours) == 8


def along_z(*heights: float, shift: float = 0.0) -> list[tuple[float, float, float]]:
    return [(10.0, 20.0 + shift * height, height) for height in heights]


def assembled(folder: Path, **settings: object) -> tuple[list[Plan], list[Refused]]:
    headers = headers_below(folder)
    plans, refused = assemble(headers, Geometry(**settings))
    used = {path for plan in plans for path in plan.paths}
    assert used.isdisjoint(path for path, _, _ in refused)
    assert used | {path for path, _, _ in refused} == {found.path for found in headers}
    return plans, refused


def codes(refused: list[Refused]) -> set[str]:
    return {code for _, code, _ in refused}


def one(folder: Path, **settings: object) -> tuple[np.ndarray, np.ndarray, Plan]:
    plans, refused = assembled(folder, **settings)
    assert not refused
    assert len(plans) == 1
    volume = read_volume(plans[0])
    return volume.pixels, volume.affine, plans[0]


def test_slices_are_sorted_by_place_whatever_their_names_and_numbers(tmp_path: Path) -> None:
    pixels = write_stack(tmp_path, along_z(9, 3, 6, 0, 12, 15))
    found, affine, plan = one(tmp_path)
    assert np.array_equal(found[0], pixels[[3, 1, 2, 0, 4, 5]])
    assert (affine @ [0, 0, 0, 1])[:3].tolist() == [-10, -20, 0]  # RAS
    assert (affine @ [1, 0, 0, 1])[:3].tolist() == [-10, -20, 3]
    assert (affine @ [0, 1, 0, 1])[:3].tolist() == [-10, -20.5, 0]
    assert (affine @ [0, 0, 1, 1])[:3].tolist() == [-10.25, -20, 0]
    facts = plan.facts
    assert (facts.spacing_slice, facts.spacing_row, facts.spacing_column) == (3, 0.5, 0.25)
    assert (facts.depth, facts.height, facts.width, facts.files, facts.frames) == (6, 5, 4, 6, 6)
    assert facts.orientation == "SPL"


def test_the_order_follows_the_slice_normal_in_any_direction(tmp_path: Path) -> None:
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:])
    places = [tuple(np.array([1.0, 2, 3]) + normal * 2 * step) for step in (2, 0, 1, 3)]
    pixels = write_stack(tmp_path, places, ImageOrientationPatient=OBLIQUE)
    found, affine, _ = one(tmp_path)
    assert np.array_equal(found[0], pixels[[1, 2, 0, 3]])
    assert np.allclose((affine @ [3, 0, 0, 1])[:3], np.array([-1, -1, 1]) * places[3])


@pytest.mark.parametrize(
    ("heights", "code"),
    [((0, 1, 2, 4, 5), "missing-slice"), ((0, 1, 2.5, 3.2, 4), "uneven-spacing"), ((0, 1), "not-3d")],
)
def test_slices_that_are_missing_or_uneven_are_refused(tmp_path: Path, heights: tuple[float, ...], code: str) -> None:
    write_stack(tmp_path, along_z(*heights))
    plans, refused = assembled(tmp_path)
    assert not plans
    assert codes(refused) == {code}


def test_a_missing_slice_is_interpolated_where_the_parameter_says_so(tmp_path: Path) -> None:
    pixels = write_stack(tmp_path, along_z(0, 1, 2, 4, 5)).astype(float)
    found, affine, _ = one(tmp_path, missing="resample")
    assert found.shape[1] == 6
    assert np.array_equal(found[0, 3], (pixels[2] + pixels[3]) / 2)
    assert np.array_equal(found[0, [0, 1, 2, 4, 5]], pixels)
    assert affine[2, 0] == 1
    found, affine, _ = one(tmp_path, missing="keep")
    assert np.array_equal(found[0], pixels)
    assert affine[2, 0] == 1.25


def test_uneven_slices_are_interpolated_where_the_parameter_says_so(tmp_path: Path) -> None:
    heights = [0.0, 1.0, 2.5, 3.2, 4.0]
    write_stack(tmp_path, along_z(*heights))
    for number, height in enumerate(heights):  # values that are linear in height
        values = np.full((5, 4), round(100 * height), np.int16)
        write(tmp_path / f"{number:03d}.dcm", image(values, number, ImagePositionPatient=[10, 20, height]))
    found, affine, _ = one(tmp_path, uneven="resample")
    assert np.allclose(found[0, :, 0, 0], 100 * affine[2, 0] * np.arange(found.shape[1]), atol=1e-3)


def test_a_gantry_tilt_is_refused_kept_in_the_affine_or_resampled(tmp_path: Path) -> None:
    height = np.arange(6)
    rows = np.add.outer(height, np.arange(5) * 0.5)  # the y of each row, as the slant of 45 degrees moves slices
    for number in height:
        values = np.repeat((100 * rows[number])[:, None], 4, axis=1).astype(np.int16)
        place = [10.0, 20.0 + number, float(number)]
        write(tmp_path / f"{number}.dcm", image(values, int(number), ImagePositionPatient=place))
    plans, refused = assembled(tmp_path)
    assert not plans
    assert {(code, detail) for _, code, detail in refused} == {
        ("gantry-tilt", "the slices are stacked at a slant of 45.0 degrees")
    }
    kept, affine, _ = one(tmp_path, tilt="keep")
    assert (affine @ [2, 0, 0, 1])[:3].tolist() == [-10, -22, 2]
    level, affine, _ = one(tmp_path, tilt="resample")
    assert level.shape == (1, 6, 15, 4)
    assert np.allclose(affine[:3, 0], [0, 0, 1])
    inside = level[0, 3, 6:11]
    assert np.allclose(inside[:, 0], -100 * (affine @ [3, 0, 0, 1])[1] - 2000 + 50 * np.arange(6, 11))
    assert level[0, 3, 0, 0] == kept.min()  # no slice covers it


def test_doubled_slices_are_refused_or_the_first_is_kept(tmp_path: Path) -> None:
    write_stack(tmp_path, along_z(0, 1, 2, 3, 1))
    plans, refused = assembled(tmp_path)
    assert not plans
    assert codes(refused) == {"duplicate-position"}
    plans, refused = assembled(tmp_path, duplicates="first")
    assert [Path(path).name for path, _, _ in refused] == ["004.dcm"]
    assert plans[0].facts.depth == 4


def test_mixed_sizes_and_geometry_that_is_not_finite_are_refused(tmp_path: Path) -> None:
    write_stack(tmp_path, along_z(0, 1, 2, 3))
    write(tmp_path / "other.dcm", image(block(1, 7, 4)[0], 9, ImagePositionPatient=[10.0, 20.0, 4.0]))
    assert codes(assembled(tmp_path)[1]) == {"mixed-shapes"}
    (tmp_path / "other.dcm").unlink()
    raw = (tmp_path / "003.dcm").read_bytes()
    (tmp_path / "003.dcm").write_bytes(raw.replace(b"10.0\\20.0\\3.0", b" NaN\\20.0\\3.0"))
    plans, refused = assembled(tmp_path)
    assert len(plans) == 1
    assert codes(refused) == {"geometry"}


def test_pixel_spacings_written_with_fewer_digits_are_the_same(tmp_path: Path) -> None:
    write_stack(tmp_path, along_z(0, 1, 2, 3))
    for name, spacing in (("000", "0.976549"), ("001", "0.97655"), ("002", "0.97656"), ("003", "0.9765")):
        target = pydicom.dcmread(tmp_path / f"{name}.dcm")
        target.PixelSpacing = [spacing, spacing]
        write(tmp_path / f"{name}.dcm", target)
    assert not assembled(tmp_path)[1]
    target.PixelSpacing = ["0.9768", "0.9765"]
    write(tmp_path / "003.dcm", target)
    assert codes(assembled(tmp_path)[1]) == {"mixed-shapes"}


@pytest.mark.parametrize("far", [5e5, 1e30])
def test_a_place_far_off_takes_no_memory_for_the_slices_between(tmp_path: Path, far: float) -> None:
    write_stack(tmp_path, along_z(0, 1, 2, far))
    plans, refused = assembled(tmp_path, uneven="resample", missing="resample")
    assert "geometry" in codes(refused)
    assert len(plans) == (1 if far > 1e6 else 0)


@pytest.mark.parametrize("shape", [(2**13, 2**15), (2**14, 2**14)])
def test_a_volume_too_large_to_be_read_is_refused_from_its_headers(tmp_path: Path, shape: tuple[int, int]) -> None:
    write_stack(tmp_path, along_z(0, 1, 2))
    rows, columns = shape
    large = [
        replace(header, slices=tuple(replace(one, rows=rows, columns=columns) for one in header.slices))
        for header in headers_below(tmp_path)
    ]
    plans, refused = assemble(large, Geometry())
    assert not plans and codes(refused) == {"memory"} and len(refused) == 3
    assert f"1 x 3 x {rows} x {columns} voxels" in refused[0][2]
    assert len(assemble(large[:2], Geometry(min_slices=2))[0]) == 1


def test_directions_that_are_not_at_a_right_angle_are_refused(tmp_path: Path) -> None:
    write_stack(tmp_path, along_z(0, 1, 2), ImageOrientationPatient=[1.0, 0, 0, 0.1, 1, 0])
    assert codes(assembled(tmp_path)[1]) == {"geometry"}


def test_localizers_and_slices_without_a_place_are_refused(tmp_path: Path) -> None:
    write_stack(tmp_path, along_z(0, 1, 2), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert codes(assembled(tmp_path)[1]) == {"localizer"}
    assert len(assembled(tmp_path, localizers="keep")[0]) == 1
    write_stack(tmp_path, along_z(0, 1, 2), ImagePositionPatient=None)
    assert codes(assembled(tmp_path)[1]) == {"not-3d"}


def test_directions_echoes_and_image_types_are_volumes_of_their_own(tmp_path: Path) -> None:
    sagittal = [0.0, 1, 0, 0, 0, -1]
    places = along_z(0, 1, 2)
    write_stack(tmp_path / "a", places, EchoTime=5, SOPClassUID=MR)
    write_stack(tmp_path / "b", places, EchoTime=10, SOPClassUID=MR)
    write_stack(tmp_path / "c", places, EchoTime=5, ImageType=["ORIGINAL", "PRIMARY", "P"], SOPClassUID=MR)
    write_stack(tmp_path / "d", [(x, 0.0, 0.0) for x in (0.0, 1, 2)], EchoTime=5, ImageOrientationPatient=sagittal)
    plans, refused = assembled(tmp_path)
    assert not refused
    assert sorted(Path(plan.paths[0]).parent.name for plan in plans) == ["a", "b", "c", "d"]
    assert len({plan.key for plan in plans}) == 4


@pytest.mark.parametrize(("element", "values"), [("EchoTime", (5.0, 5.1, 5.2)), ("EchoNumbers", (1, 2, 3))])
def test_slices_that_an_element_sets_apart_are_refused_by_its_name(
    tmp_path: Path, element: str, values: tuple[float, ...]
) -> None:
    for height, value in enumerate(values):
        write_stack(tmp_path / str(height), along_z(height), **{"SOPClassUID": MR, element: value})
    _, refused = assembled(tmp_path)
    assert codes(refused) == {"not-3d"} and len(refused) == 3
    for _, _, detail in refused:
        assert detail.startswith(f"1 slices; others of the series have another {element}, and ")
    for path in tmp_path.glob("[12]/*"):
        path.unlink()
    assert [detail for _, _, detail in assembled(tmp_path)[1]] == ["1 slices"]


@pytest.mark.parametrize(("turn", "volumes"), [(1e-4, 1), (9e-4, 0), (3e-3, 0)])
def test_a_direction_that_drifts_within_a_series_makes_no_two_volumes_of_it(
    tmp_path: Path, turn: float, volumes: int
) -> None:
    """By so much from slice to slice, rad; two stacks of a direction each, of one series, stay two volumes."""
    for height in range(8):
        cosines = [float(np.cos(turn * height)), float(np.sin(turn * height)), 0.0]
        cosines += [-cosines[1], cosines[0], 0.0]
        write_stack(tmp_path / str(height), along_z(height), ImageOrientationPatient=cosines)
    plans, refused = assembled(tmp_path)
    assert len(plans) == volumes and len(refused) == (0 if volumes else 8)
    assert all("ImageOrientationPatient" in detail for _, _, detail in refused)


def test_stacks_of_slightly_different_directions_stay_volumes_of_their_own(tmp_path: Path) -> None:
    for name, angle in (("a", 0.0), ("b", 2e-3)):
        cosines = [float(np.cos(angle)), float(np.sin(angle)), 0.0, -float(np.sin(angle)), float(np.cos(angle)), 0.0]
        write_stack(tmp_path / name, along_z(0, 1, 2), ImageOrientationPatient=cosines)
    plans, refused = assembled(tmp_path)
    assert not refused and len(plans) == 2


def test_time_points_are_volumes_or_channels(tmp_path: Path) -> None:
    pixels = write_stack(tmp_path, along_z(0, 1, 2) * 4)
    plans, refused = assembled(tmp_path)
    assert not refused
    assert [read_volume(plan).pixels.tolist() for plan in plans] == [[pixels[n : n + 3].tolist()] for n in (0, 3, 6, 9)]
    found, _, plan = one(tmp_path, time="channels")
    assert np.array_equal(found, pixels.reshape(4, 3, 5, 4))
    assert plan.facts.channels == 4


@pytest.mark.parametrize("lost", [1, 4, 8])
def test_a_lost_slice_costs_its_time_point_and_no_other(tmp_path: Path, lost: int) -> None:
    pixels = write_stack(tmp_path, along_z(0, 1, 2) * 3)
    (tmp_path / f"{lost:03d}.dcm").unlink()
    plans, refused = assembled(tmp_path)
    assert codes(refused) == {"missing-slice"}
    assert len(refused) == 2
    whole = [number for number in range(3) if number != lost // 3]
    assert [read_volume(plan).pixels[0].tolist() for plan in plans] == [
        pixels[3 * number : 3 * number + 3].tolist() for number in whole
    ]


def test_phases_that_cover_different_lengths_are_told_apart_by_acquisition(tmp_path: Path) -> None:
    write_stack(tmp_path / "a", along_z(0, 1, 2, 3), AcquisitionNumber=1)
    write_stack(tmp_path / "b", along_z(1, 2, 3, 4, 5), AcquisitionNumber=2)
    plans, refused = assembled(tmp_path)
    assert not refused
    assert sorted(plan.facts.depth for plan in plans) == [4, 5]


def enhanced(pixels: np.ndarray, heights: list[float], slopes: list[float], temporal: list[int]) -> Dataset:
    """An Enhanced MR of ``(frames, H, W)``."""
    target = image(pixels, SOPClassUID=ENHANCED_MR, ImageOrientationPatient=None, PixelSpacing=None)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = AXIAL
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.25], 9
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    frames = []
    for height, slope, when in zip(heights, slopes, temporal, strict=True):
        frame, place, content, values = Dataset(), Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [10.0, 20.0, height]
        content.TemporalPositionIndex = when
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = slope, 0, "US"
        frame.PlanePositionSequence, frame.FrameContentSequence = [place], [content]
        frame.PixelValueTransformationSequence = [values]
        frames.append(frame)
    target.SharedFunctionalGroupsSequence, target.PerFrameFunctionalGroupsSequence = [shared], frames
    return target


def test_an_enhanced_file_holds_volumes_with_a_rescale_for_each_frame(tmp_path: Path) -> None:
    pixels = block(6)
    target = enhanced(pixels, [2, 1, 0, 2, 1, 0], [1, 2, 1, 1, 1, 4], [1, 1, 1, 2, 2, 2])
    write(tmp_path / "a.dcm", target)
    plans, refused = assembled(tmp_path)
    assert not refused
    first, second = (read_volume(plan).pixels[0] for plan in plans)
    assert np.array_equal(first, np.stack([pixels[2], 2 * pixels[1], pixels[0]]))
    assert np.array_equal(second, np.stack([4 * pixels[5], pixels[4], pixels[3]]))
    assert (plans[0].facts.spacing_slice, plans[0].facts.files, plans[0].facts.frames) == (1, 1, 3)


def test_a_file_of_which_a_frame_is_refused_is_refused_whole(tmp_path: Path) -> None:
    write(tmp_path / "a.dcm", enhanced(block(7), [0, 1, 2, 0, 1, 3, 4], [1] * 7, [1, 1, 1, 2, 2, 2, 2]))
    plans, refused = assembled(tmp_path)
    assert not plans
    assert codes(refused) == {"missing-slice"}


@pytest.mark.parametrize("offsets", [[0, 2, 4], [7, 9, 11]])
def test_planes_of_a_dose_grid_are_offset_along_the_normal_or_say_z_themselves(
    tmp_path: Path, offsets: list[float]
) -> None:
    target = image(block(3), ImagePositionPatient=[10.0, 20.0, 7.0], GridFrameOffsetVector=offsets)
    write(tmp_path / "a.dcm", target)
    _, affine, _ = one(tmp_path)
    assert [(affine @ [plane, 0, 0, 1])[2] for plane in range(3)] == [7, 9, 11]


@pytest.mark.parametrize("ahead", [1, -1])
def test_a_mosaic_is_cut_along_its_normal(tmp_path: Path, ahead: int) -> None:
    tiles = block(5)
    sheet = np.zeros((15, 12), np.int16)
    for number, tile in enumerate(tiles):
        top, left = number // 3 * 5, number % 3 * 4
        sheet[top : top + 5, left : left + 4] = tile
    place = [10 - 1.0, 20 - 2.5, 7.0]  # of a slice as large as the mosaic: 4 columns and 5 rows more on each side
    target = image(
        sheet, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"], ImagePositionPatient=place, SpacingBetweenSlices=2
    )
    target.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa(5, (0, 0, ahead)))
    write(tmp_path / "a.dcm", target)
    found, affine, plan = one(tmp_path)
    assert np.array_equal(found[0], tiles[::ahead])
    assert np.allclose(affine[:3, 3], [-10, -20, 7 if ahead == 1 else -1])
    assert plan.facts.spacing_slice == 2
    del target[0x00291010]
    write(tmp_path / "a.dcm", target)
    with pytest.raises(ImageError, match="without the CSA header"):
        header(tmp_path / "a.dcm")


def test_a_nifti_volume_keeps_its_affine(tmp_path: Path) -> None:
    affine = np.array([[0, 0, 3.0, 1], [-1, 0, 0, 2], [0, 2, 0, 3], [0, 0, 0, 1]])
    stored = block(4)
    nibabel.save(nibabel.Nifti1Image(stored, affine), tmp_path / "a.nii.gz")
    found, ours, plan = one(tmp_path)
    assert np.array_equal(found[0], stored.T)
    for index in np.ndindex(2, 2, 2):
        assert np.array_equal(ours @ [*index[::-1], 1], affine @ [*index, 1])
    assert plan.facts.orientation == "RSP"
    assert (plan.facts.spacing_slice, plan.facts.spacing_row, plan.facts.spacing_column) == (3, 2, 1)


@pytest.mark.parametrize(("field", "value"), [(0, 0.0), (1, -2.0)])
def test_what_nifti_readers_overlook_in_the_grid_spacings_is_overlooked(
    tmp_path: Path, field: int, value: float
) -> None:
    target = nibabel.Nifti1Image(block(4), None)
    target.set_qform(np.diag([2.0, 3, 4, 1]), 1)
    data = bytearray(target.to_bytes())
    struct.pack_into("<f", data, 76 + 4 * field, value)
    (tmp_path / "a.nii").write_bytes(data)
    _, affine, plan = one(tmp_path)
    assert np.array_equal(affine[:, [2, 1, 0, 3]], nibabel.Nifti1Image.from_bytes(bytes(data)).affine)
    assert plan.facts.orientation == "SAR"


def test_nifti_time_points_and_affines_that_cannot_be(tmp_path: Path) -> None:
    stored = np.stack([block(4), block(4) + 500], axis=-1)
    nibabel.save(nibabel.Nifti1Image(stored, np.eye(4)), tmp_path / "a.nii")
    plans, _ = assembled(tmp_path)
    assert [np.array_equal(read_volume(plan).pixels[0], stored[..., n].T) for n, plan in enumerate(plans)] == [True] * 2
    assert one(tmp_path, time="channels")[0].shape == (2, 4, 5, 4)
    flat = nibabel.Nifti1Image(block(4), None)
    flat.set_sform(np.diag([1.0, 0, 1, 1]), 1)
    nibabel.save(flat, tmp_path / "a.nii")
    with pytest.raises(ImageError, match="flat"):
        header(tmp_path / "a.nii")


@pytest.mark.skipif(not (SHARED / "mr_series").is_dir(), reason="the series are not here")
def test_every_file_of_real_series_is_in_a_volume() -> None:
    plans, refused = assembled(SHARED / "mr_series")
    assert not refused
    assert len(plans) == 5
    assert sum(plan.facts.files for plan in plans) == 128
    for plan in plans:
        assert read_volume(plan).pixels.shape[1] == plan.facts.depth


def test_a_compressed_nifti_file_of_many_time_points_is_inflated_once_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voxels = np.arange(4 * 5 * 3 * 20, dtype=np.int16).reshape(4, 5, 3, 20)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii.gz")
    data, compressed = (tmp_path / "a.nii.gz").read_bytes(), []
    inflate = nifti.inflate
    monkeypatch.setattr(nifti, "inflate", lambda given: compressed.append(given[:2] == data[:2]) or inflate(given))
    _, sums = scan(data, "a", lambda pixels: int(pixels.sum()))
    assert sums == voxels.sum((0, 1, 2)).tolist()
    assert sum(compressed) == 2  # for the header, and for the voxels


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (AXIAL, "PL"),
        (OBLIQUE, "IL"),
        ([0, 1, 0, 0, 0, -1], "IP"),
        ([-1, 0, 0, 0, -1, 0], "AR"),
        ([1, 1, 1, 0, 0, 0], None),
    ],
)
def test_an_image_says_where_its_rows_and_columns_increase_toward(
    tmp_path: Path, orientation: list[float], expected: str | None
) -> None:
    write(tmp_path / "a.dcm", image(block(1)[0], ImageOrientationPatient=orientation))
    assert read(tmp_path / "a.dcm").facts.orientation == expected
