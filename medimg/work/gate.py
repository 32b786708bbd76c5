"""Who is let onto a Ray cluster: every way there asks first, as a stranger would, whether anybody is let in.

Who reaches a cluster that asks for no token can run code on every node, and read what is worked on there. ``admit``
asks Ray's own port, before a driver joins; ``medimg.cluster.probe`` asks the job API, before a study is sent. Neither
imports Ray.
"""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medimg.errors import ClusterError

SECONDS = 10.0
"""for an answer"""
FORGED = "0" * 32
_TURN_ON = "Start it with RAY_AUTH_MODE=token (cluster/start.sh does)."


_OTHERWISE = {
    False: "where its traffic is encrypted, RAY_USE_TLS=1 and the certificates have to be named here too "
    "(docs/security.md)",
    True: "RAY_USE_TLS is set here, so it must be there, with a certificate for this address that the authority in "
    "RAY_TLS_CA_CERT has signed",
}
"""What may be the reason, by whether our side encrypts."""


class Foreign(ConnectionError):
    """Somebody listens there, and does not answer as Ray does to one who speaks as we are told to."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    ok: bool
    what: str
    """a sentence, with what to do where it is not in order"""


@dataclass(frozen=True)
class Answer:
    """What a cluster said to one call."""

    said: str
    """its status, as the protocol names it"""
    let_in: bool


def token_path() -> Path:
    """Where the cluster's token is read from."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def token() -> str | None:
    """The cluster's token, from where Ray too would take it; None: there is none."""
    if given := os.environ.get("RAY_AUTH_TOKEN"):
        return given
    path = token_path()
    return (path.read_text(encoding="utf-8").strip() or None) if path.is_file() else None


def token_kept() -> Finding:
    """Whether there is a token, and who can read it."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Finding(True, "The token is in RAY_AUTH_TOKEN.")
    path = token_path()
    if token() is None:
        return Finding(False, f"There is no token in {path}. Copy it from the cluster's head, readable by you alone.")
    if path.stat().st_mode & 0o077:
        return Finding(False, f"Others on this machine can read the token: chmod 600 {path}")
    return Finding(True, f"The token in {path} is readable by its owner alone.")


def hide_token() -> None:
    """Make Ray's token readable by its owner alone, if another program has left it otherwise."""
    path = token_path()
    if path.is_file() and path.stat().st_mode & 0o077:
        with suppress(OSError):  # another's, or on a disk that is read only
            path.chmod(0o600)


def judged(stranger: Answer, forger: Answer, mine: Answer) -> list[Finding]:
    """What three answers say of a cluster: to a call without a token, with a wrong one, with ours."""
    open_ = ": anybody who reaches it can run code. " + _TURN_ON
    return [
        Finding(
            not stranger.let_in,
            f"A request without the token got {stranger.said}" + (open_ if stranger.let_in else ", as it should."),
        ),
        Finding(
            not forger.let_in,
            f"A request with a wrong token got {forger.said}" + (open_ if forger.let_in else ", as it should."),
        ),
        Finding(
            mine.let_in,
            "The token here is the cluster's."
            if mine.let_in
            else f"The token here is not the cluster's: it got {mine.said}. Copy {token_path()} from its head, mode "
            "0600.",
        ),
    ]


def admit(address: str) -> None:
    """Let pass only a cluster that strangers cannot use; ours is the token that it asks for.

    Args:
        address: of Ray's head as ``RAY_ADDRESS`` has it, ``host:port`` or ``ray://host:port``.

    Raises:
        ClusterError: it asks nobody for a token, or does not accept ours, or others here can read that.
        Foreign: it does not answer as a Ray cluster does; TLS may be the reason.
        OSError: nobody listens there.
    """
    wrong = next((finding for finding in look(address) if not finding.ok), None)
    if wrong is not None:
        raise ClusterError(f"Nothing was sent to the Ray cluster at RAY_ADDRESS={address}. {wrong.what}")


def look(address: str) -> list[Finding]:
    """What ``admit`` looks at, in the order in which it is asked.

    Raises:
        OSError: see ``admit``.
    """
    knock(address)
    method = _CLIENT if address.startswith("ray://") else _HEAD
    call = _caller(address.removeprefix("ray://"), method)
    stranger, *others = judged(call(None), call(FORGED), call(token()))
    return [stranger, token_kept(), *others]


_HEAD = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_CLIENT = "/ray.rpc.RayletDriver/KVExists"
"""Of Ray's two ports, calls that change nothing and are answered with an error where they lack what they ask for."""


def _caller(place: str, method: str) -> Callable[[str | None], Answer]:
    """Calls ``method`` of the gRPC server at ``place`` with nothing but a token, or without."""
    import grpc

    def call(bearer: str | None) -> Answer:
        with _channel(grpc, place) as channel:
            ask = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
            headers = (("authorization", f"Bearer {bearer}"),) if bearer else ()
            try:
                ask(b"", timeout=SECONDS, metadata=headers)
            except grpc.RpcError as error:
                code = error.code()
                if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                    return Answer(code.name, False)
                if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise Foreign(f"{place} does not speak as Ray does: {_OTHERWISE[_tls()]}") from None
                return Answer(code.name, True)
            return Answer("OK", True)

    return call


def _tls() -> bool:
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")


def _channel(grpc: Any, place: str) -> Any:
    options = [("grpc.enable_http_proxy", 0)]
    if not _tls():
        return grpc.insecure_channel(place, options=options)
    names = ("RAY_TLS_CA_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_SERVER_CERT")
    try:
        held = [Path(os.environ[name]).read_bytes() if os.environ.get(name) else None for name in names]
    except OSError as error:
        raise ClusterError(f"RAY_USE_TLS is set, and of {', '.join(names)} one cannot be read: {error}") from None
    return grpc.secure_channel(place, grpc.ssl_channel_credentials(*held), options=options)


def knock(address: str) -> None:
    """Connect to ``host:port`` and hang up: Ray itself would wait for minutes.

    Raises:
        OSError: nobody listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():  # not the words auto or local
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
