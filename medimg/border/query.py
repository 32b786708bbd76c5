"""What to ask a PACS for: filters, as the user gives them, never shown again.

A value that can identify somebody (a patient's id, an accession number) is read from a file, since everybody on the
machine can see a command line. What the PACS answers is held against the filters once more: some ignore what they do
not know, and would give all they have.
"""

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medimg.errors import BorderError

STUDY = frozenset(
    [
        *("StudyDate", "ModalitiesInStudy", "StudyDescription", "AccessionNumber", "PatientID", "PatientBirthDate"),
        *("PatientSex", "StudyInstanceUID", "StudyID"),
    ]
)
SERIES = frozenset(["Modality", "SeriesInstanceUID", "SeriesDescription", "SeriesNumber", "BodyPartExamined"])
OPEN = frozenset(
    [
        *("StudyDate", "ModalitiesInStudy", "StudyDescription", "PatientSex", "Modality", "SeriesDescription"),
        *("SeriesNumber", "BodyPartExamined"),
    ]
)
"""What may stand on a command line."""
_DATE = re.compile(r"\d{8}|\d{8}-(\d{8})?|-\d{8}")
Answer = dict[str, list[str]]
"""Keyword → the values that the PACS gives; no key where it says nothing."""


@dataclass(frozen=True, repr=False)
class Query:
    """Filters, and at most one of them with a list of values."""

    filters: dict[str, str]
    listed: str | None = None
    values: tuple[str, ...] = ()

    def studies(self) -> Iterator[dict[str, str]]:
        """The filters of each question about studies."""
        own = {key: value for key, value in self.filters.items() if key in STUDY}
        if self.listed in STUDY:
            return (own | {str(self.listed): value} for value in self.values)
        return iter([own])

    def series(self) -> list[dict[str, str]]:
        """The filters of each question about the series of one study."""
        own = {key: value for key, value in self.filters.items() if key in SERIES}
        return [own | {str(self.listed): value} for value in self.values] if self.listed in SERIES else [own]


def parse(filters: list[str]) -> Query:
    """Read ``KEY=VALUE`` and ``KEY=@FILE``.

    Raises:
        BorderError: there is none, one is not known, cannot be read, or does not belong on a command line. The message
            holds no value.
    """
    literal: dict[str, str] = {}
    listed: dict[str, tuple[str, ...]] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        if key not in STUDY | SERIES or not equals:
            raise BorderError(
                f"--filter takes KEY=VALUE or KEY=@FILE; KEY is one of {', '.join(sorted(STUDY | SERIES))}."
            )
        if key in literal or key in listed:
            raise BorderError(f"--filter {key} is given twice. Put its values into a file, one a line: {key}=@FILE")
        if value.startswith("@"):
            listed[key] = _lines(Path(value[1:]), key)
        elif key not in OPEN:
            raise BorderError(
                f"--filter {key}: the value can identify somebody, and everybody on this machine sees a command line. "
                f"Write it into a file, one a line: {key}=@FILE"
            )
        else:
            literal[key] = _literal(key, value)
    if len(listed) > 1:
        raise BorderError("Only one --filter can take its values from a file.")
    if not literal and not listed:
        raise BorderError("Without a --filter the whole PACS would be imported. Say which studies: --filter KEY=VALUE")
    name, values = next(iter(listed.items()), (None, ()))
    return Query(literal, name, values)


def _literal(key: str, value: str) -> str:
    if key == "StudyDate" and not _DATE.fullmatch(value):
        raise BorderError(
            "--filter StudyDate takes YYYYMMDD or a range YYYYMMDD-YYYYMMDD, open at one end if you like."
        )
    if not value.strip("*? ") or "\\" in value or not value.isprintable():
        raise BorderError(f"--filter {key}: the value is empty, or matches everything.")
    return value


def _lines(path: Path, key: str) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise BorderError(f"--filter {key}: the file cannot be read as a list in UTF-8, one value a line.") from None
    values = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not values:
        raise BorderError(f"--filter {key}: the file holds no value.")
    odd = sum(bool(re.search(r"[*?\\]", value)) or not value.isprintable() or len(value) > 64 for value in values)
    if odd:
        raise BorderError(
            f"--filter {key}: {odd} lines of the file hold a wildcard, a backslash, or over 64 characters."
        )
    return values


def fits(answer: Answer, filters: dict[str, str], where: str) -> bool:
    """Whether an answer is what the filters ask for.

    Raises:
        BorderError: the PACS does not say, so that it cannot be told.
    """
    unsaid = [key for key in filters if key not in answer]
    if unsaid:
        raise BorderError(
            f"{where} does not say {', '.join(unsaid)} of what it found, so it may have ignored this filter and found "
            "everything. Use another filter."
        )
    return all(any(_fits(key, said, wanted) for said in answer[key] or [""]) for key, wanted in filters.items())


def _fits(key: str, said: str, wanted: str) -> bool:
    if key == "StudyDate" and "-" in wanted:
        first, _, last = wanted.partition("-")
        return (first or "0") <= said <= (last or "9")
    if key not in OPEN:
        return said.strip() == wanted
    pattern = wanted.strip().replace("[", "[[]").upper()
    return fnmatch.fnmatchcase(said.strip().upper(), pattern)
