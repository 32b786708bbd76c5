"""From stored values to what a person would see: modality table or rescale, VOI table or window, palette (PS3.3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from medimg.errors import ImageError, Refusal
from medimg.images.dicom_header import macro
from medimg.images.lookup import get, text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from medimg.images.codecs import Layout

_COLOURS = ("Red", "Green", "Blue")
_MOST_ENTRIES = 2**16


def modality(pixels: np.ndarray, dataset: Dataset, layout: Layout, frame: int) -> tuple[np.ndarray, float]:
    """Stored values to those of the modality: the Modality LUT, else the rescale (PS3.3 C.11.1).

    Returns:
        the values: in the type of the table, float64 after a rescale, or as they were; and the sum of the lowest and
        the highest value that the stored bits could give, about which MONOCHROME1 is mirrored.

    Raises:
        ImageError: CORRUPT, TRUNCATED.
    """
    if get(dataset, "ModalityLUTSequence"):
        item = dataset.ModalityLUTSequence[0]
        table, first, bits = table_of_item(item, layout)
        return look_up(pixels, first, table), (1 << bits) - 1
    slope, intercept = _rescale(dataset, frame)
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        raise ImageError(Refusal.CORRUPT, "the rescale slope or intercept is not a usable number")
    ends = 0 if layout.real else -1 if layout.signed else (1 << layout.stored) - 1
    if slope == 1 and intercept == 0:
        return pixels, ends
    return pixels * np.float64(slope) + intercept, ends * slope + 2 * intercept


def _rescale(dataset: Dataset, frame: int) -> tuple[float, float]:
    """Slope and intercept of a frame; 1 and 0 where the header has none."""
    said = macro(dataset, frame, "PixelValueTransformationSequence") or dataset
    return float(text(said, "RescaleSlope") or 1), float(text(said, "RescaleIntercept") or 0)


def mirrored(pixels: np.ndarray, ends: float) -> np.ndarray:
    """MONOCHROME1 to MONOCHROME2: the lowest value that could be changes places with the highest."""
    ends = ends if pixels.dtype.kind == "f" else int(ends)
    flipped: np.ndarray = pixels.dtype.type(ends) - pixels  # integers do not wrap: none is beyond the stored bits
    return flipped


def voi(values: np.ndarray, dataset: Dataset, layout: Layout, frame: int) -> np.ndarray | None:
    """The modality's values as the file says that they are shown: its VOI LUT, else its (first) window (C.11.2).

    Returns:
        float32, 0 the darkest and 1 the brightest; None where the file does not say.

    Raises:
        ImageError: CORRUPT, TRUNCATED.
    """
    source = macro(dataset, frame, "FrameVOILUTSequence") or dataset
    if get(source, "VOILUTSequence"):
        item = source.VOILUTSequence[0]
        below_zero = layout.signed or min(_rescale(dataset, frame)) < 0  # could be, whatever this frame holds
        signed_values = values.dtype.kind != "u" and below_zero
        table, first, bits = table_of_item(item, layout, signed_values)
        shown: np.ndarray = look_up(np.rint(values), first, table).astype(np.float32) / np.float32((1 << bits) - 1)
        return shown
    centre, width = text(source, "WindowCenter"), text(source, "WindowWidth")
    if centre is None or width is None:
        return None
    function = (text(source, "VOILUTFunction") or "LINEAR").upper()
    return window(values, float(centre), float(width), function)


def window(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """LINEAR, LINEAR_EXACT and SIGMOID (PS3.3 C.11.2.1.2 and C.11.2.1.3), float32 from 0 to 1.

    Raises:
        ImageError: CORRUPT, a width that is not allowed, a number that is not finite, or another function.
    """
    least = 1.0 if function == "LINEAR" else 0.0
    known = function in ("LINEAR", "LINEAR_EXACT", "SIGMOID")
    if not known or not (math.isfinite(centre) and math.isfinite(width)) or width < least or width == 0:
        raise ImageError(Refusal.CORRUPT, "the window is not a usable one")
    x = values.astype(np.float64)
    if function == "SIGMOID":
        shown = 1 / (1 + np.exp(np.clip(-4 * (x - centre) / width, -700, 700)))
    elif function == "LINEAR_EXACT":
        shown = (x - centre) / width + 0.5
    elif width == 1:
        shown = np.where(x > centre - 0.5, 1.0, 0.0)
    else:
        shown = (x - (centre - 0.5)) / (width - 1) + 0.5
    return np.clip(shown, 0, 1).astype(np.float32)


def palette(pixels: np.ndarray, dataset: Dataset, layout: Layout) -> np.ndarray:
    """Palette indices ``(H, W, 1)`` to RGB ``(H, W, 3)``, uint8 or uint16 as the palette is (C.7.9).

    Raises:
        ImageError: UNSUPPORTED, there is no palette; TRUNCATED, CORRUPT.
    """
    big, channels = layout.big_endian, []
    for colour in _COLOURS:
        name = f"{colour}PaletteColorLookupTable"
        if f"{name}Descriptor" not in dataset:
            raise ImageError(Refusal.UNSUPPORTED, "palette colour without a palette")
        entries, first, bits = (int(value) for value in dataset[f"{name}Descriptor"].value)
        first = signed(first) if layout.signed else first & 0xFFFF
        if f"{name}Data" in dataset:
            table = table_of(dataset[f"{name}Data"].value, entries, bits, big)
        elif f"Segmented{name}Data" in dataset:
            table = unfolded(dataset[f"Segmented{name}Data"].value, entries, bits, big)
        else:
            raise ImageError(Refusal.UNSUPPORTED, "palette colour without a palette")
        channels.append(look_up(pixels[..., 0], first, table))
    if len({channel.dtype for channel in channels}) > 1:
        raise ImageError(Refusal.CORRUPT, "the palettes of red, green and blue differ in bits")
    return np.stack(channels, axis=-1)


def table_of_item(item: Dataset, layout: Layout, signed_values: bool | None = None) -> tuple[np.ndarray, int, int]:
    """The table of a Modality or VOI LUT item, the value that its first entry is for, and the bits that it needs."""
    entries, first, bits = (int(value) for value in item.LUTDescriptor)
    first = signed(first) if (layout.signed if signed_values is None else signed_values) else first & 0xFFFF
    if not 1 <= bits <= 16:
        raise ImageError(Refusal.CORRUPT, f"a lookup table of {bits} bits")
    table = table_of(item.LUTData, entries, bits, layout.big_endian)
    return table, first, max(bits, int(table.max()).bit_length())  # some descriptors name too few


def signed(value: int) -> int:
    """A 16-bit number of a lookup table's descriptor as signed."""
    return value - 0x10000 if value > 0x7FFF else value


