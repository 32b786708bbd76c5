"""Text burned into pixels: refused or masked, never let through; and the text detector, where it is installed."""

import io
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw
from pydicom.data.data_manager import DATA_ROOT
from studies import import_folder

from medimg.border import burned, ocr, profile
from medimg.border.deidentify import Rules, deidentify
from medimg.border.examine import examine
from medimg.border.identity import SiteKey
from medimg.border.options import Policy
from medimg.errors import BorderError, ImageError
from medimg.images import read_bytes

KEY = SiteKey(bytes(32))
MASK = Policy(clean_pixels=True)
SECONDARY_CAPTURE, ULTRASOUND = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.6.1"
needs_detector = pytest.mark.skipif(
    find_spec("rapidocr") is None or find_spec("onnxruntime") is None,
    reason="the text detector is not installed: pip install -r requirements-ocr.lock",
)


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "installed", lambda: False)


def picture(text: str, size: int = 256) -> np.ndarray:
    canvas = Image.new("L", (size, size), 10)
    ImageDraw.Draw(canvas).ellipse((60, 60, 190, 190), fill=90)
    ImageDraw.Draw(canvas).text((12, 12), text, fill=250, font_size=22)
    return np.asarray(canvas)


def file(pixels: np.ndarray, frames: int = 1, **elements: object) -> bytes:
    dataset = pydicom.dcmread(Path(DATA_ROOT) / "test_files" / "CT_small.dcm")
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = pixels.astype(np.uint8).tobytes() * frames
    if frames > 1:
        dataset.NumberOfFrames = frames
    del dataset.RescaleSlope, dataset.RescaleIntercept
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def region(left: int, upper: int, right: int, lower: int) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, upper
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, lower
    return item


def crossed(data: bytes, policy: Policy = MASK) -> np.ndarray:
    return pydicom.dcmread(io.BytesIO(profile.clean(data, KEY, "P1", policy).data)).pixel_array


