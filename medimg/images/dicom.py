"""DICOM: one frame of pixels as a person would see it, and what the header says of it."""

from __future__ import annotations

import io
import math
import re
import zlib
from typing import TYPE_CHECKING

import numpy as np

from medimg.errors import ImageError, NotAnImage, Refusal
from medimg.images import Facts, Image, codecs
from medimg.images.sniff import MAX_BYTES

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

NO_PIXELS = "DICOM without pixels"

_REFUSED = ("HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB")  # defined terms
_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422")
_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def read(data: bytes) -> Image:
    """Read the bytes of a DICOM file.

    Grey pixels come as stored integers when slope and intercept are 1 and 0, else as float32 after the rescale (HU for
    CT) or in the type of the modality table. MONOCHROME1 is mirrored within the range that the stored bits span, before
    any rescale: the lowest stored value changes places with the highest. Padding is left as it is. Colour comes as RGB.

    Raises:
        ImageError: UNSUPPORTED, NOT_2D, GEOMETRY, TRUNCATED, CORRUPT.
        NotAnImage: no pixels were ever meant to be there, or the bytes are no DICOM after all.
        Exception: whatever pydicom makes of a broken header; ``medimg.images.read`` translates it.
    """
    dataset = parse(data)
    layout = layout_of(dataset)
    pixels = codecs.decode(dataset, layout)
    if layout.photometric == "PALETTE COLOR":
        pixels = _palette(pixels, dataset, big_endian=layout.syntax == codecs.BIG_ENDIAN)
    elif layout.samples == 1:
        pixels = _modality(pixels, dataset, layout)
    pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=pixels.dtype.newbyteorder("="))
    return Image(pixels, _facts(dataset, layout, pixels.shape[0]))


def parse(data: bytes) -> Dataset:
    """Parse the header; the pixels stay undecoded. ``file_meta`` always names the transfer syntax.

    Raises:
        NotAnImage, ImageError, Exception: as ``read``.
    """
    import pydicom
    from pydicom.config import disable_value_validation

    bare = data[128:132] != b"DICM"
    if not bare:
        _check_deflated(data)
    try:
        with disable_value_validation():
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            sop_class = dataset.get("SOPClassUID")
            rows = dataset.get("Rows")
    except Exception:
        if bare:
            raise NotAnImage("unknown") from None
        raise
    if bare and (sop_class is None or rows is None):
        raise NotAnImage("unknown" if sop_class is None else NO_PIXELS)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        syntax = "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1" if little else codecs.BIG_ENDIAN
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    return dataset


def _check_deflated(data: bytes) -> None:
    """Refuse a deflated data set that would inflate beyond ``MAX_BYTES``; pydicom would take the memory for it."""
    if codecs.DEFLATED.encode() not in data[132:2048]:
        return
    if data[132:140] != b"\x02\0\0\0UL\x04\0":
        raise ImageError(Refusal.CORRUPT, "the file meta information has no length")
    start = 144 + int.from_bytes(data[140:144], "little")
    if len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:], MAX_BYTES + 1)) > MAX_BYTES:
        raise ImageError(Refusal.MEMORY, f"the data set inflates to more than {MAX_BYTES} bytes")


