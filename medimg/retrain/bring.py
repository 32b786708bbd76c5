"""New data into the clone, through the border, and whether they are enough to train on."""

import contextlib
import errno
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medimg.border.account import Summary
from medimg.border.statement import Imported, read_imports
from medimg.errors import BorderError, LabelsError, NightError
from medimg.files import sha256_file, sha256_json, write_json
from medimg.params import Retrain
from medimg.promote.champion import Champion
from medimg.records import DATA
from medimg.retrain.outcome import DISK_IS_FULL, Status
from medimg.retrain.repository import ROOM


@dataclass(frozen=True)
class News:
    """What came since the champion's last training."""

    batch: int
    """the last import, as an ordinal; 0 where no import vouches for the data"""
    imports: str
    """a hash of all imports up to it"""
    images: int
    patients: int
    relabelled: int
    """older images whose label changed"""

    @property
    def patients_or_labels(self) -> int:
        """What counts against ``retrain.new_patients``."""
        return self.patients + self.relabelled


class Seen:
    """What a night remembers of the source: its listing when all of it was known, and which files were refused.

    A folder or an archive that looks as it did, by names, sizes and times, is not read again.
    """

    def __init__(self, study: Path, settings: Retrain, place: Path) -> None:
        self._path, self._data = study / ROOM / "seen.json", place / "data.dvc"
        self._known = self._read()
        self.listing = _listing([_of(study, name) for name in (settings.source, settings.labels) if name])

    def newly(self, refused: dict[str, str]) -> dict[str, str]:
        """Which of the refused files the last night that went on did not see: the others are not new any more."""
        known = set(self._known.get("refused", []))
        return {name: code for name, code in refused.items() if name not in known}

    def unchanged(self) -> bool:
        """Whether there is nothing that an import could bring."""
        same = self._known.get("listing") == self.listing and self._known.get("data") == self._now()
        return self.listing is not None and same

    def refuse(self, files: Iterable[str]) -> None:
        """Note that these files were refused, few enough to go on."""
        self._known["refused"] = sorted(files)
        write_json(self._path, self._known)

    def remember(self) -> None:
        """Note that the data as they are hold all of the source."""
        self._known |= {"listing": self.listing, "data": self._now()}
        write_json(self._path, self._known)

    def _now(self) -> str:
        return sha256_file(self._data) if self._data.exists() else ""

    def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
            return found
        except (OSError, ValueError):
            return {}


def _listing(paths: list[Path]) -> str | None:
    """A hash of names, sizes and times; None where a path is an address or not there, or changes meanwhile."""
    try:
        files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
        if not all(path.exists() for path in paths):
            return None
        return sha256_json(sorted((str(file), (about := file.stat()).st_size, about.st_mtime_ns) for file in files))
    except OSError:  # a link that leads nowhere, a file that has just gone: the import says what there is
        return None


def bring(place: Path, study: Path, settings: Retrain, seen: Seen) -> bool:
    """Import what ``settings.source`` holds that is new, if one is named; whether anything came.

    Raises:
        NightError: the source cannot be read, or too much of what is new is refused.
    """
    from medimg.border.locate import Options, locate
    from medimg.border.pipeline import import_from

    if settings.source is None:
        return False
    remote = "://" in settings.source
    source = settings.source if remote else str(_of(study, settings.source))
    credentials = _of(study, settings.credentials) if settings.credentials else None
    labels = _of(study, settings.labels) if settings.labels else None
    filters = [_whole(study, text) for text in settings.filters]
    private = {"source": None if remote else Path(source), "labels": labels, "credentials": credentials}
    private["filters"] = next((path for path in map(_listed, filters) if path and _within(study, path)), None)
    for name, path in private.items():
        if path and _within(study, path):
            raise NightError(
                Status.USAGE,
                f"retrain.{name} lies inside the study, where Git and DVC would take it as it is. Move it out.",
            )
    with contextlib.chdir(place):
        try:
            found = locate(source, DATA, Options(filters, credentials))
            done = import_from(
                found, labels, DATA, settings.keep, each_image_is_a_patient=settings.each_image_is_a_patient
            )
        except (BorderError, LabelsError) as error:
            if any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT)):
                raise NightError(Status.POSTPONED, DISK_IS_FULL) from None
            status = Status.POSTPONED if remote else Status.REFUSED_DATA
            raise NightError(status, f"The import failed: {error}") from None
    _judge(done, settings.max_refused, seen)
    return done.batch is not None or done.finished_another


def _judge(done: Summary, limit: float, seen: Seen) -> None:
    fresh = seen.newly(done.refused_files)
    if len(fresh) > limit * (len(fresh) + done.imported):
        reasons = ", ".join(f"{count} {code}" for code, count in sorted(Counter(fresh.values()).items()))
        raise NightError(
            Status.REFUSED_DATA,
            f"The import refused {len(fresh)} of {len(fresh) + done.imported} new files ({reasons}), more than "
            f"retrain.max_refused {limit:g} allows. Nothing was changed. Take them out of the source, or import by "
            "hand to see which and why.",
        )
    seen.refuse(done.refused_files)


def _of(study: Path, name: str) -> Path:
    return study / Path(name).expanduser()


def _whole(study: Path, text: str) -> str:
    """A filter whose file is named from the study, as the other files are."""
    key, at, name = text.partition("=@")
    return f"{key}=@{_of(study, name)}" if at else text


def _listed(text: str) -> Path | None:
    """The file of a filter's values."""
    _, at, name = text.partition("=@")
    return Path(name) if at else None


def _within(study: Path, path: Path) -> bool:
    return study.resolve() in path.resolve().parents


def news(place: Path, history: list[dict[str, Any]]) -> News:
    """What the imports brought after the last training that ``history`` tells of and that stands on these imports."""
    imported = read_imports(place / DATA)
    trained = next(_standing(imported, reversed(history)), 0)
    fresh = [path for path, batch in imported.batch.items() if batch > trained and path.startswith("images/")]
    patients = {Path(path).parts[1] for path in fresh}
    relabelled = sum(one["counts"].get("relabelled", 0) for one in imported.statements if one["batch"] > trained)
    last = max((one["batch"] for one in imported.statements), default=0)
    return News(last, _hashed(imported, last), len(fresh), len(patients), relabelled)


def learned(place: Path, history: list[dict[str, Any]], champion: Champion | None) -> int:
    """The last import of which the champion learned and which, with all before it, is still the one that it was."""
    last = champion.batch if champion else 0
    return max((batch for batch in _standing(read_imports(place / DATA), history) if batch <= last), default=0)


def _standing(imported: Imported, history: Iterable[dict[str, Any]]) -> Iterator[int]:
    """Of each training that stood on these very imports the last of them.

    Ordinals alone would not do: when a person takes an import back, the next one gets its number.
    """
    return (line["batch"] for line in history if line.get("imports") == _hashed(imported, line.get("batch", 0)))


def _hashed(imported: Imported, last: int) -> str:
    manifests = {one["batch"]: one["manifest_sha256"] for one in imported.statements}
    return sha256_json([manifests[batch] for batch in sorted(manifests) if batch <= last])
