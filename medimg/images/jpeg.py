"""The segments of a JPEG or JPEG-LS stream."""

from collections.abc import Iterator

from medimg.errors import ImageError, Refusal

SOS = 0xDA
EOI = 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # SOF0 … SOF15, and JPEG-LS


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
    position = start
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            raise ImageError(Refusal.TRUNCATED, "the JPEG stream has no end")
        follower = data[position + 1]
        if follower >= 0xC0 and not 0xD0 <= follower <= 0xD7 and follower != 0xFF:
            return position
        position += 1 if follower == 0xFF else 2


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
