"""The hospital's table of labels, and what of it crosses the border into data/labels.csv."""

import csv
import io
import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medimg.border.identity import SiteKey
from medimg.border.naming import is_identifying, is_plain
from medimg.errors import LabelsError
from medimg.labels import SEXES

FIXED = ("path", "patient", "sex", "age", "site")
MASK = "mask"
"""The column that names an image's mask: a file of the source here, a path below data/ once it has crossed."""
KEYS = ("path", "instance", "series", "study", "accession", "patient")
"""What a row can be about, the most exact first: a file, what DICOM calls an instance, series or study, a person."""
_ALIASES = {
    **dict.fromkeys(("patient_id", "patientid", "mrn"), "patient"),
    **dict.fromkeys(("accession_number", "accessionnumber"), "accession"),
    **{f"{kind}instanceuid": kind for kind in ("series", "study")},
    "sopinstanceuid": "instance",
}
FILE_NAMES = (
    *("file", "filename", "file_name", "filepath", "file_path"),
    *("image", "image_name", "image_path", "image_file", "datei", "dateiname"),
)
"""What a column of paths may be called too: it counts as ``path`` where no column is called so and it names files"""
CLASSES, _LENGTH = 20, 32
_SHOWN = 5
_NUMBER = re.compile(r"[+-]?[0-9]{1,3}([.,][0-9]{1,3})?")  # no year, no date
_WORD = re.compile(r"a+([_+-]a+)*([_+-]?[0-9]{1,2})?")  # where a stands for a letter


@dataclass(frozen=True)
class Row:
    """One row: identifiers as the hospital writes them, labels as text. Empty text where nothing stands."""

    patient: str = ""
    sex: str = ""
    age: str = ""
    site: str = ""
    mask: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """The rows by what they are about."""

    columns: list[str]
    """label columns, in the order of the file"""
    rows: dict[str, Row]
    key: str
    """one of ``KEYS``"""
    folders: str = ""
    """the label column that holds names of folders, if one does"""
    made: frozenset[str] = frozenset()
    """keys of rows that stand in no table, only for a file's folder"""
    keyless: int = 0
    """rows that say something, but not about whom"""

    @property
    def by_path(self) -> bool:
        """Whether a row is about a file, so that the header has no say in which row is whose."""
        return self.key == "path"

    def key_of(self, path: str, header: Mapping[str, str | None]) -> str | None:
        """Which row the file at ``path`` below SOURCE has, whose header holds these of ``KEYS``; None for none."""
        key = normal(path) if self.by_path else (header.get(self.key) or "").strip()
        return key if key in self.rows else None


def read_table(labels: Path, source: Path, files: Collection[str], keep: Collection[str] = ()) -> Table:
    """Read the hospital's table: UTF-8, separated by comma, semicolon or tab, a row of names first.

    Args:
        labels: the file.
        source: the folder of images.
        files: paths of its files below it, with forward slashes.
        keep: label columns that the user insists on.

    Raises:
        LabelsError: it is missing or no such table, names neither file nor patient, or rows contradict each other.
    """
    names, records = _records(labels)
    known = {name: _recognise(name) for name in names}
    there = {normal(path) for path in files}
    below = _below(labels, source)
    if "path" not in known.values():
        for place, name in enumerate(names):
            if name.lower() in FILE_NAMES and any(_locate(row[place], there, below) in there for _, row in records):
                known[name] = "path"
                break
    found = {known[name] for name in names}
    key = next((name for name in KEYS if name in found), "")
    if not key:
        raise LabelsError(
            f"{labels} needs a column path (the file below {source}), {', '.join(KEYS[1:-1])} or patient, to tell "
            f"which image a row is about. Its first row must hold the names of the columns; none of its {len(names)} "
            "cells is one of these."
        )
    columns = [name for name in names if known[name] not in (*FIXED, *KEYS, MASK)]
    missing = [name for name in keep if name not in columns]
    if missing:
        raise LabelsError(
            f"--keep {', '.join(missing)}: none of the {len(columns)} label columns of {labels} has that name. "
            "It must match exactly."
        )
    rows: dict[str, Row] = {}
    contradicted: dict[str, int] = {}
    keyless = 0
    for line, record in records:
        values = dict(zip((known[name] for name in names), record, strict=True))
        where = _locate(values["path"], there, below) if key == "path" else values[key]
        said = [values.get(name, "") for name in FIXED[1:]]
        mask = _locate(values.get(MASK, ""), there, below)
        row = Row(said[0], said[1], said[2], said[3], mask, {name: values[known[name]] for name in columns})
        keyless += not where
        if where and rows.setdefault(where, row) != row:
            contradicted.setdefault(where, line)
    if contradicted:
        raise LabelsError(
            f"{labels}: {len(contradicted)} values of {key} have rows that contradict each other "
            f"({_lines(contradicted.values())}, and one above each). Leave one row each."
        )
    return Table(columns, rows, key, keyless=keyless)


