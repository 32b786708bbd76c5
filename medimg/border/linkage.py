"""The linkage table: which pseudonym stands for whom. Off by default, outside the study, its owner's alone."""

import csv
import fcntl
import io
import os
from pathlib import Path

from medimg.errors import BorderError
from medimg.files import publish, sha256

_LINK = ("patient", "identifier")
_TAKES = (".git", ".dvc", "dvc.yaml")
"""What tells a folder of which Git or DVC may take what lies in it: a repository, or a study, this one or another."""


def note_link(path: Path, patient: str, identifier: str) -> None:
    """Add a line to the pending links, in one write, so that processes can share the file."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([patient, identifier])
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line.getvalue().encode("utf-8", "surrogateescape"))
    finally:
        os.close(handle)


def check_linkage(path: Path, out: Path) -> Path:
    """The place of a linkage table, if it may lie there.

    Raises:
        BorderError: it would lie in the study, or others can read what is there.
    """
    studies = [out.resolve().parent, *([Path.cwd().resolve()] if Path("params.yaml").exists() else [])]
    above = path.resolve().parents
    if any(study in above for study in studies):
        raise BorderError(
            f"The linkage table {path} would lie in the study. It undoes the pseudonyms: keep it elsewhere."
        )
    taken = next((folder for folder in above if any((folder / name).exists() for name in _TAKES)), None)
    if taken:
        raise BorderError(
            f"The linkage table {path} would lie in {taken}, where Git or DVC may take it. It undoes the pseudonyms: "
            "keep it elsewhere."
        )
    if not path.resolve().parent.is_dir():
        raise BorderError(f"There is no folder for the linkage table {path}. Make it first.")
    if path.exists() and path.stat().st_mode & 0o077:
        raise BorderError(f"The linkage table {path} can be read by others. Run: chmod 600 {path}")
    return path


def pending_links(path: Path | None, out: Path) -> Path | None:
    """Where an import into ``out`` notes links until it is known which files come in: beside the table ``path``."""
    return path and path.with_name(f"{path.name}.{sha256(str(out.resolve()).encode())[:8]}.pending")


def settle_links(path: Path, out: Path) -> None:
    """Add the pending links of patients who have images in ``out`` to the table, each once, sorted; forget the others.

    Pending links outlive an import that was cut off, as what it staged does: the next one settles them.
    """
    pending = pending_links(path, out)
    assert pending is not None
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # imports into other studies may settle the same table now
        _settle(path, pending, out)
    finally:
        os.close(folder)


def _settle(path: Path, pending: Path, out: Path) -> None:
    came = {row for row in _rows(pending) if (out / "images" / row[0]).is_dir()}
    if came:
        with publish(path) as partial:
            partial.touch(0o600)
            with partial.open("w", encoding="utf-8", newline="", errors="surrogateescape") as file:
                csv.writer(file, lineterminator="\n").writerows([_LINK, *sorted(_rows(path) | came)])
    pending.unlink(missing_ok=True)


def _rows(path: Path) -> set[tuple[str, ...]]:
    if not path.exists():
        return set()
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return {tuple(row) for row in csv.reader(file) if len(row) == len(_LINK)} - {_LINK}
