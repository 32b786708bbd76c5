"""Reading: known answers, agreement with pydicom's own decoders, and silence about the patient."""

import gzip
import io
import traceback
import warnings
import zlib
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow
from pydicom.data.data_manager import DATA_ROOT
from pydicom.dataset import Dataset, FileMetaDataset

from medimg.errors import ImageError, NotAnImage, Refusal
from medimg.images import pixel_sha256, read, read_bytes

SHIPPED = Path(DATA_ROOT)
CANARY = "Zebrafink"
EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"


def dataset(pixels: np.ndarray, syntax: str = EXPLICIT, **elements: object) -> Dataset:
    """A CT of ``(H, W)`` or ``(H, W, 3)`` pixels as they are to be stored."""
    target = Dataset()
    target.file_meta = FileMetaDataset()
    target.file_meta.TransferSyntaxUID = syntax
    target.SOPClassUID, target.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    target.Rows, target.Columns = pixels.shape[:2]
    target.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    target.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        target.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    target.BitsAllocated, target.BitsStored, target.HighBit = bits, bits, bits - 1
    target.PixelRepresentation = int(pixels.dtype.kind == "i")
    raw = pixels.astype(pixels.dtype.newbyteorder(">" if syntax == BIG else "<")).tobytes()
    target.add_new("PixelData", "OW" if bits > 8 else "OB", raw + bytes(len(raw) % 2))
    for keyword, value in elements.items():
        setattr(target, keyword, value)
    return target


def encoded(target: Dataset) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(buffer, target, enforce_file_format=True)
    return buffer.getvalue()


def refusal(data: bytes) -> Refusal:
    with pytest.raises(ImageError) as caught:
        read_bytes(data)
    return caught.value.code


GREY16 = np.array([[0, 1, 2], [4000, 4094, 4095]], np.uint16)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, "1.2.840.10008.1.2.1.99"])
def test_native_syntaxes_give_the_stored_integers(syntax: str) -> None:
    image = read_bytes(encoded(dataset(GREY16, syntax)))
    assert image.pixels.dtype == np.uint16
    assert image.pixels.tolist() == [GREY16.tolist()]


def test_signed_pixels_stay_signed() -> None:
    stored = np.array([[-1024, -1], [0, 3071]], np.int16)
    assert read_bytes(encoded(dataset(stored))).pixels.tolist() == [stored.tolist()]


def test_bits_above_those_stored_are_not_part_of_the_value() -> None:
    image = read_bytes(encoded(dataset(GREY16 | np.uint16(0x7000), BitsStored=12, HighBit=11)))
    assert image.pixels.tolist() == [GREY16.tolist()]
    assert image.facts.bits == 12
    negative = np.array([[0x0FFF, 0x17FF]], np.uint16)
    image = read_bytes(encoded(dataset(negative, BitsStored=12, HighBit=11, PixelRepresentation=1)))
    assert image.pixels.tolist() == [[[-1, 2047]]]


def test_rescale_gives_float32_and_one_and_zero_leave_the_integers() -> None:
    image = read_bytes(encoded(dataset(GREY16, RescaleSlope="0.5", RescaleIntercept="-1024")))
    assert image.pixels.dtype == np.float32
    assert image.pixels[0, 1].tolist() == [976.0, 1023.0, 1023.5]
    assert read_bytes(encoded(dataset(GREY16, RescaleSlope="1", RescaleIntercept="0"))).pixels.dtype == np.uint16


def test_monochrome1_is_mirrored_within_the_stored_range() -> None:
    inverted = {"PhotometricInterpretation": "MONOCHROME1"}
    image = read_bytes(encoded(dataset(GREY16, BitsStored=12, HighBit=11, **inverted)))
    assert image.pixels.tolist() == [(4095 - GREY16).tolist()]
    assert image.facts.photometric == "MONOCHROME1"
    signed = np.array([[-32768, 0, 32767]], np.int16)
    assert read_bytes(encoded(dataset(signed, **inverted))).pixels.tolist() == [[[32767, -1, -32768]]]
    scaled = dataset(np.array([[0, 255]], np.uint8), RescaleSlope="2", RescaleIntercept="10", **inverted)
    assert read_bytes(encoded(scaled)).pixels.tolist() == [[[520.0, 10.0]]]


