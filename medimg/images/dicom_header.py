"""What a DICOM header says of an image and of where its frames lie; enhanced ones say it in functional groups."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from medimg.errors import ImageError, Refusal
from medimg.images import Facts, mosaic
from medimg.images.geometry import SAME_PLACE, Vector, directions, toward
from medimg.images.headers import Header, Slice
from medimg.images.lookup import get, text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from medimg.images.codecs import Layout

_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def read(data: bytes, name: str) -> Header:
    """The header of a DICOM file's bytes; ``name`` is its path in the slices.

    Raises:
        ImageError, NotAnImage, Exception: as ``dicom.read``; several frames are no reason.
    """
    from medimg.images import dicom

    dataset = dicom.parse(data)
    layout = dicom.layout_of(dataset)
    facts = facts_of(dataset, layout, layout.channels, 0, frames=layout.frames)
    if mosaic.is_mosaic(dataset):
        slices = mosaic.slices(dataset, _slice(dataset, layout, name, 0))
    else:
        slices = tuple(_slice(dataset, layout, name, frame) for frame in range(layout.frames))
    kinds = {word.upper() for one in slices for word in one.kind[0].split("\\")}
    localizer = not kinds.isdisjoint(("LOCALIZER", "SCOUT", "TOPOGRAM"))
    return Header(name, facts, slices, localizer, _integer(dataset, "InstanceNumber"))


def macro(dataset: Dataset, frame: int, keyword: str) -> Dataset | None:
    """The item of a functional group macro for a frame: its own, else the shared one; None when there is neither."""
    own = get(dataset, "PerFrameFunctionalGroupsSequence")
    shared = get(dataset, "SharedFunctionalGroupsSequence")
    groups = ([own[frame]] if own and frame < len(own) else []) + ([shared[0]] if shared else [])
    return next((found[0] for group in groups if (found := get(group, keyword))), None)


def _slice(dataset: Dataset, layout: Layout, name: str, frame: int) -> Slice:
    def said(group: str, keyword: str) -> object:
        item = macro(dataset, frame, group)
        found = get(item, keyword) if item is not None else None
        return get(dataset, keyword) if found is None else found

    position = _numbers(said("PlanePositionSequence", "ImagePositionPatient"), 3)
    orientation = _numbers(said("PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    offsets = get(dataset, "GridFrameOffsetVector")
    if offsets is not None and layout.frames > 1 and len(offsets) == layout.frames and position and orientation:
        position = _dose_plane(position, orientation, [float(offset) for offset in offsets], frame)
    elif layout.frames > 1 and macro(dataset, frame, "PlanePositionSequence") is None:
        position = None  # the header's one position cannot be that of each frame
    content = macro(dataset, frame, "FrameContentSequence") or dataset
    gap = _float(said("PixelMeasuresSequence", "SpacingBetweenSlices"))
    return Slice(
        path=name,
        frame=frame,
        rows=layout.rows,
        columns=layout.columns,
        position=_vector(position) if position else None,
        orientation=orientation,
        spacing=spacing_of(dataset, frame),
        thickness=abs(gap) if gap else _float(said("PixelMeasuresSequence", "SliceThickness")),
        kind=_kind(dataset, frame),
        temporal=_integer(content, "TemporalPositionIndex") or _integer(dataset, "TemporalPositionIdentifier"),
        acquisition=_integer(content, "FrameAcquisitionNumber") or _integer(dataset, "AcquisitionNumber"),
        order=_order(dataset, content, frame),
    )


def _dose_plane(
    position: tuple[float, ...], orientation: tuple[float, ...], offsets: list[float], frame: int
) -> Vector:
    """Where a plane of a dose grid lies: its offset is along the normal, or all are z themselves (PS3.3 C.8.8.3.2)."""
    if offsets[0] and abs(offsets[0] - position[2]) < SAME_PLACE:
        return _vector((position[0], position[1], offsets[frame]))
    return _vector(np.array(position) + offsets[frame] * directions(orientation)[2])


def _kind(dataset: Dataset, frame: int) -> tuple[str, ...]:
    """What tells slices of one volume from those of another at the same places."""
    typed = (macro(dataset, frame, f"{modality}FrameTypeSequence") for modality in ("MRImage", "CTImage", "PET"))
    frame_type = next((get(item, "FrameType") for item in typed if item is not None), get(dataset, "ImageType"))
    echo = macro(dataset, frame, "MREchoSequence")
    diffusion = macro(dataset, frame, "MRDiffusionSequence") or dataset
    directed = next(iter(get(diffusion, "DiffusionGradientDirectionSequence") or []), diffusion)
    content = macro(dataset, frame, "FrameContentSequence")
    return (
        _joined(frame_type),
        _rounded(get(echo, "EffectiveEchoTime") if echo is not None else get(dataset, "EchoTime")),
        _joined(get(dataset, "EchoNumbers")),
        _joined(get(content, "StackID") if content is not None else None),
        _rounded(get(diffusion, "DiffusionBValue")),
        _rounded(get(directed, "DiffusionGradientOrientation")),
    )


def _order(dataset: Dataset, content: Dataset, frame: int) -> tuple[float, ...]:
    trigger = macro(dataset, frame, "CardiacSynchronizationSequence")
    delay = get(trigger, "NominalCardiacTriggerDelayTime") if trigger is not None else get(dataset, "TriggerTime")
    moment = text(content, "FrameReferenceDateTime") or text(dataset, "AcquisitionTime") or text(dataset, "ContentTime")
    numbers = (
        _integer(content, "FrameAcquisitionNumber") or _integer(dataset, "AcquisitionNumber"),
        _float(delay),
        _float((moment or "").replace(":", "")),
        _integer(dataset, "InstanceNumber"),
        frame,
    )
    return tuple(-1.0 if number is None else float(number) for number in numbers)


def facts_of(dataset: Dataset, layout: Layout, channels: int, frame: int = 0, frames: int = 1) -> Facts:
    """The facts of one frame.

    Raises:
        ImageError: GEOMETRY, the spacing is not two positive numbers.
    """
    spacing = spacing_of(dataset, frame) or (None, None)
    sex = text(dataset, "PatientSex")
    return Facts(
        format="dicom",
        channels=channels,
        height=layout.rows,
        width=layout.columns,
        bits=layout.stored,
        photometric=layout.photometric,
        patient=text(dataset, "PatientID"),
        issuer=text(dataset, "IssuerOfPatientID"),
        study=text(dataset, "StudyInstanceUID"),
        series=text(dataset, "SeriesInstanceUID"),
        instance=text(dataset, "SOPInstanceUID"),
        spacing_row=spacing[0],
        spacing_column=spacing[1],
        modality=text(dataset, "Modality"),
        body_part=text(dataset, "BodyPartExamined"),
        view=text(dataset, "ViewPosition"),
        laterality=text(dataset, "ImageLaterality") or text(dataset, "Laterality"),
        manufacturer=text(dataset, "Manufacturer"),
        model=text(dataset, "ManufacturerModelName"),
        site=text(dataset, "InstitutionName"),
        sex=sex if sex in ("F", "M", "O") else None,
        age=age(text(dataset, "PatientAge")),
        date=_date(text(dataset, "StudyDate")),
        frames=frames,
        orientation=_axes(dataset, frame),
    )


def _axes(dataset: Dataset, frame: int) -> str | None:
    """Where rows, then columns, increase toward; None where the header does not say, or no direction."""
    plane = macro(dataset, frame, "PlaneOrientationSequence") or dataset
    try:
        along_row, along_column, _ = directions(_numbers(get(plane, "ImageOrientationPatient"), 6) or ())
    except (ImageError, TypeError, ValueError):  # it matters to volumes, and they refuse it
        return None
    return toward(along_column) + toward(along_row)


def age(value: str | None) -> float | None:
    """Years from DICOM's age string (``045Y``, ``006M``, ``003W``, ``010D``); None when it is none."""
    found = re.fullmatch(r"(\d{1,3})([YMWD])", value or "")
    return round(int(found[1]) * _YEARS[found[2]], 4) if found else None


