"""What labels.csv and the imports say of each sample."""

import math
from collections.abc import Iterator
from pathlib import PurePosixPath

from medimg.border.statement import Imported
from medimg.errors import DataError, ImageError, LabelsError, Refusal
from medimg.ingest.account import Account
from medimg.ingest.found import Row
from medimg.labels import Labels, Said
from medimg.records import DATA, LABELS

_SHAPE = ("depth", "height", "width")
_SPACING = ("spacing_slice", "spacing_row", "spacing_column")
_OLDEST = 150  # years
_SAME_SPACING = 1e-3  # relative: spacings are written with few digits


def verify(account: Account, imported: Imported, labels_sha256: str | None, allow_unverified: bool) -> int:
    """How many files no import vouches for.

    Raises:
        DataError: there are some, and they are not allowed.
    """
    with account.writing():
        account.vouch(imported.rows())
    labels = imported.sha256.get(LABELS.name) == labels_sha256
    unverified = account.unvouched() + (not labels)
    if unverified and not allow_unverified:
        files = account.count("SELECT count(*) FROM file") + 1
        raise DataError(
            f"{unverified} of {files} files under {DATA}/ did not come through an import, or were changed "
            f"since (labels.csv is {'not among them' if labels else 'one of them'}). What did not "
            "cross the border may show who a patient is. Import it: medimg import IMAGES --labels ../labels.csv. "
            "If you know that it holds nobody's name, set ingest.allow_unverified: true; the report will say so."
        )
    return unverified


def attach(
    account: Account,
    samples: Iterator[tuple[Row, list[str]]],
    labels: Labels,
    folders: bool,
) -> None:
    """Enter each sample with its label, mask, patient, site, sex and age; refuse those that are told two things.

    Args:
        account: the samples are entered here.
        samples: row and files of each.
        labels: the rows of labels.csv.
        folders: the label is the name of the folder that holds the sample's file.

    Raises:
        LabelsError: an age is no number.
    """
    with account.writing():
        account.set_aside(labels.masks())
        for row, paths in samples:
            try:
                said = _together([labels.of(key) for key in _keys(account, row, paths, labels.key)])
                if folders:
                    said["label"] = PurePosixPath(row["path"]).parent.name or None
                mask = _mask(account, row, said.get("mask"))
                row |= _said(row, said) | {"mask": mask}
                row["mask_sha256"] = (account.image(mask) or {}).get("file_sha256") if mask else None
                account.add(row, [*paths, mask] if mask else paths)
            except ImageError as refusal:
                account.refuse_sample(account.add(row, paths), refusal.code, refusal.detail)
        account.refuse(
            account.idle_masks(), Refusal.CONFLICT, "it is the mask of an image that is not there or refused"
        )


def _keys(account: Account, row: Row, paths: list[str], key: str) -> list[str | None]:
    """What the rows of labels.csv for a sample may be found by; the slices of a volume are instances of their own."""
    if key == "path":
        return list(paths)
    if key == "instance" and row[key] is None and row.get("paths"):
        return [(account.image(path) or {}).get(key) for path in paths]
    return [row[key]]


def without_image(account: Account, labels: Labels) -> Iterator[str]:
    """Keys of rows of labels.csv that are about nothing that was seen."""
    return (key for key in labels.unused() if labels.key != "path" or not account.has(key))


def _together(rows: list[Said]) -> Said:
    """What the rows for a sample's files say as one.

    Raises:
        ImageError: CONFLICT.
    """
    if len(rows) == 1:
        return rows[0]
    said: Said = {}
    for name in {name for row in rows for name in row}:
        values = {row[name] for row in rows if row.get(name)}
        if len(values) > 1:
            raise ImageError(Refusal.CONFLICT, "rows of labels.csv say different things of its files")
        said[name] = values.pop() if values else None
    return said


def _said(row: Row, said: Said) -> Row:
    patients = {patient for patient in (row["patient"], said.get("patient")) if patient}
    if len(patients) > 1:
        raise ImageError(Refusal.CONFLICT, "its header and labels.csv name different patients")
    known = {name: said.get(name) or row[name] for name in ("sex", "site")}
    age = _age(said.get("age"), row["age"])
    return known | {"patient": next(iter(patients), None), "label": said.get("label"), "age": age}


def _mask(account: Account, row: Row, path: str | None) -> str | None:
    """The path of a sample's mask, when it fits.

    Raises:
        ImageError: CONFLICT, GEOMETRY.
    """
    if path is None:
        return None
    mask = account.image(path)
    others = {sample for sample in account.samples_of(path) if row["path"] not in account.members(sample)}
    if mask is None or others:
        raise ImageError(Refusal.CONFLICT, "its mask is not there, cannot be read, or is another image's too")
    if row.get("frame") is not None:  # a frame of a file of several: the mask has one for each
        image = account.image(row["path"])
        if image is None or image["frames"] != mask["frames"]:
            raise ImageError(Refusal.GEOMETRY, "its mask has another number of frames")
    if mask["channels"] != 1 or any(mask.get(name) != row.get(name) for name in _SHAPE):
        raise ImageError(Refusal.GEOMETRY, "its mask is not grey or has another shape")
    for name in _SPACING:
        ours, its = row.get(name), mask.get(name)
        if ours and its and not math.isclose(ours, its, rel_tol=_SAME_SPACING):
            raise ImageError(Refusal.GEOMETRY, "its mask has another spacing")
    return path


def _age(said: str | None, header: float | None) -> float | None:
    if said is None:
        return header
    try:
        age = float(said)
    except ValueError:
        age = math.nan
    if not 0 <= age < _OLDEST:
        raise LabelsError(
            f"{LABELS} has an age that is not a number of years from 0 to {_OLDEST}. Ages are numbers, such as 63."
        )
    return age
