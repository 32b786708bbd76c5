"""Series from a PACS, each whole or not at all: a connection that drops is tried again, then the series is refused."""

import errno
import queue
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from medimg.border.query import Answer, Query
from medimg.border.sources import Item, Taken
from medimg.errors import BorderError, Refusal
from medimg.images import quiet

TIMEOUT = 300.0
"""How long a PACS may be silent, s: one that fetches from a tape, or sends without a word in between, takes minutes"""
_UID = re.compile(r"[0-9.]{1,64}")
_SERIES_AHEAD = 2
_GIVE_UP, _LISTED, _SILENT = 50, 1, 10
"""What series in a row may weigh until the PACS is taken to be gone; what one weighs that it lists and does not give,
as it may a damaged study, and one that it does not even list."""
_OUR_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
_Ready = list[Item] | BorderError | None


class Dropped(Exception):
    """The PACS did not do what it was asked, this time. Holds no text of its own, since that may quote a patient."""


class Withheld(Exception):
    """The PACS answers that it does not give this study or series: to ask again changes nothing. Says why, no UID."""


@dataclass(frozen=True, repr=False)
class Series:
    """A series by its UIDs."""

    study: str
    series: str
    """empty for a study whose series the PACS does not name"""
    withheld: str = ""
    """why the PACS cannot be asked for it: it does not name the series of the study, or this one by no UID"""


def uid_of(answer: Answer, keyword: str) -> str:
    """The UID in an answer of the PACS.

    Raises:
        Dropped: it is none, so there is nothing by which to ask for what it is about.
    """
    uid = next(iter(answer.get(keyword, [])), "").rstrip(" \0")
    if not _UID.fullmatch(uid):
        raise Dropped
    return uid


def listed(answers: Iterable[Answer], keyword: str) -> Iterator[tuple[str, str]]:
    """The UID of each answer, and why nobody can ask for it: then a number stands for what may hold a name."""
    nameless = 0
    for answer in answers:
        try:
            yield uid_of(answer, keyword), ""
        except Dropped:
            nameless += 1
            yield (
                f"number {nameless} without a UID",
                f"lists it with a {keyword} that is none",
            )


class Pacs(Protocol):
    """How to ask one kind of archive."""

    where: str

    def find(self, query: Query) -> Iterator[Series]:
        """The series that fit.

        Raises:
            BorderError: it cannot be reached, or refuses us.
            Dropped: it broke off.
        """

    def instances(self, series: Series) -> frozenset[str]:
        """The SOP instance UIDs of a series.

        Raises:
            BorderError: it does not know us any more.
            Dropped: it broke off.
            Withheld: it refuses this series.
        """

    def fetch(self, series: Series, wanted: frozenset[str], folder: Path) -> None:
        """Write its instances into ``folder``, each a file by any name.

        Raises:
            as ``instances``.
        """


