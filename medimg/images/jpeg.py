"""What a JPEG, JPEG-LS or JPEG 2000 stream says of itself, before a decoder takes memory for it."""

import re
import struct
from collections.abc import Iterator

from medimg.errors import ImageError, Refusal

SOS = 0xDA
EOI = 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # SOF0 … SOF15, and JPEG-LS
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) from SOI to EOI; a scan's entropy-coded bytes belong to its SOS segment.

    Each segment is ``data[start:end]``, from its own 0xFF. What stands after EOI is not looked at.

    Raises:
        ImageError: TRUNCATED, no EOI; CORRUPT, something else than a marker where one is due.
    """
    if not data.startswith(b"\xff\xd8"):
        raise ImageError(Refusal.CORRUPT, "a JPEG stream does not start as one")
    yield 0xD8, 0, 2
    start = 2
    while True:
        if start + 4 > len(data) and data[start : start + 2] != b"\xff\xd9":
            raise ImageError(Refusal.TRUNCATED, "the JPEG stream has no end")
        if data[start] != 0xFF:
            raise ImageError(Refusal.CORRUPT, "a JPEG marker is missing")
        marker = data[start + 1]
        if marker == 0xFF:  # fill byte
            start += 1
            continue
        if marker == EOI:
            yield EOI, start, start + 2
            return
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if marker == SOS:
            end = _scan_end(data, end)
        if end > len(data):
            raise ImageError(Refusal.TRUNCATED, "the JPEG stream has no end")
        yield marker, start, end
        start = end


def _scan_end(data: bytes, start: int) -> int:
    """The next 0xFF that is a marker: not stuffed (FF 00), not a restart, not a fill byte, not JPEG-LS data (< 80)."""
    found = _MARKER.search(data, start)
    if found is None:
        raise ImageError(Refusal.TRUNCATED, "the JPEG stream has no end")
    return found.start()


def shape(data: bytes) -> tuple[int, int, int]:
    """Rows, columns and samples as the frame header says, after a walk to the end of the stream.

    Raises:
        ImageError: TRUNCATED or CORRUPT.
    """
    found = None
    for marker, start, _ in segments(data):
        if marker in _FRAMES and found is None:
            body = data[start + 4 : start + 10]
            found = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body[5]
    if found is None:
        raise ImageError(Refusal.CORRUPT, "the JPEG stream has no frame")
    return found


def precision(data: bytes) -> int:
    """Bits of a sample, as the frame header says."""
    return next(data[start + 4] for marker, start, _ in segments(data) if marker in _FRAMES)


def is_ycc(data: bytes, photometric: str) -> bool:
    """Whether a colour JPEG stores YCbCr. Its own word goes before the header's, which is often wrong.

    Its word is components named R, G, B, a JFIF segment, or an Adobe segment with transform 1. Transform 0 says what
    the encoder did (nothing), not what it was given: then the header decides. libjpeg would take it for RGB.
    """
    for marker, start, end in segments(data):
        body = data[start + 4 : end]
        if marker in (0xC0, 0xC1, 0xC2, 0xC3) and body[6:15:3].upper() == b"RGB":
            return False
        if marker == 0xE0 and body.startswith(b"JFIF"):
            return True
        if marker == 0xEE and body.startswith(b"Adobe") and body[11:12] == b"\x01":
            return True
    return photometric.startswith("YBR")


def check_shape(data: bytes, rows: int, columns: int, samples: int) -> None:
    """Compare the size that a codestream claims with the header's.

    Raises:
        ImageError: CORRUPT, they differ; TRUNCATED, the codestream has no end.
    """
    found = shape(data) if data.startswith(b"\xff\xd8") else _shape_2000(data)
    if found != (rows, columns, samples):
        raise ImageError(Refusal.CORRUPT, "the codestream has another shape than the header says")


def _shape_2000(data: bytes) -> tuple[int, int, int]:
    """Rows, columns and samples of JPEG 2000, bare or in the boxes of a JP2 file."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 42:
        raise ImageError(Refusal.CORRUPT, "the pixels are not in the transfer syntax that the header names")
    width, height, left, top = struct.unpack_from(">4I", data, start + 8)
    if data.rfind(b"\xff\xd9", start) < 0:
        raise ImageError(Refusal.TRUNCATED, "the JPEG 2000 codestream has no end")
    return height - top, width - left, struct.unpack_from(">H", data, start + 40)[0]