SUSPECT = (
    {"BurnedInAnnotation": "YES"},
    {"SOPClassUID": SECONDARY_CAPTURE},
    {"SOPClassUID": SECONDARY_CAPTURE + ".2"},
    {"Modality": "US"},
    {"Modality": "OT"},
    {"ConversionType": "SD"},
    {"ConversionType": "DF"},
    {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"], "BurnedInAnnotation": "NO"},
    {"SeriesDescription": "Dose Report", "BurnedInAnnotation": "NO"},
    {"SeriesDescription": "Patient Protocol", "BurnedInAnnotation": "NO"},
)


@pytest.mark.parametrize("elements", SUSPECT, ids=str)
def test_what_may_show_text_is_refused(elements: dict[str, object], blind: None) -> None:
    for policy in (Policy(), MASK):
        with pytest.raises(ImageError, match="burned-in"):
            profile.clean(file(picture(""), **elements), KEY, "P1", policy)


@pytest.mark.parametrize("elements", [{}, {"SOPClassUID": SECONDARY_CAPTURE}, {"Modality": "US"}], ids=str)
def test_what_says_that_it_shows_no_text_crosses(elements: dict[str, object], blind: None) -> None:
    pixels = picture("")
    for policy in (Policy(), MASK):
        assert np.array_equal(crossed(file(pixels, BurnedInAnnotation="NO", **elements), policy), pixels)
    assert elements or np.array_equal(crossed(file(pixels)), pixels)


def test_a_file_that_nothing_looked_at_does_not_say_that_text_was_masked(blind: None) -> None:
    def said(data: bytes) -> tuple[bool, bool]:
        clean = pydicom.dcmread(io.BytesIO(profile.clean(data, KEY, "P1", MASK).data))
        codes = [code.CodeValue for code in clean.DeidentificationMethodCodeSequence]
        return "113101" in codes, "text in pixels masked" in clean.DeidentificationMethod

    regions = {"SequenceOfUltrasoundRegions": [region(5, 10, 20, 30)], "SOPClassUID": ULTRASOUND, "Modality": "US"}
    assert said(file(picture(""))) == (False, False)
    assert said(file(picture(""), **regions)) == (True, True)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("colour", [False, True])
def test_ultrasound_is_masked_outside_its_regions(frames: int, colour: bool, blind: None) -> None:
    pixels = np.random.default_rng(0).integers(1, 255, (40, 50, 3) if colour else (40, 50), np.uint8)
    us = {"SOPClassUID": ULTRASOUND, "Modality": "US"}
    data = file(pixels, frames, SequenceOfUltrasoundRegions=[region(5, 10, 20, 30), region(30, 0, 49, 9)], **us)
    with pytest.raises(ImageError, match="burned-in"):
        crossed(data, Policy())
    expected = np.zeros_like(pixels)
    for rows, columns in ((slice(10, 31), slice(5, 21)), (slice(0, 10), slice(30, 50))):
        expected[rows, columns] = pixels[rows, columns]
    found = crossed(data)
    assert np.array_equal(found, np.stack([expected] * frames) if frames > 1 else expected)
    with pytest.raises(ImageError, match="not installed"):
        crossed(file(pixels, frames, SequenceOfUltrasoundRegions=[region(9, 9, 2, 2)], **us))


def test_a_masked_compressed_image_is_written_plain_and_says_so(blind: None) -> None:
    ybr = pydicom.dcmread(Path(DATA_ROOT) / "test_files" / "examples_ybr_color.dcm")
    if "SequenceOfUltrasoundRegions" not in ybr:
        ybr.SequenceOfUltrasoundRegions = [region(10, 10, 100, 100)]
    buffer = io.BytesIO()
    ybr.save_as(buffer)
    written = profile.clean(buffer.getvalue(), KEY, "P1", MASK)
    found = pydicom.dcmread(io.BytesIO(written.data))
    assert written.masked
    assert found.get("BurnedInAnnotation") == ybr.get("BurnedInAnnotation")  # nobody has looked
    assert not found.file_meta.TransferSyntaxUID.is_compressed
    assert found.pixel_array.shape == ybr.pixel_array.shape


@needs_detector
def test_the_detector_sees_names_and_dates_and_leaves_markers_and_noise_alone() -> None:
    (box,) = ocr.texts(picture("HUBER^ANNA"))
    assert box[0] <= 16
    assert box[1] <= 14
    assert box[2] >= 28
    assert len(ocr.texts(picture("1961-03-02").astype(np.float32) * 100 - 1000)) == 1
    for pixels in (picture("L"), picture(""), np.random.default_rng(0).integers(0, 255, (256, 256), np.uint8)):
        assert ocr.texts(pixels) == []
    assert ocr.texts(np.zeros((8, 8), np.int16)) == []


@needs_detector
def test_text_is_masked_where_the_detector_finds_it_and_nothing_else_changes() -> None:
    pixels = picture("HUBER ANNA")
    found = crossed(file(pixels))
    assert ocr.texts(found) == []
    written = profile.clean(file(pixels), KEY, "P1", MASK).data
    assert pydicom.dcmread(io.BytesIO(written)).BurnedInAnnotation == "NO"
    assert np.array_equal(found[60:], pixels[60:])
    assert not np.array_equal(found[:40], pixels[:40])
    assert np.array_equal(crossed(file(picture(""))), picture(""))


@needs_detector
def test_a_secondary_capture_without_text_may_pass_and_one_that_says_it_has_some_may_not() -> None:
    plain = picture("")
    assert np.array_equal(crossed(file(plain, SOPClassUID=SECONDARY_CAPTURE)), plain)
    with pytest.raises(ImageError, match="none is found"):
        crossed(file(plain, BurnedInAnnotation="YES"))
    assert ocr.texts(crossed(file(picture("HUBER ANNA"), BurnedInAnnotation="YES"))) == []


@needs_detector
def test_an_import_masks_dicom_and_pictures_and_its_audit_passes(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.mkdir()
    (source / "ct").write_bytes(file(picture("HUBER ANNA"), PatientID="1"))
    Image.fromarray(picture("HUBER ANNA")).save(source / "x.png")
    (tmp_path / "t.csv").write_text("path,patient\nx.png,2\nct,1\n")
    out = tmp_path / "study" / "data"
    assert import_folder(source, tmp_path / "t.csv", out, policy=MASK).imported == 2
    for path in (out / "images").rglob("*.*"):
        assert ocr.texts(read_bytes(path.read_bytes()).pixels[0]) == []
    assert examine(out).findings == []
    statement = json.loads((out / "imports" / "0001.json").read_text())
    assert statement["policy"]["clean_pixels"] is True
    assert statement["text_detector"] is True


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_what_transparency_hides_does_not_cross(mode: str) -> None:
    hidden = Image.fromarray(picture("HUBER ANNA"))
    shown = Image.new("L", hidden.size, 90).convert(mode)
    written = io.BytesIO()
    if mode == "P":
        shown.save(written, "PNG", transparency=bytes(range(256)))
    else:
        shown.putalpha(hidden)
        shown.save(written, "PNG")
    clean = deidentify(written.getvalue(), "x.png", Rules(KEY, each_image_is_a_patient=True)).data
    again = Image.open(io.BytesIO(clean))
    assert again.mode in ("L", "RGB")
    assert "transparency" not in again.info
    assert np.unique(np.asarray(again)).tolist() == [90]


@needs_detector
def test_text_in_any_frame_of_a_suspect_file_is_masked() -> None:
    frames = np.stack([picture("")] * 12)
    frames[5] = picture("HUBER ANNA")
    several = file(frames.reshape(-1, 256), BurnedInAnnotation="YES", Rows=256, NumberOfFrames=12)
    masked = pydicom.dcmread(io.BytesIO(profile.clean(several, KEY, "P1", MASK).data))
    assert masked.BurnedInAnnotation == "NO"
    assert ocr.texts(masked.pixel_array[5]) == []


def test_the_statement_says_that_nothing_looked_for_text(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.mkdir()
    (source / "ct").write_bytes(file(picture("HUBER ANNA")))
    (source / "us").write_bytes(file(picture("HUBER ANNA"), Modality="US"))
    out = tmp_path / "study" / "data"
    assert import_folder(source, None, out).refused == {"burned-in": 1}
    assert json.loads((out / "imports" / "0001.json").read_text())["text_detector"] is False
    (source / "ct").unlink()
    with pytest.raises(BorderError, match="1 burned-in"):
        import_folder(source, None, tmp_path / "other" / "data")


def test_regions_that_leave_nothing_out_hide_no_text(blind: None) -> None:
    us = {"SOPClassUID": ULTRASOUND, "Modality": "US", "SequenceOfUltrasoundRegions": [region(0, 0, 255, 255)]}
    with pytest.raises(ImageError, match="burned-in"):
        crossed(file(picture("ZEBRAFINK"), **us))


def test_regions_are_read_as_the_standard_counts_them() -> None:
    value = [[(0x00186018 + 2 * n, "UL", edge.to_bytes(4, "little")) for n, edge in enumerate((5, 10, 20, 30))]]
    assert burned.regions({0x00186011: (0x00186011, "SQ", value)}) == [(10, 5, 31, 21)]
    assert burned.regions({}) == []