def table_of(data: object, entries: int, bits: int, big_endian: bool) -> np.ndarray:
    """A lookup table of ``entries`` values (0 stands for 65536), uint8 or uint16."""
    entries = (entries & 0xFFFF) or _MOST_ENTRIES
    dtype = np.dtype("u1" if bits <= 8 else "u2")
    words = _words(data, big_endian)
    packed = dtype.itemsize == 1 and isinstance(data, bytes) and words.size < entries  # two 8-bit entries in a word
    table = words.view("u1") if packed else words
    if table.size < entries:
        raise ImageError(Refusal.TRUNCATED, "a lookup table is shorter than its descriptor says")
    return table[:entries].astype(dtype)


def _words(data: object, big_endian: bool) -> np.ndarray:
    if isinstance(data, bytes):
        return np.frombuffer(data[: len(data) // 2 * 2], ">u2" if big_endian else "<u2").astype("<u2")
    return np.atleast_1d(np.asarray(data, dtype=np.int64)).astype("<u2")


def unfolded(data: object, entries: int, bits: int, big_endian: bool) -> np.ndarray:
    """A segmented lookup table (PS3.3 C.7.9.2): runs of values, lines from the last value, and repeats of segments.

    Raises:
        ImageError: CORRUPT, it does not unfold; TRUNCATED, it unfolds to fewer entries.
    """
    entries = (entries & 0xFFFF) or _MOST_ENTRIES
    words = _words(data, big_endian)
    codes = words.view("u1") if bits <= 8 else words
    table: list[int] = []
    _unfold([int(code) for code in codes], 0, None, table, bits, nested=False)
    if len(table) < entries:
        raise ImageError(Refusal.TRUNCATED, "a segmented lookup table is shorter than its descriptor says")
    return np.array(table[:entries], "u1" if bits <= 8 else "u2")


def _unfold(codes: list[int], at: int, segments: int | None, table: list[int], bits: int, *, nested: bool) -> None:
    """Append the entries of ``segments`` segments (None: all) from code ``at`` on."""
    try:
        while at < len(codes) - 1 and segments != 0 and len(table) <= _MOST_ENTRIES:
            kind, length = codes[at], codes[at + 1]
            if nested and not length:  # to repeat thousands of nothings thousands of times would take hours
                raise IndexError
            if kind == 0:
                table += codes[at + 2 : at + 2 + length]
                at += 2 + length
            elif kind == 1 and table:
                table += [round(float(value)) for value in np.linspace(table[-1], codes[at + 2], length + 1)[1:]]
                at += 3
            elif kind == 2 and not nested:
                parts = codes[at + 2 : at + (6 if bits <= 8 else 4)]
                offset = sum(part << ((8 if bits <= 8 else 16) * n) for n, part in enumerate(parts))
                _unfold(codes, offset // (1 if bits <= 8 else 2), length, table, bits, nested=True)
                at += 2 + len(parts)
            else:
                raise IndexError
            segments = None if segments is None else segments - 1
    except IndexError:
        raise ImageError(Refusal.CORRUPT, "a segmented lookup table does not unfold") from None


def look_up(pixels: np.ndarray, first: int, table: np.ndarray) -> np.ndarray:
    """Values below the first mapped one take the first entry, those beyond the last take the last (PS3.3 C.11.1.1)."""
    found: np.ndarray = table[np.clip(pixels.astype(np.int64) - first, 0, table.size - 1)]
    return found
