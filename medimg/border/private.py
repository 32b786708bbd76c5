"""Private elements that PS3.15 Table E.3.10-1 lists as safe, as far as they hold numbers.

What the table lists as text, coded strings, bytes or sequences is left out, since nothing here can tell what stands in
it; so are the rows for mammography and ultrasound that later editions added.
"""

from __future__ import annotations

from medimg.border.actions import BINARY, NUMBERS
from medimg.border.elements import Elements
from medimg.border.values import Subject

_BRAIN = dict.fromkeys(range(0x01, 0x17), "FL")  # volumes of the structures of one hemisphere

SAFE: dict[tuple[str, int], dict[int, str]] = {
    ("ELSCINT1", 0x00E1): {0x21: "DS", 0x50: "DS"},  # DLP, acquisition duration
    ("ELSCINT1", 0x01F1): {0x07: "DS", 0x26: "DS", 0x27: "DS"},  # table velocity, pitch, rotation time
    ("GEIIS PACS", 0x0903): {0x10: "US", 0x11: "US", 0x12: "US"},  # flags: rejected, significant, confidential
    ("GEMS_ACQU_01", 0x0019): {0x23: "DS", 0x24: "DS", 0x27: "DS"},  # table speed, mid scan time, gantry period
    ("GEMS_HELIOS_01", 0x0045): {0x01: "SS", 0x02: "FL"},  # rows in the detector, row width
    ("GEMS_PARM_01", 0x0043): {0x39: "IS", 0x6F: "DS"},  # b value; table entry and gradient coil
    ("GEMS_SERS_01", 0x0025): {0x07: "SL"},  # images in series
    ("NQHeader", 0x0099): {0x04: "SS", 0x10: "FL", 0x21: "FL"},  # return code, MI, intracranial volume
    ("NQLeft", 0x0199): _BRAIN,
    ("NQRight", 0x0299): _BRAIN,
    ("Philips Imaging DD 001", 0x2001): {0x03: "FL"},  # b value
    ("Philips MR Imaging DD 001", 0x2005): {0x0D: "FL", 0x0E: "FL"},  # scale intercept and slope
    ("Philips PET Private Group", 0x7053): {0x00: "DS", 0x09: "DS"},  # SUV and activity concentration factors
    ("SIEMENS MR HEADER", 0x0019): {0x0C: "IS", 0x0E: "FD", 0x27: "FD"},  # b value, diffusion direction, b matrix
}
"""(Creator, group) → element within the block → VR."""

_SEVERAL: dict[tuple[str, int, int], int] = {
    ("GEMS_PARM_01", 0x0043, 0x39): 4,
    ("GEMS_PARM_01", 0x0043, 0x6F): 4,
    ("SIEMENS MR HEADER", 0x0019, 0x0E): 3,
    ("SIEMENS MR HEADER", 0x0019, 0x27): 6,
}
"""How many numbers these hold at most; the others hold one."""


def safe(elements: Elements, subject: Subject) -> dict[int, str]:
    """Tags of the safe private elements among siblings, with those of their creators → VR."""
    values = {tag: value for tag, _, value in elements}
    return {
        tag: vr
        for element, (creator, number) in listed(elements).items()
        if NUMBERS[number](subject, values[element])  # type: ignore[arg-type]
        for tag, vr in ((creator, "LO"), (element, number))
    }


def listed(elements: Elements) -> dict[int, tuple[int, str]]:
    """Tags of the private elements among siblings that the table lists → the tag of their creator, and their VR.

    One that holds more numbers than the table has there is none of them.
    """
    blocks: dict[int, tuple[int, tuple[str, int]]] = {}
    found: dict[int, tuple[int, str]] = {}
    for tag, _, value in elements:
        group, element = tag >> 16, tag & 0xFFFF
        if not group & 1 or not isinstance(value, bytes):
            continue
        if 0x10 <= element <= 0xFF:
            creator = value.strip(b" \0").decode("latin-1")
            if (creator, group) in SAFE:
                blocks[group << 8 | element] = tag, (creator, group)
            continue
        reserved, block = blocks.get(group << 8 | element >> 8, (0, ("", 0)))
        vr = SAFE.get(block, {}).get(element & 0xFF)
        if vr and _count(vr, value) <= _SEVERAL.get((*block, element & 0xFF), 1):
            found[tag] = reserved, vr
    return found


def _count(vr: str, value: bytes) -> float:
    """How many numbers a value holds."""
    return len(value) / BINARY[vr] if vr in BINARY else value.count(b"\\") + 1
