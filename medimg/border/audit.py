"""A second look at what crossed: every file written is read again and held against what may be in it.

It shares the list of allowed elements with the profile, and with the table what a class may look like, but not the code
that fills them.
"""

import csv
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from medimg.border import profile, terms
from medimg.border.pixels import PNG_KEPT, clean_jpeg_2000, is_clean_jpeg
from medimg.border.table import FIXED, is_class
from medimg.images import codecs, nifti, quiet, raster

_PATH = re.compile(r"images/P[0-9a-f]{12}/[0-9a-f]{16}\.(dcm|png|jpg|nii)")
_PATIENT = re.compile(r"P[0-9a-f]{12}")
_SITE = re.compile(r"S[0-9a-f]{6}")
_META = frozenset(
    (2, element) for element in (0x0000, 0x0001, 0x0002, 0x0003, 0x0010, 0x0012, 0x0013)
)  # length, version, class, instance, syntax, implementation
_EMPTY = ("PatientName", "PatientBirthDate", "StudyDate", "StudyTime", "AccessionNumber", "StudyID", *profile.EMPTIED)
_TEXTS = {
    "PatientID": _PATIENT,
    "InstitutionName": _SITE,
    "Manufacturer": re.compile("|".join(["", "M[0-9a-f]{6}", *map(re.escape, terms.MAKERS.values())])),
    "ManufacturerModelName": re.compile("D[0-9a-f]{6}"),
    "DeidentificationMethod": re.compile(re.escape(profile.METHOD)),
    "PatientAge": re.compile(r"\d{3}[DWM]|0[0-8]\d[Y]|090Y"),
    "PatientSex": re.compile("[FMO]?"),
    "ReferringPhysicianName": re.compile(""),
    "RescaleType": re.compile("HU|US|OD"),
    "ModalityLUTType": re.compile("HU|US|OD"),
    **{keyword: re.compile("") for keyword in _EMPTY},
}
_KINDS = {
    "UI": re.compile(r"2\.25\.\d{1,39}|1\.2\.840\.10008\.[0-9.]{1,50}"),
    "CS": re.compile("[A-Z0-9_ ]{0,16}"),
    "DS": re.compile(r"[-+0-9.eE]{0,16}"),
    "IS": re.compile(r"[-+0-9.eE]{0,12}"),
}
_NUMBERS = ("US", "SS", "OB", "OW", "SQ")


def audit(out: Path, paths: list[str], forced: Collection[str] = ()) -> list[str]:
    """Read files below ``out`` again and return what should not be there, in words that hold no value from them.

    Label columns ``forced`` may hold anything.
    """
    findings = []
    for path in paths:
        try:
            with quiet():
                found = _look(out, path, forced)
        except Exception:
            found = "does not read as what it should be"
        if found:
            findings.append(f"{path}: {found}")
    return findings


def _look(out: Path, path: str, forced: Collection[str]) -> str:
    if path == "labels.csv":
        return _labels(out / path, forced)
    if not _PATH.fullmatch(path):
        return "the name is not made of pseudonyms"
    data = (out / path).read_bytes()
    suffix = path[-4:]
    if suffix == ".dcm":
        return _dicom(data, path.split("/")[1])
    if suffix == ".png":
        kinds = {kind for kind, _, _ in raster.chunks(data)}
        last = max(end for _, _, end in raster.chunks(data))
        return "" if kinds <= PNG_KEPT and last == len(data) else "more than pixels in a PNG"
    if suffix == ".jpg":
        return "" if is_clean_jpeg(data) else "more than pixels in a JPEG"
    return _nifti(data)


def _labels(path: Path, forced: Collection[str]) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for number, (column, value) in enumerate(row.items(), 1):
                if column not in FIXED and column not in forced and value and not is_class(value):
                    return f"column {number} holds a value that is no class; correct it, or let it cross with --keep"
            named = _PATH.fullmatch(row["path"]) and _PATIENT.fullmatch(row["patient"])
            known = row["sex"] in ("", "F", "M", "O") and (not row["site"] or _SITE.fullmatch(row["site"]))
            if not (named and known and re.fullmatch(r"|[01](\.\d{1,2})?|\d|[1-8]\d|90", row["age"])):
                return "a row holds something else than pseudonyms, sex and age"
    return ""


def _dicom(data: bytes, patient: str) -> str:
    import io

    import pydicom

    if data[:128] != bytes(128):
        return "a preamble that is not zero"
    dataset = pydicom.dcmread(io.BytesIO(data))
    if {(element.tag.group, element.tag.element) for element in dataset.file_meta} - _META:
        return "an element of the file meta information that no rule allows"
    if dataset.file_meta.ImplementationVersionName != profile.IMPLEMENTATION_NAME:
        return "another writer's name"
    if dataset.PatientID != patient:
        return "another patient than its name says"
    for element in dataset.iterall():
        if element.tag.is_private or element.keyword not in profile.ALLOWED:
            return f"element {element.tag}, which no rule allows"
        if not _fits(element):
            return f"element {element.tag} holds something else than its rule allows"
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in codecs.NATIVE:
        return ""
    frame = pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
    if syntax in codecs.JPEG_2000:
        return "" if clean_jpeg_2000(frame) == frame.rstrip(b"\0") else "more than pixels in a JPEG 2000 codestream"
    clean = is_clean_jpeg(frame) or is_clean_jpeg(frame[:-1])  # a fragment is padded to an even length
    return "" if clean else "more than pixels in a JPEG codestream"


def _fits(element: Any) -> bool:
    if element.VR in _NUMBERS or element.is_empty:
        return True
    pattern = _TEXTS.get(element.keyword) or _KINDS.get(element.VR)
    if pattern is None:
        return False
    values = [element.value] if isinstance(element.value, str) or element.VM <= 1 else list(element.value)
    return all(pattern.fullmatch(str(value)) for value in values)


def _nifti(data: bytes) -> str:
    header = nifti.parse(data)
    first = header.sizeof_hdr + 4
    if int(header["vox_offset"]) != first or any(data[header.sizeof_hdr : first]):
        return "an extension in a NIfTI file"
    for name in ("descrip", "aux_file", "db_name", "intent_name", "data_type"):
        if name in header.keys() and bytes(header[name]).strip(b"\0"):  # noqa: SIM118  # no dict
            return "text in a NIfTI header"
    return ""
