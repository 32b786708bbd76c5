"""A second look at what crossed: every file is read again and held against what may be in it.

It shares the standard's facts with the profile, and the reader of elements, but not the code that decides: what a value
may look like is said here once more. A file must be what its elements, written again, give: no byte stands beside them.
"""

import csv
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from medimg.border import elements as dicom
from medimg.border import private
from medimg.border.actions import BINARY, TABLES, most, row
from medimg.border.actions import RESCALE_TYPES as UNITS
from medimg.border.csa import is_rebuilt
from medimg.border.elements import ENCAPSULATED, PIXEL_DATA, Elements, dictionary_vr
from medimg.border.graphics import COMPOUND, TEXTS, is_plane
from medimg.border.options import IMPLEMENTATION_NAME, METHODS, Policy
from medimg.border.pixels import PNG_KEPT, clean_jpeg_2000, is_clean_jpeg
from medimg.border.standard import vocabulary
from medimg.border.table import FIXED, MASK, is_class
from medimg.border.values import RESCALE_TYPES, code, description_words, is_standard_uid
from medimg.images import codecs, nifti, quiet, raster

_PATH = re.compile(r"images/P[0-9a-f]{12}/[0-9a-f]{16}(\.mask)?\.(dcm|png|jpg|nii)")
_PATIENT = re.compile(r"P[0-9a-f]{12}")
_SITE = re.compile(r"S[0-9a-f]{6}")
_META = frozenset((0x0000, 0x0001, 0x0002, 0x0003, 0x0010, 0x0012, 0x0013))  # of group 2
_TEXTS = frozenset({"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_SHAPES = {
    "AS": re.compile(rb"0[0-8]\d[YMWD]|090Y|0\d\d[MWD]|[1-9]\d\d[DWM]"),
    "DA": re.compile(rb"\d{8}"),
    "DS": re.compile(rb"[-+0-9.eE]{1,16}"),
    "DT": re.compile(rb"\d{8}[0-9.]{0,13}([+-]\d{4})?"),
    "IS": re.compile(rb"[-+]?\d{1,11}"),
    "TM": re.compile(rb"[0-9:.]{2,15}"),
    "UI": re.compile(rb"2\.25\.\d{1,39}"),
}
_DUMMIES = frozenset({b"REMOVED", b"urn:removed", b"19000101", b"19000101000000", b"000000", b"000D", b"2.25.0"})
_CHARSET = re.compile(rb"|ISO_IR \d{1,3}|ISO 2022 IR \d{1,3}|GB18030|GBK")
_OWN = {0x00120063: frozenset(text.encode() for text in METHODS)}
_DEVICE, _INSTITUTION = frozenset({0x00080070, 0x00081090}), "institution"
_VALUE, _SCHEME, _MEANING = 0x00080100, 0x00080102, 0x00080104


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
            findings.append(f"{shown(path)}: {found}")
    return findings


def shown(path: str) -> str:
    """A path below data/ as a message may show it: another hand may have put a name into it."""
    return path if path == "labels.csv" or _PATH.fullmatch(path) else "a file that is not named by pseudonyms"


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
        shown = not data[25] & 4  # of IHDR, the colour type: 4 stands for transparency, which no reader shows
        return "" if shown and kinds <= PNG_KEPT and last == len(data) else "more than pixels in a PNG"
    if suffix == ".jpg":
        return "" if is_clean_jpeg(data) else "more than pixels in a JPEG"
    return _nifti(data)


def _labels(path: Path, forced: Collection[str]) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        for cells in csv.DictReader(file):
            for number, (column, value) in enumerate(cells.items(), 1):
                if column == MASK:
                    if value and not (_PATH.fullmatch(value) and ".mask." in value):
                        return "a mask that is not named by pseudonyms"
                elif column not in FIXED and column not in forced and value and not is_class(value):
                    return f"column {number} holds a value that is no class; correct it, or let it cross with --keep"
            named = _PATH.fullmatch(cells["path"]) and _PATIENT.fullmatch(cells["patient"])
            known = cells["sex"] in ("", "F", "M", "O") and (not cells["site"] or _SITE.fullmatch(cells["site"]))
            if not (named and known and re.fullmatch(r"|[01](\.\d{1,2})?|\d|[1-8]\d|90", cells["age"])):
                return "a row holds something else than pseudonyms, sex and age"
    return ""


def _dicom(data: bytes, patient: str) -> str:
    if data[:128] != bytes(128):
        return "a preamble that is not zero"
    found, syntax = dicom.read(data)
    meta = dicom.read_meta(data)
    if {tag & 0xFFFF for tag, _, _ in meta} - _META:
        return "an element of the file meta information that no rule allows"
    top = {tag: value for tag, _, value in found}
    said = {tag: value.strip(b" \0") if isinstance(value, bytes) else value for tag, _, value in meta}
    if said.get(0x00020013) != IMPLEMENTATION_NAME.encode() or said.get(0x00020010) != syntax.encode():
        return "another writer's name"
    if said.get(0x00020003) != _stripped(top.get(0x00080018)) or said.get(0x00020002) != _stripped(top.get(0x00080016)):
        return "a file meta information of another instance"
    if dicom.write(found, syntax, [element for element in meta if element[0] & 0xFFFF]) != data:
        return "bytes beside its elements"
    if _stripped(top.get(0x00100020)) != patient.encode() or _stripped(top.get(0x00120062)) != b"YES":
        return "another patient than its name says, or not marked as de-identified"
    policy = Policy.of_codes(_stated(top.get(0x00120064)))
    wrong = _data_set(found, policy, 0)
    return wrong or _codestreams(top, syntax)


def _stripped(value: object) -> bytes:
    return value.strip(b" \0") if isinstance(value, bytes) else b""


def _stated(items: object) -> set[str]:
    """The codes of De-identification Method Code Sequence."""
    found = [{tag: value for tag, _, value in item} for item in items] if isinstance(items, list) else []
    return {_stripped(item.get(_VALUE)).decode("ascii", "replace") for item in found}


def _data_set(found: Elements, policy: Policy, parent: int) -> str:
    codes = {tag: _stripped(value) for tag, _, value in found if tag in (_VALUE, _SCHEME, _MEANING)} if parent else {}
    kept = _private(found) if policy.retain_safe_private else {}
    for tag, given, value in found:
        vr = dictionary_vr(tag)
        group = tag >> 16
        if group & 1 or not vr:
            if tag in kept and _shaped(kept[tag], value):
                continue
            if group & 1 and isinstance(value, bytes) and is_rebuilt(tag, value):
                continue
            return f"element {_name(tag)}, which no rule allows"
        graphic = group >> 8 == 0x60 and policy.clean_graphics and not parent
        if graphic and isinstance(value, bytes) and is_plane(tag, value, found):
            continue
        entry = row(tag) or {}
        if entry.get("basic") == "X" and not _optional(tag, vr, entry, policy):
            return f"element {_name(tag)}, which Table E.1-1 removes"
        if group >> 8 in (0x50, 0x60):
            return f"element {_name(tag)}, of a curve or an overlay"
        if isinstance(value, list):
            if value and policy.clean_graphics and tag in (TEXTS, COMPOUND):
                return f"element {_name(tag)}, a text of an annotation"
            for item in value:
                wrong = _data_set(item, policy, tag)
                if wrong:
                    return wrong
        elif not _fits(tag, given if " or " in vr else vr, value, entry, policy, codes, parent):
            return f"element {_name(tag)} holds something else than its rule allows"
    return ""


def _private(found: Elements) -> dict[int, str]:
    """The private elements that Table E.3.10-1 lists, and those that reserve their blocks → VR."""
    known = private.listed(found)
    return {tag: vr for tag, (_, vr) in known.items()} | {creator: "LO" for creator, _ in known.values()}


def _shaped(vr: str, value: object) -> bool:
    """Whether a private element holds numbers, or the name of a block, which is one of the table's."""
    if not isinstance(value, bytes):
        return False
    if vr == "LO":
        return any(value.strip(b" ") == creator.encode() for creator, _ in private.SAFE)
    parts = [part.strip(b" ") for part in _stripped(value).split(b"\\")]
    return vr not in _SHAPES or all(not part or _SHAPES[vr].fullmatch(part) for part in parts)


def _name(tag: int) -> str:
    return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"


def _optional(tag: int, vr: str, entry: dict[str, str], policy: Policy) -> bool:
    """Whether an option keeps what the basic profile removes."""
    dates = policy.retain_longitudinal and entry["modified_dates"] and vr in ("DA", "DT", "TM")
    words = policy.clean_descriptors and entry["descriptors"]
    place = policy.retain_institution and entry[_INSTITUTION]
    return bool(dates or words or place or (policy.retain_patient_characteristics and tag == 0x00101010))


def _fits(
    tag: int, vr: str, value: bytes, entry: dict[str, str], policy: Policy, codes: dict[int, bytes], parent: int
) -> bool:
    """Whether a value may be what its element holds."""
    text = value.strip(b" \0")
    parts = [part.strip(b" \0") for part in text.split(b"\\")]
    if not text or text in _DUMMIES or tag == PIXEL_DATA or vr == ENCAPSULATED or (tag in TABLES and not parent):
        return True
    if vr in BINARY:
        room = most(tag, vr)
        return room is None or len(value) <= room
    if tag in TABLES or tag in (0x7FE00008, 0x7FE00009):
        return True
    if tag == 0x00100020 and not parent:
        return True  # held against the name before
    if tag in codes:
        known = code(codes.get(_SCHEME, b""), codes.get(_VALUE, b""))
        unknown = (codes.get(_VALUE), codes.get(_SCHEME)) == (b"0", b"99MEDIMG")
        return unknown or (known is not None and (tag != _MEANING or text == known.strip()))
    if tag == 0x00280302:
        return text == b"YES"
    if tag in UNITS and text in RESCALE_TYPES:
        return True
    if vr in _TEXTS:
        kept = (tag in _DEVICE and policy.retain_device) or (policy.retain_institution and entry.get(_INSTITUTION))
        described = policy.clean_descriptors and entry.get("descriptors") and description_words(text)
        return bool(kept or described or (tag in _OWN and all(part in _OWN[tag] for part in parts)))
    if vr == "CS":
        if tag == 0x00080005:
            return all(_CHARSET.fullmatch(part) for part in parts)
        return all(not part or part.decode("latin-1") in vocabulary() for part in parts)
    if vr in ("DA", "DT", "TM") and not (policy.retain_longitudinal and entry.get("modified_dates")):
        return False
    if vr == "AS" and not (policy.retain_patient_characteristics and tag == 0x00101010):
        return False
    shape = _SHAPES.get(vr)
    return shape is not None and all(
        not part or shape.fullmatch(part) or (vr == "UI" and is_standard_uid(part)) for part in parts
    )


def _codestreams(top: Mapping[int, object], syntax: str) -> str:
    value = top.get(PIXEL_DATA)
    if syntax in codecs.NATIVE or not isinstance(value, bytes):
        return ""
    from pydicom.encaps import generate_fragments

    for number, fragment in enumerate(generate_fragments(value)):
        if not number and not fragment.startswith(b"\xff"):
            continue  # the table of offsets
        if syntax in codecs.JPEG_2000:
            clean = clean_jpeg_2000(fragment) == fragment.rstrip(b"\0")
        else:
            clean = is_clean_jpeg(fragment) or is_clean_jpeg(fragment[:-1])  # padded to an even length
        if not clean:
            return "more than pixels in a codestream"
    return ""


def _nifti(data: bytes) -> str:
    header = nifti.parse(data)
    first = header.sizeof_hdr + 4
    if int(header["vox_offset"]) != first or any(data[header.sizeof_hdr : first]):
        return "an extension in a NIfTI file"
    for name in ("descrip", "aux_file", "db_name", "intent_name", "data_type"):
        if name in header.keys() and bytes(header[name]).strip(b"\0"):  # noqa: SIM118  # no dict
            return "text in a NIfTI header"
    return ""
