"""DICOM data sets as plain lists of elements: read and written without a look into values that nobody asks for.

An element is a tuple ``(tag, VR, value)``. ``tag`` is an int (``0x00100010``), the VR two letters; the value is bytes
in little endian as they stand in the file, padding included, or for SQ a list of items, each a list of elements.
Encapsulated pixel data keep their items in the bytes; the VR of such an element is ``ENCAPSULATED``.
"""

from __future__ import annotations

import struct
import zlib
from functools import cache

from medimg.errors import ImageError, Refusal
from medimg.images.codecs import BIG_ENDIAN, DEFLATED, NATIVE
from medimg.images.sniff import MAX_BYTES

Element = tuple[int, str, "bytes | list[list[Element]]"]
Elements = list[Element]

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
ENCAPSULATED = "OB*"
PIXEL_DATA = 0x7FE00010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_SHORT = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US"
_VRS = _LONG | frozenset(_SHORT.split())
_WIDTH = {"AT": 2, "US": 2, "SS": 2, "OW": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4} | dict.fromkeys(
    ("FD", "OD", "OV", "SV", "UV"), 8
)
_UNDEFINED = 0xFFFFFFFF
_DEEPEST = 32


@cache
def dictionary_vr(tag: int) -> str:
    """The VR of PS3.6 (``US or SS`` where it depends), ``""`` for a tag that is not in it; UL for a group's length."""
    from pydicom.datadict import dictionary_VR

    if tag & 0xFFFF == 0:
        return "UL"
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return ""


def corrupt(detail: str) -> ImageError:
    """A refusal of a file that is no whole DICOM."""
    return ImageError(Refusal.CORRUPT, detail)


def read(data: bytes) -> tuple[Elements, str]:
    """The elements of a DICOM file, group 2 left out, and the transfer syntax of its pixels.

    Raises:
        ImageError: CORRUPT; MEMORY, it inflates to more than ``MAX_BYTES``; UNSUPPORTED, an unknown transfer syntax.
    """
    try:
        position = 132 if data[128:132] == b"DICM" else 0
        meta, position = _meta(data, position)
        found = next((value for tag, _, value in meta if tag == 0x00020010), b"")
        syntax = bytes(found).rstrip(b"\0 ").decode("ascii", "replace") if isinstance(found, bytes) else ""
        body = data[position:]
        if syntax == DEFLATED:
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            body = inflate.decompress(body, MAX_BYTES)
            if inflate.unconsumed_tail:
                raise ImageError(Refusal.MEMORY, f"the data set inflates to more than {MAX_BYTES} bytes")
        explicit = body[4:6].decode("latin-1") in _VRS  # the data set's own word goes before the file meta's
        big = syntax == BIG_ENDIAN or (not syntax and explicit and body[0] == 0 and body[1] != 0)
        elements, _ = _Reader(body, explicit, big).data_set(0, len(body), 0)
    except (struct.error, IndexError, zlib.error, RecursionError):
        raise corrupt("the data set cannot be walked") from None
    if not syntax:
        syntax = BIG_ENDIAN if big else EXPLICIT if explicit else IMPLICIT
    if syntax in NATIVE:
        syntax = EXPLICIT if explicit else IMPLICIT
    return elements, syntax


def read_meta(data: bytes) -> Elements:
    """The file meta information of a file with a preamble."""
    return _meta(data, 132)[0]


def _meta(data: bytes, position: int) -> tuple[Elements, int]:
    """The elements of group 2 and where the data set starts."""
    start = end = position
    while data[end : end + 2] == b"\x02\x00":
        long = data[end + 4 : end + 6].decode("latin-1") in _LONG
        length = struct.unpack_from("<I" if long else "<H", data, end + (8 if long else 6))[0]
        end += (12 if long else 8) + length
    return _Reader(data[start:end], True, False).data_set(0, end - start, 0)[0], end


