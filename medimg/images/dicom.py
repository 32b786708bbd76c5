"""DICOM: one frame of pixels as a person would see it, and what the header says of it."""

from __future__ import annotations

import io
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from medimg.errors import ImageError, NotAnImage, Refusal
from medimg.images import Image, codecs, encapsulated, luts
from medimg.images.dicom_header import facts_of
from medimg.images.lookup import get, text
from medimg.images.sniff import MAX_BYTES

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_PIECE = 2**24  # bytes inflated at a time

MAX_FRAMES = 2**17
"""A file of more is refused"""

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

NO_PIXELS = "DICOM without pixels"

_REFUSED = ("HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB")  # defined terms
_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422")


def read(data: bytes, frame: int | None = None, voi: bool = False) -> Image:
    """Read a frame of the bytes of a DICOM file; None: the only one.

    Grey pixels come as stored integers when slope and intercept are 1 and 0, else as float32 after the rescale (HU for
    CT) or in the type of the modality table; as 0 to 1 where ``voi`` is asked for and the header has a VOI table or
    window. MONOCHROME1 is mirrored last, within the range that the stored bits span. Padding takes the lowest value of
    the rest. Colour comes as RGB.

    Raises:
        ImageError: UNSUPPORTED, NOT_2D, GEOMETRY, TRUNCATED, CORRUPT.
        NotAnImage: no pixels were ever meant to be there, or the bytes are no DICOM after all.
        Exception: whatever pydicom makes of a broken header; ``medimg.images.read`` translates it.
    """
    return read_parsed(parse(data), frame, voi)


def read_parsed(dataset: Dataset, frame: int | None = None, voi: bool = False) -> Image:
    """As ``read``, of what ``parse`` made of the file."""
    layout = layout_of(dataset)
    if frame is None:
        frame = 0
        if layout.frames != 1:
            raise ImageError(Refusal.NOT_2D, f"{layout.frames} frames")
    return image_of(dataset, layout, frame, voi)


def image_of(dataset: Dataset, layout: codecs.Layout, frame: int, voi: bool = False) -> Image:
    """One frame of a parsed file, as ``read``; several frames of one file cost one parse."""
    values, padding, windowed = values_of(dataset, layout, frame, voi)
    pixels = without_padding(values, padding)
    return Image(pixels, facts_of(dataset, layout, pixels.shape[0], frame), windowed)


def values_of(
    dataset: Dataset, layout: codecs.Layout, frame: int, voi: bool = False
) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """A frame as the modality means it: modality table or rescale, then VOI if asked for, then MONOCHROME1.

    Returns:
        ``(C, H, W)`` values; ``(1, H, W)``, which of them are padding, None for none; whether the VOI was applied.
    """
    if not 0 <= frame < layout.frames:
        raise ImageError(Refusal.TRUNCATED, f"no frame {frame + 1} among {layout.frames}")
    pixels, padding, shown = codecs.decode(dataset, layout, frame), None, None
    if layout.photometric == "PALETTE COLOR":
        pixels = luts.palette(pixels, dataset, layout)
    elif layout.samples == 1:
        padding = _padding(pixels, dataset, layout, frame)
        pixels, ends = luts.modality(pixels, dataset, layout, frame)
        shown = luts.voi(pixels, dataset, layout, frame) if voi else None
        if shown is not None:
            pixels, ends = shown, 1
        if layout.photometric == "MONOCHROME1":
            pixels = luts.mirrored(pixels, ends)
        if pixels.dtype.kind == "f" and not layout.real:
            pixels = pixels.astype(np.float32, copy=False)
    pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=pixels.dtype.newbyteorder("="))
    return pixels, None if padding is None else padding.transpose(2, 0, 1), shown is not None


