"""A DICOM listener for C-STORE and C-ECHO: known peers only, on the loopback interface unless told otherwise."""

import logging
import re
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from medimg.errors import BorderError

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
_PATIENCE = 300.0  # s
_TITLE = re.compile(r"[A-Za-z0-9_.-]{1,16}")
_REJECT = (0x01, 0x01, 0x03)  # for good, by the user, calling AE title not recognised: PS3.8, 9.3.4


@dataclass(frozen=True)
class Peer:
    """Who may send: an application entity's title, and the host that it calls from."""

    title: str
    host: str

    @classmethod
    def parse(cls, text: str) -> "Peer":
        """Read ``TITLE@HOST``.

        Raises:
            BorderError: it is none.
        """
        title, _, host = text.partition("@")
        if not host:
            raise BorderError(f"--peer takes TITLE@HOST, such as CT1@10.0.0.5; {text!r} has no host.")
        return cls(checked_title(title), host)

    def addresses(self) -> set[str]:
        """What the host is called by number.

        Raises:
            BorderError: there is no such host.
        """
        try:
            return {str(found[4][0]) for found in socket.getaddrinfo(self.host, None)}
        except OSError:
            raise BorderError(f"There is no host {self.host}.") from None


def checked_title(title: str) -> str:
    """The title of an application entity.

    Raises:
        BorderError: it is too long, or holds other characters.
    """
    if not _TITLE.fullmatch(title):
        raise BorderError(f"{title!r} is no AE title: 1 to 16 letters, digits, '_', '-' or '.'.")
    return title


def hush() -> None:
    """pynetdicom logs what it is asked and told, and pydicom warns of it, patients included; nobody shall hear it."""
    warnings.filterwarnings("ignore", module="pydicom|pynetdicom")
    for library in ("pydicom", "pynetdicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    for name in list(logging.Logger.manager.loggerDict):
        if name.startswith("pynetdicom."):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@contextmanager
def listening(
    title: str, bind: str, port: int, peers: list[Peer], keep: Callable[[str, bytes], None], timeout: float = _PATIENCE
) -> Iterator[int]:
    """Listen while the block runs; yields the port.

    Args:
        title: ours; who calls another is turned away.
        bind: the address of the interface.
        port: 0 for any that is free.
        peers: who may send.
        keep: takes the SOP instance UID and the bytes of each file, in a thread of its own; an ``OSError`` of it tells
            the sender that there is no room.
        timeout: how long a sender may hold a connection without a word, s.

    Raises:
        BorderError: the port is taken, or one may not listen there.
    """
    from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
    from pynetdicom.presentation import AllStoragePresentationContexts
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    hush()
    known = {(peer.title, address) for peer in peers for address in peer.addresses()}
    server = AE(ae_title=title)
    server.require_called_aet = True
    server.maximum_pdu_size = 0
    server.dimse_timeout = server.network_timeout = timeout
    server.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        server.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)

    def request(event: Any) -> None:
        caller = event.assoc.requestor
        if (caller.primitive.calling_ae_title.strip(), caller.address) not in known:
            event.assoc.acse.send_reject(*_REJECT)
            event.assoc.kill()

    handlers: Any = [(evt.EVT_REQUESTED, request), (evt.EVT_C_STORE, store(keep))]
    try:
        running: Any = server.start_server((bind, port), block=False, evt_handlers=handlers)
    except OSError as error:
        raise BorderError(f"Listening on {bind}, port {port} is not possible: {error.strerror}.") from None
    try:
        yield running.server_address[1]
    finally:
        running.shutdown()


def store(keep: Callable[[str, bytes], None]) -> Callable[[Any], int]:
    """A handler that hands each file to ``keep``."""

    def handle(event: Any) -> int:
        try:
            keep(str(event.request.AffectedSOPInstanceUID), event.encoded_dataset())
        except OSError:
            return OUT_OF_RESOURCES
        except Exception:
            return CANNOT_UNDERSTAND
        return SUCCESS

    return handle
