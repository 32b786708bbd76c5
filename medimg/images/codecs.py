"""DICOM pixel data to stored integers: imagecodecs and numpy first, pydicom's decoders as the fallback."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medimg.errors import ImageError, Refusal

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_UID = "1.2.840.10008.1.2"
BIG_ENDIAN = f"{_UID}.2"
DEFLATED = f"{_UID}.1.99"
NATIVE = frozenset({_UID, f"{_UID}.1", DEFLATED, BIG_ENDIAN})
RLE = f"{_UID}.5"
JPEG = frozenset(f"{_UID}.4.{number}" for number in (50, 51, 57, 70))
JPEG_LS = frozenset(f"{_UID}.4.{number}" for number in (80, 81))
JPEG_2000 = frozenset(f"{_UID}.4.{number}" for number in (90, 91, 201, 202, 203))
READABLE = NATIVE | JPEG | JPEG_LS | JPEG_2000 | {RLE}


@dataclass(frozen=True)
class Layout:
    """How a frame is stored."""

    syntax: str
    """transfer syntax UID, one of ``READABLE``"""
    photometric: str
    rows: int
    columns: int
    samples: int
    """1, or 3 for colour"""
    allocated: int
    """bits of a sample in the file: 1, 8, 16 or 32"""
    stored: int
    """bits of a sample that hold its value, the lower ones"""
    signed: bool
    planar: bool
    """colour by plane (RRR…GGG…BBB…) rather than by pixel; native data only"""


def decode(dataset: Dataset, layout: Layout) -> np.ndarray:
    """Decode the one frame of ``dataset``.

    Returns:
        ``(H, W, S)`` as ``stored`` has it, but colour as RGB.

    Raises:
        ImageError, Exception: as ``stored``.
    """
    pixels = stored(dataset, layout)
    if layout.photometric.startswith("YBR_FULL") and layout.syntax not in JPEG:
        from pydicom.pixels.processing import convert_color_space

        pixels = convert_color_space(pixels, "YBR_FULL", "RGB")
    return pixels


def stored(dataset: Dataset, layout: Layout) -> np.ndarray:
    """The one frame of ``dataset`` as it is stored.

    Returns:
        ``(H, W, S)``, S 1 or 3, row first, integers of ``layout.allocated`` bits (at least 8), signed as the header
        says, bits above ``layout.stored`` replaced by the sign. Palette indices as they are; colour as YBR where the
        header says so, subsampling undone; but what a JPEG or JPEG 2000 codec turned into RGB is RGB.

    Raises:
        ImageError: TRUNCATED or CORRUPT.
        Exception: the decoders disagree with the data in a way of their own; the caller translates.
    """
    pixels = _native(dataset, layout) if layout.syntax in NATIVE else _encapsulated(dataset, layout)
    if pixels.shape != (layout.rows, layout.columns, layout.samples):
        raise ImageError(Refusal.CORRUPT, "the pixels have another shape than the header says")
    return _unpadded(pixels, layout)


def _dtype(layout: Layout) -> np.dtype:
    return np.dtype(f"u{max(layout.allocated, 8) // 8}")


def _unpadded(pixels: np.ndarray, layout: Layout) -> np.ndarray:
    """Replace what stands above the stored bits (overlays of old, garbage) by the sign, or by 0."""
    dtype = _dtype(layout)
    pixels = pixels.astype(dtype, copy=False)
    spare = dtype.itemsize * 8 - layout.stored
    if layout.signed:
        pixels = pixels.view(dtype.str.replace("u", "i"))
    if spare and layout.allocated > 1:
        pixels = (pixels << spare) >> spare
    return pixels


def _native(dataset: Dataset, layout: Layout) -> np.ndarray:
    data = dataset.PixelData
    count = layout.rows * layout.columns * layout.samples
    subsampled = layout.photometric == "YBR_FULL_422" and len(data) < count * layout.allocated // 8
    expected = (count * layout.allocated + 7) // 8
    if subsampled:  # two pixels share their colour: 4 samples for 6
        expected = expected * 2 // 3
    if len(data) < expected:
        raise ImageError(Refusal.TRUNCATED, f"{len(data)} pixel bytes where the header promises {expected}")
    big = layout.syntax == BIG_ENDIAN
    if big and layout.allocated <= 8 and dataset["PixelData"].VR == "OW":
        data = np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()
    data = data[:expected]
    if layout.allocated == 1:
        return np.unpackbits(np.frombuffer(data, "u1"), bitorder="little")[:count].reshape(
            layout.rows, layout.columns, layout.samples
        )
    if subsampled:
        from pydicom.pixels.utils import expand_ybr422

        data = expand_ybr422(data, layout.allocated)
    pixels = np.frombuffer(data, _dtype(layout).newbyteorder(">" if big else "<"))
    if layout.planar:
        return pixels.reshape(layout.samples, layout.rows, layout.columns).transpose(1, 2, 0)
    return pixels.reshape(layout.rows, layout.columns, layout.samples)


def _encapsulated(dataset: Dataset, layout: Layout) -> np.ndarray:
    from pydicom.encaps import get_frame

    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    if layout.syntax == RLE:
        return _rle(frame, layout)
    check_shape(frame, layout.rows, layout.columns, layout.samples)
    try:
        pixels = _imagecodecs(frame, layout)
    except Exception:
        from pydicom.pixels import pixel_array

        pixels = pixel_array(dataset, raw=layout.syntax not in JPEG)
    return pixels.reshape(*pixels.shape[:2], -1)


def _imagecodecs(frame: bytes, layout: Layout) -> np.ndarray:
    import imagecodecs

    pixels: np.ndarray
    if layout.syntax in JPEG_2000:
        pixels = imagecodecs.jpeg2k_decode(frame)
    elif layout.syntax in JPEG_LS:
        pixels = imagecodecs.jpegls_decode(frame)
    elif layout.samples == 1:
        pixels = imagecodecs.jpeg8_decode(frame)
    else:
        space = imagecodecs.JPEG8.CS
        stored = space.YCbCr if _is_ycc(frame, layout.photometric) else space.RGB
        pixels = imagecodecs.jpeg8_decode(frame, colorspace=stored, outcolorspace=space.RGB)
    return pixels


def _is_ycc(frame: bytes, photometric: str) -> bool:
    """Whether a colour JPEG stores YCbCr. Its own word goes before the header's, which is often wrong."""
    from medimg.images.jpeg import segments

    for marker, start, end in segments(frame):
        body = frame[start + 4 : end]
        if marker in (0xC0, 0xC1, 0xC2, 0xC3) and body[6:15:3].upper() == b"RGB":
            return False
        if marker == 0xE0 and body.startswith(b"JFIF"):
            return True
        if marker == 0xEE and body.startswith(b"Adobe") and body[11:12] == b"\x01":
            return True
    return photometric.startswith("YBR")