def _padding(pixels: np.ndarray, dataset: Dataset, layout: codecs.Layout, frame: int) -> np.ndarray | None:
    """Which stored values are padding (PS3.3 C.7.5.1.1.2): none of them is of the patient.

    Some headers name a value that needs more than the bits stored: it is looked for among the bits allocated.
    """
    names = ("PixelPaddingValue", "PixelPaddingRangeLimit")
    if layout.real:
        names = ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit")
        if layout.allocated == 64:
            names = ("DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit")
    first, last = (text(dataset, name) for name in names)
    if first is None:
        return None
    low, high = sorted(_as_stored(float(value), layout) for value in (first, last or first))
    if not layout.real and layout.syntax in codecs.CELLS and not (_fits(low, layout) and _fits(high, layout)):
        whole = replace(layout, stored=layout.allocated, high=layout.allocated - 1)
        below = 0 if layout.high is None else layout.high - layout.stored + 1  # bits that are none of the pixel
        pixels = codecs.stored(dataset, whole, frame) >> below << below
    found: np.ndarray = (pixels >= low) & (pixels <= high)
    return found if found.any() else None


def _fits(value: float, layout: codecs.Layout) -> bool:
    """Whether the stored bits can hold a value."""
    low = -(1 << (layout.stored - 1)) if layout.signed else 0
    return low <= value < low + (1 << layout.stored)


def _as_stored(value: float, layout: codecs.Layout) -> float:
    """The padding value as signed as the pixels are, whatever the header's own representation of it."""
    if layout.real:
        return value
    number = int(value) & ((1 << layout.allocated) - 1)
    return number - (1 << layout.allocated) if layout.signed and number >> (layout.allocated - 1) else number


def without_padding(values: np.ndarray, padding: np.ndarray | None) -> np.ndarray:
    """Padding takes the lowest value of the rest; where there is no rest, it stays."""
    if padding is None or padding.all():
        return values
    mask = np.broadcast_to(padding, values.shape)
    return np.where(mask, values[~mask].min(), values)


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
            sop_class = get(dataset, "SOPClassUID")
            rows = get(dataset, "Rows")
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
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size, rest = 0, data[start:]
    while rest:  # piece by piece: only the size is wanted
        size += len(inflater.decompress(rest, _PIECE))
        rest = inflater.unconsumed_tail
        if size > MAX_BYTES:
            raise ImageError(Refusal.MEMORY, f"the data set inflates to more than {MAX_BYTES} bytes")


