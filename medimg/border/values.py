"""Values that may cross: each function takes the bytes of an element and returns those that cross, or None for none."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache

from medimg.border.identity import SiteKey
from medimg.border.standard import vocabulary
from medimg.border.terms import DESCRIPTION_WORDS

_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(rb"[+-]?\d{1,10}")
_TIME = re.compile(rb"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?|\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?")
_DATE = re.compile(rb"(\d{4})(\.?)(\d{2})\2(\d{2})")
_DATETIME = re.compile(rb"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?")
_AGE = re.compile(rb"(\d{1,3})([DWMY])")
_CHARSET = re.compile(r"|ISO_IR \d{1,3}|ISO 2022 IR \d{1,3}|GB18030|GBK")
_WORD = re.compile(rb"[A-Za-z0-9\x80-\xff]+")
_GENERIC = frozenset({b"medical", b"systems", b"healthcare", b"imaging", b"health", b"company", b"corporation"})
_CONTEXT_GROUP = re.compile(rb"1\.2\.840\.10008\.6\.1\.\d{1,4}")


@dataclass
class Subject:
    """Of whom a file is, and what in it names the person: for the time of its crossing only."""

    key: SiteKey
    patient: str
    """pseudonym"""
    days: int
    """how far back dates go"""
    names: frozenset[bytes] = frozenset()
    """words and numbers of the header that name a person, a place or an examination, in lower case"""
    uids: dict[bytes, bytes] = field(default_factory=dict)

    def uid(self, value: bytes) -> bytes:
        """The keyed pseudonym of a UID; the standard's own (transfer syntaxes, well-known frames) stay."""
        if is_standard_uid(value):
            return value
        if value not in self.uids:
            self.uids[value] = self.key.uid(value.decode("latin-1")).encode()
        return self.uids[value]


@cache
def _standard_uids() -> frozenset[bytes]:
    from pydicom.uid import UID_dictionary

    return frozenset(uid.encode() for uid in UID_dictionary if uid.startswith("1.2.840.10008."))


def is_standard_uid(value: bytes) -> bool:
    """Whether PS3.6 defines a UID; that it begins as the standard's do says nothing of how it goes on."""
    return value in _standard_uids() or bool(_CONTEXT_GROUP.fullmatch(value))


def _each(value: bytes) -> list[bytes]:
    return [part.strip(b" \0") for part in value.split(b"\\")]


def words(value: bytes) -> set[bytes]:
    """Words of at least three letters or digits, in lower case, without those that every maker's name may hold."""
    return {word.lower() for word in _WORD.findall(value) if len(word) >= 3} - _GENERIC


def uids(subject: Subject, value: bytes) -> bytes | None:
    """Each UID's pseudonym."""
    return b"\\".join(subject.uid(uid) for uid in _each(value) if uid) or None


def decimals(subject: Subject, value: bytes) -> bytes | None:
    """Decimal strings that are numbers, none of them one that names somebody."""
    return value if _numeric(subject, value, _NUMBER, 16) else None


def wholes(subject: Subject, value: bytes) -> bytes | None:
    """Integer strings that are numbers, none of them one that names somebody."""
    return value if _numeric(subject, value, _WHOLE, 12) else None


def _numeric(subject: Subject, value: bytes, pattern: re.Pattern[bytes], longest: int) -> bool:
    for part in _each(value):
        if part and (len(part) > longest or not pattern.fullmatch(part)):
            return False
        if len(part) > 4 and part.lstrip(b"+-") in subject.names:
            return False
    return True


def terms(_: Subject, value: bytes) -> bytes | None:
    """Coded strings that are words of the standard; from the first that is not, the values that follow go too."""
    known = vocabulary()
    kept = []
    for part in _each(value):
        if part and part.decode("latin-1") not in known:
            break
        kept.append(part)
    return b"\\".join(kept) or None


def image_type(_: Subject, value: bytes) -> bytes:
    """As ``terms``, but each place has its meaning, so that a word that is not the standard's is replaced."""
    known, places = vocabulary(), (b"DERIVED", b"SECONDARY")
    words = [part if part.decode("latin-1") in known else b"OTHER" for part in _each(value)]
    return b"\\".join(
        [*(word if word != b"OTHER" else other for word, other in zip(words, places, strict=False)), *words[2:]]
    )


def charset(_: Subject, value: bytes) -> bytes | None:
    """Names of character sets."""
    return value if all(_CHARSET.fullmatch(part.decode("latin-1")) for part in _each(value)) else None


def features(_: Subject, value: bytes) -> bytes | None:
    """Recognizable Visual Features: YES. NO is a promise that nothing here can keep, whoever has made it."""
    return b"YES" if value.strip(b" \0") == b"YES" else None