def test_a_modality_table_takes_the_place_of_the_rescale() -> None:
    target, item = dataset(np.array([[0, 1, 2, 200]], np.uint8)), Dataset()
    item.add_new("LUTDescriptor", "US", [3, 1, 16])
    item.add_new("LUTData", "OW", np.array([100, 200, 300], "<u2").tobytes())
    item.ModalityLUTType = "OD"
    target.ModalityLUTSequence = [item]
    assert read_bytes(encoded(target)).pixels.tolist() == [[[100, 100, 200, 300]]]


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG])
def test_a_palette_becomes_colour(syntax: str) -> None:
    target = dataset(np.array([[0, 5, 6, 7, 9]], np.uint8), syntax, PhotometricInterpretation="PALETTE COLOR")
    order = ">u2" if syntax == BIG else "<u2"
    for colour, table in (("Red", [1, 2, 3]), ("Green", [40, 50, 60]), ("Blue", [700, 800, 900])):
        target.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [3, 5, 16])
        target.add_new(f"{colour}PaletteColorLookupTableData", "OW", np.array(table, order).tobytes())
    pixels = read_bytes(encoded(target)).pixels
    assert pixels[:, 0].tolist() == [[1, 1, 2, 3, 3], [40, 40, 50, 60, 60], [700, 700, 800, 900, 900]]


def test_colour_by_plane_and_by_pixel_is_the_same_colour() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    planar = dataset(pixels, PlanarConfiguration=1, PixelData=pixels.transpose(2, 0, 1).tobytes())
    expected = pixels.transpose(2, 0, 1).tolist()
    assert read_bytes(encoded(dataset(pixels))).pixels.tolist() == expected
    assert read_bytes(encoded(planar)).pixels.tolist() == expected


def test_facts_come_from_the_header() -> None:
    facts = read_bytes(
        encoded(
            dataset(
                GREY16,
                PatientID=" 4711 ",
                PatientAge="018M",
                PatientSex="F",
                ImagerPixelSpacing=["0.2", "0.1"],
                InstitutionName="A",
                ViewPosition="PA",
            )
        )
    ).facts
    assert (facts.patient, facts.age, facts.sex, facts.site, facts.view) == ("4711", 1.5, "F", "A", "PA")
    assert (facts.spacing_row, facts.spacing_column, facts.height, facts.width) == (0.2, 0.1, 2, 3)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"PixelData": b"\0" * 4}, Refusal.TRUNCATED),
        ({"NumberOfFrames": 2, "PixelData": bytes(24)}, Refusal.NOT_2D),
        ({"PixelSpacing": ["0", "1"]}, Refusal.GEOMETRY),
        ({"Rows": 65535, "Columns": 65535}, Refusal.GEOMETRY),
        ({"PhotometricInterpretation": "YBR_PARTIAL_422"}, Refusal.UNSUPPORTED),
        ({"PhotometricInterpretation": "HSV"}, Refusal.UNSUPPORTED),
        ({"RescaleSlope": "0"}, Refusal.CORRUPT),
        ({"BitsStored": 12, "HighBit": 10}, Refusal.UNSUPPORTED),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_code(change: dict[str, object], code: Refusal) -> None:
    assert refusal(encoded(dataset(GREY16, **change))) == code


def test_a_codestream_larger_than_its_header_is_refused_before_it_is_decoded() -> None:
    from pydicom.encaps import encapsulate

    target = dataset(np.zeros((8, 8), np.uint8), "1.2.840.10008.1.2.4.50")
    target.PixelData = encapsulate([imagecodecs.jpeg8_encode(np.zeros((4000, 4000), np.uint8))])
    target["PixelData"].is_undefined_length = True
    assert refusal(encoded(target)) == Refusal.CORRUPT


def test_an_rle_header_that_points_outside_its_frame_is_refused_before_it_kills_the_process() -> None:
    data = next(SHIPPED.rglob("MR_small_RLE.dcm")).read_bytes()
    header = data.find(b"\x02\0\0\0\x40\0\0\0")
    assert refusal(data[: header + 8] + b"\xf0\xff\xff\x7f" + data[header + 12 :]) == Refusal.CORRUPT


