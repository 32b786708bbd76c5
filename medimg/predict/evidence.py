"""What of a DICOM header a document about the image must repeat: whose it is, and which instance it is about."""

import json
import logging
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medimg.border.deidentify import Rules, deidentify
from medimg.border.identity import SiteKey
from medimg.border.options import Policy
from medimg.errors import ImageError
from medimg.files import sha256

if TYPE_CHECKING:
    from pydicom import Dataset

_PATIENT = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID")
_STUDY = ("StudyDate", "StudyTime", "ReferringPhysicianName")
_IMAGE = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Rows", "Columns")
_NAMED_BY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_SEXES = ("M", "F", "O")
_UTF8 = {"vr": "CS", "Value": ["ISO_IR 192"]}

Evidence = dict[str, Any]
"""DICOM JSON (PS3.18 F)"""


def evidence(data: bytes) -> Evidence | None:
    """The elements that a document about an image repeats; those that are missing or not allowed are empty.

    None: the header lacks a UID by which a document would name the image.
    """
    from pydicom import Dataset, dcmread

    from medimg.images import quiet

    with quiet():
        header = dcmread(BytesIO(data), stop_before_pixels=True, force=True)
        if not all(header.get(name) for name in _NAMED_BY):
            return None
        found = Dataset()
        for name in (*_PATIENT, *_STUDY, *_IMAGE):
            setattr(found, name, header.get(name))
        if "NumberOfFrames" in header:
            found.NumberOfFrames = header.NumberOfFrames
        _empty_what_is_not_allowed(found)
        plain: Evidence = found.to_json_dict()
    if not json.dumps(plain, ensure_ascii=False).isascii():  # it is text by now, whatever its bytes were
        plain["00080005"] = _UTF8
    return plain


def _empty_what_is_not_allowed(found: "Dataset") -> None:
    from pydicom.valuerep import DA, TM

    if found.PatientSex not in _SEXES:
        found.PatientSex = None
    for name, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(found[name].value or None)
        except (ValueError, TypeError):
            setattr(found, name, None)


def of_volume(slices: list[Evidence | None]) -> Evidence | None:
    """Of the files of a volume, the first one's, and which instances there are; None where a file has none."""
    if not slices or None in slices:
        return None
    from pydicom import Dataset

    found = dataset(slices[0] or {})
    found.ReferencedInstanceSequence = []
    for one in slices:
        source, reference = dataset(one or {}), Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
        found.ReferencedInstanceSequence.append(reference)
    plain: Evidence = found.to_json_dict()
    return plain


def instances(found: Evidence) -> "list[Dataset]":
    """What a document is about: the file, or each of a volume, with what it repeats of its header."""
    first = dataset(found)
    references = first.get("ReferencedInstanceSequence", [])
    if not references:
        return [first]
    del first.ReferencedInstanceSequence
    every = []
    for one in references:
        every.append(dataset(first.to_json_dict()))
        every[-1].SOPClassUID, every[-1].SOPInstanceUID = one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID
    return every


def crossed(data: bytes, name: str, key: SiteKey, issuers: bool) -> bytes | None:
    """The file as an import would write it; None where it would refuse it: no picture of it may be shown."""
    try:
        return deidentify(data, name, Rules(key, None, True, Policy(issuer_of_patient_id=issuers))).data
    except ImageError:
        return None


def dataset(found: Evidence) -> "Dataset":
    """The elements that ``evidence`` found."""
    from pydicom import Dataset

    from medimg.images import quiet

    with quiet():
        return Dataset.from_json(found)


def uid(*parts: str) -> str:
    """A UID that is the same for the same parts."""
    return f"2.25.{int(sha256(' '.join(parts).encode())[:32], 16)}"


def saved(make: Callable[[], Any], path: Path) -> bool:
    """Write the document that ``make`` makes; False: what it would repeat of a header is not allowed in one.

    Nothing is said of why: the libraries' warnings and errors quote the header.
    """
    from medimg.images import quiet

    buffer = BytesIO()
    logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)
    with quiet():
        try:
            make().save_as(buffer, enforce_file_format=True)
        except Exception:  # whatever a library has against a hospital's header
            return False
    path.write_bytes(buffer.getvalue())
    return True


def sign(document: Any, source: "Dataset") -> None:
    """Mark a document as research, and give it the date of its study: the same run writes the same bytes."""
    document.SeriesDescription = "Research use only"
    for name in (
        "DateOfSecondaryCapture",
        "TimeOfSecondaryCapture",
    ):  # when this ran: optional, and no part of the result
        if name in document:
            delattr(document, name)
    for equipment in document.get("ContributingEquipmentSequence", []):
        if "ContributionDateTime" in equipment:
            del equipment.ContributionDateTime
    for name in ("ContentDate", "InstanceCreationDate", "SeriesDate"):
        if name in document:
            setattr(document, name, source.get("StudyDate") or "19000101")
    for name in ("ContentTime", "InstanceCreationTime", "SeriesTime"):
        if name in document:
            setattr(document, name, source.get("StudyTime") or "000000")