def _date(value: str | None) -> str | None:
    found = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})", value or "")
    return "-".join(found.groups()) if found else None


def spacing_of(dataset: Dataset, frame: int = 0) -> tuple[float, float] | None:
    """Distance of rows, then of columns, in mm: in the patient if known, else at the detector.

    Raises:
        ImageError: GEOMETRY, it is not two positive numbers.
    """
    measures = macro(dataset, frame, "PixelMeasuresSequence")
    for source, keyword in ((measures, "PixelSpacing"), (dataset, "PixelSpacing"), (dataset, "ImagerPixelSpacing")):
        value = get(source, keyword) if source is not None else None
        if value is None or value == "":
            continue
        values = [float(number) for number in value]
        if not values:
            continue
        if len(values) != 2 or not all(math.isfinite(number) and number > 0 for number in values):
            raise ImageError(Refusal.GEOMETRY, "the pixel spacing is not two positive numbers")
        return values[0], values[1]
    return None


def _numbers(value: object, count: int) -> tuple[float, ...] | None:
    """``count`` floats, which may be NaN; None when there is nothing.

    Raises:
        ImageError: GEOMETRY, there is another number of them.
    """
    if value is None or value == "" or not len(value):  # type: ignore[arg-type]
        return None
    numbers = tuple(float(number) for number in value)  # type: ignore[attr-defined]
    if len(numbers) != count:
        raise ImageError(Refusal.GEOMETRY, f"a position or direction of {len(numbers)} numbers")
    return numbers


def _vector(numbers: np.ndarray | tuple[float, ...]) -> Vector:
    return float(numbers[0]), float(numbers[1]), float(numbers[2])


def _float(value: object) -> float | None:
    """A number that says how or when; what is no number says nothing."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _integer(dataset: Dataset, keyword: str) -> int | None:
    number = _float(text(dataset, keyword))
    return None if number is None else int(number)


def _joined(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else "\\".join(map(str, value)) if hasattr(value, "__iter__") else str(value)


def _rounded(value: object) -> str:
    numbers = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    found = [_float(number) for number in numbers]
    return " ".join("" if number is None else f"{number:.3f}" for number in found)
