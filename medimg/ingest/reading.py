"""Every file below data/: found, recognised or read in a supervised process."""

import os
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import TypeVar

import numpy as np

from medimg.errors import DataError, ImageError, NotAnImage
from medimg.files import code_sha256, sha256, sha256_file, sha256_json
from medimg.images.sniff import HEAD, load, sniff
from medimg.ingest.account import Account
from medimg.ingest.found import Reading, Row, Stamp
from medimg.params import Ingest
from medimg.records import DATA, IMPORTS, LABELS
from medimg.work import Failure, Limits, Progress, over, spread

LIBRARIES = (  # they decide what is read
    *("imagecodecs", "nibabel", "numpy", "pillow", "pydicom"),
    *("pyjpegls", "pylibjpeg", "pylibjpeg-openjpeg"),
)
_NEEDED = (  # by most files
    *("imagecodecs", "pydicom.encaps"),
    *("medimg.duplicates.thumbnail", "medimg.images.dicom", "medimg.images.hushed"),
)
_COMMIT = 1.0  # s between two commits of the journal

Value = TypeVar("Value")


def code_version(settings: Ingest) -> str:
    """SHA-256 of what decides a reading: medimg's code, the libraries that decode, and what a sample is."""
    libraries = [f"{name} {version(name)}" for name in LIBRARIES]
    return sha256_json([code_sha256(), *libraries, settings.sample, settings.frames, settings.nan])


def find(account: Account) -> None:
    """Enter every file below data/ into the account, but labels.csv and the statements of imports.

    Raises:
        DataError: the folder is missing or holds no file.
    """
    if not account.see((path, *_stamp(f"{DATA}/{path}")) for path in _files(DATA)):
        what = "is empty" if DATA.is_dir() else "does not exist"
        raise DataError(
            f"{DATA}/ {what}. Bring images in with: medimg import IMAGES --labels ../labels.csv "
            "(or write the demo study with: medimg demo)"
        )


def read(account: Account, settings: Ingest) -> None:
    """Read what the journal does not know; what died, hung or took too much memory is tried once more, alone."""
    limits = Limits(settings.seconds, settings.memory)
    volumes, frames, numbers = settings.sample == "volume", settings.frames == "samples", settings.nan == "refuse"
    job = partial(read_file, frames=frames, slices=volumes, numbers=numbers)
    progress = Progress("files read", account.count("SELECT count(*) FROM file WHERE fate IS NULL"))
    for path, result in _saved(account, spread(job, account.unread(), limits=limits, preload=_NEEDED)):
        account.enter(path, _refused(result) if isinstance(result, Failure) else result)
        progress.step()
    for path, result in _saved(account, over(job, account.unread(again=True), limits=limits, processes=1)):
        account.enter(path, _refused(result) if isinstance(result, Failure) else result)
    for path, digest in _saved(account, over(hash_file, account.unread(again=True), limits=limits, processes=1)):
        account.set_hash(path, None if isinstance(digest, Failure) else digest)  # its reader could not tell


def read_file(path: str, frames: bool = False, slices: bool = False, numbers: bool = False) -> Reading:
    """Read one file below data/: its stamp, what it is, and for an image its row without labels.

    With ``slices``, or ``frames`` for DICOM, every frame is read; the row holds ``header``, and what is ``seen``. With
    ``numbers``, a NIfTI file that holds NaN is refused.

    Runs in a supervised process; what a file can be refused for is in the answer, never raised.
    """
    file = DATA / path
    size, time = _size_and_time(file)
    head = digest = None
    try:
        data = load(file)
        head, digest = sha256(data[:HEAD]), sha256(data)
        kind = sniff(data[:HEAD])
        if numbers and kind == "nifti":
            _check_numbers(data)
        whole = slices or (frames and kind == "dicom")
        row = _whole(data, path) if whole else _image(data)
    except (NotAnImage, ImageError) as problem:
        stamp = Stamp(size, time, head or _head(file))
        digest = digest or hash_file(path)
        if isinstance(problem, NotAnImage):
            return Reading(stamp, "other", sha256=digest)
        return Reading(stamp, "refused", problem.code.value, problem.detail, digest)
    return Reading(Stamp(size, time, head), "image", sha256=digest, row=row | {"file_sha256": digest})


