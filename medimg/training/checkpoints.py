"""Checkpoints that are whole or not taken: each is named by its epoch and by the hash of its bytes.

A run keeps the last two. One that was cut off while it was written has no name yet; one whose bytes are not those that
its name says, after a crash of the machine or on a bad disk, is passed over for the one before.
"""

import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from medimg.files import sha256_file

KEPT = 2


def keep(folder: Path, epoch: int, write: Callable[[Path], None]) -> Path:
    """Write a checkpoint after ``epoch`` (from 0) and remove all but the last ``KEPT``; one worker does."""
    partial = folder / f".partial-{secrets.token_hex(8)}"  # a worker of a lost node may still write here
    write(partial)
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    kept = partial.replace(folder / f"epoch-{epoch:05}-{sha256_file(partial)[:16]}.ckpt")
    for old in _all(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return kept


def newest(folder: Path, say: Callable[[str], None] = print) -> Path | None:
    """The last checkpoint that is whole; ``say`` hears of those that are not."""
    for path in _all(folder):
        with suppress(FileNotFoundError):  # its writer has just replaced it by a newer one
            if whole(path):
                return path
            say(f"warning: {path.name} is damaged, so training goes on from the checkpoint before it")
    return None


def named(folder: Path, name: str, seconds: float = 60) -> Path:
    """The checkpoint that another worker goes on from, once this one's disk shows it, and whole.

    Raises:
        RuntimeError: it does not, for so many seconds.
    """
    last = time.monotonic() + seconds
    while time.monotonic() < last:
        with suppress(FileNotFoundError):
            if whole(folder / name):
                return folder / name
        time.sleep(0.2)
        list(folder.iterdir())  # a network disk that is asked for its names looks again
    raise RuntimeError(f"{name}, from which the others go on, is not to be seen here; the workers are started again")


def whole(path: Path) -> bool:
    """Whether its bytes are those that its name says."""
    return sha256_file(path).startswith(path.stem.rpartition("-")[2])


def _all(folder: Path) -> list[Path]:
    """The last first."""
    return sorted(folder.glob("epoch-*.ckpt"), reverse=True)
