"""The import statement: what crossed the border in a batch, under which profile, and the hash of every file.

A batch is an ordinal, never a date. It leaves two files under ``data/imports/``: ``0001.json``, the statement that a
data-protection officer reads, and ``0001.csv``, the manifest ``path,sha256`` by which ingest knows what came this way.
"""

import csv
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from medimg.errors import DataError
from medimg.files import publish, sha256_file, write_json

Value = TypeVar("Value", str, int)


class _Column(Mapping[str, Value]):
    """A column of a table of paths on disk, in order of the paths: memory does not grow with the number of files."""

    def __init__(self, database: sqlite3.Connection, name: str) -> None:
        self._database, self._name = database, name

    def __getitem__(self, path: str) -> Value:
        found = self._rows("WHERE path = ?", path).fetchone()
        if found is None:
            raise KeyError(path)
        value: Value = found[1]
        return value

    def __iter__(self) -> Iterator[str]:
        return (path for path, _ in self._rows("ORDER BY path"))

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM vouched").fetchone()[0])

    def _rows(self, which: str, *values: str) -> sqlite3.Cursor:
        query = f"SELECT path, {self._name} FROM vouched {which}"  # noqa: S608  # words of our own
        return self._database.execute(query, values)


class Imported:
    """What the manifests of all batches under ``data/imports`` vouch for."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # a file that is gone when this is
        self._database.execute(
            "CREATE TABLE vouched (path TEXT PRIMARY KEY, sha256 TEXT, batch INTEGER, issuer TEXT) WITHOUT ROWID"
        )
        self.sha256: _Column[str] = _Column(self._database, "sha256")
        """Path below data/, with forward slashes → SHA-256 of the file as it was written."""
        self.batch: _Column[int] = _Column(self._database, "batch")
        """Path below data/ → the ordinal of the import that wrote it last."""
        self.statements: list[dict[str, Any]] = []
        """The statements in order of batch."""

    def add(self, statement: dict[str, Any], batch: int, rows: Iterable[tuple[str, str, str]]) -> None:
        """A statement, and path, SHA-256 and issuer of each file that its manifest names."""
        self.statements.append(statement)
        self._database.execute("BEGIN")
        self._database.executemany(
            "INSERT OR REPLACE INTO vouched VALUES (?, ?, ?, ?)",
            ((path, digest, batch, issuer) for path, digest, issuer in rows),
        )
        self._database.execute("COMMIT")

    def rows(self) -> Iterator[tuple[str, str, int]]:
        """Path, SHA-256 and batch, in order of the paths, in one pass."""
        yield from self._database.execute("SELECT path, sha256, batch FROM vouched ORDER BY path")

    def issuers(self) -> dict[str, set[str]]:
        """Patient → those who issued the PatientIDs of the patient's files; all of them pseudonyms."""
        found: dict[str, set[str]] = {}
        for path, issuer in self._database.execute("SELECT path, issuer FROM vouched WHERE issuer != ''"):
            found.setdefault(path.split("/")[1], set()).add(issuer)
        return found


def next_batch(data: Path) -> int:
    """The ordinal of the next import into ``data``, from 1."""
    return max((int(path.stem) for path in (data / "imports").glob("*.json")), default=0) + 1


def write_batch(
    data: Path, batch: int, statement: dict[str, Any], paths: list[str], issuers: Mapping[str, str] | None = None
) -> None:
    """Write manifest, then statement, of a batch whose files (paths below ``data``) are in place.

    ``issuers``: path → pseudonym of who issued the PatientID, where a header says it; a column of its own, if any does.
    The statement comes last: a batch without one did not finish, and ``read_imports`` does not vouch for its files.
    """
    stem = data / "imports" / f"{batch:04d}"
    with publish(stem.with_suffix(".csv")) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["path", "sha256", *(["issuer"] if issuers else [])])
        for path in sorted(paths):
            rows.writerow([path, sha256_file(data / path), *([issuers.get(path, "")] if issuers else [])])
    manifest = sha256_file(stem.with_suffix(".csv"))
    write_json(
        stem.with_suffix(".json"), statement | {"batch": batch, "files": len(paths), "manifest_sha256": manifest}
    )


def read_imports(data: Path) -> Imported:
    """Read every statement under ``data/imports`` and the manifest that it seals.

    Raises:
        DataError: a statement is damaged, or its manifest is missing or is not the one that it names.
    """
    imported = Imported()
    for path in sorted((data / "imports").glob("*.json")):
        manifest = path.with_suffix(".csv")
        try:
            statement = json.loads(path.read_text(encoding="utf-8"))
            batch, sealed = int(statement["batch"]), statement["manifest_sha256"]
        except (ValueError, KeyError, TypeError):
            sealed = None  # a damaged statement names no manifest
        if not manifest.is_file() or sha256_file(manifest) != sealed:
            raise DataError(
                f"The manifest {manifest} is not the one that its import statement names. "
                "Remove data/imports and import again."
            )
        with manifest.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            imported.add(statement, batch, ((row["path"], row["sha256"], row.get("issuer", "")) for row in rows))
    return imported