def layout_of(dataset: Dataset) -> codecs.Layout:
    """Check the image pixel module and put it in one place; every frame that it promises is there.

    Raises:
        ImageError: UNSUPPORTED, GEOMETRY, TRUNCATED, CORRUPT.
        NotAnImage: there are no pixels, nor ought there to be.
    """
    keyword = next((name for name in _PIXELS if name in dataset), None)
    if keyword is None:
        _explain_absence(dataset)
        raise NotAnImage(NO_PIXELS)
    syntax, photometric = _syntax(dataset), _photometric(dataset)
    frames = int(get(dataset, "NumberOfFrames") or 1)
    rows, columns, samples = int(dataset.Rows), int(dataset.Columns), int(get(dataset, "SamplesPerPixel") or 1)
    if min(rows, columns, frames) < 1 or frames > MAX_FRAMES:
        raise ImageError(Refusal.GEOMETRY, f"{frames} frames of {rows} rows and {columns} columns")
    if samples != (1 if photometric in _GREY else 3):
        raise ImageError(Refusal.CORRUPT, f"{samples} samples a pixel with {photometric}")
    allocated, stored, high = _bits(dataset, keyword, syntax)
    if (
        photometric.startswith("YBR_FULL") and allocated != 8 and syntax not in codecs.JPEG_DCT
    ):  # PS3.3 C.7.6.3.1.2 converts 8 bits only
        raise ImageError(Refusal.UNSUPPORTED, f"photometric interpretation {photometric} of {allocated} bits")
    size = rows * columns * samples * max(allocated // 8, 1)
    if size > MAX_BYTES:
        raise ImageError(Refusal.GEOMETRY, f"{rows} x {columns} x {samples} pixels are {size} bytes: too many")
    layout = codecs.Layout(
        syntax,
        photometric,
        rows,
        columns,
        samples,
        allocated,
        stored,
        signed=bool(get(dataset, "PixelRepresentation")) and samples == 1 and keyword == "PixelData",
        planar=samples > 1 and bool(get(dataset, "PlanarConfiguration")) and photometric != "YBR_FULL_422",
        frames=frames,
        high=high,
        keyword=keyword,
    )
    return _located(dataset, layout)


def _bits(dataset: Dataset, keyword: str, syntax: str) -> tuple[int, int, int]:
    """Bits allocated, bits stored, and the highest stored one."""
    real = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(keyword)
    allocated = int(get(dataset, "BitsAllocated") or real or 0)
    if real is not None:
        if allocated != real or syntax not in codecs.NATIVE or int(get(dataset, "SamplesPerPixel") or 1) != 1:
            raise ImageError(Refusal.UNSUPPORTED, "floating-point pixels that are compressed or in colour")
        return real, real, real - 1
    stored = int(get(dataset, "BitsStored") or allocated)
    high = int(dataset.get("HighBit", stored - 1))
    raw = codecs.NATIVE | {codecs.UNCOMPRESSED, codecs.DEFLATED_FRAMES}
    if allocated not in (1, 8, 16, 32, 64) or (allocated == 1 and syntax not in raw):
        raise ImageError(Refusal.UNSUPPORTED, f"{allocated} bits allocated")
    if not 1 <= stored <= allocated or not stored - 1 <= high < allocated:
        raise ImageError(Refusal.UNSUPPORTED, f"{stored} bits stored of {allocated}, the highest at {high}")
    return allocated, stored, high


def _located(dataset: Dataset, layout: codecs.Layout) -> codecs.Layout:
    """The layout with the fragments of each frame, after a check that all frames are there."""
    element = dataset[layout.keyword]
    value = element.value
    if not isinstance(value, bytes):
        raise ImageError(Refusal.CORRUPT, "the pixel data are not bytes")
    if layout.syntax not in codecs.NATIVE:
        found = encapsulated.frames(value, layout.frames, get(dataset, "ExtendedOffsetTable"))
        return replace(layout, fragments=found)
    if element.is_undefined_length:  # items and their delimiters would be shown as pixels
        raise ImageError(Refusal.CORRUPT, "encapsulated pixels, though its transfer syntax says that they are native")
    if layout.photometric == "YBR_FULL_422" and len(value) * 8 >= layout.frame_bits * 3 // 2 * layout.frames:
        layout = replace(layout, photometric="YBR_FULL")  # some write each pixel's colour after all
    expected = (layout.frame_bits * layout.frames + 7) // 8
    if len(value) < expected:
        raise ImageError(Refusal.TRUNCATED, f"{len(value)} pixel bytes where the header promises {expected}")
    if len(value) > max(expected + 1, (layout.frame_bits * (layout.frames + 1) - 1) // 8):  # beyond a byte of padding
        raise ImageError(Refusal.CORRUPT, f"{len(value)} pixel bytes, frames more than the header's {expected} bytes")
    return layout


def _explain_absence(dataset: Dataset) -> None:
    """Pixels that were lost are an error; raises nothing where there ought to be none."""
    sop_class = get(dataset, "SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    if "PixelDataProviderURL" in dataset:
        raise ImageError(Refusal.UNSUPPORTED, "its pixels are on a server (JPIP)")
    if "SpectroscopyData" in dataset:  # has rows and columns of spectra
        return
    if "Rows" in dataset or (sop_class is not None and sop_class.name.endswith("Image Storage")):
        raise ImageError(Refusal.TRUNCATED, "the header describes an image, but there are no pixels")


def _syntax(dataset: Dataset) -> str:
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in codecs.READABLE:
        name = syntax.name if syntax.name != syntax else "an undefined value"
        raise ImageError(Refusal.UNSUPPORTED, f"transfer syntax {name}")
    return str(syntax)


def _photometric(dataset: Dataset) -> str:
    photometric = str(get(dataset, "PhotometricInterpretation") or "").strip()
    coded = photometric in ("YBR_ICT", "YBR_RCT") and dataset.file_meta.TransferSyntaxUID in codecs.JPEG_2000
    if photometric not in _GREY + _COLOUR and not coded:
        name = photometric if photometric in _REFUSED else "an undefined value"
        raise ImageError(Refusal.UNSUPPORTED, f"photometric interpretation {name}")
    return photometric