def test_an_image_cut_within_its_header_is_truncated_not_overlooked() -> None:
    data = next(SHIPPED.rglob("CT_small.dcm")).read_bytes()
    for length in (400, 1000, 2000):
        assert refusal(data[:length]) in (Refusal.TRUNCATED, Refusal.CORRUPT)


def test_a_deflated_bomb_is_refused() -> None:
    head = encoded(dataset(GREY16, "1.2.840.10008.1.2.1.99"))
    start = 144 + int.from_bytes(head[140:144], "little")
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(squeeze.compress(bytes(2**24)) for _ in range(17)) + squeeze.flush()
    assert refusal(head[:start] + bomb) == Refusal.MEMORY


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"path,label\n", "text"),
        (b"%PDF-1.7", "pdf"),
        (b"PK\x03\x04\x14\0\0\0" + bytes(22) + b"[Content_Types].xml", "office"),
        (b"BM, P5 and RIFF are how a note may begin", "text"),
        (b"P5 is 3 to 4 years old\n", "text"),
        (b"\0\1\2", "unknown"),
        (b"\x08\0\x10\0garbage" * 100, "unknown"),
    ],
)
def test_other_files_are_no_images(data: bytes, kind: str) -> None:
    with pytest.raises(NotAnImage, match=kind):
        read_bytes(data)


OTHER_FORMATS = ["TIFF", "GIF", "BMP", "WebP", "JPEG 2000", "PPM", "NRRD", "MetaImage", "ANALYZE", "HEIF"]


@pytest.mark.parametrize("kind", OTHER_FORMATS)
def test_an_image_in_another_format_is_refused_by_its_name_and_never_passes_for_no_image(kind: str) -> None:
    written = {
        "NRRD": b"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 2 2\nencoding: raw\n\n\1\2\3\4",
        "MetaImage": b"ObjectType = Image\nNDims = 3\n",
        "ANALYZE": nibabel.AnalyzeImage(np.zeros((4, 4, 4), np.uint8), np.eye(4)).header.binaryblock,
        "HEIF": b"\0\0\0\x18ftypheic\0\0\0\0",
    }
    data = written.get(kind)
    if data is None:
        buffer = io.BytesIO()
        pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
        Pillow.fromarray(pixels).save(buffer, kind.replace(" ", ""))
        data = buffer.getvalue()
    with pytest.raises(ImageError) as caught:
        read_bytes(data)
    assert caught.value.code == Refusal.UNSUPPORTED
    assert kind in caught.value.detail and "convert it to DICOM, PNG or NIfTI" in caught.value.detail


