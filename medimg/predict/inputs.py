"""What the user named, as one stream of files: numbered, and with what an import has said of each already."""

import csv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from medimg.border.archive import Archive
from medimg.border.locate import Options, locate
from medimg.border.sources import Folder, Item, Source
from medimg.border.statement import read_imports
from medimg.errors import DataError
from medimg.files import sha256_file
from medimg.records import IMPORTS, LABELS
from medimg.work import cores


@dataclass(frozen=True)
class Known:
    """What ``medimg import`` has said of a file: it is de-identified, and its name is what a study knows it by."""

    path: str
    """below data/"""
    sha256: str
    """of the file as the import wrote it; another one is not known"""
    patient: str | None
    """pseudonym in labels.csv"""


@dataclass(frozen=True, repr=False)
class Job:
    """One file."""

    number: int
    item: Item
    known: Known | None = None

    @property
    def files(self) -> tuple["Job", ...]:
        """Itself: what of a volume are its files."""
        return (self,)


class File:
    """A single file as a source."""

    has_paths = True

    def __init__(self, path: Path) -> None:
        self.where, self.path = str(path), path

    def names(self, labels: Path | None) -> list[str]:
        """Its own."""
        return [self.path.name]

    def items(self, room: Path) -> Iterator[Item]:
        """Itself."""
        yield Item(self.path.name, self.path.resolve())


@dataclass(frozen=True)
class Inputs:
    """All that was named."""

    sources: list[Source]
    known: list[dict[str, Known]]
    """of each source, what an import says of its files, by name; empty where it is no study's data"""
    count: int
    """files, as far as sources can say before they are read"""

    def deidentified(self) -> bool:
        """Whether every file is, byte for byte, one that an import wrote, and so may go to other nodes; reads all."""
        with ThreadPoolExecutor(cores()) as threads:
            return all(threads.map(self._vouched_for, self.sources, self.known))

    def _vouched_for(self, source: Source, known: dict[str, Known]) -> bool:
        if not known or not isinstance(source, Folder | File):
            return False
        top = source.folder if isinstance(source, Folder) else source.path.parent
        names = (name for name in source.names(None) if not _of_the_study(name))
        return all(name in known and sha256_file(top / name) == known[name].sha256 for name in names)

    def jobs(self, room: Path) -> Iterator[Job]:
        """Every file, in the order of the inputs and of the names in each."""
        number = 0
        for source, known in zip(self.sources, self.known, strict=True):
            for item in source.items(room):
                if known and _of_the_study(item.name):
                    continue
                yield Job(number, item, known.get(item.name))
                number += 1


def locate_inputs(typed: Sequence[str], out: Path, options: Options) -> Inputs:
    """The files, folders, archives and addresses that the user typed.

    Raises:
        DataError: there is no such file.
        BorderError: a source cannot be read, or is empty.
    """
    remote = [text.startswith(("http://", "https://", "dicom://")) for text in typed]
    if options.filters and not any(remote):
        raise DataError("--filter asks a PACS (https://… or dicom://…); of files and folders all are predicted.")
    sources = [
        locate(text, out, options) if far else _local(Path(text)) for text, far in zip(typed, remote, strict=True)
    ]
    studies: dict[Path, dict[str, Known]] = {}
    known = [_known(source, studies) for source in sources]
    return Inputs(sources, known, sum(len(source.names(None)) for source in sources))


def _of_the_study(name: str) -> bool:
    """Whether a file of a study's data is no image, but the table of labels or a statement."""
    return name == LABELS.name or name.startswith(f"{IMPORTS.name}/")


def _local(path: Path) -> Source:
    if not path.exists():
        raise DataError(f"There is no file or folder {path}.")
    if path.is_dir():
        return Folder(path.resolve())
    return Archive(path) if Archive.is_one(path) else File(path)


def _known(source: Source, studies: dict[Path, dict[str, Known]]) -> dict[str, Known]:
    """What imports say of a study's data or a part of it, by the source's name for it; ``studies``: those read."""
    if not isinstance(source, Folder | File):
        return {}
    folder = source.folder if isinstance(source, Folder) else source.path.parent.resolve()
    data = _data_around(folder)
    if data not in studies:
        studies[data] = _imported(data)
    below = "" if folder == data else f"{folder.relative_to(data).as_posix()}/"
    if isinstance(source, File):
        found = studies[data].get(below + source.path.name)
        return {source.path.name: found} if found else {}
    return {path.removeprefix(below): one for path, one in studies[data].items() if path.startswith(below)}


def _data_around(folder: Path) -> Path:
    """The data of a study that a folder is a part of: an import writes below ``images/``; else the folder itself."""
    for data in folder.parents:
        if folder.relative_to(data).parts[0] == "images" and (data / IMPORTS.name).is_dir():
            return data if (data / LABELS.name).is_file() else folder
    return folder


def _imported(data: Path) -> dict[str, Known]:
    """What the imports below ``data`` say, by path, if it is the data of a study."""
    hashes = read_imports(data).sha256
    if not hashes:
        return {}
    patients: dict[str, str] = {}
    if (data / LABELS.name).is_file():
        with (data / LABELS.name).open(encoding="utf-8-sig", newline="", errors="replace") as file:
            patients = {
                row["path"]: row["patient"] for row in csv.DictReader(file) if row.get("path") and row.get("patient")
            }
    return {path: Known(path, sha, patients.get(path)) for path, sha in hashes.items()}