def _records(labels: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Column names, and the rows, stripped and as wide as the names, each with the line that it ends in."""
    try:
        text = labels.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise LabelsError(f"There is no {labels}. Name the table of labels with --labels.") from None
    except (OSError, UnicodeDecodeError):
        raise LabelsError(f"{labels} cannot be read as a table in UTF-8. Save it as CSV UTF-8.") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        reader = csv.reader(io.StringIO(text), delimiter=delimiter)
        records = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error:
        raise LabelsError(f"{labels} is not a CSV table.") from None
    records = [(line, row) for line, row in records if any(row)]
    if not records:
        raise LabelsError(f"{labels} is empty.")
    names = records[0][1]
    recognised = [_recognise(name) for name in names]
    if len(set(recognised)) < len(recognised) or not all(names):
        raise LabelsError(
            f"{labels} has a column without a name, or two of the same. "
            f"Its first row must hold the names of its {len(names)} columns."
        )
    uneven = [line for line, row in records[1:] if len(row) != len(names)]
    if uneven:
        raise LabelsError(
            f"{labels}: {len(uneven)} rows have more or fewer cells than the {len(names)} columns ({_lines(uneven)})."
        )
    return names, records[1:]


def keys_of(labels: Path) -> set[str]:
    """Which of ``KEYS`` a table has as columns, as far as their names say.

    Raises:
        LabelsError: it is no table.
    """
    names = _records(labels)[0]
    return {"path" if name.lower() in FILE_NAMES else _recognise(name) for name in names} & set(KEYS)


def _lines(numbers: Collection[int]) -> str:
    """The first of them, for people to find: what stands there may name a patient."""
    few = sorted(numbers)[:_SHOWN]
    return f"line{'s' * (len(few) > 1)} {', '.join(map(str, few))}{', …' * (len(numbers) > len(few))}"


def _recognise(name: str) -> str:
    lower = name.strip().lower()
    lower = _ALIASES.get(lower, lower)
    return lower if lower in (*FIXED, *KEYS, MASK) else name


def normal(path: str) -> str:
    """A path as the hospital or its table may write it, in one form."""
    path = unicodedata.normalize("NFC", path.replace("\\", "/"))
    while path.startswith("./"):
        path = path[2:]
    return path


def _below(labels: Path, source: Path) -> str | None:
    """How SOURCE is called from the table's folder, as a prefix; None when it lies elsewhere."""
    try:
        return normal(source.resolve().relative_to(labels.resolve().parent).as_posix()) + "/"
    except ValueError:
        return None


def _locate(path: str, there: set[str], below: str | None) -> str:
    """A path of the table as a path below SOURCE: it may start there or at the table's folder."""
    path = normal(path)
    if path not in there and below and path.startswith(below):
        return path[len(below) :]
    return path


def is_class(value: str) -> bool:
    """Whether a value may name a class: a small number, or one word of any script with at most two digits at its end.

    The word's parts may be joined by ``_``, ``+`` or ``-``. Years, dates and two words are none.
    """
    shape = "".join("a" if unicodedata.category(sign)[0] in "LM" else sign for sign in value)
    return len(value) <= _LENGTH and bool(_NUMBER.fullmatch(value) or _WORD.fullmatch(shape))


def choose(
    columns: Iterable[str], rows: list[dict[str, str]], forced: Collection[str], named: Collection[str] = ()
) -> tuple[list[str], list[str]]:
    """Which label columns cross: those that look like classes, each shared by several patients, and those forced.

    Their names cross with them, so these must be plain, and nobody's.

    Args:
        columns: the candidates.
        rows: values by column, with ``patient``.
        forced: columns to keep without a look.
        named: columns that are called as somebody is in these data.

    Returns:
        columns kept, columns dropped, both in the order given.
    """
    patients = len({row["patient"] for row in rows})
    kept: list[str] = []
    dropped: list[str] = []
    for column in columns:
        holders: dict[str, set[str]] = {}
        for row in rows:
            holders.setdefault(row.get(column, ""), set()).add(row["patient"])
        holders.pop("", None)
        classes = (
            len(holders) <= CLASSES
            and 2 * len(holders) <= patients
            and all(is_class(value) and len(who) >= 2 for value, who in holders.items())
            and is_plain(column)
            and not is_identifying(column)
            and column not in named
        )
        (kept if classes or column in forced else dropped).append(column)
    return kept, dropped


def crossing(row: Row, patient: str, site: str, mask: str, key: SiteKey) -> dict[str, str]:
    """The cells of a row as they cross: sex as F, M or O, age in years with 90 for 90 and over.

    ``patient``, ``site`` and ``mask`` are pseudonyms; a site that the row names wins over the header's.
    """
    return row.labels | {
        "patient": patient,
        "sex": SEXES.get(row.sex.lower(), ""),
        "age": _age(row.age),
        "site": key.site(row.site) if row.site else site,
        MASK: mask,
    }


def _age(text: str) -> str:
    try:
        years = float(text.upper().removesuffix("Y").replace(",", "."))
    except ValueError:
        return ""
    if not math.isfinite(years) or not 0 <= years <= 150:
        return ""
    return str(min(int(years), 90)) if years >= 2 else f"{years:.2f}".rstrip("0").rstrip(".")


def read_written(path: Path) -> tuple[list[str], dict[str, dict[str, str]]]:
    """The columns and rows (by path) of a data/labels.csv that an import wrote; nothing when there is none yet.

    Raises:
        LabelsError: another hand wrote it.
    """
    if not path.is_file():
        return [], {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        names = list(reader.fieldnames or [])
        rows = list(reader)
    if tuple(names[:5]) != FIXED or any(None in row or None in row.values() for row in rows):
        raise LabelsError(f"{path} was not written by an import. Move it away, or import into another folder.")
    return [name for name in names[5:] if name != MASK], {row["path"]: row for row in rows}


def render(columns: list[str], rows: dict[str, dict[str, str]]) -> str:
    """The text of data/labels.csv: one row an image, sorted by path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [*([MASK] if any(row.get(MASK) for row in rows.values()) else []), *columns]
    writer.writerow([*FIXED, *columns])
    for path in sorted(rows):
        row = rows[path] | {"path": path}
        writer.writerow([row.get(name, "") for name in (*FIXED, *columns)])
    return text.getvalue()
