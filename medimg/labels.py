"""data/labels.csv: who is in an image and what is the matter, by file, instance, series, study or patient."""

import csv
import difflib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from medimg.errors import LabelsError
from medimg.records import LABELS

KEYS = ("path", "instance", "series", "study", "patient")
"""Columns by which a row finds its images, the finest first."""

SAID = ("patient", "sex", "age", "site", "mask")
"""Columns beside the label that are read; empty cells are None."""

SEXES = {"f": "F", "female": "F", "w": "F", "m": "M", "male": "M", "o": "O", "other": "O"}
"""How tables write it, in small letters, and how DICOM does"""

SHOWN = 5
_PAGE = 1000

Said = dict[str, str | None]


class Labels:
    """The rows of a table of labels, kept on disk beyond a few megabytes: memory does not grow with them."""

    def __init__(self, key: str) -> None:
        """An empty table whose rows are found by ``key``, one of ``KEYS``."""
        self.key = key
        self.keyless = 0
        """rows that say something, but not about which image"""
        self._keyless_lines: list[int] = []
        self._used: list[tuple[str]] = []
        self._rows = sqlite3.connect("", isolation_level=None)  # a temporary file that ends with us
        self._rows.execute(
            "CREATE TABLE row (key TEXT PRIMARY KEY, line INTEGER, said TEXT, twice INTEGER, used INTEGER)"
        )

    def add(self, key: str, line: int, said: Said) -> None:
        """Enter a row that stands in ``line``; a second one with the same key must say the same."""
        self._rows.execute(
            "INSERT INTO row VALUES (?, ?, ?, 0, 0) "
            "ON CONFLICT (key) DO UPDATE SET twice = 1 WHERE said != excluded.said",
            [key, line, json.dumps(said, ensure_ascii=False)],
        )

    def add_keyless(self, line: int) -> None:
        """Count a row whose key is empty."""
        self.keyless += 1
        if len(self._keyless_lines) < SHOWN:
            self._keyless_lines.append(line)

    def keyless_names(self) -> list[str]:
        """The first of them."""
        return [f"line {line}" for line in self._keyless_lines]

    def of(self, key: str | None) -> Said:
        """What the table says of ``key``: columns of ``SAID`` and ``label``; empty for no row or contradicting ones."""
        found = self._rows.execute("SELECT said FROM row WHERE key = ? AND NOT twice", [key]).fetchone()
        if found is None:
            return {}
        self._used.append((str(key),))
        if len(self._used) >= _PAGE:
            self._note_used()
        said: Said = json.loads(found[0])
        return said

    def _note_used(self) -> None:
        """Write down which keys were asked for."""
        self._rows.executemany("UPDATE row SET used = 1 WHERE key = ? AND NOT used", self._used)
        self._used.clear()

    def masks(self) -> Iterator[str]:
        """Every path in the column ``mask``."""
        query = "SELECT DISTINCT json_extract(said, '$.mask') AS mask FROM row WHERE mask IS NOT NULL"
        yield from (path for (path,) in self._rows.execute(query))

    def count(self) -> int:
        """Rows, those with one key as one."""
        return int(self._rows.execute("SELECT count(*) FROM row").fetchone()[0]) + self.keyless

    def contradicting(self) -> Iterator[str]:
        """Keys whose rows say different things, in order of line."""
        yield from self._where("twice")

    def unused(self) -> Iterator[str]:
        """Keys that nobody has asked for, in order of line."""
        self._note_used()
        yield from self._where("NOT used AND NOT twice")

    def name(self, key: str) -> str:
        """A row for people to find: its path, or else its line, for an identifier may be a patient's."""
        if self.key == "path":
            return key
        line = self._rows.execute("SELECT line FROM row WHERE key = ?", [key]).fetchone()[0]
        return f"line {line}"

    def _where(self, condition: str) -> Iterator[str]:
        query = f"SELECT key FROM row WHERE {condition} ORDER BY line"  # noqa: S608  # words of our own
        yield from (key for (key,) in self._rows.execute(query))