def layout_of(dataset: Dataset) -> codecs.Layout:
    """Check the image pixel module and put it in one place.

    Raises:
        ImageError: UNSUPPORTED, NOT_2D, GEOMETRY, TRUNCATED, CORRUPT.
        NotAnImage: there are no pixels, nor ought there to be.
    """
    if "PixelData" not in dataset:
        _explain_absence(dataset)
    syntax, photometric = _syntax(dataset), _photometric(dataset)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ImageError(Refusal.NOT_2D, f"{frames} frames")
    rows, columns, samples = int(dataset.Rows), int(dataset.Columns), int(dataset.get("SamplesPerPixel") or 1)
    if rows < 1 or columns < 1:
        raise ImageError(Refusal.GEOMETRY, f"{rows} rows and {columns} columns")
    if samples != (1 if photometric in _GREY else 3):
        raise ImageError(Refusal.CORRUPT, f"{samples} samples a pixel with {photometric}")
    allocated = int(dataset.BitsAllocated)
    stored = int(dataset.get("BitsStored") or allocated)
    if allocated not in (1, 8, 16, 32) or (allocated == 1 and syntax not in codecs.NATIVE):
        raise ImageError(Refusal.UNSUPPORTED, f"{allocated} bits allocated")
    high = int(dataset.get("HighBit", stored - 1))
    if not 1 <= stored <= allocated or high != stored - 1:
        raise ImageError(Refusal.UNSUPPORTED, f"{stored} bits stored of {allocated}, the highest at {high}")
    size = rows * columns * samples * max(allocated // 8, 1)
    if size > MAX_BYTES:
        raise ImageError(Refusal.GEOMETRY, f"{rows} x {columns} x {samples} pixels are {size} bytes: too many")
    return codecs.Layout(
        syntax,
        photometric,
        rows,
        columns,
        samples,
        allocated,
        stored,
        signed=bool(dataset.get("PixelRepresentation")) and samples == 1,
        planar=samples > 1 and bool(dataset.get("PlanarConfiguration")),
    )


def _explain_absence(dataset: Dataset) -> None:
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise ImageError(Refusal.UNSUPPORTED, "floating-point pixel data")
    sop_class = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    if "Rows" in dataset or (sop_class is not None and sop_class.name.endswith("Image Storage")):
        raise ImageError(Refusal.TRUNCATED, "the header describes an image, but there are no pixels")
    raise NotAnImage(NO_PIXELS)


def _syntax(dataset: Dataset) -> str:
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in codecs.READABLE:
        name = syntax.name if syntax.name != syntax else "an undefined value"
        raise ImageError(Refusal.UNSUPPORTED, f"transfer syntax {name}")
    return str(syntax)


def _photometric(dataset: Dataset) -> str:
    photometric = str(dataset.get("PhotometricInterpretation") or "").strip()
    coded = photometric in ("YBR_ICT", "YBR_RCT") and dataset.file_meta.TransferSyntaxUID in codecs.JPEG_2000
    if photometric not in _GREY + _COLOUR and not coded:
        name = photometric if photometric in _REFUSED else "an undefined value"
        raise ImageError(Refusal.UNSUPPORTED, f"photometric interpretation {name}")
    return photometric


def _modality(pixels: np.ndarray, dataset: Dataset, layout: codecs.Layout) -> np.ndarray:
    """Stored integers ``(H, W, 1)`` to the modality's values, brighter is higher."""
    inverted = layout.photometric == "MONOCHROME1"
    if dataset.get("ModalityLUTSequence"):
        entries, first, bits = (int(value) for value in dataset.ModalityLUTSequence[0].LUTDescriptor)
        first = signed(first) if layout.signed else first & 0xFFFF
        table = table_of(dataset.ModalityLUTSequence[0].LUTData, entries, bits, layout.syntax == codecs.BIG_ENDIAN)
        pixels = _look_up(pixels, first, table)
        return ((1 << bits) - 1 - pixels).astype(table.dtype) if inverted else pixels
    if inverted:
        # lowest + highest: -1 for signed, 2^stored - 1 for unsigned. ~x is -1 - x, and all bits flipped
        pixels = ~pixels if layout.signed else ~pixels & pixels.dtype.type((1 << layout.stored) - 1)
    slope, intercept = float(text(dataset, "RescaleSlope") or 1), float(text(dataset, "RescaleIntercept") or 0)
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        raise ImageError(Refusal.CORRUPT, "the rescale slope or intercept is not a usable number")
    if slope == 1 and intercept == 0:
        return pixels
    return (pixels * np.float64(slope) + intercept).astype(np.float32)


def _palette(pixels: np.ndarray, dataset: Dataset, *, big_endian: bool) -> np.ndarray:
    """Palette indices ``(H, W, 1)`` to RGB ``(H, W, 3)``, uint8 or uint16 as the palette is."""
    if "RedPaletteColorLookupTableData" not in dataset:
        raise ImageError(Refusal.UNSUPPORTED, "a segmented or missing palette")
    channels = []
    for colour in ("Red", "Green", "Blue"):
        descriptor = dataset[f"{colour}PaletteColorLookupTableDescriptor"].value
        entries, first, bits = (int(value) for value in descriptor)
        first = signed(first) if pixels.dtype.kind == "i" else first & 0xFFFF
        data = dataset[f"{colour}PaletteColorLookupTableData"].value
        channels.append(_look_up(pixels[..., 0], first, table_of(data, entries, bits, big_endian)))
    return np.stack(channels, axis=-1)


def signed(value: int) -> int:
    """A 16-bit number of a lookup table's descriptor as signed."""
    return value - 0x10000 if value > 0x7FFF else value


def table_of(data: object, entries: int, bits: int, big_endian: bool) -> np.ndarray:
    """A lookup table of ``entries`` values (0 stands for 65536), uint8 or uint16."""
    entries = (entries & 0xFFFF) or 0x10000
    dtype = np.dtype("u1" if bits <= 8 else "u2")
    if not isinstance(data, bytes):
        table = np.asarray(data, dtype=np.int64).astype(np.uint16)
    else:
        words = np.frombuffer(data[: len(data) // 2 * 2], ">u2" if big_endian else "<u2").astype("<u2")
        packed = dtype.itemsize == 1 and words.size < entries  # two 8-bit entries in a word
        table = words.view("u1") if packed else words
    if table.size < entries:
        raise ImageError(Refusal.TRUNCATED, "a lookup table is shorter than its descriptor says")
    return table[:entries].astype(dtype)


def _look_up(pixels: np.ndarray, first: int, table: np.ndarray) -> np.ndarray:
    """Values below the first mapped one take the first entry, those beyond the last take the last (PS3.3 C.11.1.1)."""
    return table[np.clip(pixels.astype(np.int64) - first, 0, table.size - 1)]


def _facts(dataset: Dataset, layout: codecs.Layout, channels: int) -> Facts:
    spacing_row, spacing_column = _spacing(dataset)
    sex = text(dataset, "PatientSex")
    return Facts(
        format="dicom",
        channels=channels,
        height=layout.rows,
        width=layout.columns,
        bits=layout.stored,
        photometric=layout.photometric,
        patient=text(dataset, "PatientID"),
        study=text(dataset, "StudyInstanceUID"),
        series=text(dataset, "SeriesInstanceUID"),
        instance=text(dataset, "SOPInstanceUID"),
        spacing_row=spacing_row,
        spacing_column=spacing_column,
        modality=text(dataset, "Modality"),
        body_part=text(dataset, "BodyPartExamined"),
        view=text(dataset, "ViewPosition"),
        laterality=text(dataset, "ImageLaterality") or text(dataset, "Laterality"),
        manufacturer=text(dataset, "Manufacturer"),
        model=text(dataset, "ManufacturerModelName"),
        site=text(dataset, "InstitutionName"),
        sex=sex if sex in ("F", "M", "O") else None,
        age=age(text(dataset, "PatientAge")),
    )


def text(dataset: Dataset, keyword: str) -> str | None:
    """The (first) value of an element, stripped; None when it is missing or empty."""
    value = dataset.get(keyword)
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        value = value[0] if value else None
    return (str(value).strip(" \0") or None) if value is not None else None


def age(value: str | None) -> float | None:
    """Years from DICOM's age string (``045Y``, ``006M``, ``003W``, ``010D``); None when it is none."""
    found = re.fullmatch(r"(\d{1,3})([YMWD])", value or "")
    return round(int(found[1]) * _YEARS[found[2]], 4) if found else None


def _spacing(dataset: Dataset) -> tuple[float | None, float | None]:
    """Distance of rows, then of columns, in mm: in the patient if known, else at the detector."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        value = dataset.get(keyword)
        if value is None or value == "":
            continue
        values = [float(number) for number in value]
        if not values:
            continue
        if len(values) != 2 or not all(math.isfinite(number) and number > 0 for number in values):
            raise ImageError(Refusal.GEOMETRY, "the pixel spacing is not two positive numbers")
        return values[0], values[1]
    return None, None
