"""The import statement: what crossed the border in a batch, under which profile, and the hash of every file.

A batch is an ordinal, never a date. It leaves two files under ``data/imports/``: ``0001.json``, the statement that a
data-protection officer reads, and ``0001.csv``, the manifest ``path,sha256`` by which ingest knows what came this way.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medimg.errors import DataError
from medimg.files import publish, sha256_file, write_json


@dataclass(frozen=True)
class Imported:
    """What the manifests of all batches under ``data/imports`` vouch for."""

    sha256: dict[str, str]
    """Path below data/, with forward slashes → SHA-256 of the file as it was written."""
    batch: dict[str, int]
    """Path below data/ → the ordinal of the import that wrote it last."""
    statements: list[dict[str, Any]]
    """The statements in order of batch."""


def next_batch(data: Path) -> int:
    """The ordinal of the next import into ``data``, from 1."""
    return max((int(path.stem) for path in (data / "imports").glob("*.json")), default=0) + 1


def write_batch(data: Path, batch: int, statement: dict[str, Any], paths: list[str]) -> None:
    """Write manifest, then statement, of a batch whose files (paths below ``data``) are in place.

    The statement comes last: a batch without one did not finish, and ``read_imports`` does not vouch for its files.
    """
    stem = data / "imports" / f"{batch:04d}"
    with publish(stem.with_suffix(".csv")) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["path", "sha256"])
        rows.writerows([path, sha256_file(data / path)] for path in sorted(paths))
    manifest = sha256_file(stem.with_suffix(".csv"))
    write_json(
        stem.with_suffix(".json"), statement | {"batch": batch, "files": len(paths), "manifest_sha256": manifest}
    )


def read_imports(data: Path) -> Imported:
    """Read every statement under ``data/imports`` and the manifest that it seals.

    Raises:
        DataError: a statement is damaged, or its manifest is missing or is not the one that it names.
    """
    imported = Imported({}, {}, [])
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
            for row in csv.DictReader(file):
                imported.sha256[row["path"]] = row["sha256"]
                imported.batch[row["path"]] = batch
        imported.statements.append(statement)
    return imported