def read_labels(
    label: str | tuple[str, ...] | None,
    key: str = "auto",
    contradictions: Literal["refuse", "drop"] = "refuse",
    path: Path = LABELS,
) -> Labels:
    """Read a table of labels: CSV in UTF-8, a row of column names first.

    The label is the text in the column; of several columns, a JSON object of column and text, or null where the cell is
    empty, and none where all are.

    Args:
        label: its column or columns; None: the label comes from elsewhere, and there may be no table.
        key: one of ``KEYS``, or auto: the first of them that is a column.
        contradictions: what to do when rows with one key say different things: refuse them all, or use neither.
        path: the file.

    Raises:
        LabelsError: the file or a column is missing, no column tells whose row it is, or rows contradict each other.
    """
    wanted = () if label is None else (label,) if isinstance(label, str) else label
    if label is None and not path.exists():
        return Labels("path")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.reader(file, strict=True)
            columns = [name.strip() for name in next(table, [])]
            labels = Labels(_key(path, columns, wanted, key))
            for cells in table:
                if len(cells) > len(columns):
                    raise LabelsError(f"{path}: line {table.line_num} has more cells than there are columns.")
                values = dict(zip(columns, (cell.strip() or None for cell in cells), strict=False))
                name = values.get(labels.key)
                if name is not None:
                    said = {column: values.get(column) for column in SAID}
                    said["sex"] = SEXES.get((said["sex"] or "").lower())
                    labels.add(name, table.line_num, said | {"label": _label(label, values)})
                elif any(values.values()):
                    labels.add_keyless(table.line_num)
    except FileNotFoundError:
        raise LabelsError(
            f"There is no {path}. It needs one row an image, with the columns path (below data/), patient and "
            f"{', '.join(wanted)}. Bring it in with: medimg import IMAGES --labels ../labels.csv"
        ) from None
    except (csv.Error, UnicodeDecodeError):
        raise LabelsError(f"{path} is not a CSV table in UTF-8 with a row of column names first.") from None
    _check_contradictions(path, labels, contradictions)
    return labels


def first(names: Iterator[str]) -> list[str]:
    """The first few, to be shown."""
    return [name for name, _ in zip(names, range(SHOWN), strict=False)]


def _key(path: Path, columns: list[str], wanted: tuple[str, ...], key: str) -> str:
    if not columns:
        raise LabelsError(f"{path} is not a CSV table in UTF-8 with a row of column names first.")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise LabelsError(f"{path} has more than one column {', '.join(twice)}. Leave one of each.")
    if len(columns) == 1 and any(sign in columns[0] for sign in ";\t"):
        raise LabelsError(
            f"{path} separates its cells by semicolons or tabs. It needs commas; medimg import takes all three, and "
            "writes commas."
        )
    for column in wanted:
        if column not in columns:
            near = difflib.get_close_matches(column, columns, n=1, cutoff=0.6)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise LabelsError(
                f"{path} has no column {column!r}, which study.label in params.yaml names. "
                f"Its columns are: {', '.join(columns)}.{hint}"
            )
    keys = [name for name in KEYS if name in columns and key in ("auto", name)]
    if not keys:
        asked = f"the column {key}, which ingest.labels_key names" if key != "auto" else f"a column {' or '.join(KEYS)}"
        raise LabelsError(f"{path} needs {asked}, to tell which image a row is about.")
    return keys[0]


def _label(label: str | tuple[str, ...] | None, values: Said) -> str | None:
    if label is None or isinstance(label, str):
        return values.get(label) if label else None
    cells = {column: values.get(column) for column in label}
    return json.dumps(cells, ensure_ascii=False) if any(cells.values()) else None


def _check_contradictions(path: Path, labels: Labels, policy: str) -> None:
    names = first(labels.name(key) for key in labels.contradicting())
    if names and policy == "refuse":
        count = sum(1 for _ in labels.contradicting())
        raise LabelsError(
            f"{path} has {count} values of {labels.key!r} with rows that contradict each other: "
            f"{', '.join(names)}{', …' if count > len(names) else ''}. Leave one row for each, or set "
            "ingest.contradicting_rows: drop to use none of them."
        )