@pytest.mark.parametrize("head", [b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c", b"\x1f\x8bnot NIfTI"])
def test_what_is_packed_is_refused_since_nobody_looked_into_it(head: bytes) -> None:
    assert refusal(head + bytes(100)) == Refusal.PACKED


def test_dicom_that_never_had_pixels_is_no_image_and_lost_pixels_are_an_error() -> None:
    for name in ("rtstruct.dcm", "test-SR.dcm", "waveform_ecg.dcm", "DICOMDIR", "rtplan.dcm"):
        path = next(SHIPPED.rglob(name))
        with pytest.raises(NotAnImage):
            read(path)
    target = dataset(GREY16)
    del target.PixelData
    assert refusal(encoded(target)) == Refusal.TRUNCATED
    target.PixelDataProviderURL = "http://localhost/"
    assert refusal(encoded(target)) == Refusal.UNSUPPORTED
    del target.PixelDataProviderURL
    target.SOPClassUID, target.SpectroscopyData = "1.2.840.10008.5.1.4.1.1.4.2", bytes(8)  # rows of spectra
    with pytest.raises(NotAnImage):
        read_bytes(encoded(target))


def test_an_empty_and_a_missing_file_are_unreadable(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name in ("empty", "missing"):
        with pytest.raises(ImageError) as caught:
            read(tmp_path / name)
        assert caught.value.code == Refusal.UNREADABLE
        assert caught.value.__context__ is None  # it would name the file


def broken_files() -> list[bytes]:
    """Files with a canary in their header and a fault each."""
    about = {"PatientName": CANARY, "PatientID": CANARY, "ImageComments": CANARY}
    whole = encoded(dataset(GREY16, **about))
    bad_photometric = encoded(dataset(GREY16, **about, PhotometricInterpretation=CANARY.upper()))
    bad_number = encoded(dataset(GREY16, **about, RescaleSlope="1")).replace(
        b"DS\x02\x001 ", b"DS\x0a\x00" + CANARY.encode() + b" "
    )
    bad_rows = whole.replace(b"\x28\0\x10\0US\x02\0", b"\x28\0\x10\0LO\x02\0")
    jpeg = encoded(dataset(GREY16, **about)).replace(EXPLICIT.encode() + b"\0", b"1.2.840.10008.1.2.5\0")
    return [bad_photometric, bad_number, bad_rows, whole[:-2], jpeg, whole[:400] + b"\xff" * 40 + whole[440:]]


@pytest.mark.parametrize("number", range(6))
def test_nothing_that_is_said_of_a_broken_file_names_the_patient(
    number: int, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises((ImageError, NotAnImage)) as caught:
        read_bytes(broken_files()[number])
    said = "".join(traceback.format_exception(caught.value)) + str(caught.value) + repr(caught.value.args)
    chain, error = [], caught.value.__context__ or caught.value.__cause__
    while error:
        chain.append(error)
        error = error.__context__
    assert not chain
    out, err = capfd.readouterr()
    heard = said + out + err + caplog.text + "".join(str(warning.message) for warning in recwarn)
    assert CANARY.lower() not in heard.lower()


def png(pixels: np.ndarray, **settings: object) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "PNG", **settings)
    return buffer.getvalue()


def test_png_keeps_depth_and_drops_alpha() -> None:
    assert read_bytes(png(GREY16)).pixels.tolist() == [GREY16.tolist()]
    colour = np.random.default_rng(0).integers(0, 255, (4, 5, 4), np.uint8)
    assert np.array_equal(read_bytes(png(colour)).pixels, colour[..., :3].transpose(2, 0, 1))
    grey = np.repeat(colour[..., :1], 3, axis=2)
    image = read_bytes(png(grey))
    assert (image.facts.channels, image.facts.photometric) == (1, "MONOCHROME2")
    assert np.array_equal(image.pixels, grey[..., 0][None])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_applied_as_pillow_does(kind: str, orientation: int) -> None:
    from PIL import ImageOps

    pixels = np.zeros((16, 24), np.uint8)
    pixels[:8, :8], pixels[8:, 16:] = 255, 128
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, kind, exif=exif)
    with Pillow.open(buffer) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    assert np.array_equal(read_bytes(buffer.getvalue()).pixels[0], expected)


def test_a_jpeg_or_png_cut_short_is_truncated() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    for data in (png(pixels), imagecodecs.jpeg8_encode(pixels)):
        assert refusal(data[: len(data) // 2]) == Refusal.TRUNCATED
    corrupt = bytearray(png(pixels))
    corrupt[-20] ^= 1
    assert refusal(bytes(corrupt)) == Refusal.CORRUPT


def test_a_cmyk_jpeg_is_unsupported() -> None:
    buffer = io.BytesIO()
    Pillow.new("CMYK", (8, 8)).save(buffer, "JPEG")
    assert refusal(buffer.getvalue()) == Refusal.UNSUPPORTED


STORED = np.arange(6, dtype=np.int16).reshape(3, 2)  # X 3, Y 2


def nifti(affine: np.ndarray | None, data: np.ndarray = STORED[..., None], **header: object) -> bytes:
    image = nibabel.Nifti1Image(data, affine)
    for name, value in header.items():
        image.header[name] = value
    return bytes(image.to_bytes())


@pytest.mark.parametrize(
    ("affine", "expected"),
    [
        (None, STORED.T),
        (np.diag([-1.0, -1, 1, 1]), STORED.T),  # X to left, Y to posterior: as viewed
        (np.diag([1.0, 1, 1, 1]), STORED.T[::-1, ::-1]),
        (np.array([[0.0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), STORED),  # X to posterior: rows
        (np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]), STORED.T[::-1]),  # sagittal, Y up
    ],
)
def test_a_nifti_slice_is_turned_as_radiologists_view_it(affine: np.ndarray | None, expected: np.ndarray) -> None:
    assert np.array_equal(read_bytes(nifti(affine)).pixels[0], expected)


def test_nifti_spacing_follows_the_turn_and_its_unit() -> None:
    affine = np.array([[0.0, -3, 0, 0], [-2, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    facts = read_bytes(nifti(affine)).facts
    assert (facts.spacing_row, facts.spacing_column) == (2, 3)
    facts = read_bytes(nifti(np.diag([-4000.0, -5000, 1, 1]), xyzt_units=3)).facts
    assert (facts.spacing_row, facts.spacing_column) == (5, 4)


def test_nifti_gzip_scaling_and_refusals() -> None:
    plain = nifti(None, scl_slope=2, scl_inter=1)
    expected = read_bytes(plain).pixels
    assert expected.dtype == np.float32
    assert np.array_equal(read_bytes(gzip.compress(plain)).pixels, expected)
    assert refusal(plain[:-2]) == Refusal.TRUNCATED
    assert refusal(gzip.compress(plain)[:-9]) == Refusal.TRUNCATED
    members = b"".join(gzip.compress(plain[at : at + 360]) for at in range(0, len(plain), 360))  # as bgzip and pigz do
    for data in (members, members + gzip.compress(b""), members + bytes(512)):
        assert np.array_equal(read_bytes(data).pixels, expected)
    assert refusal(members[:-9]) == Refusal.TRUNCATED
    assert refusal(nifti(None, np.zeros((3, 2, 2), np.int16))) == Refusal.NOT_2D


def test_pixel_hash_sees_dtype_shape_and_order() -> None:
    pixels = np.arange(6, dtype=np.uint16).reshape(1, 2, 3)
    same = np.asfortranarray(pixels.astype(">u2"))
    assert pixel_sha256(pixels) == pixel_sha256(same)
    assert len({pixel_sha256(value) for value in (pixels, pixels.astype("i2"), pixels.reshape(1, 3, 2))}) == 3


def test_nan_of_nifti_is_as_dark_as_the_darkest_number(tmp_path):
    import nibabel

    pixels = np.arange(5, 69, dtype=np.float32).reshape(8, 8, 1)
    expected = pixels.copy()
    pixels[3, 4], expected[3, 4] = np.nan, 5
    for values, name in ((pixels, "a.nii"), (expected, "b.nii")):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / name)
    assert np.array_equal(read(tmp_path / "a.nii").pixels, read(tmp_path / "b.nii").pixels)
    assert read(tmp_path / "a.nii").pixels.min() == 5


@pytest.mark.parametrize(
    ("columns", "orientation"),
    [(([1, 0, 0], [0, 1, 0]), "PL"), (([0, 0, 1], [1, 0, 0]), "IL"), (([0, 1, 0], [0, 0, -1]), "IP")],
)
def test_a_slice_of_nifti_says_where_rows_and_columns_increase_toward(tmp_path, columns, orientation):
    import nibabel

    x, y = (np.array(column, float) for column in columns)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([x, y, np.cross(x, y)], axis=1)
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 1), np.uint8), affine), tmp_path / "a.nii")
    assert read(tmp_path / "a.nii").facts.orientation == orientation
    unplaced = nibabel.Nifti1Image(np.ones((4, 5, 1), np.uint8), None)
    nibabel.save(unplaced, tmp_path / "b.nii")
    assert read(tmp_path / "b.nii").facts.orientation is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_not_numbers_are_refused(tmp_path, value):
    import nibabel

    pixels = np.full((8, 8, 1), np.nan if np.isnan(value) else 1, np.float32)  # one that is none, or none that is one
    pixels[3, 4] = value
    nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ImageError, match="not numbers") as caught:
        read(tmp_path / "a.nii")
    assert caught.value.code is Refusal.CORRUPT
