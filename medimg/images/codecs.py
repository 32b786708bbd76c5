"""DICOM pixel data to stored numbers: imagecodecs and numpy first, pydicom's decoders as the fallback."""

from __future__ import annotations

import itertools
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medimg.errors import ImageError, Refusal
from medimg.images.encapsulated import Fragments
from medimg.images.jpeg import check_shape, is_ycc

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_UID = "1.2.840.10008.1.2"
BIG_ENDIAN = f"{_UID}.2"
DEFLATED = f"{_UID}.1.99"
NATIVE = frozenset({_UID, f"{_UID}.1", DEFLATED, BIG_ENDIAN})
UNCOMPRESSED = f"{_UID}.1.98"
"""Native frames, encapsulated"""
DEFLATED_FRAMES = f"{_UID}.8.1"
RLE = f"{_UID}.5"
JPEG_DCT = frozenset(f"{_UID}.4.{number}" for number in (50, 51))
JPEG_LOSSLESS = frozenset(f"{_UID}.4.{number}" for number in (57, 70))
JPEG = JPEG_DCT | JPEG_LOSSLESS
JPEG_LS = frozenset(f"{_UID}.4.{number}" for number in (80, 81))
HTJ2K = frozenset(f"{_UID}.4.{number}" for number in (201, 202, 203))
JPEG_2000 = frozenset(f"{_UID}.4.{number}" for number in (90, 91)) | HTJ2K
LOSSY = JPEG_DCT | {f"{_UID}.4.{number}" for number in (81, 91, 203)}
"""Syntaxes that may be lossy"""
CELLS = NATIVE | {RLE, UNCOMPRESSED, DEFLATED_FRAMES}
"""Syntaxes that keep all the bits allocated, not only those stored"""
READABLE = NATIVE | JPEG | JPEG_LS | JPEG_2000 | {RLE, UNCOMPRESSED, DEFLATED_FRAMES}