def _check_numbers(data: bytes) -> None:
    from medimg.images import guarded, nifti

    guarded(lambda: nifti.check_numbers(data))


def _image(data: bytes) -> Row:
    from medimg.images import read_bytes

    image = read_bytes(data)
    return vars(image.facts) | _seen(image.pixels)


def _whole(data: bytes, path: str) -> Row:
    from medimg.images.headers import to_text
    from medimg.images.scan import scan

    header, seen = scan(data, path, _seen)
    hashes = [str(one["pixel_sha256"]) for one in seen]
    digest = hashes[0] if len(hashes) == 1 else sha256_json(hashes)
    row = vars(header.facts) | {"header": to_text(header), "seen": seen, "pixel_sha256": digest}
    return row | ({"thumbnail": seen[0]["thumbnail"]} if len(seen) == 1 else {})


def _seen(pixels: np.ndarray) -> Row:
    from medimg.duplicates.thumbnail import as_text, thumbnail
    from medimg.images import pixel_sha256

    return {"pixel_sha256": pixel_sha256(pixels), "thumbnail": as_text(thumbnail(pixels))}


def hash_file(path: str) -> str | None:
    """SHA-256 of a file below data/, in hex; None when the file system does not let us read it."""
    file = DATA / path
    try:
        return sha256_file(file) if file.is_file() else None  # to open a pipe is to wait for it
    except OSError:
        return None


def _saved(account: Account, results: Iterator[Value]) -> Iterator[Value]:
    """Pass results on; the journal is committed every second, so that a killed run loses no more."""
    account.database.execute("BEGIN")
    due = monotonic() + _COMMIT
    for result in results:
        yield result
        if monotonic() > due:
            account.database.execute("COMMIT")
            account.database.execute("BEGIN")
            due = monotonic() + _COMMIT
    account.database.execute("COMMIT")


def _refused(failure: Failure) -> Reading:
    return Reading(Stamp(-1, 0, ""), "refused", failure.code.value, failure.detail)


def _size_and_time(file: str | Path) -> tuple[int, int]:
    try:
        status = os.stat(file)  # noqa: PTH116  # called for every file in every run, so not through pathlib
    except OSError:
        return -1, 0
    return status.st_size, status.st_mtime_ns


def _head(file: str | Path) -> str:
    """SHA-256 of the first bytes; empty when there are none to be read."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # to open a pipe is to wait for it
        try:
            return sha256(os.read(descriptor, HEAD))
        finally:
            os.close(descriptor)
    except OSError:
        return ""


def _stamp(file: str) -> tuple[int, int, str]:
    return *_size_and_time(file), _head(file)


def _files(data: Path) -> Iterator[str]:
    """Paths of the files below ``data``, folder by folder, sorted. A link to a folder is not followed but is a file.

    Raises:
        DataError: a folder cannot be listed.
    """
    for folder, folders, names in os.walk(data, onerror=_refuse_folder):
        folders.sort()
        links = [name for name in folders if Path(folder, name).is_symlink()]
        below = Path(folder).relative_to(data).as_posix()
        for name in sorted(names + links):
            path = name if below == "." else f"{below}/{name}"
            if path != LABELS.name and below != IMPORTS.name:
                yield path.encode("utf-8", "backslashreplace").decode()  # a name in another encoding: not read


def _refuse_folder(error: OSError) -> None:
    if Path(error.filename) != DATA:
        raise DataError(f"The folder {error.filename} cannot be listed ({error.strerror}). Mend its permissions.")
