"""A store whose arrays are kept at a URL that fsspec can reach: shared disk, object storage.

``artifacts/store`` then holds the tables and ``remote.json``. At the URL stands a folder for each store, named by the
hash of ``store.json``, which pins the tables and, through them, every row: what is there is never changed, and a copy
of it can be verified wherever it is fetched.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medimg.errors import DataError
from medimg.files import sha256, write_json
from medimg.store import cache
from medimg.store.reading import ABOUT, IMAGES, MASKS, REMOTE, SAMPLES, Store, check_tables, digest_of


def push(folder: Path, url: str) -> None:
    """Move the arrays of the whole store in ``folder`` to ``url``; this machine keeps them in its cache.

    Raises:
        DataError: the URL cannot be written.
    """
    name, arrays = _name(folder), _arrays(folder)
    with _reached(url) as (fs, root):
        place = f"{root}/{name}"
        if not _whole(fs, place, folder, arrays):
            fs.makedirs(place, exist_ok=True)
            for file in [*arrays, SAMPLES, ABOUT]:  # the last says that all is there
                fs.put_file(str(folder / file), f"{place}/{file}")
    write_json(folder / REMOTE, {"url": url, "files": {file: (folder / file).stat().st_size for file in arrays}})

    def adopt(copy: Path) -> None:
        for file in arrays:
            shutil.move(folder / file, copy / file)

    try:
        cache.held(name, sum((folder / file).stat().st_size for file in arrays), adopt)
    except DataError as full:
        print(f"warning: {full}", file=sys.stderr)
    for file in arrays:
        (folder / file).unlink(missing_ok=True)


def fetched(folder: Path) -> Path:
    """The folder on this machine that holds the arrays of the store in ``folder``.

    Raises:
        DataError: they cannot be fetched, or are not what the tables say.
    """
    about = json.loads((folder / REMOTE).read_text())
    name = _name(folder)

    def fetch(copy: Path) -> None:
        check_tables(folder)
        for last in (False, True):
            with _reached(about["url"]) as (fs, root):
                if not fs.exists(f"{root}/{name}/{ABOUT}"):
                    raise DataError(
                        "The store is not at preprocess.remote any more. Run: dvc repro -f preprocess, which puts it "
                        "there again."
                    )
                for file in about["files"]:
                    fs.get_file(f"{root}/{name}/{file}", str(copy / file))
            if _verified(folder, copy):
                return
            if last:
                raise DataError(
                    f"The store that {folder / REMOTE} names is not what was put there: some rows have another "
                    "SHA-256. Remove its folder there and run: dvc repro -f preprocess"
                )

    return cache.held(name, sum(about["files"].values()), fetch)


def _verified(folder: Path, copy: Path) -> bool:
    """Whether every row of the arrays in ``copy`` has the SHA-256 that the tables in ``folder`` say."""
    try:
        store = Store.of(folder, copy)
    except DataError:
        return False
    done: set[int] = set()
    for batch in store.table.select(["row", "masked", "sha256"]).to_batches(max_chunksize=4096):
        for entry in batch.to_pylist():
            row = entry["row"]
            if row not in done:
                done.add(row)
                if digest_of(store.images[row], store.masks[row] if entry["masked"] else None) != entry["sha256"]:
                    return False
    return True


def _name(folder: Path) -> str:
    return sha256((folder / ABOUT).read_bytes())[:32]


def _arrays(folder: Path) -> list[str]:
    return [name for name in (IMAGES, MASKS) if (folder / name).exists()]


def _whole(fs: Any, place: str, folder: Path, arrays: list[str]) -> bool:
    """Whether a run before this one has put the store there."""
    if not fs.exists(f"{place}/{ABOUT}"):
        return False
    sizes = {name: (folder / name).stat().st_size for name in arrays}
    return all(fs.exists(f"{place}/{name}") and fs.size(f"{place}/{name}") == size for name, size in sizes.items())


@contextmanager
def _reached(url: str) -> Iterator[tuple[Any, str]]:
    """The file system of a URL, and the path in it; what goes wrong there is a sentence that does not quote the URL."""
    from fsspec.core import url_to_fs

    try:
        fs, root = url_to_fs(url)
        yield fs, root.rstrip("/")
    except DataError:
        raise
    except ImportError as error:
        raise DataError(f"preprocess.remote needs a package that is not installed. {error}") from None
    except Exception as error:  # each file system has errors of its own
        raise DataError(
            f"preprocess.remote cannot be reached ({type(error).__name__}). Check the URL, the credentials that its "
            "file system reads from the environment, and the network."
        ) from None
