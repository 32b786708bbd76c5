"""Pixels, exactly: agreement with other decoders over whole corpora, and known answers of made-up files."""

import io
import logging
import shutil
import subprocess
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow
from pydicom.data.data_manager import DATA_ROOT
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.pixels import pixel_array
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from series import image, write

from medimg.errors import ImageError, NotAnImage, Refusal
from medimg.images import codecs, dicom, guarded, luts, pixel_sha256, read, read_bytes

SHIPPED = Path(DATA_ROOT)
SHARED = Path(__file__).parents[2] / "shared" / "data"
CORPUS = SHARED / "dicom_corpus"
WG04 = CORPUS / "dicom-test-files" / "WG04"
FOLDERS = [
    pytest.param(SHIPPED, id="pydicom"),
    pytest.param(CORPUS, id="corpus", marks=pytest.mark.slow),  # 25 s
    pytest.param(SHARED / "dicognito_cases", id="dicognito"),
]
FRAMES = 4  # of each multi-frame file
RLE, DCT, LOSSLESS, LS, J2K = (f"1.2.840.10008.1.2.{number}" for number in ("5", "4.50", "4.70", "4.80", "4.90"))
HTJ2K = "1.2.840.10008.1.2.4.201"


def decodable(folder: Path) -> Iterator[tuple[Path, Dataset, codecs.Layout, int, np.ndarray]]:
    """Every frame that is read: file, header, layout, frame, stored pixels."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".py", ".pyc", ".json", ".txt", ".md"):
            try:
                dataset = guarded(lambda path=path: dicom.parse(path.read_bytes()))  # type: ignore[misc]
                layout = guarded(lambda dataset=dataset: dicom.layout_of(dataset))  # type: ignore[misc]
                for frame in range(min(layout.frames, FRAMES)):
                    yield path, dataset, layout, frame, codecs.stored(dataset, layout, frame)
            except (ImageError, NotAnImage):
                continue


def other(dataset: Dataset, layout: codecs.Layout, frame: int) -> np.ndarray | None:
    """The frame by another decoder than ours: pydicom and its plugins, or for lossless JPEG imagecodecs' second one."""
    if layout.syntax in codecs.JPEG_LOSSLESS:
        value = dataset.PixelData
        part = b"".join(value[start:end] for start, end in layout.fragments[frame])
        return np.asarray(imagecodecs.jpegsof3_decode(part))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.CRITICAL)
            return pixel_array(dataset, index=frame, raw=layout.syntax not in codecs.JPEG_DCT)
    except Exception:
        return None
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_decodable_frame_is_what_another_decoder_makes_of_it(folder: Path) -> None:
    if not folder.is_dir():
        pytest.skip("the corpus is not here")
    compared: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    for path, dataset, layout, frame, ours in decodable(folder):
        reference = other(dataset, layout, frame)
        if reference is None:
            alone[layout.syntax] += 1
            continue
        reference = reference.reshape(ours.shape).astype(ours.dtype)
        if layout.syntax in codecs.LOSSY - codecs.JPEG_LS:  # JPEG-LS, near-lossless too, has one right answer
            assert np.abs(ours.astype(float) - reference).max() <= 1, path.name
        else:
            assert np.array_equal(ours, reference), path.name
        compared[layout.syntax] += 1
    # Only 12-bit JPEG has one decoder here, and a JPEG-LS file of WG04 that pyjpegls refuses; see the tests below.
    assert set(alone) <= {"1.2.840.10008.1.2.4.51", LS}
    assert alone[LS] <= 1
    assert sum(compared.values()) >= {"data": 110, "dicom_corpus": 80, "dicognito_cases": 5}[folder.name]


@pytest.mark.skipif(shutil.which("dcmdjpeg") is None, reason="DCMTK is not installed")
@pytest.mark.parametrize("folder", FOLDERS[:2])
def test_jpeg_of_12_bits_and_without_loss_is_what_dcmtk_makes_of_it(folder: Path, tmp_path: Path) -> None:
    if not folder.is_dir():
        pytest.skip("the corpus is not here")
    compared: Counter[bool] = Counter()
    for path, _, layout, frame, ours in decodable(folder):
        lossless = layout.syntax in codecs.JPEG_LOSSLESS
        if frame or layout.samples != 1 or not (lossless or layout.syntax == "1.2.840.10008.1.2.4.51"):
            continue
        done = subprocess.run(["dcmdjpeg", path, tmp_path / "a.dcm"], capture_output=True, check=False)
        if done.returncode == 0:
            words = np.frombuffer(pydicom.dcmread(tmp_path / "a.dcm").PixelData, "<u2", ours.size)
            # what a lossy code overshoots is clipped here, where DCMTK and pydicom let it wrap
            expected = np.minimum(words, 2**layout.stored - 1) if not lossless else words
            found = ours.view(np.uint16).ravel() & (2**layout.stored - 1)
            assert np.abs(found.astype(int) - (expected & (2**layout.stored - 1))).max() <= (not lossless), path.name
            compared[lossless] += 1
    assert compared[False] >= (2 if folder == SHIPPED else 8)
    assert folder == SHIPPED or compared[True] >= 10


