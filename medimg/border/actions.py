"""Which action of PS3.15 Annex E an element gets, by its tag, where it stands and the policy.

Table E.1-1 decides where it has a row; a compound action is resolved by the attribute's Type in the IOD or sequence.
Elsewhere the VR decides: numbers stay; coded strings stay if they are the standard's; UIDs are replaced, but for the
standard's own; sequences are walked; what can hold text, names, dates or times goes, and so do private and unknown
elements. Where the attribute is of Type 1 or 2 it is filled with a dummy, or emptied, so that the file stays valid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from medimg.border import values
from medimg.border.elements import dictionary_vr
from medimg.border.graphics import ANNOTATIONS
from medimg.border.options import Policy
from medimg.border.standard import actions, types
from medimg.border.values import Subject

Rule = Callable[[Subject, bytes], "bytes | None"]

BINARY = {
    **dict.fromkeys(("US", "SS", "US or SS"), 2),
    **dict.fromkeys(("AT", "UL", "SL", "FL", "OF", "OL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
"""VRs of numbers that are no text → bytes of one."""
NUMBERS: dict[str, Rule] = {
    "DS": values.decimals,
    "IS": values.wholes,
    **{vr: values.whole(width) for vr, width in BINARY.items()},
}
DATES: dict[str, Rule] = {"DA": values.dates, "DT": values.datetimes, "TM": values.times}
DESCRIPTIONS = frozenset({"LO", "SH", "ST", "LT", "UT", "UC", "CS"})
TABLES = frozenset([0x00283006, *range(0x00281201, 0x00281204)])
"""Lookup tables: numbers, although their VR is that of bytes."""
RESCALE_TYPES = frozenset({0x00281054, 0x00283004})
_DEVICE = frozenset({0x00080070, 0x00081090})  # maker and model: in no row of the table
_SEX, _AGE = 0x00100040, 0x00101010
_FEATURES = 0x00280302  # Recognizable Visual Features
_CHARSET = 0x00080005
_CODED = {0x00080008: values.image_type, _FEATURES: values.features}
_OVERLAY_DATA = (0x3000, 0x4000)

_DUMMIES = {
    "AE": b"REMOVED", "AS": b"000D", "CS": b"OTHER", "DA": b"19000101", "DS": b"0", "DT": b"19000101000000",
    "IS": b"0", "LO": b"REMOVED", "LT": b"REMOVED", "PN": b"REMOVED", "SH": b"REMOVED", "ST": b"REMOVED",
    "TM": b"000000", "UC": b"REMOVED", "UI": b"2.25.0", "UR": b"urn:removed", "UT": b"REMOVED",
    "US": bytes(2), "SS": bytes(2), "US or SS": bytes(2), "AT": bytes(4), "UL": bytes(4), "SL": bytes(4),
    "FL": bytes(4), "FD": bytes(8), "OD": bytes(8), "OV": bytes(8), "SV": bytes(8), "UV": bytes(8),
    "OF": bytes(4), "OL": bytes(4),
}  # fmt: skip


def dummy(tag: int, vr: str) -> bytes:
    """A value of the VR that says nothing."""
    return {0x00080060: b"OT", 0x00080008: b"DERIVED\\SECONDARY", _FEATURES: b"YES"}.get(
        tag, _DUMMIES.get(vr, bytes(2))
    )


@dataclass(frozen=True)
class Action:
    """What becomes of an element."""

    letter: str
    """K keep, C clean, U replace a UID, D dummy, Z empty, X remove. K of a sequence: its items are walked"""
    rule: Rule | None = None
    """for K, C and U of a value: what crosses of it"""
    otherwise: str = "X"
    """D, Z or X: for a value of which nothing may cross"""


def most(tag: int, vr: str) -> int | None:
    """How many bytes an element of binary numbers holds at most, by its multiplicity in PS3.6; None: any number.

    More of them is no number: that a value has room for a text is all that there is to see of it.
    """
    from pydicom.datadict import dictionary_VM

    try:
        highest = dictionary_VM(tag).rpartition("-")[2]
    except KeyError:
        return None
    return int(highest) * BINARY[vr] if highest.isdigit() and not vr.startswith("O") else None


def resolve(basic: str, required: int) -> str:
    """One of D, Z, X, U for a compound action, by the Type (1, 2 or 3) of the attribute (PS3.15 E.3, Table E.1-1a)."""
    if basic == "X/Z/U*":  # of Type 2 the standard would have Z; other attributes are conditional on what it refers to
        return "X" if required == 3 else "U"
    if basic == "Z" and required == 1:
        return "D"  # Z allows a dummy
    options = basic.split("/")
    if required == 3 or len(options) == 1:
        return options[0]
    wanted = "D" if required == 1 else "Z"
    return wanted if wanted in options else options[-1]


def required(tag: int, parent: int, sop_class: str) -> int:
    """The Type of an attribute: 1 (or 1C), 2 (or 2C), 3. ``parent`` is the sequence it stands in, 0 for none."""
    if parent:
        return types().nested.get((parent, tag), 3)
    return types().top.get(sop_class, {}).get(tag, 3)


def row(tag: int) -> dict[str, str] | None:
    """The row of Table E.1-1 about a tag, None where it has none."""
    table = actions()
    group = tag >> 16
    if group & 1:
        return table["private"]
    if group & 0xFF00 == 0x5000:
        return table["50XXXXXX"]
    if group & 0xFF00 == 0x6000 and tag & 0xFFFF in _OVERLAY_DATA:
        return table[f"60XX{tag & 0xFFFF:04X}"]
    return table.get(f"{tag:08X}")


def action(tag: int, parent: int, sop_class: str, policy: Policy) -> Action:
    """The action for an element below the sequence ``parent`` (0: none) of an object of ``sop_class``."""
    vr = dictionary_vr(tag)
    found = row(tag)
    need = required(tag, parent, sop_class)
    if tag & 0xFFFF == 0 or tag >> 24 == 0x60 or (tag >> 16) & 1 or not vr:
        return Action("X")  # lengths of groups; overlays, unless ``graphics`` has cleaned them; unknown ones
    if found:
        return _of_table(tag, vr, found, resolve(found["basic"], need), policy)
    return _of_vr(tag, vr, {1: "D", 2: "Z", 3: "X"}[need], policy)


def _of_table(tag: int, vr: str, found: dict[str, str], basic: str, policy: Policy) -> Action:
    if policy.retain_longitudinal and found["modified_dates"] and vr in DATES:
        return Action("C", DATES[vr], basic)
    if policy.retain_patient_characteristics and tag in (_SEX, _AGE):
        return Action("K" if tag == _SEX else "C", values.sex if tag == _SEX else values.age, basic)
    if policy.retain_institution and found["institution"]:
        return Action("K", None, basic)
    if policy.clean_descriptors and found["descriptors"] and (vr == "SQ" or vr in DESCRIPTIONS):
        rules = {"SQ": None, "CS": values.terms}
        return Action("C", rules.get(vr, values.description), basic)
    if policy.clean_graphics and tag == ANNOTATIONS:
        return Action("C")
    if basic == "U":
        return Action("K") if vr == "SQ" else Action("U", values.uids, "X")
    return Action(basic)


def _of_vr(tag: int, vr: str, otherwise: str, policy: Policy) -> Action:
    if vr == "SQ":
        return Action("K", None, otherwise)
    if vr in NUMBERS:
        rule = values.whole(BINARY[vr], most(tag, vr)) if vr in BINARY else NUMBERS[vr]
        return Action("K", rule, "Z" if otherwise == "X" else otherwise)
    if tag in TABLES:
        return Action("K", values.whole(2), otherwise)
    if tag in RESCALE_TYPES:
        return Action("K", values.rescale_type, otherwise)
    if tag in _DEVICE and policy.retain_device:
        return Action("K", values.text, otherwise)
    if tag == _CHARSET:
        return Action("K", values.charset, "X")  # a dummy would be a set that there is not
    if vr == "CS":
        return Action("K", _CODED.get(tag, values.terms), otherwise)
    if vr == "UI":
        return Action("U", values.uids, otherwise)
    return Action(otherwise)
