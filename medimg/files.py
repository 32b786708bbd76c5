"""Files that are whole or not there: atomic publish, content hash, lock."""

import fcntl
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medimg.errors import BusyError


def _partial(path: Path) -> Path:
    """Where ``path`` grows: always the same place, so that the next to write it clears what a killed process left."""
    return path.with_name(f".partial-{path.name}")


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yield a path to write; on success it becomes ``path`` by rename, on failure nothing is left.

    Readers see the old file or the new one, never half of one; writers of the same path hold a lock. A file that DVC
    hard-linked into its cache is replaced, not written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    partial.unlink(missing_ok=True)
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def publish_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; on success it takes the place of ``path``, on failure nothing is left.

    A folder cannot replace another in one step, so a crash between the two renames leaves
    no ``path``: absent, not half.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, old = _partial(path), _partial(path.with_name(f"old-{path.name}"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            path.rename(old)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def prune_partial(folder: Path) -> None:
    """Remove half-written files that nobody will write again from ``folder``; the caller holds the lock."""
    for leftover in folder.glob(".partial-*"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def write_text(path: Path, text: str) -> None:
    """Publish ``text`` as UTF-8 with ``\\n`` line ends."""
    with publish(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Publish ``value`` as indented JSON with sorted keys; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def sha256(data: bytes | memoryview) -> str:
    """SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of a value of plain types, independent of the order of keys."""
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


@functools.cache
def code_sha256() -> str:
    """SHA-256 of every line of medimg's own code: two runs with the same one ran the same program."""
    room = Path(__file__).parent
    return sha256_json({path.relative_to(room).as_posix(): sha256_file(path) for path in sorted(room.rglob("*.py"))})


@contextmanager
def lock(path: Path, what: str) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` while the block runs; it ends with the process, however that ends.

    Raises:
        BusyError: another process holds it. ``what`` names the work in the message.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise BusyError(
                f"{what} is already running here (process {holder}). Wait for it to end, or stop it, and try again."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
