"""The pixels of a DICOM file as they may cross: the same values, and nothing beside them."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from medimg.border.elements import ENCAPSULATED, EXPLICIT, IMPLICIT, PIXEL_DATA, Element, corrupt
from medimg.border.pixels import clean_jpeg, clean_jpeg_2000
from medimg.errors import ImageError, Refusal
from medimg.images import codecs, encapsulated
from medimg.images.sniff import MAX_BYTES

Top = dict[int, Element]
"""The elements at the top of a data set, by tag."""

_FLOATS = {0x7FE00008: 4, 0x7FE00009: 8}
_FRAMES, _PLANAR, _PHOTOMETRIC, _PADDING = 0x00280008, 0x00280006, 0x00280004, 0x00280120
_OFFSETS = 0x7FE00001  # Extended Offset Table


def text(top: Top, tag: int) -> str:
    """The first value of an element as text, empty where there is none."""
    value = top[tag][2] if tag in top else b""
    return value.split(b"\\")[0].strip(b" \0").decode("latin-1") if isinstance(value, bytes) else ""


def number(top: Top, tag: int, default: int = 0) -> int:
    """An element of VR US, or the frames (IS), as a number."""
    value = top[tag][2] if tag in top else b""
    if not isinstance(value, bytes) or not value:
        return default
    try:
        return int(value.strip(b" \0") or 1) if tag == _FRAMES else int(struct.unpack_from("<H", value)[0])
    except (ValueError, struct.error):
        raise corrupt("the image pixel module holds something else than numbers") from None


def pixels(top: Top, syntax: str) -> tuple[list[Element], str]:
    """The elements that hold the pixels, others that must change with them, and the transfer syntax that fits.

    Raises:
        ImageError: TRUNCATED, CORRUPT, UNSUPPORTED, GEOMETRY.
    """
    for tag, width in _FLOATS.items():
        if tag in top:
            count = number(top, 0x00280010) * number(top, 0x00280011) * max(number(top, _FRAMES, 1), 1)
            return [(tag, "OF" if width == 4 else "OD", _exactly(top[tag][2], count * width))], syntax
    if PIXEL_DATA not in top:
        return [], syntax
    value = top[PIXEL_DATA][2]
    if top[PIXEL_DATA][1] == ENCAPSULATED:
        assert isinstance(value, bytes)
        return _encapsulated(top, syntax, value)
    if syntax not in (EXPLICIT, IMPLICIT):
        raise corrupt("pixels that are not encapsulated in a transfer syntax of encapsulated ones")
    return [_native(top, value)], syntax


def _exactly(value: object, size: int) -> bytes:
    if not isinstance(value, bytes) or len(value) < size:
        raise ImageError(Refusal.TRUNCATED, f"fewer pixel bytes than the {size} that the header promises")
    return value[:size]


def _native(top: Top, value: object) -> Element:
    allocated = number(top, 0x00280100)
    stored = number(top, 0x00280101, allocated)
    samples, frames = number(top, 0x00280002, 1), max(number(top, _FRAMES, 1), 1)
    count = number(top, 0x00280010) * number(top, 0x00280011) * samples * frames
    if allocated not in (1, 8, 16, 32) or not 1 <= stored <= allocated:
        raise ImageError(Refusal.UNSUPPORTED, f"{stored} bits stored of {allocated} allocated")
    if count * max(allocated, 8) // 8 > MAX_BYTES * 8:
        raise ImageError(Refusal.GEOMETRY, f"{count} samples: too many")
    size = (count * allocated + 7) // 8
    if text(top, _PHOTOMETRIC) == "YBR_FULL_422" and isinstance(value, bytes) and len(value) < size:
        size = size * 2 // 3  # two pixels share their colour
    raw = _exactly(value, size)
    if stored < allocated:
        high, signed = number(top, 0x00280102, stored - 1), bool(number(top, 0x00280103))
        padding = number(top, _PADDING) if _PADDING in top and allocated == 16 else None
        raw = _only_stored(raw, allocated, stored, high, signed, padding)
    return PIXEL_DATA, "OB" if allocated <= 8 else "OW", raw


def _only_stored(raw: bytes, allocated: int, stored: int, high: int, signed: bool, padding: int | None) -> bytes:
    """Without what stands beside the stored bits (overlays of old, garbage): above them the sign, else 0, stays.

    A word that is the padding value stays whole, since some need more than the stored bits (``images.dicom``).
    """
    if not stored - 1 <= high < allocated:
        raise corrupt(f"{stored} bits stored of {allocated}, the highest at {high}")
    below, spare = high - stored + 1, allocated - stored
    words = np.frombuffer(raw, f"<u{allocated // 8}")
    if below:
        cleared = words & np.array(((1 << stored) - 1) << below, words.dtype)
    else:
        samples = words.view(words.dtype.str.replace("u", "i")) if signed else words
        cleared = ((samples << spare) >> spare).astype(samples.dtype, copy=False).view(words.dtype)
    if padding is not None:
        cleared = np.where(words >> below << below == padding, np.array(padding, words.dtype), cleared)
    return bytes(cleared.tobytes())


def _encapsulated(top: Top, syntax: str, value: bytes) -> tuple[list[Element], str]:
    from pydicom.encaps import encapsulate

    table = top[_OFFSETS][2] if _OFFSETS in top else b""
    extended = table if isinstance(table, bytes) else b""
    found = encapsulated.frames(
        value, max(number(top, _FRAMES, 1), 1), extended
    )  # as who reads the file tells them apart
    streams = [b"".join(value[start:end] for start, end in parts) for parts in found]
    if syntax == codecs.RLE:
        raw = b"".join(_unrolled(stream, top) for stream in streams)
        changed: list[Element] = [_native(top, raw)]
        return [*changed, (_PLANAR, "US", bytes(2))] if number(top, 0x00280002, 1) > 1 else changed, EXPLICIT
    if syntax in (codecs.UNCOMPRESSED, codecs.DEFLATED_FRAMES) and number(top, 0x00280100) >= 8:
        return [_native(top, b"".join(_plain(stream, top, syntax) for stream in streams))], EXPLICIT
    if syntax in codecs.JPEG_2000:
        clean = [clean_jpeg_2000(stream) for stream in streams]
    elif syntax in codecs.JPEG | codecs.JPEG_LS:
        clean = [clean_jpeg(stream) for stream in streams]
    else:
        raise ImageError(Refusal.UNSUPPORTED, "a transfer syntax that is not read yet")
    return [(PIXEL_DATA, ENCAPSULATED, encapsulate(clean, has_bot=len(clean) > 1))], syntax


def _plain(frame: bytes, top: Top, syntax: str) -> bytes:
    """One frame that was only wrapped, or deflated, without what follows its end."""
    size = number(top, 0x00280010) * number(top, 0x00280011) * number(top, 0x00280002, 1) * number(top, 0x00280100) // 8
    if text(top, _PHOTOMETRIC) == "YBR_FULL_422":
        size = size * 2 // 3
    if syntax == codecs.DEFLATED_FRAMES:
        try:
            frame = zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, min(size, MAX_BYTES))
        except zlib.error:
            raise corrupt("a deflated frame does not inflate") from None
    return _exactly(frame, size)


def _unrolled(frame: bytes, top: Top) -> bytes:
    """One frame of run lengths, decoded: its own bytes could hide others behind the last run."""
    layout = codecs.Layout(
        codecs.RLE,
        text(top, _PHOTOMETRIC),
        number(top, 0x00280010),
        number(top, 0x00280011),
        number(top, 0x00280002, 1),
        number(top, 0x00280100),
        number(top, 0x00280101),
        signed=False,
        planar=False,
    )
    if layout.allocated not in (8, 16, 32):
        raise ImageError(Refusal.UNSUPPORTED, f"{layout.allocated} bits allocated in run lengths")
    return codecs.rle(frame, layout).astype(f"<u{layout.allocated // 8}").tobytes()
