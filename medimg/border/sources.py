"""Where images come from: a stream of items, each of which gives the bytes of one file, in a process of its own."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from medimg.errors import BorderError, ImageError, Refusal
from medimg.images.sniff import FORMATS, HEAD, load, not_read, sniff


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one source file, in pseudonyms."""

    target: str
    """path below data/"""
    sha256: str
    patient: str
    site: str
    """pseudonym of the institution that the header names, or empty"""
    row: str | None
    """keyed digest of its row in the hospital's table"""
    actions: dict[str, int]
    """elements of a DICOM header by what was done"""
    nobody: bool
    """neither header nor table says whose it is"""
    issuer: str = ""
    """pseudonym of who gave the patient the number, or empty"""
    named: tuple[int, ...] = ()
    """which label columns of the hospital's table are called as somebody is in the file's header"""


@dataclass(frozen=True, repr=False)
class Item:
    """One file of a source: where its bytes lie, or the bytes, or why there are none."""

    name: str
    """What the hospital calls it: for its table and the list of refused files beside the site key, for nothing else.
    No path is ever built from it."""
    path: Path | None = None
    data: bytes | None = None
    """All of an image, or the head of any other file."""
    refusal: Refusal | None = None
    detail: str = ""
    passing: bool = False
    """The file at ``path`` is a copy that goes once it has been read."""

    series: str = ""
    """of a PACS"""
    instance: str = ""
    known: Taken | None = None
    """What became of it in an import before this one; it was not fetched again."""

    def load(self) -> bytes:
        """The bytes of an image file.

        Raises:
            NotAnImage: it is no image; the message is the kind.
            ImageError: the refusal, UNREADABLE, MEMORY, and as ``sniff.not_read``.
        """
        if self.refusal is not None:
            raise ImageError(self.refusal, self.detail)
        if self.data is None:
            assert self.path is not None
            return load(self.path)
        kind = sniff(self.data[:HEAD])
        if kind not in FORMATS:
            raise not_read(kind)
        return self.data

    def done(self) -> None:
        """Let go of a copy."""
        if self.passing and self.path is not None:
            self.path.unlink(missing_ok=True)


class Source(Protocol):
    """What ``medimg import`` can read."""

    where: str
    """How to call it in messages: what the user typed, which holds no credentials and no filters."""
    has_paths: bool
    """Whether a table of labels can name its files by path."""

    def names(self, labels: Path | None) -> list[str]:
        """What it calls its files, if it can say before they are read; ``labels`` is not one of them.

        Raises:
            BorderError: it cannot be read, or there is nothing to import.
        """

    def items(self, room: Path) -> Iterator[Item]:
        """Its files, one by one, so that memory stays bounded; after ``names``.

        What has to wait, waits in ``room``, which is private and outlives every item.
        """


class Folder:
    """Files below a folder, at any depth, whatever they are called."""

    has_paths = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where = str(folder)
        self._names: list[str] = []

    def names(self, labels: Path | None) -> list[str]:
        """Paths of the files below the folder, sorted, without the table of labels.

        Raises:
            BorderError: it is missing or empty, or a folder below it is closed.
        """
        if not self.folder.is_dir():
            raise BorderError(f"There is no folder {self.folder} to import.")
        found: list[str] = []
        closed: list[OSError] = []
        for folder, folders, names in os.walk(self.folder, onerror=closed.append):
            folders.sort()
            names += [name for name in folders if Path(folder, name).is_symlink()]  # not followed, but not lost either
            found += [Path(folder, name).relative_to(self.folder).as_posix() for name in names]
        if closed:
            raise BorderError(
                f"{len(closed)} folders below {self.folder} cannot be read. Ask for access, or move them away."
            )
        if labels and labels.exists():
            at = self.folder
            found = [path for path in found if not (at / path).exists() or not labels.samefile(at / path)]
        if not found:
            raise BorderError(f"The folder {self.folder} holds no files to import.")
        self._names = sorted(found)
        return self._names

    def items(self, room: Path) -> Iterator[Item]:
        """The files, by path."""
        return (Item(name, self.folder / name) for name in self._names)
