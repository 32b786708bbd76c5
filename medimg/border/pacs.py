"""A PACS without DICOMweb: C-FIND to find series, C-GET or C-MOVE to fetch them. DICOM PS3.4, annex C."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medimg.border import spool
from medimg.border.listener import Peer, checked_title, hush, listening, store
from medimg.border.query import SERIES, STUDY, Answer, Query, fits
from medimg.border.remote import TIMEOUT, Dropped, Series, dropping, listed, uid_of
from medimg.errors import BorderError
from medimg.images import quiet

_ADDRESS = re.compile(r"dicom://([A-Za-z0-9_.-]{1,16})@([A-Za-z0-9_.:\[\]-]+):(\d{1,5})/?")
_PENDING = (0xFF00, 0xFF01)
_CONTEXTS = 126  # of 128 that an association may have, one for C-GET itself


@dataclass(frozen=True)
class Move:
    """Where the PACS shall send what it is asked to move: to our title, listening here."""

    bind: str
    port: int


class DicomPacs:
    """One application entity.

    Args:
        address: ``dicom://TITLE@HOST:PORT``.
        title: ours.
        move: None for C-GET.
        timeout: how long it may be silent, s.

    Raises:
        BorderError: the address or our title is none.
    """

    def __init__(self, address: str, title: str, move: Move | None = None, timeout: float = TIMEOUT) -> None:
        found = _ADDRESS.fullmatch(address)
        if not found:
            raise BorderError("A PACS is named dicom://TITLE@HOST:PORT, such as dicom://ARCHIVE@10.0.0.2:104")
        self._peer, self._port = Peer(found[1], found[2].strip("[]")), int(found[3])
        self._title, self._move, self._timeout = checked_title(title), move, timeout
        self.where = f"dicom://{found[1]}@{found[2]}:{self._port}"
        hush()

    def find(self, query: Query) -> Iterator[Series]:
        """The series that fit, by C-FIND."""
        with self._finding() as ask:
            for filters in query.studies():
                found = ask("STUDY", filters | _empty("StudyInstanceUID", filters))
                studies = (each for each in found if fits(each, filters, self.where))
                for uid, problem in listed(studies, "StudyInstanceUID"):
                    if problem:
                        yield Series(uid, "", problem)
                        continue
                    for inner in query.series():
                        found = ask("SERIES", inner | {"StudyInstanceUID": uid} | _empty("SeriesInstanceUID", inner))
                        series = (each for each in found if fits(each, inner, self.where))
                        yield from (Series(uid, *each) for each in listed(series, "SeriesInstanceUID"))

    def instances(self, series: Series) -> frozenset[str]:
        """Its SOP instance UIDs, by C-FIND."""
        return frozenset(uid_of(answer, "SOPInstanceUID") for answer in self._images(series))

    def fetch(self, series: Series, wanted: frozenset[str], folder: Path) -> None:
        """Its files as they are stored, by C-GET or C-MOVE."""
        lock = threading.Lock()
        kept: set[str] = set()

        def keep(uid: str, data: bytes) -> None:
            with lock:
                if uid not in wanted or uid in kept:
                    return
                kept.add(uid)
            spool.write(folder / uid, iter([data]))

        self._get(series, keep) if self._move is None else self._moved(series, keep, self._move)

    def _images(self, series: Series) -> list[Answer]:
        own = {"StudyInstanceUID": series.study, "SeriesInstanceUID": series.series}
        with dropping(), self._finding() as ask:
            return ask("IMAGE", own | {"SOPInstanceUID": "", "SOPClassUID": ""})

    @contextmanager
    def _finding(self) -> Iterator[Callable[[str, dict[str, str]], list[Answer]]]:
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find  # type: ignore[attr-defined]

        with self._associated([(Find, None)]) as association:

            def ask(level: str, filters: dict[str, str]) -> list[Answer]:
                """All answers: an association answers one question at a time."""
                answers = []
                with dropping():
                    for status, answer in association.send_c_find(_dataset(level, filters), Find):
                        code = status.get("Status")
                        if code in _PENDING and answer is not None:
                            answers.append(_read(answer))
                        elif code != 0:
                            raise Dropped
                return answers

            yield ask

    def _get(self, series: Series, keep: Callable[[str, bytes], None]) -> None:
        from pynetdicom import ALL_TRANSFER_SYNTAXES, build_role, evt
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as Get  # type: ignore[attr-defined]

        classes = sorted({value for answer in self._images(series) for value in answer.get("SOPClassUID", [])})
        each = [(uid, [syntax]) for uid in classes for syntax in ALL_TRANSFER_SYNTAXES]
        if len(each) > _CONTEXTS:  # then the PACS chooses one syntax for each class
            each = [(uid, list(ALL_TRANSFER_SYNTAXES)) for uid in classes[:_CONTEXTS]]
        roles = [build_role(uid, scp_role=True) for uid in classes]
        handlers = [(evt.EVT_C_STORE, store(keep))]
        with dropping(), self._associated([(Get, None), *each], roles, handlers) as association:
            _check(association.send_c_get(_dataset("SERIES", _uids(series)), Get))

    def _moved(self, series: Series, keep: Callable[[str, bytes], None], move: Move) -> None:
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as Ask  # type: ignore[attr-defined]

        ours = listening(self._title, move.bind, move.port, [self._peer], keep, self._timeout)
        with ours, dropping(), self._associated([(Ask, None)]) as association:
            _check(association.send_c_move(_dataset("SERIES", _uids(series)), self._title, Ask))

    @contextmanager
    def _associated(
        self, contexts: list[tuple[str, list[str] | None]], roles: Any = None, handlers: Any = None
    ) -> Iterator[Any]:
        """An association, released at the end.

        Raises:
            BorderError: the PACS rejects us.
            Dropped: it cannot be reached.
        """
        from pynetdicom import AE

        client = AE(ae_title=self._title)
        client.maximum_pdu_size = 0
        client.dimse_timeout = client.network_timeout = self._timeout
        for abstract, syntaxes in contexts:
            client.add_requested_context(abstract, *([syntaxes] if syntaxes else []))
        with dropping():
            association = client.associate(
                self._peer.host, self._port, ae_title=self._peer.title, ext_neg=roles, evt_handlers=handlers or []
            )
        if association.is_rejected:
            raise BorderError(f"{self.where} does not know {self._title}. Ask its administrator, or name --ae-title.")
        if not association.is_established:
            raise Dropped
        try:
            yield association
        finally:
            association.release() if association.is_established else association.abort()


def _check(responses: Any) -> None:
    """The last response must be a success, without one image that could not be sent."""
    last = None
    for status, _ in responses:
        last = status
    if last is None or last.get("Status") != 0:
        raise Dropped


def _uids(series: Series) -> dict[str, str]:
    return {"StudyInstanceUID": series.study, "SeriesInstanceUID": series.series}


def _empty(keyword: str, given: dict[str, str]) -> dict[str, str]:
    """Ask for a UID, unless it is given."""
    return {} if keyword in given else {keyword: ""}


def _dataset(level: str, filters: dict[str, str]) -> Any:
    from pydicom.dataset import Dataset

    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    dataset.SpecificCharacterSet = "ISO_IR 192"
    with quiet():  # it warns of values that it does not like, and quotes them
        for keyword, value in filters.items():
            setattr(dataset, keyword, value)
    return dataset


def _read(answer: Any) -> Answer:
    said: Answer = {}
    for keyword in (*STUDY, *SERIES, "SOPInstanceUID", "SOPClassUID"):
        if keyword in answer:
            value = answer.get(keyword)
            many = value is not None and not isinstance(value, str) and hasattr(value, "__iter__")
            said[keyword] = [str(each) for each in value] if many else [str(value)] if value is not None else []
    return said
