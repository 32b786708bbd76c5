"""The hospital's table of labels, and what of it crosses the border into data/labels.csv."""

import csv
import io
import math
import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from medimg.border.identity import SiteKey
from medimg.errors import LabelsError

FIXED = ("path", "patient", "sex", "age", "site")
_ALIASES = {"patient_id": "patient", "patientid": "patient"}
_CLASSES, _LENGTH = 20, 32
_NUMBER = re.compile(r"[+-]?[0-9]{1,3}([.,][0-9]{1,3})?")  # no year, no date
_WORD = re.compile(r"a+([_+-]a+)*([_+-]?[0-9]{1,2})?")  # where a stands for a letter
_SEXES = {"f": "F", "female": "F", "w": "F", "m": "M", "male": "M", "o": "O", "other": "O"}

# Words of a column's name that speak of a person or of a day, in English, German, French and Spanish, without accents;
# whole, or (those that hardly stand there by chance) inside another word
_IDENTIFYING = frozenset(
    [
        *("accession", "address", "author", "birth", "city", "comment", "date", "day", "dob", "doctor", "email", "id"),
        *("ids", "initials", "insurance", "mail", "mrn", "name", "nhs", "note", "notes", "operator", "phone"),
        *("physician", "postcode", "radiologist", "reader", "reporter", "ssn", "street", "technician", "tel"),
        *("telephone", "time", "uid", "zip", "studyid", "caseid", "imageid", "subjectid", "fileid", "file"),
        *("clinician", "consultant", "nurse", "referrer", "referring", "remark", "remarks", "surgeon"),
        *("befunder", "fallnummer", "geb", "geboren", "initialen", "kuerzel", "kurzel", "notiz", "notizen", "ort"),
        *("patientennummer", "plz", "radiologe", "uhrzeit", "untersucher", "wohnort", "zeit", "zuweiser"),
        *("docteur", "heure", "jour", "nom", "noms", "observations", "prenom", "prenoms", "rue", "ville"),
        *("calle", "ciudad", "correo", "dni", "doctora", "hora", "medica", "medico", "nota", "notas", "observaciones"),
    ]
)
_INSIDE = (
    *("accession", "address", "birth", "comment", "mail", "name", "phone", "physician", "insurance"),
    *("adress", "aerzt", "anmerkung", "anschrift", "arzt", "bemerkung", "datum", "geburt", "kommentar", "strasse"),
    *("telefon", "versicher", "medecin", "naissance", "remarque"),
    *("apellido", "comentario", "direccion", "fecha", "nacimiento", "nombre"),
)


@dataclass(frozen=True)
class Row:
    """One row: identifiers as the hospital writes them, labels as text. Empty text where nothing stands."""

    patient: str = ""
    sex: str = ""
    age: str = ""
    site: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass
class Table:
    """The rows by file or by patient, and which of them an image has matched."""

    columns: list[str]
    """label columns, in the order of the file"""
    rows: dict[str, Row]
    by_path: bool
    matched: set[str] = field(default_factory=set)

    def of(self, path: str, patient: str | None) -> Row | None:
        """The row of the file at ``path`` below SOURCE, whose header names ``patient``; None for none."""
        key = _normal(path) if self.by_path else (patient or "").strip()
        if key not in self.rows:
            return None
        self.matched.add(key)
        return self.rows[key]


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
    found = {known[name] for name in names}
    key = "path" if "path" in found else "patient"
    if key not in found:
        raise LabelsError(
            f"{labels} needs a column path (the file below {source}) or patient, to tell which image a row is about. "
            f"Its first row must hold the names of the columns; none of its {len(names)} cells is one of these two."
        )
    columns = [name for name in names if known[name] not in FIXED]
    missing = [name for name in keep if name not in columns]
    if missing:
        raise LabelsError(
            f"--keep {', '.join(missing)}: none of the {len(columns)} label columns of {labels} has that name. "
            "It must match exactly."
        )
    rows: dict[str, Row] = {}
    contradicted = set()
    there = {_normal(path) for path in files}
    below = _below(labels, source)
    for record in records:
        values = dict(zip((known[name] for name in names), record, strict=True))
        where = _locate(values["path"], there, below) if key == "path" else values["patient"]
        said = [values.get(name, "") for name in FIXED[1:]]
        row = Row(said[0], said[1], said[2], said[3], {name: values[known[name]] for name in columns})
        if where and rows.setdefault(where, row) != row:
            contradicted.add(where)
    if contradicted:
        raise LabelsError(
            f"{labels}: {len(contradicted)} values of {key} have rows that contradict each other. Leave one row each."
        )
    return Table(columns, rows, by_path=key == "path")


