"""Applies the actions of the profile to a data set, at every depth."""

from __future__ import annotations

from collections import Counter

from medimg.border import values
from medimg.border.actions import BINARY, DATES, DESCRIPTIONS, Action, action, dummy, row
from medimg.border.elements import PIXEL_DATA, Element, Elements, dictionary_vr
from medimg.border.graphics import ANNOTATIONS, drawn
from medimg.border.options import Policy
from medimg.border.private import safe
from medimg.border.values import Subject

_CODE, _SCHEME, _VERSION, _MEANING = 0x00080100, 0x00080102, 0x00080103, 0x00080104
_CODED = frozenset({_CODE, _SCHEME, _VERSION, _MEANING})
_NO_CODE = {_CODE: b"0", _SCHEME: b"99MEDIMG", _MEANING: b"REMOVED"}
_TEXTS = DATES.keys() | DESCRIPTIONS | {"AE", "AS", "DS", "IS", "PN", "UI", "UR"}
_PIXELS = frozenset({PIXEL_DATA, 0x7FE00008, 0x7FE00009})
_TABLES = {0x00283006: 0x00283002} | {
    data: descriptor for number in (1, 2, 3) for data, descriptor in [(0x00281200 + number, 0x00281100 + number)]
}
OWN = frozenset({0x00100020, 0x00120062, 0x00120063, 0x00120064, 0x00280303, 0x7FE00001, 0x7FE00002})
"""What the profile writes itself at the top of a data set."""


class Walk:
    """The profile under one policy for objects of one SOP class; plans are made once and used for every file."""

    def __init__(self, policy: Policy, sop_class: str) -> None:
        self.policy, self.sop_class = policy, sop_class
        self.plans: dict[tuple[int, int], Action] = {}

    def data_set(self, elements: Elements, subject: Subject, counts: Counter[str], parent: int = 0) -> Elements:
        """What crosses of the elements below the sequence ``parent``; 0: the top, without pixels and ``OWN``.

        ``counts`` gains one for each action done.
        """
        kept: Elements = []
        plans = self.plans
        coded = {tag: value for tag, _, value in elements if tag in _CODED} if parent else {}
        private = safe(elements, subject) if self.policy.retain_safe_private else {}
        for element in elements:
            tag = element[0]
            if not parent and (tag in OWN or tag in _PIXELS):
                continue
            if tag in private:
                kept.append((tag, private[tag], element[2]))
                counts["K"] += 1
                continue
            value: bytes | list[Elements] | None
            if tag in _CODED and _CODE in coded:
                letter, value = _code(tag, coded)
                vr = dictionary_vr(tag)
            else:
                plan = plans.get((parent, tag))
                if plan is None:
                    plan = plans[parent, tag] = action(tag, parent, self.sop_class, self.policy)
                letter, vr, value = self._do(plan, element, elements, subject, counts)
            counts[letter] += 1
            if value is not None:
                kept.append((tag, vr, value))
        if _CODE in coded and _SCHEME not in coded:
            kept.append((_SCHEME, "SH", _NO_CODE[_SCHEME]))  # a code of no scheme is one that nobody knows
        return kept

    def _do(
        self, plan: Action, element: Element, siblings: Elements, subject: Subject, counts: Counter[str]
    ) -> tuple[str, str, bytes | list[Elements] | None]:
        """Letter of what was done, VR, value (None: removed)."""
        tag, given, value = element
        letter = plan.letter
        if letter == "X":
            return "X", "", None
        vr = _vr(tag, given)
        if isinstance(value, list) != (vr == "SQ") and len(value):
            return "X", "", None  # the file has a sequence where the standard has none, or the other way round
        if vr == "SQ":
            items = value if isinstance(value, list) else []
            if letter == "Z":
                return "Z", vr, []
            if letter == "D":
                return "D", vr, [_hollowed(items[0]) if items else []]
            if letter == "C" and tag == ANNOTATIONS:
                items = drawn(items)
                if not items:
                    return "X", "", None
            return letter, vr, [self.data_set(item, subject, counts, tag) for item in items]
        assert isinstance(value, bytes)
        if letter in "KCU":
            if tag in _TABLES:
                value = _cut(value, next((old for at, _, old in siblings if at == _TABLES[tag]), b""))
            text = vr in BINARY and given in _TEXTS  # by the file's own word no number
            crossing = value if plan.rule is None or not value else None if text else plan.rule(subject, value)
            if crossing is not None:
                return letter, vr, crossing
            letter = plan.otherwise
        if letter == "X":
            return "X", "", None
        return letter, vr, b"" if letter == "Z" else dummy(tag, vr)


def _vr(tag: int, given: str) -> str:
    """The dictionary's VR; where it leaves a choice, the file's."""
    known = dictionary_vr(tag)
    if " or " not in known:
        return known
    options = known.split(" or ")
    return given if given in options else options[-1]


def _hollow(tag: int, vr: str, value: bytes | list[Elements]) -> bytes | list[Elements]:
    """A dummy of the same shape."""
    if isinstance(value, list):
        return [_hollowed(item) for item in value]
    return dummy(tag, vr)


def _hollowed(item: Elements) -> Elements:
    """Dummies for those elements of an item that may be there at all."""
    there = [one for one in item if dictionary_vr(one[0]) and (row(one[0]) or {}).get("basic") != "X"]
    return [(at, kind, _hollow(at, kind, was)) for at, kind, was in there if at >> 24 not in (0x50, 0x60)]


def _code(tag: int, coded: dict[int, bytes | list[Elements]]) -> tuple[str, bytes | None]:
    """A code crosses whole if the standard knows it, under the standard's meaning; else a dummy stands for it."""
    scheme, value = coded.get(_SCHEME, b""), coded[_CODE]
    meaning = values.code(scheme, value) if isinstance(scheme, bytes) and isinstance(value, bytes) else None
    if tag == _VERSION:
        return "X", None
    if meaning is None:
        return "D", _NO_CODE[tag]
    own = coded[tag]
    assert isinstance(own, bytes)
    return "K", meaning if tag == _MEANING else own


def _cut(table: bytes, descriptor: bytes | list[Elements]) -> bytes:
    """A lookup table without what follows its last entry; nothing of one that is too short to be one."""
    if not isinstance(descriptor, bytes) or len(descriptor) < 6:
        return b""
    entries = int.from_bytes(descriptor[:2], "little") or 0x10000
    packed = int.from_bytes(descriptor[4:6], "little") <= 8 and len(table) < 2 * entries
    size = entries + entries % 2 if packed else 2 * entries
    return table[:size] if len(table) >= size - size % 2 else b""
