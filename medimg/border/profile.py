"""DICOM PS3.15 Annex E: the Basic Application Level Confidentiality Profile with the options of a policy, on bytes.

The data set is walked as it stands in the file (``elements``), each element gets its action (``actions``, ``walk``),
pixels are written without what stands above their stored bits, behind their end or beside their codestream
(``frames``). File meta and preamble are new. Little endian stays what it is, explicit or implicit; big endian, deflated
and run lengths become Explicit VR Little Endian; other compressed pixels keep their codestream.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

from medimg.border import elements as dicom
from medimg.border import ocr
from medimg.border.burned import masked, why_suspect
from medimg.border.csa import rebuilt
from medimg.border.elements import Element, Elements
from medimg.border.frames import Top, pixels, text
from medimg.border.graphics import overlays
from medimg.border.identity import SiteKey
from medimg.border.options import IMPLEMENTATION_NAME, IMPLEMENTATION_UID, Policy
from medimg.border.values import Subject, is_standard_uid, words
from medimg.border.walk import Walk
from medimg.errors import ImageError, Refusal

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_SOP_CLASS, _INSTANCE = 0x00080016, 0x00080018
_NAMING = (
    *(0x00080050, 0x00080080, 0x00080081, 0x00080090, 0x00081010, 0x00081040, 0x00081048, 0x00081050, 0x00081060),
    *(0x00081070, 0x00100010, 0x00100020, 0x00100021, 0x00101000, 0x00101001, 0x00101005, 0x00101040, 0x00101060),
    *(0x00102154, 0x00181000, 0x00200010, 0x00321032, 0x00321033, 0x00400253, 0x00401001, 0x00401010),
)
"""Accession number, institution, physicians, station, operators, patient's names and ids, serial number, …: what stands
there names somebody wherever else it stands."""


_PERSONS = (
    *(0x00080090, 0x00081048, 0x00081050, 0x00081060, 0x00081070, 0x00100010, 0x00100020, 0x00101001, 0x00101005),
    *(0x00101060, 0x00321032),
)
"""Of these, the names and numbers of persons."""


@dataclass(frozen=True, repr=False)
class Cleaned:
    """A DICOM file as it may cross."""

    data: bytes
    counts: Counter[str] = field(default_factory=Counter)
    """Elements by what was done: K kept, C cleaned, U UID replaced, D dummy, Z emptied, X removed"""
    masked: bool = False
    """whether some of the pixels were covered"""
    persons: tuple[bytes, ...] = ()
    """names and numbers of persons in the header"""


def clean(data: bytes, key: SiteKey, patient: str, policy: Policy | None = None) -> Cleaned:
    """De-identify the bytes of a DICOM file; the same for the same arguments, in any process.

    Args:
        data: the file.
        key: the site's.
        patient: pseudonym to write as PatientID; dates move by its own number of days.
        policy: which options; the defaults by default.

    Raises:
        ImageError: CORRUPT, TRUNCATED, UNSUPPORTED, GEOMETRY, MEMORY: it cannot be read; BURNED_IN: the pixels may show
            text.
    """
    policy = policy or Policy()
    source, syntax = dicom.read(data)
    top: Top = {element[0]: element for element in source}
    source = list(top.values())  # of an element that stands there twice the last, which is what readers take
    suspect = "" if policy.clean_pixels else why_suspect(top)
    if suspect:
        raise ImageError(Refusal.BURNED_IN, suspect)
    sop_class = _sop_class(top)
    names = frozenset().union(*(words(value) for value in (_bytes(top, tag) for tag in _NAMING) if value))
    subject = Subject(key, patient, key.days(patient), names)
    planes = overlays(top) if policy.clean_graphics else []
    counts: Counter[str] = Counter(C=len(planes))
    cleaned = {tag for tag, _, _ in planes}
    rest = [element for element in source if element[0] not in cleaned]
    kept = _walk(policy, sop_class).data_set(rest, subject, counts)
    covered = masked(data, top) if policy.clean_pixels else None
    image, syntax = covered or pixels(top, syntax)
    looked = covered is not None or ocr.installed()  # the option is not said to have been used where nothing was
    stated = policy if looked or not policy.clean_pixels else policy.model_copy(update={"clean_pixels": False})
    own = image + planes + rebuilt(source) + _own(patient, sop_class, stated)
    if not any(tag == _INSTANCE and value for tag, _, value in kept):
        own.append((_INSTANCE, "UI", key.uid(key.file(data)).encode()))
    written = {tag for tag, _, _ in own}
    target = [element for element in kept if element[0] not in written] + own
    instance = next(value for tag, _, value in target if tag == _INSTANCE)
    persons = tuple(value for value in (_bytes(top, tag) for tag in _PERSONS) if value)
    return Cleaned(
        dicom.write(target, syntax, _meta(sop_class, instance, syntax)), counts, covered is not None, persons
    )


def accession(data: bytes) -> str | None:
    """The accession number in the header of a DICOM file."""
    return text({element[0]: element for element in dicom.read(data)[0]}, 0x00080050) or None


@lru_cache(maxsize=64)
def _walk(policy: Policy, sop_class: str) -> Walk:
    return Walk(policy, sop_class)


def _bytes(top: Top, tag: int) -> bytes:
    value = top[tag][2] if tag in top else b""
    return value if isinstance(value, bytes) else b""


def _sop_class(top: Top) -> str:
    """The SOP class if it is the standard's, else Secondary Capture."""
    from pydicom.uid import UID_dictionary

    uid = text(top, _SOP_CLASS)
    known = uid in UID_dictionary and "Storage" in UID_dictionary[uid][0]
    return uid if known and is_standard_uid(uid.encode()) else _SECONDARY_CAPTURE


def _own(patient: str, sop_class: str, policy: Policy) -> Elements:
    """What the profile says of itself, and of whom the file is."""
    codes: list[Elements] = [
        [(0x00080100, "SH", code.encode()), (0x00080102, "SH", b"DCM"), (0x00080104, "LO", meaning[:64].encode())]
        for code, meaning in policy.codes
    ]
    return [
        (_SOP_CLASS, "UI", sop_class.encode()),
        (0x00100020, "LO", patient.encode()),
        (0x00120062, "CS", b"YES"),
        (0x00120063, "LO", "\\".join(policy.method).encode()),
        (0x00120064, "SQ", codes),
        (0x00280303, "CS", b"MODIFIED" if policy.retain_longitudinal else b"REMOVED"),
    ]


def _meta(sop_class: str, instance: object, syntax: str) -> list[Element]:
    assert isinstance(instance, bytes)
    return [
        (0x00020001, "OB", b"\0\1"),
        (0x00020002, "UI", sop_class.encode()),
        (0x00020003, "UI", instance.rstrip(b"\0")),
        (0x00020010, "UI", syntax.encode()),
        (0x00020012, "UI", IMPLEMENTATION_UID.encode()),
        (0x00020013, "SH", IMPLEMENTATION_NAME.encode()),
    ]
