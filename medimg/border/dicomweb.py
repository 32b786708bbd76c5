"""DICOMweb: QIDO-RS to find series, WADO-RS to fetch them. DICOM PS3.18, chapters 8.6 to 8.7, 10.4 and 10.6."""

import base64
import ipaddress
import json
import logging
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from medimg.border.query import Answer, Query, fits
from medimg.border.remote import TIMEOUT, Dropped, Series, Withheld, dropping, listed, uid_of
from medimg.errors import BorderError

if TYPE_CHECKING:
    import requests

_PAGE = 200
_CONNECT = 10.0  # s
_PIECE = 2**18
_HEADERS = 2**16
_ALL = "studies"
"""What is asked first: an answer to it is about the whole archive, an answer to any other question about one study"""
_PASSING = (404, 408, 409, 425, 429)
"""Of 4xx those that another attempt may end otherwise; 404 on what it has just listed, since it may move it about"""
_REFUSED = {
    400: "does not understand a filter (400)",
    401: "wants to know who you are (401): --credentials",
    403: "does not let you (403)",
    404: "is the address of no DICOMweb service (404)",
    **dict.fromkeys((301, 302, 303, 307, 308), "sends us to another address; name that one"),
}


@dataclass(frozen=True, repr=False)
class Credentials:
    """A token, or user and password; or neither."""

    token: str = ""
    user: str = ""
    password: str = ""

    @classmethod
    def find(cls, file: Path | None) -> "Credentials":
        """From a file that its owner alone can read, else from ``MEDIMG_PACS_TOKEN``, or ``_USER`` and ``_PASSWORD``.

        Raises:
            BorderError: the file cannot be read, can be read by others, or holds something else.
        """
        if file is None:
            names = ("TOKEN", "USER", "PASSWORD")
            return cls(*(os.environ.get(f"MEDIMG_PACS_{name}", "") for name in names))
        try:
            mode, text = file.stat().st_mode, file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise BorderError(f"{file} cannot be read.") from None
        if stat.S_IMODE(mode) & 0o077:
            raise BorderError(f"{file} can be read by others. Run: chmod 600 {file}")
        said = dict(line.strip().split(": ", 1) for line in text.splitlines() if ": " in line)
        if set(said) not in ({"token"}, {"user", "password"}):
            raise BorderError(f"{file} must hold a line 'token: …', or two lines 'user: …' and 'password: …'.")
        return cls(**said)

    def __bool__(self) -> bool:
        return bool(self.token or self.user)


