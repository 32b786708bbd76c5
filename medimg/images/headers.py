"""What a file says of the place of its slices, without decoding a pixel."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medimg.images import Facts, decode, guarded
from medimg.images.geometry import Vector
from medimg.images.sniff import HEAD, load, sniff

KIND = (
    "ImageType", "EchoTime", "EchoNumbers", "StackID", "DiffusionBValue", "DiffusionGradientOrientation",
)  # fmt: skip
"""What ``Slice.kind`` is made of, as DICOM names it"""


@dataclass(frozen=True)
class Slice:
    """One slice of a series: where its pixels are, and where it lies. None where the file does not say."""

    path: str
    frame: int = 0
    """of the file, from 0"""
    tile: int | None = None
    """of a mosaic frame, from 0; None: the frame is one slice"""
    rows: int = 0
    columns: int = 0
    position: Vector | None = None
    """centre of its first pixel, LPS, mm"""
    orientation: tuple[float, ...] | None = None
    """cosines of its rows, then of its columns, LPS"""
    spacing: tuple[float, float] | None = None
    """mm between rows, between columns"""
    thickness: float | None = None
    """mm; of the gap and the slice together where the file says so"""
    kind: tuple[str, ...] = ()
    """what a slice shares with all others of its volume: values of the elements in ``KIND``; empty: of none"""
    temporal: int | None = None
    """its place in time, where the file numbers it"""
    acquisition: int | None = None
    order: tuple[float, ...] = ()
    """slices at one place are in the order of these: acquisition, trigger time, time of day, instance number"""


@dataclass(frozen=True)
class Header:
    """One file: what it says of its image, and its slices."""

    path: str
    facts: Facts
    """``height`` and ``width`` are those of a frame as it is stored; ``frames`` counts them"""
    slices: tuple[Slice, ...]
    localizer: bool = False
    instance_number: int | None = None
    affine: tuple[tuple[float, ...], ...] | None = None
    """NIfTI only: 4×4, RAS, over ``(d, h, w, 1)``, mm"""


def header(path: Path, name: str | None = None) -> Header:
    """Read what ``series.assemble`` needs of one file. No pixel is decoded; NIfTI keeps its shape and affine.

    Args:
        path: the file.
        name: what the slices call it, such as the path below data/; by default ``path``.

    Raises:
        ImageError, NotAnImage: as ``medimg.images.read``; several frames are no reason.
    """
    return guarded(lambda: header_of(load(path), name or str(path)))


def header_of(data: bytes, name: str) -> Header:
    """As ``header``, of the bytes of a file; a library's own exceptions come through."""
    kind = sniff(data[:HEAD])
    if kind == "dicom":
        from medimg.images import dicom_header

        return dicom_header.read(data, name)
    if kind == "nifti":
        from medimg.images import nifti

        return nifti.read_header(data, name)
    facts = decode(data).facts  # PNG and JPEG are little more than their pixels; others raise
    return Header(name, facts, (Slice(name, rows=facts.height, columns=facts.width),))


def to_text(header: Header) -> str:
    """A header as JSON, to keep."""
    return json.dumps(asdict(header), separators=(",", ":"))


def from_text(text: str) -> Header:
    """The header that ``to_text`` wrote."""
    found: dict[str, Any] = json.loads(text)
    facts, slices = Facts(**found.pop("facts")), found.pop("slices")
    return Header(facts=facts, slices=tuple(Slice(**_tuples(one)) for one in slices), **_tuples(found))


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _tuple(value) for key, value in values.items()}


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