def _rle(frame: bytes, layout: Layout) -> np.ndarray:
    import imagecodecs

    planes = layout.samples * layout.allocated // 8
    header = struct.unpack_from("<16I", frame) if len(frame) >= 64 else (0,)
    starts = [*header[1 : planes + 1], len(frame)]
    # imagecodecs 2026.3.6 reads outside the frame when an offset points there, and takes the process with it
    if header[0] != planes or starts[0] != 64 or any(a >= b for a, b in itertools.pairwise(starts)):
        raise ImageError(Refusal.CORRUPT, "the RLE header does not fit the image's")
    dtype = _dtype(layout).newbyteorder("<")
    data = imagecodecs.dicomrle_decode(frame, dtype)
    expected = layout.rows * layout.columns * planes
    if len(data) < expected:
        raise ImageError(Refusal.TRUNCATED, f"{len(data)} pixel bytes where the header promises {expected}")
    planar = np.frombuffer(data, dtype, expected // dtype.itemsize)
    return planar.reshape(layout.samples, layout.rows, layout.columns).transpose(1, 2, 0)


def check_shape(frame: bytes, rows: int, columns: int, samples: int) -> None:
    """Compare the size that a codestream claims with the header's, before a decoder takes memory for it.

    Raises:
        ImageError: CORRUPT, they differ; TRUNCATED, the codestream has no end.
    """
    if frame.startswith(b"\xff\xd8"):
        from medimg.images.jpeg import shape

        found = shape(frame)
    else:  # JPEG 2000, bare or in the boxes of a JP2 file
        start = frame.find(b"\xff\x4f\xff\x51")
        if start < 0:
            raise ImageError(Refusal.CORRUPT, "the pixels are not in the transfer syntax that the header names")
        width, height, left, top = struct.unpack_from(">4I", frame, start + 8)
        found = (height - top, width - left, struct.unpack_from(">H", frame, start + 40)[0])
        if frame.find(b"\xff\xd9", start) < 0:
            raise ImageError(Refusal.TRUNCATED, "the JPEG 2000 codestream has no end")
    if found != (rows, columns, samples):
        raise ImageError(Refusal.CORRUPT, "the codestream has another shape than the header says")