class DicomWeb:
    """One DICOMweb service.

    Args:
        url: its base, such as ``https://pacs.hospital.org/dicom-web``.
        credentials: who we are.
        ca: certificates to trust instead of the system's.
        timeout: how long it may be silent, s.

    Raises:
        BorderError: the address holds a password or filters, or would carry credentials in the clear.
    """

    def __init__(self, url: str, credentials: Credentials, ca: Path | None = None, timeout: float = TIMEOUT) -> None:
        import requests

        parts = urlsplit(url)
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise BorderError(
                "The address must hold no user, password or query. Use --filter, and --credentials or the environment."
            )
        if credentials and parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            raise BorderError(f"{url} would carry your password in the clear. Use https.")
        logging.getLogger("urllib3").setLevel(logging.CRITICAL + 1)  # it logs each address, filters and all
        self.where = self._base = url.rstrip("/")
        self._timeout = (_CONNECT, timeout)
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no .netrc that nobody asked for
        if ca is not None and not ca.is_file():
            raise BorderError(f"There is no file of certificates {ca}.")
        self._session.verify = str(ca) if ca else True
        if credentials.token:
            self._session.headers["Authorization"] = f"Bearer {credentials.token}"
        elif credentials.user:
            pair = base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()
            self._session.headers["Authorization"] = f"Basic {pair}"

    def find(self, query: Query) -> Iterator[Series]:
        """The series that fit, by QIDO-RS."""
        for filters in query.studies():
            studies = (each for each in self._answers(_ALL, filters) if fits(each, filters, self.where))
            for uid, problem in listed(studies, "StudyInstanceUID"):
                if problem:
                    yield Series(uid, "", problem)
                    continue
                try:
                    for inner in query.series():
                        found = self._answers(f"studies/{uid}/series", inner)
                        series = (each for each in found if fits(each, inner, self.where))
                        yield from (Series(uid, *each) for each in listed(series, "SeriesInstanceUID"))
                except Withheld as reason:
                    yield Series(uid, "", str(reason))

    def instances(self, series: Series) -> frozenset[str]:
        """Its SOP instance UIDs, by QIDO-RS."""
        path = f"studies/{series.study}/series/{series.series}/instances"
        return frozenset(uid_of(answer, "SOPInstanceUID") for answer in self._answers(path, {}))

    def fetch(self, series: Series, wanted: frozenset[str], folder: Path) -> None:
        """Its files as they are stored, by WADO-RS."""
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        path = f"studies/{series.study}/series/{series.series}"
        with dropping(), self._get(path, {}, accept) as response:
            found = re.search(r'boundary="?([^";]+)"?', response.headers.get("Content-Type", ""))
            if not found:
                raise Dropped
            save_parts(response.iter_content(_PIECE), found[1].encode(), folder)

    def _answers(self, path: str, filters: dict[str, str]) -> Iterator[Answer]:
        """Every page of an answer; a server that gives the same answers for ever is left at their first repetition.

        Raises:
            BorderError: they are one full page of the archive's studies: there may be others that it does not give.
            Withheld: the same of one study or series.
        """
        from pydicom.datadict import keyword_for_tag

        asked = dict(filters) | {"includefield": ",".join(filters)} if filters else {}
        seen: set[str] = set()
        while True:
            page = {"limit": str(_PAGE), "offset": str(len(seen))}
            with dropping(), self._get(path, asked | page, "application/dicom+json") as response:
                answers = json.loads(response.content) if response.status_code != 204 and response.content else []
                new = [answer for answer in answers if json.dumps(answer, sort_keys=True) not in seen]
                seen |= {json.dumps(answer, sort_keys=True) for answer in new}
                read = [{keyword_for_tag(int(tag, 16)): _values(said) for tag, said in each.items()} for each in new]
            yield from read
            if len(answers) == _PAGE and not new:
                few = f"gives its first {_PAGE} answers only, so others may be missing. Use narrower filters, or dicom://."
                raise BorderError(f"{self.where} {few}") if path == _ALL else Withheld(few)
            if not new:
                return

    def _get(self, path: str, asked: dict[str, str], accept: str) -> "requests.Response":
        """One answer.

        Raises:
            BorderError: it refuses us, or is not who it should be.
            Withheld: it refuses this study or series for good.
            Dropped: anything else.
        """
        import requests

        problem = ""
        try:
            response = self._session.get(
                f"{self._base}/{path}",
                params=urlencode(asked, safe="*?,", quote_via=quote),  # Orthanc takes an encoded wildcard for a letter
                headers={"Accept": accept},
                timeout=self._timeout,
                stream=True,
                allow_redirects=False,
            )
        except requests.exceptions.SSLError:
            problem = "shows no certificate that we trust; name its authority with --ca"
        except requests.exceptions.RequestException:
            raise Dropped from None
        else:
            if response.ok and response.status_code < 300:
                return response
            response.close()
            code = response.status_code
            if path == _ALL or code == 401:
                problem = _REFUSED.get(code, "")
            elif 300 <= code < 500 and code not in _PASSING:
                raise Withheld(f"answered {code} when asked for it")
        if problem:
            raise BorderError(f"{self.where} {problem}.")
        raise Dropped


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _values(said: dict[str, Any]) -> list[str]:
    values = said.get("Value") or []
    return [str(value.get("Alphabetic", "")) if isinstance(value, dict) else str(value) for value in values]


def save_parts(pieces: Iterator[bytes], boundary: bytes, folder: Path) -> None:
    """Write each part of a multipart/related stream into ``folder``, by number; memory is bounded by the pieces.

    Raises:
        Dropped: the stream ends before its closing boundary, or a part's headers do not end.
    """
    mark = b"\r\n--" + boundary
    buffer, number = bytearray(b"\r\n"), 0
    file = None
    try:
        while True:
            at = buffer.find(mark)
            if at < 0:
                if file is not None:
                    file.write(buffer[: -len(mark)])
                    del buffer[: -len(mark)]
                _more(buffer, pieces)
                continue
            if file is not None:
                file.write(buffer[:at])
                file.close()
                file = None
            del buffer[: at + len(mark)]
            while len(buffer) < 2:
                _more(buffer, pieces)
            if buffer[:2] == b"--":
                return
            while (end := buffer.find(b"\r\n\r\n")) < 0:
                if len(buffer) > _HEADERS:
                    raise Dropped
                _more(buffer, pieces)
            del buffer[: end + 4]
            path = folder / str(number)
            file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
            number += 1
    finally:
        if file is not None:
            file.close()


def _more(buffer: bytearray, pieces: Iterator[bytes]) -> None:
    piece = next(pieces, None)
    if piece is None:
        raise Dropped
    buffer += piece