@pytest.mark.skipif(not WG04.is_dir(), reason="the corpus is not here")
def test_lossless_codecs_agree_with_rle_which_pydicom_decodes_by_itself() -> None:
    compared = 0
    for reference in sorted((WG04 / "RLE").glob("*_RLE")):
        expected = read(reference)
        for codec in ("JPLL", "JLSL", "J2KR"):
            path = WG04 / codec / reference.name.replace("RLE", codec)
            if path.is_file():
                assert pixel_sha256(read(path).pixels) == pixel_sha256(expected.pixels), path.name
                compared += 1
    assert compared >= 30


def test_values_are_those_of_pydicoms_modality_transform() -> None:
    compared = 0
    for path, dataset, layout, frame, ours in decodable(SHIPPED):
        if (
            layout.samples != 1
            or layout.photometric == "PALETTE COLOR"
            or "PerFrameFunctionalGroupsSequence" in dataset
        ):
            continue
        values, padding, _ = dicom.values_of(dataset, layout, frame)
        stored = 2**layout.stored - 1 - ours if layout.photometric == "MONOCHROME1" else ours
        expected = apply_modality_lut(stored, dataset).transpose(2, 0, 1)
        expected = expected.astype(np.float32) if expected.dtype.kind == "f" and not layout.real else expected
        assert np.array_equal(values, expected), path.name
        assert padding is None or padding.any()
        compared += 1
    assert compared >= 70


def encoded(target: Dataset) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(buffer, target, enforce_file_format=True)
    return buffer.getvalue()


def compressed(parts: list[bytes], like: np.ndarray, syntax: str, value: bytes | None = None, **more: object) -> bytes:
    """A file of grey or RGB frames ``(frames, H, W[, 3])`` whose codestreams are ``parts``."""
    bits = like.dtype.itemsize * 8
    target = image(like[..., 0] if like.ndim == 4 else like, BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1)
    if like.ndim == 4:
        target.SamplesPerPixel, target.PhotometricInterpretation, target.PlanarConfiguration = 3, "RGB", 0
    target.file_meta.TransferSyntaxUID = syntax
    target.PixelData = encapsulate(parts) if value is None else value
    target["PixelData"].VR = "OB"
    target["PixelData"].is_undefined_length = True
    for keyword, found in more.items():
        setattr(target, keyword, found)
    return encoded(target)


def refusal(data: bytes, frame: int | None = None) -> Refusal:
    with pytest.raises(ImageError) as caught:
        read_bytes(data, frame)
    return caught.value.code


GREY = np.random.default_rng(0).integers(0, 4096, (3, 16, 24)).astype(np.uint16)
COLOUR = np.random.default_rng(0).integers(0, 255, (1, 16, 24, 3)).astype(np.uint8)


def streams(syntax: str, pixels: np.ndarray = GREY) -> list[bytes]:
    encode = {
        LOSSLESS: lambda frame: imagecodecs.jpeg8_encode(frame, lossless=True, bitspersample=frame.dtype.itemsize * 8),
        LS: imagecodecs.jpegls_encode,
        J2K: lambda frame: imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True, mct=False),
        HTJ2K: lambda frame: imagecodecs.htj2k_encode(frame, reversible=True),
    }[syntax]
    return [bytes(encode(frame)) for frame in pixels]