def dates(subject: Subject, value: bytes) -> bytes | None:
    """``YYYYMMDD``, moved back."""
    moved = [_moved(part, subject.days) for part in _each(value)]
    return b"\\".join(part for part in moved if part) if all(moved) else None


def _moved(text: bytes, days: int) -> bytes | None:
    found = _DATE.fullmatch(text)
    if not found:
        return None
    try:
        day = date(int(found[1]), int(found[3]), int(found[4])) - timedelta(days)
    except (ValueError, OverflowError):
        return None
    return f"{day.year:04d}{day.month:02d}{day.day:02d}".encode()


def datetimes(subject: Subject, value: bytes) -> bytes | None:
    """``YYYYMMDD[HHMMSS.FFFFFF][&ZZXX]``, its day moved back."""
    moved = []
    for part in _each(value):
        found = _DATETIME.fullmatch(part)
        day = _moved(found[1], subject.days) if found else None
        if not found or not day:
            return None
        moved.append(day + (found[2] or b"") + (found[3] or b""))
    return b"\\".join(moved) or None


def times(_: Subject, value: bytes) -> bytes | None:
    """Times of day, as they are."""
    return value if all(_TIME.fullmatch(part) for part in _each(value)) else None


def age(_: Subject, value: bytes) -> bytes | None:
    """``nnnD``, ``nnnW``, ``nnnM`` or ``nnnY``; 90 years and over are one group."""
    found = _AGE.fullmatch(value.strip(b" \0"))
    if not found:
        return None
    years = found[2] == b"Y"
    if not years and int(found[1]) / {b"D": 365.25, b"W": 52.18, b"M": 12}[found[2]] >= 90:
        return b"090Y"
    return b"%03d%s" % (min(int(found[1]), 90) if years else int(found[1]), found[2])


def sex(_: Subject, value: bytes) -> bytes | None:
    """F, M or O."""
    return value.strip(b" \0") if value.strip(b" \0") in (b"F", b"M", b"O") else None


def text(subject: Subject, value: bytes) -> bytes | None:
    """A text as it is, unless one of its words names somebody."""
    return None if words(value) & subject.names else value


@cache
def _described() -> frozenset[bytes]:
    known = {word for term in vocabulary() for word in re.split("[ _]", term) if len(word) > 2 and word.isalpha()}
    return frozenset(word.lower().encode() for word in known | DESCRIPTION_WORDS)


RESCALE_TYPES = frozenset({b"OD", b"HU", b"US", b"MGML", b"Z_EFF", b"ED", b"EDW", b"HU_MOD", b"PCT"})


def rescale_type(_: Subject, value: bytes) -> bytes | None:
    """The unit of rescaled values (PS3.3 C.11.1.1.2): a long string by its VR, a closed list by its meaning."""
    return value if value.strip(b" \0") in RESCALE_TYPES else None


def description(subject: Subject, value: bytes) -> bytes | None:
    """The words of a text that are words of the standard's vocabulary or of imaging, and name nobody in this file."""
    known = _described()
    kept = [word for word in _WORD.findall(value) if word.lower() in known and word.lower() not in subject.names]
    return b" ".join(kept)[:64].strip() or None


@cache
def coded_words() -> frozenset[str]:
    """The words of descriptions, and of what the standard calls coded concepts (PS3.16), in lower case."""
    meanings = {word.lower() for meaning in set(_codes().values()) for word in re.findall("[A-Za-z]+", meaning)}
    return frozenset(meanings | {word.decode("ascii") for word in _described()})


def description_words(value: bytes) -> bool:
    """Whether a text holds nothing but words that a description keeps."""
    return {word.lower() for word in _WORD.findall(value)} <= _described()


def whole(width: int, most: int | None = None):  # type: ignore[no-untyped-def]  # a rule, like the ones above
    """Binary numbers of ``width`` bytes each, ``most`` bytes in all."""

    def rule(_: Subject, value: bytes) -> bytes | None:
        return value if len(value) % width == 0 and (most is None or len(value) <= most) else None

    return rule


@cache
def _codes() -> dict[tuple[str, str], str]:
    from pydicom.sr._concepts_dict import concepts
    from pydicom.sr._snomed_dict import mapping

    known = {
        (scheme, code): meaning
        for scheme, names in concepts.items()
        for codes in names.values()
        for code, (meaning, _) in codes.items()
    }
    old = {("SRT", code): known[("SCT", new)] for code, new in mapping["SRT"].items() if ("SCT", new) in known}
    return known | old


def code(scheme: bytes, value: bytes) -> bytes | None:
    """What the standard calls a coded concept, at most 64 characters; None when it does not know it."""
    meaning = _codes().get((scheme.strip(b" \0").decode("latin-1"), value.strip(b" \0").decode("latin-1")))
    return meaning.encode("ascii", "replace")[:64] if meaning else None