class Remote:
    """What of a PACS fits a query, as a source; de-identified while the next series are fetched.

    Args:
        pacs: the archive.
        query: what to ask for.
        waits: seconds before each further attempt at a series.
    """

    has_paths = False

    def __init__(self, pacs: Pacs, query: Query, waits: tuple[float, ...] = (1, 5)) -> None:
        self.where = pacs.where
        self._pacs, self._query, self._waits = pacs, query, waits
        self._found: list[Series] = []
        self._listed = False  # whether it said what is in the series that was asked for last
        self.known: Callable[[str, frozenset[str]], Mapping[str, Taken]] = lambda series, instances: {}
        """What became of each instance of a series that is here whole; nothing of any other."""

    def names(self, labels: Path | None) -> list[str]:
        """Ask what there is; its files have no names.

        Raises:
            BorderError: the PACS cannot be asked, or nothing fits.
        """
        found: dict[tuple[str, str], Series] = {}
        waits = iter(self._waits)
        while True:
            try:
                for series in self._pacs.find(self._query):
                    found[series.study, series.series] = series
                break
            except BorderError:
                raise
            except Exception:  # its text may hold what was asked for
                wait = next(waits, None) if found else None  # who has not said a word is not there
            if wait is None:
                raise BorderError(f"{self.where} cannot be reached, or broke off. Nothing was imported.")
            time.sleep(wait)
        if not found:
            raise BorderError(f"{self.where} has nothing that fits every --filter.")
        self._found = [found[uids] for uids in sorted(found)]
        return []

    def items(self, room: Path) -> Iterator[Item]:
        """The images of each series that came whole; one refusal for each that did not."""
        return _ahead(lambda: self._series(room))

    def _series(self, folder: Path) -> Iterator[list[Item]]:
        failed = 0
        for number, series in enumerate(self._found):
            room = folder / str(number)
            name = f"series {series.series} of study {series.study}" if series.series else f"study {series.study}"
            try:
                items = [] if failed >= _GIVE_UP else self._whole(series, room)
            except Withheld as reason:
                failed = 0  # it answers
                yield [Item(name, refusal=Refusal.WITHHELD, detail=f"{self.where} {reason}")]
                continue
            failed = 0 if items else failed + (_LISTED if self._listed else _SILENT)
            detail = f"{self.where} did not give the whole series, {1 + len(self._waits)} times"
            yield items or [Item(name, refusal=Refusal.INCOMPLETE, detail=detail)]

    def _whole(self, series: Series, room: Path) -> list[Item]:
        """The files of a series, or none when one is missing after every attempt.

        Raises:
            Withheld: the PACS does not give it.
        """
        if series.withheld:
            raise Withheld(series.withheld)
        self._listed = False
        for wait in (0, *self._waits):
            time.sleep(wait)
            shutil.rmtree(room, ignore_errors=True)
            room.mkdir(mode=0o700)
            try:
                wanted = self._pacs.instances(series)
                self._listed = True
                if wanted and (known := self.known(series.series, wanted)):
                    return [_item(series, uid, known=known[uid]) for uid in sorted(wanted)]
                self._pacs.fetch(series, wanted, room)
            except Dropped:
                continue
            except Withheld:
                shutil.rmtree(room, ignore_errors=True)
                raise
            except OSError as error:
                raise BorderError(f"Writing what {self.where} gave failed: {error.strerror}.") from None
            there = {instance_of(path): path for path in room.iterdir()}
            if wanted and wanted <= there.keys():
                return [_item(series, uid, path=there[uid], passing=True) for uid in sorted(wanted)]
        shutil.rmtree(room, ignore_errors=True)
        return []


def _item(series: Series, uid: str, **what: Any) -> Item:
    return Item(f"series {series.series}, instance {uid}", series=series.series, instance=uid, **what)


def instance_of(path: Path) -> str:
    """The SOP instance UID in a file's header."""
    import pydicom

    try:
        with quiet():
            return str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
    except Exception:
        return ""


def _ahead(series: Callable[[], Iterator[list[Item]]]) -> Iterator[Item]:
    """The items of series that a thread fetches while others are de-identified."""
    ready: queue.Queue[_Ready] = queue.Queue(_SERIES_AHEAD)
    stop = threading.Event()

    def work() -> None:
        end: BorderError | None = None
        try:
            for items in series():
                if not _put(ready, items, stop):
                    return
        except BorderError as error:
            end = error
        except Exception as error:  # a defect; its own text may quote a patient
            end = BorderError(f"medimg itself failed on a series ({type(error).__name__}). Please report it.")
        _put(ready, end, stop)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (found := ready.get()) is not None:
            if isinstance(found, BorderError):
                raise found
            yield from found
    finally:
        stop.set()
        thread.join(10)


def _put(ready: "queue.Queue[_Ready]", what: _Ready, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            ready.put(what, timeout=0.2)
            return True
        except queue.Full:
            continue
    return False


@contextmanager
def dropping() -> Iterator[None]:
    """Turn whatever a library raises into ``Dropped``: its text may hold what was asked for."""
    try:
        yield
    except (BorderError, Dropped, Withheld):
        raise
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in _OUR_DISK
        if full:
            raise
    else:
        return
    raise Dropped