@pytest.mark.parametrize("syntax", [LOSSLESS, LS, J2K, HTJ2K])
@pytest.mark.parametrize("per_frame", [1, 3])
@pytest.mark.parametrize("table", ["none", "basic", "extended"])
def test_frames_are_found_with_and_without_offset_tables_in_one_or_several_fragments(
    syntax: str, per_frame: int, table: str
) -> None:
    parts = streams(syntax)
    if table == "extended":
        value, offsets, lengths = encapsulate_extended(parts)
        data = compressed(parts, GREY, syntax, value, ExtendedOffsetTable=offsets, ExtendedOffsetTableLengths=lengths)
    else:
        value = encapsulate(parts, fragments_per_frame=per_frame, has_bot=table == "basic")
        data = compressed(parts, GREY, syntax, value)
    for number, frame in enumerate(GREY):
        assert np.array_equal(read_bytes(data, number).pixels[0], frame)
    assert refusal(data) == Refusal.NOT_2D
    assert refusal(data, 3) == Refusal.TRUNCATED


def test_a_wrong_offset_table_is_overlooked_and_too_few_frames_are_truncated() -> None:
    parts = streams(LS)
    value = encapsulate(parts, fragments_per_frame=2)
    wrong = value[:12] + b"\7\0\0\0" + value[16:]
    assert np.array_equal(read_bytes(compressed(parts, GREY, LS, wrong), 2).pixels[0], GREY[2])
    assert refusal(compressed(parts, GREY, LS, encapsulate(parts[:2])), 0) == Refusal.TRUNCATED
    assert refusal(compressed(parts, GREY, LS, value[: len(value) - 40]), 0) == Refusal.TRUNCATED


def run_lengths(frame: np.ndarray) -> bytes:
    target = image(frame)
    target.compress("1.2.840.10008.1.2.5", encoding_plugin="pydicom", generate_instance_uid=False)
    return bytes(next(generate_frames(target.PixelData, number_of_frames=1)))


def test_frames_that_the_header_does_not_count_are_refused_not_lost() -> None:
    parts = streams(LS)
    for table in (True, False):
        value = encapsulate(parts, has_bot=table)
        assert refusal(compressed(parts, GREY[:1], LS, value)) == Refusal.CORRUPT
    value = encapsulate([run_lengths(frame) for frame in GREY])
    assert refusal(compressed(parts, GREY[:1], RLE, value)) == Refusal.CORRUPT
    value = encapsulate(parts[:1], fragments_per_frame=2)
    second = 8 + int.from_bytes(value[16:20], "little")  # of its two fragments
    each = b"\xfe\xff\0\xe0\x08\0\0\0" + bytes(4) + second.to_bytes(4, "little") + value[12:]
    assert np.array_equal(read_bytes(compressed(parts, GREY[:1], LS, each)).pixels[0], GREY[0])
    plain = image(GREY[0])
    plain.PixelData = GREY.astype("<u2").tobytes()
    assert refusal(encoded(plain)) == Refusal.CORRUPT
    plain.PixelData = GREY[0].astype("<u2").tobytes() + bytes(20)  # some pad
    assert np.array_equal(read_bytes(encoded(plain)).pixels[0], GREY[0])


def test_encapsulated_pixels_called_native_are_refused() -> None:
    parts = [GREY[0].astype("<u2").tobytes()]
    data = compressed(parts, GREY[:1], "1.2.840.10008.1.2.1.98")
    assert np.array_equal(read_bytes(data).pixels[0], GREY[0])
    assert refusal(data.replace(b"1.2.840.10008.1.2.1.98", b"1.2.840.10008.1.2.1\0\0\0")) == Refusal.CORRUPT


def test_ybr_of_16_bits_is_unsupported_by_name() -> None:
    target = image(GREY[0], SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL", PlanarConfiguration=0)
    target.PixelData = bytes(GREY[0].size * 6)
    with pytest.raises(ImageError, match="YBR_FULL of 16 bits") as caught:
        read_bytes(encoded(target))
    assert caught.value.code == Refusal.UNSUPPORTED


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"])
def test_encapsulated_frames_without_or_with_deflate(syntax: str) -> None:
    parts = [frame.astype("<u2").tobytes() for frame in GREY]
    if syntax.endswith("8.1"):
        squeezers = [zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS) for _ in parts]
        parts = [one.compress(part) + one.flush() for one, part in zip(squeezers, parts, strict=True)]
    parts = [part + bytes(len(part) % 2) for part in parts]
    data = compressed(parts, GREY, DCT).replace(DCT.encode(), syntax.encode().ljust(22, b"\0"))  # pydicom knows no 8.1
    assert np.array_equal(read_bytes(data, 1).pixels[0], GREY[1])