class _Reader:
    """Walks one data set; ``explicit`` and ``big`` say how it is encoded."""

    def __init__(self, data: bytes, explicit: bool, big: bool) -> None:
        self.data, self.explicit, self.big = data, explicit, big
        order = ">" if big else "<"
        self.head, self.short, self.long = (struct.Struct(order + form) for form in ("HH", "H", "I"))
        self.implicit = struct.Struct("<HHI")
        self.allocated = 0

    def data_set(self, position: int, end: int, depth: int, explicit: bool | None = None) -> tuple[Elements, int]:
        """Elements from ``position`` to ``end``, or to the end of an item of undefined length."""
        if depth > _DEEPEST:
            raise corrupt(f"sequences lie more than {_DEEPEST} deep in one another")
        explicit = self.explicit if explicit is None else explicit
        elements: Elements = []
        data, head = self.data, self.head
        while position + 8 <= end:
            group, number = head.unpack_from(data, position)
            tag = group << 16 | number
            if tag in (_ITEM_END, _SEQUENCE_END):
                return elements, position + 8
            vr = data[position + 4 : position + 6].decode("latin-1") if explicit else ""
            if vr in _VRS:
                if vr in _LONG and position + 12 > end:
                    return elements, end  # no element any more
                if vr in _LONG:
                    length, start = self.long.unpack_from(data, position + 8)[0], position + 12
                else:
                    length, start = self.short.unpack_from(data, position + 6)[0], position + 8
            else:  # an unknown VR is read as implicit; no rule lets it through
                vr = dictionary_vr(tag) or "UN"
                length, start = self.long.unpack_from(data, position + 4)[0], position + 8
            value: bytes | list[Elements]
            if length == _UNDEFINED and not depth and elements and elements[-1][0] >= PIXEL_DATA:
                return elements, end
            if length == _UNDEFINED:
                value, position, vr = self._undefined(tag, vr, start, end, depth, explicit)
            else:
                position = start + length
                if position > end:
                    if not depth and elements and elements[-1][0] >= PIXEL_DATA:
                        return elements, end  # bytes behind the pixels that are no elements
                    if tag >> 16 != 0x7FE0:
                        raise corrupt("an element reaches beyond the end of the data set")
                    position = end  # truncated pixels are told as such by whoever counts them
                if vr == "SQ":
                    value = self._items(start, position, depth, explicit)[0]
                elif vr == "UN" and dictionary_vr(tag) == "SQ":
                    value, vr = self._items(start, position, depth, False)[0], "SQ"
                else:
                    value = data[start:position]
                    if self.big:
                        value = self._swapped(tag, value, vr)
            elements.append((tag, vr, value))
        return elements, position

    def _swapped(self, tag: int, value: bytes, vr: str) -> bytes:
        """Big endian to little endian."""
        width = _WIDTH.get(vr)
        if not width or len(value) % width:
            return value
        if tag == PIXEL_DATA and vr == "OW" and self.allocated == 32:
            width = 4
        import numpy as np

        value = np.frombuffer(value, f">u{width}").astype(f"<u{width}").tobytes()
        if tag == 0x00280100:
            self.allocated = int.from_bytes(value[:2], "little")
        return value

    def _undefined(
        self, tag: int, vr: str, start: int, end: int, depth: int, explicit: bool
    ) -> tuple[bytes | list[Elements], int, str]:
        if tag == PIXEL_DATA and depth == 0:
            position = start
            while True:
                group, number, length = self.implicit.unpack_from(self.data, position)
                position += 8
                if group << 16 | number == _SEQUENCE_END:
                    return self.data[start : position - 8], position, ENCAPSULATED
                if group << 16 | number != _ITEM or position + length > end:
                    raise ImageError(Refusal.TRUNCATED, "the encapsulated pixels have no end")
                position += length
        items, position = self._items(start, end, depth, explicit and vr != "UN")
        return items, position, "SQ"

    def _items(self, position: int, end: int, depth: int, explicit: bool) -> tuple[list[Elements], int]:
        items: list[Elements] = []
        while position + 8 <= end:
            group, number = self.head.unpack_from(self.data, position)
            length = self.long.unpack_from(self.data, position + 4)[0]
            position += 8
            tag = group << 16 | number
            if tag == _SEQUENCE_END:
                return items, position
            if tag != _ITEM:
                raise corrupt("a sequence holds something else than items")
            stop = end if length == _UNDEFINED else position + length
            if stop > end:
                raise corrupt("an item reaches beyond its sequence")
            item, after = self.data_set(position, stop, depth + 1, explicit)
            position = after if length == _UNDEFINED else stop
            items.append(item)
        return items, position


def write(elements: Elements, syntax: str, meta: Elements) -> bytes:
    """The bytes of a DICOM file: empty preamble, file meta, then ``elements`` sorted by tag, lengths all defined."""
    head = _data_set(meta, True)
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(head))
    return bytes(128) + b"DICM" + length + head + _data_set(elements, syntax != IMPLICIT)


def _data_set(elements: Elements, explicit: bool) -> bytes:
    parts: list[bytes] = []
    pack = struct.pack
    for tag, vr, value in sorted(elements, key=lambda element: element[0]):
        length = None
        if isinstance(value, list):
            value = b"".join(
                pack("<HHI", 0xFFFE, 0xE000, len(body)) + body for body in (_data_set(item, explicit) for item in value)
            )
        elif vr == ENCAPSULATED:
            vr, length, value = "OB", _UNDEFINED, value + pack("<HHI", 0xFFFE, 0xE0DD, 0)
        elif len(value) % 2:
            value += b"\0" if vr in _LONG or vr == "UI" else b" "
        size = len(value) if length is None else length
        if not explicit:
            parts += (pack("<HHI", tag >> 16, tag & 0xFFFF, size), value)
        elif vr in _LONG or size > 0xFFFF:
            name = vr if vr in _LONG else "UN"  # PS3.5 6.2.2: a value too long for its VR's length field
            parts += (pack("<HH2s2xI", tag >> 16, tag & 0xFFFF, name.encode(), size), value)
        else:
            parts += (pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), size), value)
    return b"".join(parts)