_JPEG_START = b"\xff\xd8"  # of JPEG and JPEG-LS; of JPEG 2000 its own, or that of its boxes
_J2K_STARTS = (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP")


@dataclass(frozen=True)
class Layout:
    """How the frames of a file are stored."""

    syntax: str
    """transfer syntax UID, one of ``READABLE``"""
    photometric: str
    rows: int
    columns: int
    samples: int
    """1, or 3 for colour"""
    allocated: int
    """bits of a sample in the file: 1, 8, 16, 32, or 64"""
    stored: int
    """bits of a sample that hold its value"""
    signed: bool
    planar: bool
    """colour by plane (RRR…GGG…BBB…) rather than by pixel; native data only"""
    frames: int = 1
    high: int | None = None
    """the highest of the stored bits; None: stored - 1"""
    keyword: str = "PixelData"
    """or FloatPixelData, DoubleFloatPixelData"""
    fragments: tuple[Fragments, ...] = ()
    """of each frame, where the pixels are encapsulated"""

    @property
    def channels(self) -> int:
        """Of the image: a palette makes colour."""
        return 3 if self.photometric == "PALETTE COLOR" else self.samples

    @property
    def real(self) -> bool:
        """Whether the pixels are floating-point numbers."""
        return self.keyword != "PixelData"

    @property
    def big_endian(self) -> bool:
        """Whether numbers of more than a byte start with the highest."""
        return self.syntax == BIG_ENDIAN

    @property
    def dtype(self) -> np.dtype:
        """Of a sample, native byte order, unsigned where it is no float."""
        return np.dtype(f"{'f' if self.real else 'u'}{max(self.allocated, 8) // 8}")

    @property
    def frame_bits(self) -> int:
        """Bits of a native frame; two pixels of YBR_FULL_422 share their colour: 4 samples for 6."""
        bits = self.rows * self.columns * self.samples * self.allocated
        return bits * 2 // 3 if self.photometric == "YBR_FULL_422" else bits


def decode(dataset: Dataset, layout: Layout, frame: int = 0) -> np.ndarray:
    """Decode a frame of ``dataset``.

    Returns:
        ``(H, W, S)`` as ``stored`` has it, but colour as RGB.

    Raises:
        ImageError, Exception: as ``stored``.
    """
    pixels = stored(dataset, layout, frame)
    if layout.photometric.startswith("YBR_FULL") and layout.syntax not in JPEG_DCT:
        from pydicom.pixels.processing import convert_color_space

        pixels = convert_color_space(pixels, "YBR_FULL", "RGB")
    return pixels


def stored(dataset: Dataset, layout: Layout, frame: int = 0) -> np.ndarray:
    """A frame of ``dataset`` as it is stored.

    Returns:
        ``(H, W, S)``, S 1 or 3, row first, integers of ``layout.allocated`` bits (at least 8), signed as the header
        says, bits outside the stored ones replaced by the sign; or floats. Palette indices as they are; colour as YBR
        where the header says so, subsampling undone; but what a JPEG or JPEG 2000 codec turned into RGB is RGB.

    Raises:
        ImageError: TRUNCATED or CORRUPT.
        Exception: the decoders disagree with the data in a way of their own; the caller translates.
    """
    if layout.syntax in NATIVE:
        pixels = _native(dataset, layout, frame)
    else:
        value = dataset.PixelData
        part = b"".join(value[start:end] for start, end in layout.fragments[frame])
        pixels = _encapsulated(part, dataset, layout, frame)
    if pixels.shape != (layout.rows, layout.columns, layout.samples):
        raise ImageError(Refusal.CORRUPT, "the pixels have another shape than the header says")
    if layout.real:
        return pixels.astype(layout.dtype, copy=False)
    return _cell_bits(pixels, layout) if layout.syntax in CELLS else _code_bits(pixels, layout)


def _cell_bits(pixels: np.ndarray, layout: Layout) -> np.ndarray:
    """The stored bits of each cell; what stands around them (overlays of old, garbage) becomes the sign, or 0."""
    dtype = layout.dtype
    pixels = pixels.astype(dtype, copy=False)
    if layout.signed:
        pixels = pixels.view(dtype.str.replace("u", "i"))
    if layout.allocated == 1 or layout.stored == layout.allocated:
        return pixels
    above = layout.allocated - 1 - (layout.stored - 1 if layout.high is None else layout.high)
    spare = layout.allocated - layout.stored
    if above == spare and _within(pixels, layout.stored, layout.signed):
        return pixels  # as in nearly all files: to look costs a fraction of a copy
    if above == spare and not layout.signed:
        masked: np.ndarray = pixels & dtype.type((1 << layout.stored) - 1)
        return masked
    return (pixels << above) >> spare


def _within(pixels: np.ndarray, bits: int, signed: bool) -> bool:
    """Whether so many bits hold every value."""
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    return bool(pixels.max() <= high and (not signed or pixels.min() >= low))


def _code_bits(pixels: np.ndarray, layout: Layout) -> np.ndarray:
    """What a codestream holds, as wide and as signed as the header says.

    Raises:
        ImageError: CORRUPT, its values need more bits than are stored.
    """
    dtype = layout.dtype
    if pixels.dtype.itemsize > dtype.itemsize:
        raise ImageError(Refusal.CORRUPT, "the codestream holds more bits than the header allocates")
    spare = dtype.itemsize * 8 - layout.stored
    if layout.signed:
        signed = pixels.astype(dtype, copy=False).view(dtype.str.replace("u", "i"))
        return (signed << spare) >> spare if spare and pixels.dtype.kind == "u" else signed
    top = (1 << layout.stored) - 1
    if pixels.dtype.kind == "i" and pixels.min() < 0:
        raise ImageError(Refusal.CORRUPT, "the codestream holds negative values where the header says there are none")
    if spare and pixels.max() > top:
        if layout.syntax not in LOSSY:
            raise ImageError(Refusal.CORRUPT, "the codestream holds values beyond the stored bits")
        pixels = np.minimum(pixels, pixels.dtype.type(top))  # a lossy code overshoots
    return pixels.astype(dtype, copy=False)


def _native(dataset: Dataset, layout: Layout, frame: int) -> np.ndarray:
    data = dataset[layout.keyword].value
    if layout.allocated == 1:
        count = layout.rows * layout.columns * layout.samples
        return _bits(data, frame * count, count).reshape(layout.rows, layout.columns, layout.samples)
    size = layout.frame_bits // 8
    start = frame * size
    if layout.big_endian and layout.allocated == 8 and dataset[layout.keyword].VR == "OW":
        first, end = start // 2 * 2, (start + size + 1) // 2 * 2
        words = np.frombuffer(data[first:end].ljust(end - first, b"\0"), ">u2").astype("<u2")
        return _raw(words.tobytes()[start - first : start - first + size], layout)
    return _raw(memoryview(data)[start : start + size], layout)


def _raw(part: bytes | memoryview, layout: Layout) -> np.ndarray:
    """The bytes of a native frame as ``(H, W, S)``."""
    if len(part) < layout.frame_bits // 8:
        raise ImageError(Refusal.TRUNCATED, f"{len(part)} pixel bytes where a frame has {layout.frame_bits // 8}")
    if layout.photometric == "YBR_FULL_422":
        from pydicom.pixels.utils import expand_ybr422

        part = expand_ybr422(bytes(part), layout.allocated)
    count = layout.rows * layout.columns * layout.samples
    pixels = np.frombuffer(part, layout.dtype.newbyteorder(">" if layout.big_endian else "<"), count)
    if layout.planar:
        return pixels.reshape(layout.samples, layout.rows, layout.columns).transpose(1, 2, 0)
    return pixels.reshape(layout.rows, layout.columns, layout.samples)


def _bits(data: bytes, start: int, count: int) -> np.ndarray:
    """``count`` bits from bit ``start``, lowest first; frames need not start at a byte."""
    part = np.frombuffer(data[start // 8 : (start + count + 7) // 8], "u1")
    return np.unpackbits(part, bitorder="little")[start % 8 : start % 8 + count]


def _encapsulated(part: bytes, dataset: Dataset, layout: Layout, frame: int) -> np.ndarray:
    if layout.syntax == RLE:
        return rle(part, layout)
    if layout.syntax in (UNCOMPRESSED, DEFLATED_FRAMES):
        size = (layout.frame_bits + 7) // 8
        if layout.syntax == DEFLATED_FRAMES:
            part = zlib.decompressobj(-zlib.MAX_WBITS).decompress(part, size)
        if layout.allocated == 1:
            count = layout.rows * layout.columns
            return _bits(part, 0, count).reshape(layout.rows, layout.columns, 1)
        return _raw(part, layout)
    if not part.startswith(_J2K_STARTS if layout.syntax in JPEG_2000 else _JPEG_START):
        raise ImageError(Refusal.CORRUPT, "its codestream is of another kind than its transfer syntax says")
    check_shape(part, layout.rows, layout.columns, layout.samples)
    try:
        pixels = _imagecodecs(part, layout)
    except Exception:
        if part.startswith(b"\0\0\0\x0cjP"):  # pydicom 3.0.2 never ends on a box of length 0
            raise ImageError(Refusal.CORRUPT, "its pixels do not decode") from None
        from pydicom.pixels import pixel_array

        pixels = pixel_array(dataset, index=frame, raw=layout.syntax not in JPEG_DCT)
    return pixels.reshape(*pixels.shape[:2], -1)


def _imagecodecs(part: bytes, layout: Layout) -> np.ndarray:
    import imagecodecs

    pixels: np.ndarray
    if layout.syntax in HTJ2K:
        try:
            pixels = imagecodecs.htj2k_decode(part)
        except Exception:
            pixels = imagecodecs.jpeg2k_decode(part)
    elif layout.syntax in JPEG_2000:
        pixels = imagecodecs.jpeg2k_decode(part)
    elif layout.syntax in JPEG_LS:
        pixels = imagecodecs.jpegls_decode(part)
    elif layout.samples == 1:
        pixels = imagecodecs.jpeg8_decode(part)
    else:  # a lossless stream holds what the header says; it has no colour transform of its own
        space = imagecodecs.JPEG8.CS
        ycc = layout.syntax in JPEG_DCT and is_ycc(part, layout.photometric)
        pixels = imagecodecs.jpeg8_decode(part, colorspace=space.YCbCr if ycc else space.RGB, outcolorspace=space.RGB)
    return pixels


def rle(part: bytes, layout: Layout) -> np.ndarray:
    """One frame of run lengths as ``(H, W, S)``.

    Raises:
        ImageError: CORRUPT, TRUNCATED.
    """
    import imagecodecs

    planes = layout.samples * layout.allocated // 8
    header = struct.unpack_from("<16I", part) if len(part) >= 64 else (0,)
    starts = [*header[1 : planes + 1], len(part)]
    # imagecodecs 2026.3.6 reads outside the frame when an offset points there, and takes the process with it
    if header[0] != planes or starts[0] != 64 or any(a >= b for a, b in itertools.pairwise(starts)):
        raise ImageError(Refusal.CORRUPT, "the RLE header does not fit the image's")
    dtype = layout.dtype.newbyteorder("<")
    data = imagecodecs.dicomrle_decode(part, dtype)
    expected = layout.rows * layout.columns * planes
    if len(data) < expected:
        raise ImageError(Refusal.TRUNCATED, f"{len(data)} pixel bytes where the header promises {expected}")
    planar = np.frombuffer(data, dtype, expected // dtype.itemsize)
    return planar.reshape(layout.samples, layout.rows, layout.columns).transpose(1, 2, 0)
