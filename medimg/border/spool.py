"""Where files wait that have come over a network and are not yet de-identified: private, and gone as soon as may be.

What we have fetched can be fetched again, so a killed import's is removed. What others have sent to us and were told is
stored cannot: it stays, as it came, until an import has dealt with it, under whatever table and policy.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medimg.errors import BorderError
from medimg.files import prune_partial, publish, sha256

_RECEIVED = "received-"


def base() -> Path:
    """The folder of this user's spools, below ``$TMPDIR`` or what the system takes for it."""
    return Path(tempfile.gettempdir()) / f"medimg-{os.getuid()}"


@contextmanager
def spool(out: Path) -> Iterator[Path]:
    """Yield an empty folder that its owner alone can enter; it is removed at the end.

    What killed processes left is removed first.

    Raises:
        BorderError: the folder would lie in the study, or somebody else owns it or can enter it.
    """
    room = _room(out)
    with (room / "lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        _sweep(room)
        folder = Path(tempfile.mkdtemp(dir=room))
        held = folder.with_suffix(".lock").open("a")
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_suffix(".lock").unlink(missing_ok=True)
        held.close()


@contextmanager
def received(out: Path) -> Iterator[Path]:
    """Yield the folder of what was sent to us for ``out``, with what earlier receivers have left in it.

    It is removed when the block ends well; else all that came stays. The caller holds the lock of imports into ``out``.

    Raises:
        BorderError: as ``spool``; one of the block says that files wait, and where.
    """
    _room(out)
    folder = _received(out)
    folder.mkdir(mode=0o700, exist_ok=True)
    prune_partial(folder)
    try:
        yield folder
    except BorderError as error:
        count = waiting(out)
        if not count:
            shutil.rmtree(folder)
            raise
        raise BorderError(
            f"{error} {count} received files wait in {folder}; the next medimg receive takes them up. Senders believe "
            "them stored: remove one only if it must not come in."
        ) from None
    shutil.rmtree(folder)


def waiting(out: Path) -> int:
    """How many files were sent to us for ``out`` that no import has dealt with."""
    folder = _received(out)
    return sum(not path.name.startswith(".") for path in folder.iterdir()) if folder.is_dir() else 0


def keep(path: Path, data: bytes) -> None:
    """Write a file that its owner alone can read, whole or not at all; it is on the disk at the end."""
    with publish(path) as partial:
        write(partial, iter([data]))


def _received(out: Path) -> Path:
    return base() / f"{_RECEIVED}{sha256(os.fsencode(out.resolve()))[:16]}"


def write(path: Path, pieces: Iterator[bytes]) -> None:
    """Write a file that its owner alone can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for piece in pieces:
            file.write(piece)


def _room(out: Path) -> Path:
    """The folder of this user's spools, made and private."""
    room = base()
    study = out.resolve().parent if (out.parent / "params.yaml").exists() else out.resolve()
    if study in room.resolve().parents:
        raise BorderError(
            f"What comes over the network must not wait inside the study. Set TMPDIR outside of it: {room}."
        )
    _make(room)
    return room


def _make(room: Path) -> None:
    room.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = room.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise BorderError(f"{room} belongs to somebody else or can be entered by others. Remove it, or set TMPDIR.")


def _sweep(room: Path) -> None:
    for folder in [path for path in room.iterdir() if path.is_dir() and not path.name.startswith(_RECEIVED)]:
        lock = folder.with_suffix(".lock")
        with lock.open("a") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)
