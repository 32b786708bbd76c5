"""Files that are images become samples: each its own, each frame, or each volume of a series; copies are one."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby

from medimg.errors import Refusal
from medimg.files import sha256, sha256_json
from medimg.images.headers import from_text
from medimg.images.series import Plan
from medimg.images.series import assemble as volumes_of
from medimg.ingest.account import Account
from medimg.ingest.found import Row
from medimg.params import Ingest

Sample = tuple[Row, list[str]]
"""The row of a sample, without labels, and its files"""

_SERIES = ("patient", "study", "series")


def assemble(account: Account, settings: Ingest) -> Iterator[Sample]:
    """Yield each sample's row, without labels, and its files; what cannot become one is refused on the way.

    Several files of one SOP instance with the same pixels are one sample. Two files that claim to be the same instance
    and show different pixels, or different patients: neither can be trusted, both are refused. Samples that share a
    file are refused together: a file is used whole or not at all.
    """
    for row, paths in _volumes(account, settings) if settings.sample == "volume" else _images(account):
        if account.any_refused(paths):
            detail = "it shares a file with a sample that is refused"
            account.refuse_sample(account.add(row, paths), Refusal.CONFLICT, detail)
        else:
            yield row, paths


def _instances(account: Account) -> Iterator[Sample]:
    """Files of one SOP instance, sorted, and the row of the first; those that contradict each other are refused."""
    for _, group in groupby(account.images(), key=lambda image: image[1]["instance"] or image[0]):
        twins = list(group)
        paths = [path for path, _ in twins]
        rows = [row for _, row in twins]
        if len({row["pixel_sha256"] for row in rows}) > 1:
            account.refuse(paths, Refusal.CONFLICT, "another file has the same SOP instance UID and other pixels")
        elif len({row["patient"] for row in rows}) > 1:
            account.refuse(paths, Refusal.CONFLICT, "another file has the same SOP instance UID, another patient")
        else:
            yield rows[0], paths


def _images(account: Account) -> Iterator[Sample]:
    """Each image, or each frame of a file of several; of copies, the first by path speaks."""
    for found, paths in _instances(account):
        frames = found.get("seen") or []
        row = found | {"path": paths[0], "files": len(paths)}
        for name in ("header", "seen"):
            row.pop(name, None)
        if len(frames) <= 1:
            yield row, paths
            continue
        for frame, seen in enumerate(frames):
            name = sha256(f"{paths[0]}#{frame}".encode())[:16]
            yield row | seen | {"sample": name, "frame": frame, "frames": 1}, paths


def _volumes(account: Account, settings: Ingest) -> Iterator[Sample]:
    """The volumes of each series."""
    copies: dict[str, list[str]] = {}  # of files that are one instance: for the first all of them, for the others none
    for _, paths in _instances(account):
        if len(paths) > 1:
            copies |= {path: paths if path == paths[0] else [] for path in paths}
    for _, group in groupby(account.series(), key=lambda file: [file[1][name] for name in _SERIES]):
        rows = {path: row for path, row in group if copies.get(path, [path])}
        plans, refused = volumes_of([from_text(row["header"]) for row in rows.values()], settings.geometry)
        for path, code, detail in refused:
            account.refuse(copies.get(path, [path]), Refusal(code), detail)
        for plan in plans:
            yield _row(plan, rows), [twin for path in plan.paths for twin in copies.get(path, [path])]


def _row(plan: Plan, rows: dict[str, Row]) -> Row:
    """The row of a volume."""
    slices = [one for point in plan.stack for one in point]
    paths = list(dict.fromkeys(one.path for one in slices))
    hashes = [[rows[one.path]["seen"][one.frame]["pixel_sha256"], one.tile] for one in slices]
    files = [rows[path]["file_sha256"] for path in paths]
    return asdict(plan.facts) | {
        "sample": plan.key,
        "path": paths[0],
        "paths": json.dumps(paths) if len(paths) > 1 else None,
        "file_sha256": files[0] if len(files) == 1 else sha256_json(files),
        "pixel_sha256": sha256_json(hashes),
    }
