"""The CSA header of a Siemens mosaic, written anew: how many tiles there are and which way they follow each other.

Only these two facts of geometry cross, as numbers that were read and are written by this code; the maker's own header
holds the protocol, the device and the day. Without them a mosaic cannot be cut into its slices.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence

from medimg.border.elements import Elements
from medimg.images.mosaic import parse

CREATOR, HEADER = 0x00290010, 0x00291010
_NAME = b"SIEMENS CSA HEADER"
_IMAGE_TYPE = 0x00080008
_COUNT, _NORMAL = "NumberOfImagesInMosaic", "SliceNormalVector"
_MOST_TILES = 1024
_WHOLE = re.compile(r"\d{1,4}")


def rebuilt(elements: Elements) -> Elements:
    """The private block that describes the mosaic whose top elements these are; nothing for anything else."""
    values = {tag: value for tag, _, value in elements if isinstance(value, bytes)}
    if b"MOSAIC" not in [word.strip(b" \0") for word in values.get(_IMAGE_TYPE, b"").upper().split(b"\\")]:
        return []
    for block in range(0x10, 0x100):
        if values.get(0x00290000 | block, b"").strip(b" \0") == _NAME:
            facts = _facts(values.get(0x00290000 | block << 8 | 0x10, b""))
            if facts:
                return [(CREATOR, "LO", _NAME), (HEADER, "OB", _header(*facts))]
    return []


def is_rebuilt(tag: int, value: bytes) -> bool:
    """Whether an element is one of those that ``rebuilt`` writes, to the byte."""
    if tag == CREATOR:
        return value.strip(b" ") == _NAME
    facts = _facts(value) if tag == HEADER else None
    return facts is not None and value == _header(*facts)


def _facts(data: bytes) -> tuple[int, Sequence[float]] | None:
    """Number of tiles and the unit normal (LPS) along which they follow each other; None where it says none."""
    try:
        said = parse(data)
        (count,), normal = said[_COUNT], [float(part) for part in said[_NORMAL]]
    except (struct.error, UnicodeDecodeError, KeyError, ValueError):
        return None
    unit = len(normal) == 3 and math.isclose(math.hypot(*normal), 1, abs_tol=1e-3)
    if not (unit and _WHOLE.fullmatch(count) and 1 <= int(count) <= _MOST_TILES):
        return None
    return int(count), normal


def _header(count: int, normal: Sequence[float]) -> bytes:
    """A CSA header of the second version (layout: nibabel, "Siemens format DICOM with CSA header")."""
    said = ((_COUNT, b"IS", [b"%d" % count]), (_NORMAL, b"FD", [b"%.8f" % (round(part, 8) + 0.0) for part in normal]))
    data = b"SV10\4\3\2\1" + struct.pack("<2I", len(said), 77)
    for name, vr, values in said:
        data += struct.pack("<64si4s3i", name.encode(), len(values), vr, 0, len(values), 77)
        for value in values:
            size = len(value) + 1
            data += struct.pack("<4i", size, size, 77, size) + value + bytes(1 + -size % 4)
    return data