def _records(labels: Path) -> tuple[list[str], list[list[str]]]:
    """Column names, and the rows, stripped and as wide as the names."""
    try:
        text = labels.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise LabelsError(f"There is no {labels}. Name the table of labels with --labels.") from None
    except (OSError, UnicodeDecodeError):
        raise LabelsError(f"{labels} cannot be read as a table in UTF-8. Save it as CSV UTF-8.") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        records = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter)]
    except csv.Error:
        raise LabelsError(f"{labels} is not a CSV table.") from None
    records = [row for row in records if any(row)]
    if not records:
        raise LabelsError(f"{labels} is empty.")
    names = records[0]
    recognised = [_recognise(name) for name in names]
    if len(set(recognised)) < len(recognised) or not all(names):
        raise LabelsError(
            f"{labels} has a column without a name, or two of the same. "
            f"Its first row must hold the names of its {len(names)} columns."
        )
    uneven = sum(len(row) != len(names) for row in records[1:])
    if uneven:
        raise LabelsError(f"{labels}: {uneven} rows have more or fewer cells than the {len(names)} columns.")
    return names, records[1:]


def _recognise(name: str) -> str:
    lower = name.strip().lower()
    lower = _ALIASES.get(lower, lower)
    return lower if lower in FIXED else name


def _normal(path: str) -> str:
    path = unicodedata.normalize("NFC", path.replace("\\", "/"))
    while path.startswith("./"):
        path = path[2:]
    return path


def _below(labels: Path, source: Path) -> str | None:
    """How SOURCE is called from the table's folder, as a prefix; None when it lies elsewhere."""
    try:
        return _normal(source.resolve().relative_to(labels.resolve().parent).as_posix()) + "/"
    except ValueError:
        return None


def _locate(path: str, there: set[str], below: str | None) -> str:
    """A path of the table as a path below SOURCE: it may start there or at the table's folder."""
    path = _normal(path)
    if path not in there and below and path.startswith(below):
        return path[len(below) :]
    return path


def is_identifying(column: str) -> bool:
    """Whether a column's name sounds as if it held a person's data."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", column) if not unicodedata.combining(sign))
    parts = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain).casefold())
    return any(part in _IDENTIFYING or any(word in part for word in _INSIDE) for part in parts)


def is_class(value: str) -> bool:
    """Whether a value may name a class: a small number, or one word of any script with at most two digits at its end.

    The word's parts may be joined by ``_``, ``+`` or ``-``. Years, dates and two words are none.
    """
    shape = "".join("a" if unicodedata.category(sign)[0] in "LM" else sign for sign in value)
    return len(value) <= _LENGTH and bool(_NUMBER.fullmatch(value) or _WORD.fullmatch(shape))


def choose(columns: Iterable[str], rows: list[dict[str, str]], forced: Collection[str]) -> tuple[list[str], list[str]]:
    """Which label columns cross: those that look like classes, each shared by several patients, and those forced.

    Args:
        columns: the candidates.
        rows: values by column, with ``patient``.
        forced: columns to keep without a look.

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
            len(holders) <= _CLASSES
            and 2 * len(holders) <= patients
            and all(is_class(value) and len(who) >= 2 for value, who in holders.items())
            and not is_identifying(column)
        )
        (kept if classes or column in forced else dropped).append(column)
    return kept, dropped


def crossing(row: Row, patient: str, site: str | None, key: SiteKey) -> dict[str, str]:
    """The cells of a row as they cross: pseudonyms, sex as F, M or O, age in years with 90 for 90 and over."""
    place = row.site or site or ""
    return row.labels | {
        "patient": patient,
        "sex": _SEXES.get(row.sex.lower(), ""),
        "age": _age(row.age),
        "site": key.site(place) if place else "",
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
    return names[5:], {row["path"]: row for row in rows}


def render(columns: list[str], rows: dict[str, dict[str, str]]) -> str:
    """The text of data/labels.csv: one row an image, sorted by path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FIXED, *columns])
    for path in sorted(rows):
        row = rows[path] | {"path": path}
        writer.writerow([row.get(name, "") for name in (*FIXED, *columns)])
    return text.getvalue()
