"""Siemens mosaics: the slices of a volume side by side in one frame, described by the private CSA header.

The layout of the CSA header follows nibabel's documentation ("Siemens format DICOM with CSA header").
"""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from medimg.errors import ImageError, Refusal
from medimg.images.geometry import directions
from medimg.images.headers import Slice
from medimg.images.lookup import get

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CREATOR = "SIEMENS CSA HEADER"
_MOST_TAGS = 1024


def is_mosaic(dataset: Dataset) -> bool:
    """Whether the image type says that the frame is a mosaic."""
    return "MOSAIC" in [str(word).upper() for word in get(dataset, "ImageType") or []]


def slices(dataset: Dataset, frame: Slice) -> tuple[Slice, ...]:
    """The tiles of the mosaic ``frame``, each with a position of its own.

    The frame's position is that of a slice as large as the mosaic and with the first tile's centre; tiles follow each
    other along the CSA header's slice normal.

    Raises:
        ImageError: UNSUPPORTED, there is no CSA header to say how many tiles there are; GEOMETRY, they do not fit.
    """
    csa = _csa(dataset)
    try:
        count = int(csa["NumberOfImagesInMosaic"][0])
        ahead = np.array([float(number) for number in csa["SliceNormalVector"]])
    except (KeyError, IndexError, ValueError):
        raise ImageError(Refusal.UNSUPPORTED, "a mosaic without the CSA header that describes it") from None
    grid = math.ceil(math.sqrt(count)) if count > 0 else 0
    if not grid or frame.rows % grid or frame.columns % grid or ahead.shape != (3,):
        raise ImageError(Refusal.GEOMETRY, f"a mosaic of {frame.rows} x {frame.columns} pixels and {count} tiles")
    rows, columns = frame.rows // grid, frame.columns // grid
    tile = replace(frame, rows=rows, columns=columns)
    if frame.position is None or frame.orientation is None or frame.spacing is None or not frame.thickness:
        return tuple(replace(tile, tile=number, position=None) for number in range(count))
    along_row, along_column, normal = directions(frame.orientation)
    normal = normal if ahead @ normal >= 0 else -normal
    first = (
        np.array(frame.position)
        + along_row * (frame.columns - columns) / 2 * frame.spacing[1]
        + along_column * (frame.rows - rows) / 2 * frame.spacing[0]
    )
    places = [first + normal * frame.thickness * number for number in range(count)]
    return tuple(
        replace(tile, tile=number, position=(float(x), float(y), float(z))) for number, (x, y, z) in enumerate(places)
    )


def cut(pixels: np.ndarray, rows: int, columns: int, tile: int) -> np.ndarray:
    """A tile of a mosaic ``(C, H, W)``, row by row from the upper left → ``(C, rows, columns)``."""
    across = pixels.shape[2] // columns
    top, left = tile // across * rows, tile % across * columns
    return pixels[:, top : top + rows, left : left + columns]


def _csa(dataset: Dataset) -> dict[str, list[str]]:
    """The CSA image header; empty where there is none that can be read."""
    try:
        data = dataset.private_block(0x0029, _CREATOR)[0x10].value
    except KeyError:
        return {}
    try:
        return parse(data) if isinstance(data, bytes) else {}
    except (struct.error, UnicodeDecodeError):
        return {}


def parse(data: bytes) -> dict[str, list[str]]:
    """The elements of a CSA header (both versions): name → its values, those that are not empty.

    Raises:
        struct.error, UnicodeDecodeError: it is cut short or damaged.
    """
    second = data.startswith(b"SV10")
    position = 8 if second else 0
    (count,) = struct.unpack_from("<I", data, position)
    position += 8
    found: dict[str, list[str]] = {}
    ahead = 0
    for _ in range(min(count, _MOST_TAGS)):
        name, items = struct.unpack_from("<64s", data, position)[0], struct.unpack_from("<I", data, position + 76)[0]
        position += 84
        values = []
        ahead = ahead if found else items
        for _ in range(min(items, _MOST_TAGS)):
            first, length = struct.unpack_from("<2I", data, position)
            if not second:  # the first version adds the number of the first element's items
                length = first - ahead
            if not 0 <= length <= len(data) - position:
                break
            position += 16
            values.append(data[position : position + length].split(b"\0")[0].decode("ascii").strip())
            position += (length + 3) // 4 * 4
        found[name.split(b"\0")[0].decode("ascii")] = [value for value in values if value]
    return found
