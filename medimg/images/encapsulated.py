"""Encapsulated pixel data (PS3.5 A.4): which bytes belong to which frame."""

import struct
from collections.abc import Sequence

from medimg.errors import ImageError, Refusal

_ITEM = b"\xfe\xff\x00\xe0"
_END = b"\xfe\xff\xdd\xe0"
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
"""How a JPEG or JPEG-LS stream, a JPEG 2000 codestream and a JP2 file begin"""

Fragments = tuple[tuple[int, int], ...]
"""(start, end) in the value of PixelData"""


def frames(value: bytes, count: int, extended: bytes | None = None) -> tuple[Fragments, ...]:
    """The fragments of each of ``count`` frames.

    The extended offset table goes before the basic one. A table that does not point at fragments is ignored; without
    one, each frame is a fragment, or begins where a codestream begins.

    Args:
        value: of PixelData, from the basic offset table on.
        count: NumberOfFrames.
        extended: the value of ExtendedOffsetTable.

    Raises:
        ImageError: TRUNCATED, there are fewer fragments than frames, or one is cut short; CORRUPT.
    """
    basic, parts = _items(value)
    if len(parts) < count:
        raise ImageError(Refusal.TRUNCATED, f"{len(parts)} encapsulated fragments where the header promises {count}")
    if len(parts) == count:
        return tuple((part,) for part in parts)
    if count == 1:
        begun = sum(value[start:end].startswith(_STARTS) for start, end in parts)
        if begun > 1 or (not begun and len(_numbers(basic, "I")) > 1):  # some tables list each fragment of a frame
            raise ImageError(Refusal.CORRUPT, "the encapsulated pixels hold more frames than the header says")
        return (tuple(parts),)
    first = parts[0][0] - 8
    starts = {start - 8 - first: number for number, (start, _) in enumerate(parts)}
    for offsets in (_numbers(extended or b"", "Q"), _numbers(basic, "I")):
        if len(offsets) == count and offsets[0] == 0 and all(offset in starts for offset in offsets):
            return _grouped(parts, [starts[offset] for offset in offsets])
    begins = [number for number, (start, end) in enumerate(parts) if value[start:end].startswith(_STARTS)]
    if len(begins) != count or begins[0] != 0:
        raise ImageError(Refusal.CORRUPT, "the encapsulated pixels cannot be told apart into frames")
    return _grouped(parts, begins)


def _items(value: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """The basic offset table, and where the fragments are."""
    found: list[tuple[int, int]] = []
    position = 0
    while position + 8 <= len(value) and value[position : position + 4] != _END:
        if value[position : position + 4] != _ITEM:
            raise ImageError(Refusal.CORRUPT, "the encapsulated pixels hold something else than items")
        (length,) = struct.unpack_from("<I", value, position + 4)
        start, position = position + 8, position + 8 + length
        if position > len(value):
            raise ImageError(Refusal.TRUNCATED, "an encapsulated fragment is cut short")
        found.append((start, position))
    if not found:
        raise ImageError(Refusal.CORRUPT, "the encapsulated pixels hold no items")
    return value[slice(*found[0])], found[1:]


def _numbers(table: bytes, kind: str) -> list[int]:
    size = struct.calcsize(f"<{kind}")
    return [number for (number,) in struct.iter_unpack(f"<{kind}", table[: len(table) // size * size])]


def _grouped(parts: Sequence[tuple[int, int]], begins: list[int]) -> tuple[Fragments, ...]:
    ends = [*begins[1:], len(parts)]
    if any(begin >= end for begin, end in zip(begins, ends, strict=True)):
        raise ImageError(Refusal.CORRUPT, "the offset table of the encapsulated pixels is not in order")
    return tuple(tuple(parts[begin:end]) for begin, end in zip(begins, ends, strict=True))
