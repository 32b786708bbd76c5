"""The node's own copies of stores that are kept elsewhere: fetched once, verified, under a lock, within a bound."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from medimg.errors import DataError

GIB = 2**30
_WHOLE = "whole"  # a file beside the arrays, touched at each use
_held: dict[Path, int] = {}  # descriptors of shared locks: a store in use is not removed while this process lives


@dataclass(frozen=True)
class Copy:
    """A store in the cache."""

    name: str
    size: int
    """bytes"""
    used: float
    """last opened, s since 1970"""
    busy: bool
    """whether a process has it open, or fetches it"""


def folder() -> Path:
    """Where the copies are: MEDIMG_CACHE, by default below the user's cache folder."""
    return Path(os.environ.get("MEDIMG_CACHE") or Path.home() / ".cache" / "medimg") / "stores"


def bound() -> int:
    """Bytes that all copies together may take: MEDIMG_CACHE_GIB, 50 by default.

    Raises:
        DataError: it is no positive number.
    """
    text = os.environ.get("MEDIMG_CACHE_GIB", "50")
    try:
        gib = float(text)
    except ValueError:
        gib = 0
    if not 0 < gib < float("inf"):
        raise DataError(
            "MEDIMG_CACHE_GIB is no positive number. It is how many GiB copies of stores may take: 50, say."
        )
    return int(gib * GIB)


def held(name: str, size: int, fetch: Callable[[Path], None]) -> Path:
    """The folder of the copy ``name``; where it is not there yet, ``fetch`` fills it.

    One process of a node fetches, the others wait. The copy stays until this process ends, whatever is pruned.

    Args:
        name: of the copy: what it holds, as a hash.
        size: bytes that it will have.
        fetch: writes and verifies the files in the empty folder that it is given.

    Raises:
        DataError: it does not fit into the cache; or what ``fetch`` raises.
    """
    place = folder() / name
    if place in _held:
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(_lock_of(place), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / _WHOLE).exists():
            _make_room(size)
            partial = place.with_name(f".partial-{name}")
            for leftover in (partial, place):
                shutil.rmtree(leftover, ignore_errors=True)
            partial.mkdir()
            try:
                fetch(partial)
                (partial / _WHOLE).touch()
                partial.rename(place)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        (place / _WHOLE).touch()
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not (place / _WHOLE).exists():  # between the two locks it was pruned
            os.close(lock)
            return held(name, size, fetch)
    except BaseException:
        os.close(lock)
        raise
    _held[place] = lock
    return place


def copies() -> list[Copy]:
    """What the cache holds, the one used last first; copies that nobody finished are among them."""
    found = []
    for path in folder().glob("*"):
        if not path.is_dir():
            continue
        name = path.name.removeprefix(".partial-")
        with _alone(path.with_name(name)) as alone, suppress(FileNotFoundError):  # another process prunes it just now
            marker = path / _WHOLE
            used = marker.stat().st_mtime if marker.exists() else 0.0
            size = sum(file.stat().st_size for file in path.iterdir())
            found.append(Copy(path.name, size, used, not alone))
    return sorted(found, key=lambda copy: (-copy.used, copy.name))


def prune(most: int) -> list[Copy]:
    """Remove copies, the one used longest ago first, until the rest take at most so many bytes; none that is in use.

    Returns:
        What was removed.
    """
    removed = []
    total = sum(copy.size for copy in copies())
    for copy in reversed(copies()):
        if total <= most:
            break
        place = folder() / copy.name.removeprefix(".partial-")
        with _alone(place) as alone:
            if alone and (folder() / copy.name).is_dir():
                (folder() / copy.name / _WHOLE).unlink(missing_ok=True)  # first: half a copy must not pass for a whole
                shutil.rmtree(folder() / copy.name)
                total -= copy.size
                removed.append(copy)
    return removed


def _make_room(size: int) -> None:
    most = bound()
    if size <= most:
        prune(most - size)
    total = sum(copy.size for copy in copies())
    if total + size > most:
        raise DataError(
            f"The store takes {size / GIB:.1f} GiB, and this machine's cache may hold {most / GIB:g}, of which "
            f"{total / GIB:.1f} are in use. Raise MEDIMG_CACHE_GIB, or remove copies: medimg cache --prune."
        )
    free = shutil.disk_usage(folder()).free
    if free < size:
        raise DataError(
            f"The store takes {size / GIB:.1f} GiB, and the disk of {folder()} has {free / GIB:.1f} free. Make room, "
            "or set MEDIMG_CACHE to a folder on a larger disk."
        )


def _lock_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.lock")


@contextmanager
def _alone(place: Path) -> Iterator[bool]:
    """Whether nobody else holds the copy; while the block runs, nobody can begin to."""
    lock = os.open(_lock_of(place), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)
