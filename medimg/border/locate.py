"""From what the user typed to where the images come from."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medimg.border.archive import Archive
from medimg.border.dicomweb import Credentials, DicomWeb
from medimg.border.identity import check_outside
from medimg.border.pacs import DicomPacs, Move
from medimg.border.query import parse
from medimg.border.remote import TIMEOUT, Remote
from medimg.border.sources import Folder, Source
from medimg.errors import BorderError


@dataclass(frozen=True)
class Options:
    """How to ask a PACS; nothing here is for files."""

    filters: list[str] = field(default_factory=list, repr=False)
    """``KEY=VALUE`` or ``KEY=@FILE``"""
    credentials: Path | None = None
    ca: Path | None = None
    title: str = "MEDIMG"
    """our AE title"""
    move_port: int | None = None
    """where to listen for what a C-MOVE sends; None: C-GET"""
    bind: str = "127.0.0.1"
    timeout: float = TIMEOUT
    """how long the PACS may be silent, s"""


def locate(typed: str, out: Path, options: Options = Options()) -> Source:
    """The source that ``typed`` names, to be imported into ``out``.

    Raises:
        BorderError: there is no such thing, it or a file of the options lies in the study, it lies around the output,
            or the options do not fit it.
    """
    for path, option, holds in _private(options):
        check_outside(path, out, option, holds)
    if typed.startswith(("http://", "https://")):
        web = DicomWeb(typed, Credentials.find(options.credentials), options.ca, options.timeout)
        return Remote(web, parse(options.filters))
    if typed.startswith("dicom://"):
        move = Move(options.bind, options.move_port) if options.move_port is not None else None
        return Remote(DicomPacs(typed, options.title, move, options.timeout), parse(options.filters))
    if options.filters:
        raise BorderError("--filter asks a PACS (https://… or dicom://…); from a folder or an archive all files come.")
    return _local(typed, out)


def _private(options: Options) -> Iterator[tuple[Path, str, str]]:
    """The files that the options name and that must not lie in the study, the option, and what it holds."""
    for text in options.filters:
        value = text.partition("=")[2]
        if value.startswith("@"):
            yield Path(value[1:]), "--filter", "identifiers of patients or studies"
    if options.credentials:
        yield options.credentials, "--credentials", "the way into the archive"


def _local(typed: str, out: Path) -> Source:
    path = Path(typed)
    if not path.exists():
        raise BorderError(f"There is no folder or archive {typed} to import.")
    inside, around = path.resolve(), out.resolve()
    if inside == around or inside in around.parents or around in inside.parents:
        raise BorderError(f"{typed} and {out} lie in one another. Keep what is identifiable apart from {out}.")
    if Path("params.yaml").exists() and Path.cwd().resolve() in inside.parents:
        raise BorderError(
            f"{typed} lies inside the study, where Git and DVC would take it as it is. Move it out, then import it."
        )
    if path.is_dir():
        return Folder(path)
    if Archive.is_one(path):
        return Archive(path)
    raise BorderError(f"{typed} is no folder, and no zip or tar file (plain, gz, bz2 or xz). Import the folder of it.")
