"""All that decides the pixels of a DICOM file, byte for byte: two files that agree in it need not both be decoded."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from medimg.border.elements import IMPLICIT, PIXEL_DATA, read_meta
from medimg.errors import ImageError
from medimg.images.codecs import NATIVE
from medimg.images.encapsulated import frames

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Deciding = tuple[str, tuple[bool | None, bool | None], tuple[tuple[int, str | None, bytes | int], ...]]
"""Transfer syntax; implicit or not, little endian or not; tag, VR and value of each element"""

GROUPS = frozenset({0x0028, 0x5200, 0x7FE0})
"""The image pixel module with its tables, the functional groups, the pixels: decoding looks into no other group"""

SAID = frozenset({0x00280301, 0x00280302, 0x00280303, 0x00281055})
"""Text on the pixels, features that can be recognised, dates moved, what a window is for: no decoder asks for these"""

_ROWS, _FRAMES = 0x00280010, 0x00280008


def what_decides(dataset: Dataset) -> Deciding | None:
    """What decides the pixels of a file, as ``images.dicom.parse`` left it, before anything else has looked into it.

    None where that cannot be told without decoding: an element is a sequence that is already taken apart.
    """
    return _deciding(str(dataset.file_meta.TransferSyntaxUID), dataset.original_encoding, dataset.values())


def what_decides_written(data: bytes) -> Deciding | None:
    """The same of a file that ``elements.write`` has written, by pydicom's reading of it."""
    from pydicom.filereader import data_element_generator

    syntax = next((value for tag, _, value in read_meta(data) if tag == 0x00020010), b"")
    assert isinstance(syntax, bytes)
    uid = syntax.rstrip(b"\0").decode("ascii")
    start = 144 + int.from_bytes(data[140:144], "little")  # behind the file meta information
    implicit = uid == IMPLICIT
    return _deciding(uid, (implicit, True), data_element_generator(io.BytesIO(data[start:]), implicit, True))


def _deciding(syntax: str, encoding: tuple[bool | None, bool | None], elements: Iterable[Any]) -> Deciding | None:
    found: list[tuple[int, str | None, bytes | int]] = []
    for element in elements:
        tag, vr, value = int(element.tag), element.VR, element.value
        if tag >> 16 not in GROUPS or tag in SAID or not tag & 0xFFFF:  # the length of a group decides nothing
            continue
        if tag == _ROWS and isinstance(value, bytes):
            vr, value = "US", int.from_bytes(value, "little")  # ``parse`` has asked for it
        if not isinstance(value, (bytes, int)):
            return None
        if tag == PIXEL_DATA and vr == "OB" and encoding[1]:
            vr = "OW"  # of numbers that begin with the lowest byte, both mean the same
        found.append((tag, vr, value))
    return syntax, encoding, tuple(found if syntax in NATIVE else _streams(found))


def _streams(found: list[tuple[int, str | None, bytes | int]]) -> list[tuple[int, str | None, bytes | int]]:
    """Of one encapsulated frame its codestream alone: how it is cut up, and what a table says of that, decides nothing.

    Of several frames all stays as it is.
    """
    values = {tag: value for tag, _, value in found}
    count, pixels = values.get(_FRAMES, 1), values.get(PIXEL_DATA)
    if (count.strip(b" \0") if isinstance(count, bytes) else count) not in (1, b"1") or not isinstance(pixels, bytes):
        return found
    try:
        stream = b"".join(pixels[start:end] for start, end in frames(pixels, 1)[0])
    except ImageError:
        return found
    return [(tag, vr, stream if tag == PIXEL_DATA else value) for tag, vr, value in found]