@pytest.mark.parametrize("syntax", [LOSSLESS, LS, J2K, HTJ2K])
def test_lossless_colour_is_exact_and_ybr_becomes_rgb(syntax: str) -> None:
    parts = streams(syntax, COLOUR)
    as_rgb = read_bytes(compressed(parts, COLOUR, syntax)).pixels
    assert np.array_equal(as_rgb, COLOUR[0].transpose(2, 0, 1))
    as_ybr = read_bytes(compressed(parts, COLOUR, syntax, PhotometricInterpretation="YBR_FULL")).pixels
    expected = pydicom.pixels.processing.convert_color_space(COLOUR[0], "YBR_FULL", "RGB")
    assert np.array_equal(as_ybr, expected.transpose(2, 0, 1))


def test_lossy_jpeg_is_within_what_its_quantisation_allows() -> None:
    smooth = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint8)[None]
    for level, most in ((95, 2), (75, 8)):
        part = imagecodecs.jpeg8_encode(smooth[0], level=level)
        found = read_bytes(compressed([part], smooth, DCT)).pixels
        assert np.abs(found.astype(int) - smooth).max() <= most


def test_a_codestream_of_more_bits_than_the_header_allocates_or_stores_is_refused() -> None:
    parts = streams(LS)[:1]
    assert refusal(compressed(parts, GREY[:1].astype(np.uint8), LS)) == Refusal.CORRUPT
    assert refusal(compressed(parts, GREY[:1], LS, BitsStored=10, HighBit=9)) == Refusal.CORRUPT


def test_signed_codestreams_stay_signed() -> None:
    stored = (GREY[:1].astype(np.int16) - 2048) & np.int16(0x0FFF)
    data = compressed(streams(LS, stored.astype(np.uint16)), GREY[:1], LS, BitsStored=12, PixelRepresentation=1)
    assert np.array_equal(read_bytes(data).pixels, GREY[:1].astype(np.int16) - 2048)


def test_stored_bits_may_stand_anywhere_in_the_cell() -> None:
    cells = (GREY[0] << 3) | 0x8005
    found = read_bytes(encoded(image(cells, BitsStored=12, HighBit=14)))
    assert np.array_equal(found.pixels[0], GREY[0])
    signed = read_bytes(encoded(image(cells, BitsStored=12, HighBit=14, PixelRepresentation=1)))
    assert np.array_equal(signed.pixels[0], (GREY[0] << 4).astype(np.int16) >> 4)


@pytest.mark.parametrize(
    ("signed", "stored", "expected"),
    [
        (0, [0, 4095, 7], [0, 4095, 7]),
        (0, [0, 4096, 0xF007], [0, 0, 7]),
        (1, [-2048, 2047, -1], [-2048, 2047, -1]),
        (1, [-2049, 2048, 0x0FFF], [2047, -2048, -1]),
    ],
)
def test_values_at_the_ends_of_the_stored_bits(signed: int, stored: list[int], expected: list[int]) -> None:
    cells = (np.array([stored]) & 0xFFFF).astype(np.uint16)
    found = read_bytes(encoded(image(cells, BitsStored=12, HighBit=11, PixelRepresentation=signed)))
    assert found.pixels[0].tolist() == [expected]


