"""Clean Graphics: overlays in which a text detector found no text, and graphic annotations without their texts."""

from __future__ import annotations

import struct

import numpy as np

from medimg.border import ocr
from medimg.border.elements import Elements
from medimg.border.frames import Top, number, text

ANNOTATIONS, TEXTS, COMPOUND, _DRAWN = 0x00700001, 0x00700008, 0x00700209, 0x00700009
_GROUPS = range(0x60000000, 0x60200000, 0x20000)
_ROWS, _COLUMNS, _FRAMES, _TYPE, _ORIGIN, _FIRST, _BITS, _BIT, _DATA = (
    *(0x0010, 0x0011, 0x0015, 0x0040, 0x0050, 0x0051, 0x0100, 0x0102, 0x3000),
)
_MOST_FRAMES = 8
_MOST_PIXELS = 2**26


def overlays(top: Top) -> Elements:
    """The bitmap planes that may cross, each with the numbers that say where it lies, without label or description.

    Each frame of a plane is shown to the text detector as a picture, light on dark and dark on light. Planes with text
    go, and so do those of more than eight frames, those that stand in the spare bits of the pixels, and all of them
    where no detector is installed.
    """
    if not ocr.installed():
        return []
    return [element for group in _GROUPS for element in _plane(top, group)]


def _plane(top: Top, group: int) -> Elements:
    rows, columns = number(top, group + _ROWS), number(top, group + _COLUMNS)
    frames = _frames(top, group)
    kind, data = text(top, group + _TYPE), top[group + _DATA][2] if group + _DATA in top else b""
    count = rows * columns * frames
    whole = isinstance(data, bytes) and 0 < count <= min(len(data) * 8, _MOST_PIXELS) and frames <= _MOST_FRAMES
    if not whole or kind not in ("G", "R") or number(top, group + _BITS, 1) != 1 or number(top, group + _BIT):
        return []
    assert isinstance(data, bytes)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count, bitorder="little")
    for picture in bits.reshape(frames, rows, columns):
        if picture.any() and (ocr.texts(picture) or ocr.texts(1 - picture)):
            return []
    kept: Elements = [
        (group + _ROWS, "US", rows.to_bytes(2, "little")),
        (group + _COLUMNS, "US", columns.to_bytes(2, "little")),
        (group + _TYPE, "CS", kind.encode()),
        (group + _ORIGIN, "SS", _origin(top, group)),
        (group + _BITS, "US", b"\1\0"),
        (group + _BIT, "US", b"\0\0"),
        (group + _DATA, "OW", np.packbits(bits, bitorder="little").tobytes()),
    ]
    if frames > 1 or group + _FRAMES in top:
        first = number(top, group + _FIRST, 1)
        kept += [(group + _FRAMES, "IS", b"%d" % frames), (group + _FIRST, "US", first.to_bytes(2, "little"))]
    return kept


def _frames(top: Top, group: int) -> int:
    said = text(top, group + _FRAMES)
    return int(said) if said.isascii() and said.isdigit() else int(not said)


def _origin(top: Top, group: int) -> bytes:
    value = top[group + _ORIGIN][2] if group + _ORIGIN in top else b""
    return value if isinstance(value, bytes) and len(value) == 4 else struct.pack("<2h", 1, 1)


def drawn(annotations: list[Elements]) -> list[Elements]:
    """The items of a Graphic Annotation Sequence that draw points, without texts and compound graphics."""
    return [
        [element for element in item if element[0] not in (TEXTS, COMPOUND)]
        for item in annotations
        if any(tag == _DRAWN and value for tag, _, value in item)
    ]


def is_plane(tag: int, value: bytes, siblings: Elements) -> bool:
    """Whether an element of group 60xx is one that ``overlays`` may leave, of the size that its siblings say."""
    group, kind = tag & 0xFFFF0000, tag & 0xFFFF
    top = {element[0]: element for element in siblings}
    if kind == _DATA:
        count = number(top, group + _ROWS) * number(top, group + _COLUMNS) * _frames(top, group)
        size = (count + 7) // 8
        return len(value) == size + size % 2 and int.from_bytes(value, "little") >> count == 0
    if kind == _TYPE:
        return value.strip() in (b"G", b"R")
    if kind == _FRAMES:
        return value.strip().isdigit()
    return len(value) == {_ROWS: 2, _COLUMNS: 2, _ORIGIN: 4, _FIRST: 2, _BITS: 2, _BIT: 2}.get(kind, -1)
