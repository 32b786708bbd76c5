"""Decoding DICOM files of 3000 × 2500 pixels: processor time, against pydicom's default decoders and DCMTK."""

import io
import shutil
import statistics
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from benchmarks.paired import PAIRS, Row, processor_seconds, ratio
from medimg.images import quiet, read

ROWS, COLUMNS = 3000, 2500
TURNS = 3

BASELINE, LOSSLESS, LS, J2K = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 70, 80, 90))
HTJ2K = "1.2.840.10008.1.2.4.201"
TOOLS = {str(RLELossless): "dcmdrle", BASELINE: "dcmdjpeg", LOSSLESS: "dcmdjpeg", LS: "dcmdjpls"}


def _missing() -> str:
    lacking = sorted({tool for tool in TOOLS.values() if shutil.which(tool) is None})
    plugins = [UID(syntax).name for syntax in (LOSSLESS,) if not get_decoder(syntax).is_available]
    notes = [f"DCMTK ({', '.join(lacking)} not installed)"] if lacking else []
    notes += [f"pydicom on {name} (its only plugins are GPL or native GDCM, neither installed)" for name in plugins]
    return "; ".join([*notes, "DCMTK on JPEG 2000 (it has no codec)"])


NOT_MEASURED = _missing()


def radiograph(bits: int, samples: int = 1) -> np.ndarray:
    """Smooth anatomy-like blobs with noise, ``(H, W)`` or ``(H, W, 3)``: what a codec meets in practice."""
    random = np.random.default_rng(0)
    coarse = random.random((12, 10, samples))
    rows, columns = np.linspace(0, 11, ROWS), np.linspace(0, 9, COLUMNS)
    smooth = np.stack(
        [
            np.stack([np.interp(columns, np.arange(10), line) for line in _along(coarse[..., plane], rows)])
            for plane in range(samples)
        ],
        axis=-1,
    )
    noise = random.normal(0, 0.004, smooth.shape)
    top = 2**bits - 1
    pixels = np.clip(np.rint((0.1 + 0.8 * smooth + noise) * top), 0, top).astype(np.uint8 if bits == 8 else np.uint16)
    return pixels[..., 0] if samples == 1 else pixels


def _along(coarse: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(rows, np.arange(12), coarse[:, column]) for column in range(10)], axis=1)


def file(syntax: str, pixels: np.ndarray, bits: int) -> bytes:
    """One DICOM file of ``pixels`` in a transfer syntax."""
    target = Dataset()
    target.file_meta = FileMetaDataset()
    target.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    target.SOPClassUID, target.SOPInstanceUID, target.Modality = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3", "DX"
    target.Rows, target.Columns, target.SamplesPerPixel = ROWS, COLUMNS, 1 if pixels.ndim == 2 else 3
    target.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        target.PlanarConfiguration = 0
    target.BitsAllocated, target.BitsStored, target.HighBit = pixels.itemsize * 8, bits, bits - 1
    target.PixelRepresentation = 0
    target.add_new("PixelData", "OW" if bits > 8 else "OB", pixels.tobytes())
    if syntax == RLELossless:
        target.compress(RLELossless, generate_instance_uid=False)
    elif syntax != ExplicitVRLittleEndian:
        target.file_meta.TransferSyntaxUID = syntax
        target.PixelData = encapsulate([_encoded(syntax, pixels, bits)])
        target["PixelData"].VR, target["PixelData"].is_undefined_length = "OB", True
        if syntax == BASELINE and pixels.ndim == 3:
            target.PhotometricInterpretation = "YBR_FULL_422"
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, target, enforce_file_format=True)
    return buffer.getvalue()


def _encoded(syntax: str, pixels: np.ndarray, bits: int) -> bytes:
    if syntax == BASELINE:
        return bytes(imagecodecs.jpeg8_encode(pixels, level=90, subsampling="422" if pixels.ndim == 3 else None))
    if syntax == LOSSLESS:
        return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=bits, predictor=1))
    if syntax == LS:
        return bytes(imagecodecs.jpegls_encode(pixels))
    if syntax == HTJ2K:
        return bytes(imagecodecs.htj2k_encode(pixels, reversible=True))
    return bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, bitspersample=bits))


def _pydicom(path: Path) -> np.ndarray:
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path).pixel_array


def _against_dcmtk(tool: str, path: Path, plain: Path) -> tuple[float, float, float]:
    """How many times the processor time of ours DCMTK's own decoding takes: median, least, greatest.

    Its tools go from file to file. What that takes besides decoding (start of the process, reading, writing) is what
    dcmconv takes to copy the uncompressed image; it is subtracted, all files being in memory. Each is the least of
    several turns: a difference of two times has the noise of both.
    """
    out = str(path.with_suffix(".out"))

    def least(work: Callable[[], object]) -> float:
        return min(processor_seconds(work) for _ in range(TURNS))

    def once() -> float:
        decoding = least(lambda: subprocess.run([tool, path, out], check=True, capture_output=True))
        copying = least(lambda: subprocess.run(["dcmconv", plain, out], check=True, capture_output=True))
        return (decoding - copying) / least(lambda: read(path))

    once()
    ratios = [once() for _ in range(PAIRS)]
    return statistics.median(ratios), min(ratios), max(ratios)


CASES = [
    ("RLE, 12 bits", str(RLELossless), 12, 1, "≥ 3"),
    ("JPEG baseline, 8 bits", BASELINE, 8, 1, "≥ 3"),
    ("JPEG baseline, colour", BASELINE, 8, 3, "≥ 3"),
    ("lossless JPEG, 12 bits", LOSSLESS, 12, 1, "≥ 3"),
    ("JPEG-LS, 12 bits", LS, 12, 1, "≥ 1.5"),
    ("JPEG 2000 lossless, 12 bits", J2K, 12, 1, "≥ 1"),
    ("HTJ2K lossless, 12 bits", HTJ2K, 12, 1, ""),
]


def measure() -> list[Row]:
    """Each syntax against pydicom (file to pixels) and, where it has the codec, DCMTK."""
    rows = []
    place = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        for what, syntax, bits, samples, goal in CASES:
            path = Path(folder) / "image.dcm"
            plain = Path(folder) / "plain.dcm"
            pixels = radiograph(bits, samples)
            path.write_bytes(file(syntax, pixels, bits))
            plain.write_bytes(file(ExplicitVRLittleEndian, pixels, bits))
            if get_decoder(syntax).is_available:
                peer = get_decoder(syntax).available_plugins[0]
                timed = ratio(partial(_pydicom, path), partial(read, path), clock=processor_seconds)
                rows.append(Row(f"{what}: against pydicom ({peer})", *timed, goal=goal))
            tool = TOOLS.get(syntax)
            if tool is not None and shutil.which(tool) is not None:
                rows.append(Row(f"{what}: against DCMTK ({tool})", *_against_dcmtk(tool, path, plain), goal="≥ 1.3"))
    return rows