@pytest.mark.parametrize(("keyword", "dtype"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
def test_floating_point_pixels_are_read_as_they_are(keyword: str, dtype: str) -> None:
    values = np.random.default_rng(0).normal(size=(2, 4, 5)).astype(dtype)
    target = image(np.zeros((2, 4, 5), np.uint16), PixelData=None, BitsAllocated=values.itemsize * 8)
    setattr(target, keyword, values.tobytes())
    for number in range(2):
        found = read_bytes(encoded(target), number).pixels
        assert found.dtype == np.dtype(dtype)
        assert np.array_equal(found[0], values[number])


@pytest.mark.parametrize("bits", [32, 64])
def test_wide_integers_and_several_native_frames(bits: int) -> None:
    values = np.random.default_rng(0).integers(0, 2**31, (3, 4, 5)).astype(f"u{bits // 8}")
    target = image(values, BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1, PixelData=values.tobytes())
    assert np.array_equal(read_bytes(encoded(target), 2).pixels[0], values[2])


def test_frames_of_single_bits_need_not_start_at_a_byte() -> None:
    values = np.random.default_rng(0).integers(0, 2, (3, 3, 5)).astype(np.uint8)
    packed = np.packbits(values.ravel(), bitorder="little").tobytes()
    target = image(values, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed)
    for number in range(3):
        assert np.array_equal(read_bytes(encoded(target), number).pixels[0], values[number])


def test_padding_takes_the_lowest_value_of_the_rest() -> None:
    stored = np.array([[-2000, -5, 7], [3, -2000, 9]], np.int16)
    padded = read_bytes(encoded(image(stored, PixelPaddingValue=-2000)))
    assert padded.pixels.tolist() == [[[-5, -5, 7], [3, -5, 9]]]
    ranged = read_bytes(encoded(image(stored, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-5)))
    assert ranged.pixels.tolist() == [[[3, 3, 7], [3, 3, 9]]]
    white = image(np.array([[0, 10, 65535]], np.uint16), PixelPaddingValue=0, PhotometricInterpretation="MONOCHROME1")
    assert read_bytes(encoded(white)).pixels.tolist() == [[[0, 65525, 0]]]
    everything = image(np.zeros((1, 2), np.uint16), PixelPaddingValue=0)
    assert read_bytes(encoded(everything)).pixels.tolist() == [[[0, 0]]]


@pytest.mark.parametrize(("signed", "value"), [(0, 63536), (1, -4000)])
def test_padding_that_needs_more_than_the_stored_bits_is_found_among_those_allocated(signed: int, value: int) -> None:
    as_stored = value & 0xFFF
    true = as_stored - 4096 if signed and as_stored > 2047 else as_stored  # what the padding's stored bits alone say
    pixels = np.array([[value, 5], [true, 7]], np.int32).astype(np.int16 if signed else np.uint16)
    target = image(pixels, BitsStored=12, HighBit=11, PixelPaddingValue=value)
    assert read_bytes(encoded(target)).pixels[0].tolist() == [[min(5, true), 5], [true, 7]]


def shown(**elements: object) -> np.ndarray:
    stored = np.arange(-6, 6, dtype=np.int16).reshape(3, 4)
    found = read_bytes(encoded(image(stored, RescaleSlope=2, RescaleIntercept=1, **elements)), voi=True)
    assert found.windowed
    assert found.pixels.dtype == np.float32
    return found.pixels[0]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_are_pydicoms_from_0_to_1(function: str) -> None:
    stored = np.arange(-6, 6, dtype=np.int16).reshape(3, 4)
    target = image(stored, RescaleSlope=2, RescaleIntercept=1, WindowCenter=2, WindowWidth=9, VOILUTFunction=function)
    reference = apply_voi_lut(apply_modality_lut(stored, target), target)
    low, high = -(2.0**15) * 2 + 1, (2.0**15 - 1) * 2 + 1  # pydicom spreads over what the stored bits span
    ours = shown(WindowCenter=2, WindowWidth=9, VOILUTFunction=function)
    assert np.allclose(ours, (reference - low) / (high - low), atol=1e-6)


def test_the_order_is_modality_then_window_then_monochrome1() -> None:
    window = {"WindowCenter": 2, "WindowWidth": 9}
    assert np.allclose(shown(**window, PhotometricInterpretation="MONOCHROME1"), 1 - shown(**window))
    assert shown(WindowCenter=1, WindowWidth=1)[1].tolist() == [0, 0, 1, 1]  # values -3, -1, 1, 3


def test_a_voi_table_goes_before_a_window() -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS", [4, -3, 8])
    item.add_new("LUTData", "OW", np.array([0, 51, 102, 255], "<u2").tobytes())
    found = shown(VOILUTSequence=[item], WindowCenter=2, WindowWidth=9)
    assert np.allclose(found[1], np.array([0, 102, 255, 255]) / 255)  # values -3, -1, 1, 3
    assert np.allclose(found[0], 0)


def lookup(first: int, bits: int, entries: np.ndarray) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first & 0xFFFF, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


def test_where_a_voi_table_begins_does_not_depend_on_the_pixels_of_the_frame() -> None:
    table = lookup(-5, 8, np.arange(30) * 8)
    for low in (0, 6):  # with and without a value below zero
        pixels = np.arange(low, low + 16, dtype=np.uint16).reshape(4, 4)
        target = image(pixels, RescaleSlope="1", RescaleIntercept="-5", VOILUTSequence=[table])
        assert np.allclose(read_bytes(encoded(target), voi=True).pixels[0] * 255, pixels * 8)


def test_a_table_of_more_bits_than_its_descriptor_says_is_neither_above_1_nor_wraps() -> None:
    pixels = np.arange(16, dtype=np.uint16).reshape(4, 4)
    table = lookup(0, 10, np.linspace(0, 4095, 16).round())
    found = read_bytes(encoded(image(pixels, VOILUTSequence=[table])), voi=True).pixels
    assert (found.min(), found.max()) == (0, 1)
    target = image(pixels, ModalityLUTSequence=[table], PhotometricInterpretation="MONOCHROME1")
    assert read_bytes(encoded(target)).pixels[0, 0, 0] == 4095
    assert read_bytes(encoded(target)).pixels[0, 3, 3] == 0


def test_without_a_window_nothing_is_applied_and_one_that_cannot_be_is_refused() -> None:
    assert not read_bytes(encoded(image(GREY[0])), voi=True).windowed
    target = image(GREY[0], WindowCenter=2, WindowWidth=0)
    with pytest.raises(ImageError, match="window"):
        read_bytes(encoded(target), voi=True)
    assert read_bytes(encoded(target)).pixels.shape == (1, 16, 24)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_segmented_palette_unfolds(bits: int) -> None:
    # a run of 3, a line of 4 to 90, the run once more (by its byte offset), and one value
    codes = [0, 3, 10, 20, 30, 1, 4, 90, 2, 1, *([0, 0] if bits == 16 else [0, 0, 0, 0]), 0, 1, 7]
    table = [10, 20, 30, 45, 60, 75, 90, 10, 20, 30, 7]
    raw = np.array(codes, "<u2" if bits == 16 else "u1").tobytes()
    target = image(np.arange(12, dtype=np.uint16).reshape(3, 4), PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        target.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [11, 0, bits])
        target.add_new(f"Segmented{colour}PaletteColorLookupTableData", "OW", raw + bytes(len(raw) % 2))
    found = read_bytes(encoded(target)).pixels
    assert found.dtype == (np.uint16 if bits == 16 else np.uint8)
    assert found[1].ravel().tolist() == [*table, 7]


def test_a_segmented_palette_that_repeats_nothing_is_refused_at_once() -> None:
    codes = np.zeros(80_000, "<u2")
    codes[:40_000] = np.tile(np.array([2, 65535, 80_000 & 0xFFFF, 80_000 >> 16], "<u2"), 10_000)
    with pytest.raises(ImageError, match="does not unfold"):
        luts.unfolded(codes.tobytes(), 256, 16, big_endian=False)


def test_native_422_shares_colour_between_two_pixels() -> None:
    pairs = np.array([[16, 200, 100, 90], [30, 40, 128, 128]], np.uint8)  # y y cb cr
    target = image(np.zeros((2, 2), np.uint16), SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422")
    target.BitsAllocated, target.BitsStored, target.HighBit, target.PlanarConfiguration = 8, 8, 7, 0
    target.PixelData = pairs.tobytes()
    full = np.array([[[16, 100, 90], [200, 100, 90]], [[30, 128, 128], [40, 128, 128]]], np.uint8)
    expected = pydicom.pixels.processing.convert_color_space(full, "YBR_FULL", "RGB")
    assert np.array_equal(read_bytes(encoded(target)).pixels, expected.transpose(2, 0, 1))


def test_absurd_numbers_of_frames_are_refused_before_anything_is_made_of_them(tmp_path: Path) -> None:
    from medimg.images.headers import header

    for frames in (2**31 - 1, 2**17, 40):
        write(tmp_path / "a.dcm", image(GREY[0], NumberOfFrames=frames))
        with pytest.raises(ImageError) as caught:
            header(tmp_path / "a.dcm")
        assert caught.value.code in (Refusal.GEOMETRY, Refusal.TRUNCATED)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_png_of_every_kind_is_what_pillow_makes_of_it(mode: str) -> None:
    if mode == "I;16":
        picture = Pillow.fromarray(GREY[0] * 16)
    elif mode == "LA":
        picture = Pillow.fromarray(COLOUR[0, ..., 0]).convert("LA")
    else:
        picture = Pillow.fromarray(COLOUR[0]).convert(mode if mode != "RGBA" else "RGB")
    if mode == "RGBA":
        picture.putalpha(128)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    grey = mode in ("1", "L", "LA", "I;16")
    expected = np.asarray(picture if mode == "I;16" else picture.convert("L" if grey else "RGB"))
    found = read_bytes(buffer.getvalue()).pixels
    assert np.array_equal(found, expected[None] if grey else expected.transpose(2, 0, 1))
