"""Every file under data/ is indexed, is not an image, or is quarantined with a reason: none is lost in between."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from medimg.border.statement import Imported, read_imports
from medimg.errors import DataError, LabelsError, NotAnImage, Refusal
from medimg.files import sha256, sha256_file, write_json
from medimg.labels import Labels, read_labels
from medimg.params import Ingest
from medimg.records import (
    DATA,
    IMPORTS,
    INDEX,
    INDEX_SCHEMA,
    INGEST,
    LABELS,
    QUARANTINE,
    QUARANTINE_COLUMNS,
    write_csv,
    write_table,
)
from medimg.work import Failure, over

Row = dict[str, Any]


@dataclass
class Account:
    """Where each file seen has gone."""

    rows: list[Row] = field(default_factory=list)
    not_images: list[str] = field(default_factory=list)
    refused: list[tuple[str, str, str]] = field(default_factory=list)
    """path, code, detail"""


def ingest(label: str, settings: Ingest) -> None:
    """Read ``data/`` into ``artifacts/index.parquet``, ``quarantine.csv`` and ``ingest.json``.

    Args:
        label: the column of labels.csv that the study is about.
        settings: the block ``ingest`` of params.yaml.

    Raises:
        DataError: there is nothing to read, files that no import vouches for, or too many refused.
        LabelsError: labels.csv cannot be used, or too many images have no label.
    """
    paths = list(_files(DATA))
    labels = read_labels(label)
    imported = read_imports(DATA)
    account = _read(paths)
    unverified = _unverified(account, imported, settings)
    _refuse_contradictions(account)
    _attach(account, labels, imported)
    table = pd.DataFrame(account.rows, columns=INDEX_SCHEMA.names).sort_values("sample", ignore_index=True)
    summary = _summary(paths, account, table, labels, unverified) | {"refused_at_import": _at_the_border(imported)}
    _check_shares(summary, settings, label)
    write_table(INDEX, table, INDEX_SCHEMA)
    refused = pd.DataFrame(sorted(account.refused), columns=QUARANTINE_COLUMNS)
    write_csv(QUARANTINE, refused, QUARANTINE_COLUMNS)
    write_json(INGEST, summary)
    print(sentence(summary))


def sentence(summary: dict[str, Any]) -> str:
    """The account of ``ingest.json`` in words."""
    reasons = ", ".join(f"{count} {code}" for code, count in summary["by_code"].items())
    return (
        f"{summary['seen']} files: {summary['indexed_files']} indexed ({summary['patients']} patients), "
        f"{summary['not_an_image']} not images, {summary['quarantined']} quarantined{f' ({reasons})' * bool(reasons)}; "
        f"{summary['unlabelled']} images without a label"
    )


def read_sample(path: str) -> Row | None:
    """Read one file below data/: its row of the index without label and import, or None for a file that is no image.

    Raises:
        ImageError: the file cannot be used.
    """
    from medimg.images import pixel_sha256, read

    try:
        image = read(DATA / path)
    except NotAnImage:
        return None
    return asdict(image.facts) | {
        "sample": sha256(path.encode())[:16],
        "path": path,
        "file_sha256": sha256_file(DATA / path),
        "pixel_sha256": pixel_sha256(image.pixels),
    }


def _files(data: Path) -> Iterator[str]:
    """Paths below ``data``, sorted, without labels.csv and the statements of imports.

    Raises:
        DataError: the folder is missing or holds no file.
    """
    found = False
    for folder, folders, names in os.walk(data):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path != LABELS and path.parent != IMPORTS:
                found = True
                yield path.relative_to(data).as_posix()
    if not found:
        what = "is empty" if data.is_dir() else "does not exist"
        raise DataError(
            f"{data}/ {what}. Bring images in with: medimg import IMAGES --labels labels.csv "
            "(or write the demo study with: medimg demo)"
        )


def _read(paths: list[str]) -> Account:
    account = Account()
    for path, result in over(read_sample, paths):
        if isinstance(result, Failure):
            account.refused.append((path, result.code.value, result.detail))
        elif result is None:
            account.not_images.append(path)
        else:
            account.rows.append(result)
    account.rows.sort(key=lambda row: str(row["path"]))
    return account


def _unverified(account: Account, imported: Imported, settings: Ingest) -> int:
    """How many files no import vouches for.

    Raises:
        DataError: there are some, and the parameters do not allow them.
    """
    hashes = {row["path"]: row["file_sha256"] for row in account.rows}
    others = [*account.not_images, *(path for path, _, _ in account.refused), LABELS.name]
    hashes |= {path: _hash(DATA / path) for path in others}
    unverified = [path for path, found in hashes.items() if found is None or imported.sha256.get(path) != found]
    if unverified and not settings.allow_unverified:
        raise DataError(
            f"{len(unverified)} of {len(hashes)} files under {DATA}/ did not come through an import, or were changed "
            f"since (labels.csv is {'one of them' if LABELS.name in unverified else 'not among them'}). What did not "
            "cross the border may show who a patient is. Import it: medimg import IMAGES --labels labels.csv. "
            "If you know that it holds nobody's name, set ingest.allow_unverified: true; the report will say so."
        )
    return len(unverified)


def _refuse_contradictions(account: Account) -> None:
    """Two files that claim to be the same SOP instance and show different pixels: neither can be trusted."""
    by_instance: dict[str, list[Row]] = {}
    for row in account.rows:
        by_instance.setdefault(row["instance"] or row["path"], []).append(row)
    for twins in by_instance.values():
        if len({row["pixel_sha256"] for row in twins}) > 1:
            _refuse(account, twins, Refusal.CONFLICT, "another file has the same SOP instance UID and other pixels")


def _hash(path: Path) -> str | None:
    try:
        return sha256_file(path)
    except OSError:  # it is quarantined for that already
        return None


def _refuse(account: Account, rows: list[Row], code: Refusal, detail: str) -> None:
    for row in rows:
        account.rows.remove(row)
        account.refused.append((row["path"], code.value, detail))


def _attach(account: Account, labels: Labels, imported: Imported) -> None:
    for row in list(account.rows):
        said = labels.of(row["path"], row["patient"])
        patients = {patient for patient in (row["patient"], said.get("patient")) if patient}
        if len(patients) > 1:
            _refuse(account, [row], Refusal.CONFLICT, "its header and labels.csv name different patients")
            continue
        row["patient"] = patients.pop() if patients else None
        row["label"] = said.get("label")
        row["batch"] = imported.batch.get(row["path"])
        for name in ("sex", "site"):
            row[name] = said.get(name) or row[name]
        row["age"] = _age(said.get("age"), row["age"])


def _age(said: str | None, header: float | None) -> float | None:
    if said is None:
        return header
    try:
        return float(said)
    except ValueError:
        raise LabelsError(f"{LABELS} has an age that is not a number of years. Ages are numbers, such as 63.") from None


def _summary(
    paths: list[str], account: Account, table: pd.DataFrame, labels: Labels, unverified: int
) -> dict[str, Any]:
    keys = set(table["path"] if labels.by_path else table["patient"].dropna())
    refused = {path for path, _, _ in account.refused}
    summary: dict[str, Any] = {
        "seen": len(paths),
        "indexed_files": len(table),
        "not_an_image": len(account.not_images),
        "quarantined": len(account.refused),
        "by_code": dict(sorted(Counter(code for _, code, _ in account.refused).items())),
        "patients": int(table["patient"].nunique()),
        "sites": {str(site): int(n) for site, n in table["site"].value_counts().sort_index().items()},
        "unlabelled": int(table["label"].isna().sum()),
        "labels_without_image": len(set(labels.table.index) - keys - refused),
        "unverified": unverified,
    }
    assert summary["seen"] == summary["indexed_files"] + summary["not_an_image"] + summary["quarantined"]
    return summary


def _at_the_border(imported: Imported) -> dict[str, int]:
    """Files that imports refused, by code, over all batches."""
    refused: Counter[str] = Counter()
    for statement in imported.statements:
        refused.update(statement.get("refused", {}))
    return dict(sorted(refused.items()))


def _check_shares(summary: dict[str, Any], settings: Ingest, label: str) -> None:
    images = summary["indexed_files"] + summary["quarantined"]
    if not images:
        raise DataError(f"None of the {summary['seen']} files under {DATA}/ is an image that medimg can read.")
    if summary["quarantined"] > settings.max_quarantined * images:
        reasons = ", ".join(f"{count} {code}" for code, count in summary["by_code"].items())
        raise DataError(
            f"{summary['quarantined']} of {images} images cannot be used ({reasons}): more than the share "
            f"{settings.max_quarantined:g} that ingest.max_quarantined allows. Mend or remove them, or raise the limit."
        )
    if summary["unlabelled"] > settings.max_unlabelled * max(summary["indexed_files"], 1):
        raise LabelsError(
            f"{summary['unlabelled']} of {summary['indexed_files']} images have no value in column {label!r} of "
            f"{LABELS}: more than the share {settings.max_unlabelled:g} that ingest.max_unlabelled allows. Rows are "
            f"matched by path below {DATA}/ (or by patient); {summary['labels_without_image']} rows match no image."
        )
