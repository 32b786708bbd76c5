"""Is a Ray cluster safe to send work to? Asked over HTTP as a stranger would, and as one who has the token.

Who can reach a cluster's job API without a token can run code on every node. ``probe`` says what it finds; ``guard``
refuses what nobody should send a study to. Neither imports Ray.
"""

import ipaddress
import socket
from pathlib import Path
from urllib.parse import urlsplit

import requests

from medimg.errors import ClusterError
from medimg.work.gate import FORGED, Answer, Finding, judged, token, token_kept

JOBS = "/api/jobs/"
SECONDS = 10
"""for an answer"""


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine alone: what is sent there does not leave it."""
    try:
        found = {ipaddress.ip_address(str(entry[4][0])) for entry in socket.getaddrinfo(host.strip("[]"), None)}
    except (OSError, ValueError):
        return False
    return bool(found) and all(address.is_loopback for address in found)


def probe(address: str, ca: Path | None = None) -> list[Finding]:
    """Look at the cluster whose dashboard is at ``address``, such as ``http://127.0.0.1:8265``.

    Args:
        address: of the dashboard, which serves the job API; a tunnel's end is fine.
        ca: certificates to trust, for one that signed itself.

    Returns:
        what was found, in the order in which it was asked; after "does not answer" nothing follows.
    """
    findings = [_in_clear(address), token_kept()]
    try:
        answers = _post(address, ca, None), _post(address, ca, FORGED), _get(address, ca, token())
    except requests.RequestException as error:
        return [*findings, Finding(False, f"{address} does not answer ({type(error).__name__}).")]
    stranger, forger = (Answer(str(status), status not in (401, 403)) for status in answers[:2])
    return [*findings, *judged(stranger, forger, Answer(str(answers[2]), answers[2] == 200))]


def guard(address: str, ca: Path | None = None) -> None:
    """Let pass only a cluster that strangers cannot use, over a way on which the token cannot be read.

    Raises:
        ClusterError: it does not answer, asks nobody for a token though others can reach it, would be told the token
            in clear, or does not accept ours.
    """
    in_clear, kept, *answers = probe(address, ca)
    wrong = next((finding for finding in (in_clear, kept, *answers) if not finding.ok), None)
    if wrong is not None:
        raise ClusterError(f"Nothing was sent to the cluster at {address}. {wrong.what}")


def answers(address: str, ca: Path | None = None) -> None:
    """Ask the dashboard for anything.

    Raises:
        requests.RequestException: nothing has come back for ``SECONDS``.
    """
    _get(address, ca, token())


def _in_clear(address: str) -> Finding:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return Finding(False, f"{address} is no address of a dashboard. It looks like http://127.0.0.1:8265.")
    if parts.scheme == "https":
        return Finding(True, "The way to it is encrypted.")
    if is_loopback(parts.hostname):
        return Finding(True, "It is reached on this machine's loopback (or a tunnel's end).")
    return Finding(
        False,
        f"{parts.hostname} is another machine, and http:// would carry the token there in clear. Use https:// (see "
        f"docs/security.md), or a tunnel: ssh -N -L 8265:127.0.0.1:{parts.port or 80} {parts.hostname}, and then "
        "--address http://127.0.0.1:8265.",
    )


def _headers(bearer: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {bearer}"} if bearer else {}


def _post(address: str, ca: Path | None, bearer: str | None) -> int:
    """Status of a submission that names nothing to run, so that even an open cluster runs nothing."""
    done = requests.post(
        address.rstrip("/") + JOBS,
        json={},
        headers=_headers(bearer),
        timeout=SECONDS,
        verify=str(ca) if ca else True,
        allow_redirects=False,
    )
    return done.status_code


def _get(address: str, ca: Path | None, bearer: str | None) -> int:
    done = requests.get(
        address.rstrip("/") + JOBS,
        headers=_headers(bearer),
        timeout=SECONDS,
        verify=str(ca) if ca else True,
        allow_redirects=False,
    )
    return done.status_code
