"""Sending a study to a Ray cluster through its Jobs API, watching it there, and bringing the result home.

What is sent is the commit, never data: the cluster takes those from the DVC remote and leaves the results there (see
``cluster/job.sh`` and ``medimg.cluster.delivery``). A submission is named by its inputs: the same thing sent twice is
one job.
"""

import json
import logging
import os
import re
import secrets
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medimg import __version__
from medimg.cluster import delivery, probe
from medimg.cluster.commit import Study, examine, export
from medimg.errors import ClusterError
from medimg.files import code_sha256, sha256_json
from medimg.records import LEDGER

COMMAND = ("dvc", "repro")
DASHBOARD = "http://127.0.0.1:8265"
LARGEST = 100 * 2**20
"""bytes that Ray's job API takes"""
SAME = ("ray", "torch", "pytorch-lightning", "monai", "dvc")
"""packages of which the far side must have the same versions"""

_SECRET = re.compile(r"\b[A-Z0-9_]*(SECRET|PASSWORD|PASSWD|TOKEN|ACCESS_KEY)[A-Z0-9_]*=|://[^/\s:@]+:[^/\s@]+@")
"""Of a command: a variable that is set to one, or a URL that holds one"""

_VERSIONS = f"""
import importlib.metadata as m, json, sys
found = {{"Python": "%d.%d" % sys.version_info[:2]}}
for name in {SAME!r}:
    try: found[name] = m.version(name).split("+")[0]
    except m.PackageNotFoundError: found[name] = None
try:
    from medimg.files import code_sha256
    found["medimg"] = code_sha256()[:16]
except ImportError: found["medimg"] = None
print("versions", json.dumps(found))
"""


@dataclass(frozen=True)
class Submission:
    """One attempt at a job, as the cluster knows it."""

    name: str
    """of the inputs; results stand under it on the remote"""
    attempt: str
    """the cluster's own name for it"""
    status: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED"""
    message: str
    command: str
    started: float
    """seconds since 1970; 0 before it started"""
    seconds: float
    """how long it has run, or ran"""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in ("SUCCEEDED", "FAILED", "STOPPED")


class Cluster:
    """The Jobs API of one cluster, to which it is safe to talk."""

    def __init__(self, address: str | None = None, ca: Path | None = None) -> None:
        """Connect.

        Args:
            address: of the dashboard; default: ``RAY_API_SERVER_ADDRESS``, else port 8265 here, where a tunnel ends.
            ca: certificates to trust beside the system's.

        Raises:
            ClusterError: see ``probe.guard``; or it is no Ray cluster.
        """
        self.address = (address or os.environ.get("RAY_API_SERVER_ADDRESS") or DASHBOARD).rstrip("/")
        self.ca = ca
        probe.guard(self.address, ca)
        os.environ.update(RAY_AUTH_MODE="token", RAY_API_SERVER_ADDRESS=self.address, RAY_USAGE_STATS_ENABLED="0")
        os.environ["RAY_RUNTIME_ENV_IGNORE_GITIGNORE"] = "1"  # what is committed is sent
        os.environ["RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES"] = ".git"  # also where it is called venv
        from ray.job_submission import JobSubmissionClient

        logging.getLogger("ray").setLevel(logging.ERROR)  # which package is uploaded, and the like
        try:
            self.jobs = JobSubmissionClient(self.address, verify=str(ca) if ca else True)
        except (ConnectionError, RuntimeError) as error:
            raise ClusterError(
                f"{self.address} is not the dashboard of a Ray cluster ({type(error).__name__})."
            ) from None

    def submissions(self, name: str = "medimg-") -> list[Submission]:
        """Every attempt at the jobs whose names begin with ``name``, the oldest first."""
        found = [job for job in self.jobs.list_jobs() if (job.submission_id or "").startswith(name)]
        return sorted((_read(job) for job in found if "medimg" in job.metadata), key=lambda one: one.started)

    def one(self, name: str) -> Submission:
        """The latest attempt at ``name``, which may be the beginning of a name.

        Raises:
            ClusterError: the cluster knows none.
        """
        found = self.submissions(name)
        if not found:
            raise ClusterError(
                f"The cluster knows no submission {name} (after a restart of its head it knows none). "
                "medimg jobs lists them; medimg submit goes on from the last checkpoint."
            )
        return found[-1]

    def attempt(self, attempt: str) -> Submission:
        """This attempt and no other.

        Raises:
            ClusterError: the cluster does not know it (any more).
        """
        found = [one for one in self.submissions(attempt) if one.attempt == attempt]
        return found[0] if found else self.one(attempt)

    def ask_whether_it_is_there(self) -> None:
        """Have it answer, whatever it says.

        Raises:
            OSError: it does not.
        """
        probe.answers(self.address, self.ca)

    def check_versions(self, study: Study) -> None:
        """Refuse a far side that would not run what runs here.

        Raises:
            ClusterError: another version of Python, Ray, medimg or a package that decides results.
        """
        here = _versions_here()
        for anew in (False, True):  # the answer on record may be older than what has been installed since
            there = self._versions_there(anew)
            other = [
                f"{name} {there.get(name) or 'missing'} there, {here[name]} here"
                for name in here
                if here[name] != there.get(name) and not (name == "medimg" and study.carries_medimg)
            ]
            if not other:
                return
        raise ClusterError(
            f"Nothing was sent: the cluster would not run what runs here. {'; '.join(other)}. Install the same on "
            "both sides: pip install -r requirements.lock"
        )

    def _versions_there(self, anew: bool) -> dict[str, Any]:
        """What is installed on the far side: what it last said to a version like ours, or now; nothing: it did not say.

        Raises:
            ClusterError: it cannot say.
        """
        kind = f"medimg-versions-{sha256_json(_versions_here())[:12]}"
        known = [job for job in self.jobs.list_jobs() if (job.submission_id or "").startswith(kind)]
        if known and not anew:
            attempt: str = max(known, key=lambda job: job.start_time or 0).submission_id
        else:
            attempt = f"{kind}-{secrets.token_hex(4)}"
            self.jobs.submit_job(entrypoint=f"python -c {shlex.quote(_VERSIONS)}", submission_id=attempt)
        end = time.monotonic() + 120
        while not self.jobs.get_job_status(attempt).is_terminal():
            if time.monotonic() > end:
                raise ClusterError(
                    "The cluster starts no small job within two minutes: medimg doctor --cluster ADDRESS"
                )
            time.sleep(0.3)
        log = self.jobs.get_job_logs(attempt)
        line = next((line for line in log.splitlines() if line.startswith("versions ")), None)
        if line is None and not anew:
            return {}
        if line is None:
            raise ClusterError("The cluster's nodes cannot run python: start Ray inside medimg's environment there.")
        found: dict[str, Any] = json.loads(line.removeprefix("versions "))
        return found

    def send(self, study: Study, name: str, command: Sequence[str], earlier: int) -> Submission:
        """Send the commit and have ``command`` run on it; ``earlier`` attempts have ended without success.

        Raises:
            ClusterError: the commit is too large, or the cluster does not take it.
        """
        attempt = f"{name}-{earlier + 1}" if earlier else name
        with tempfile.TemporaryDirectory() as folder:
            export(Path(folder), study.commit)
            size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
            if size > LARGEST:
                raise ClusterError(
                    f"The commit holds {size / 2**20:.0f} MiB, and Ray's job API takes {LARGEST >> 20}. What is large "
                    "belongs under DVC: dvc add it, and remove it from Git."
                )
            try:
                self.jobs.submit_job(
                    entrypoint=shlex.join(["bash", "job.sh", name, *command]),
                    submission_id=attempt,
                    runtime_env={"working_dir": folder},
                    metadata={"medimg": __version__, "commit": study.commit, "command": shlex.join(command)},
                )
            except (OSError, RuntimeError, ValueError) as error:
                if "already exists" not in str(error):  # somebody else has sent the same meanwhile
                    said = f"{error}".partition("\n")[0][:300]
                    raise ClusterError(f"The cluster did not take the job: {said}") from None
        return _read(self.jobs.get_job_info(attempt))

    def stop(self, attempt: str) -> None:
        """Ask the cluster to end a job; what it has trained stays in its folder there."""
        self.jobs.stop_job(attempt)


@contextmanager
def answered(cluster: Cluster) -> Iterator[None]:
    """A cluster that goes away while it is asked is a sentence.

    Raises:
        ClusterError: it did.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # as Ray's client and requests say it
        raise ClusterError(
            f"The cluster at {cluster.address} does not answer any more ({type(error).__name__}). What runs there goes "
            "on; try again, or see medimg doctor --cluster ADDRESS."
        ) from None


def submit(
    address: str | None = None, ca: Path | None = None, command: Sequence[str] = COMMAND
) -> tuple[tuple[Cluster, Submission] | None, str]:
    """Send the current study's commit, or find the job that does the same already.

    Args:
        address: see ``Cluster``.
        ca: see ``Cluster``.
        command: what to run there.

    Returns:
        the cluster and the attempt to watch (None: its results are on the remote already, no cluster is asked), and a
        sentence about which it is.

    Raises:
        ClusterError: something stands in the way; nothing was sent then.
    """
    study = examine()
    if any(_SECRET.search(word) for word in command):
        raise ClusterError(
            "Nothing was sent: the command holds a secret, and whoever sees the cluster's jobs could read it. What "
            "a job asks for, such as AWS_SECRET_ACCESS_KEY, stands in the environment of the nodes (docs/cluster.md)."
        )
    name = study.submission(command)
    if delivery.fetch(name) is not None:
        return None, f"{name} has been done; its results are on the remote. Bring them home: medimg collect"
    cluster = Cluster(address, ca)
    with answered(cluster):
        attempts = cluster.submissions(name)
    if attempts and not attempts[-1].ended:
        return (cluster, attempts[-1]), f"{name} is running already."
    if problem := delivery.unsent():
        raise ClusterError(f"Nothing was sent: {problem}")
    with answered(cluster):
        cluster.check_versions(study)
    sent = cluster.send(study, name, command, len(attempts))
    again = f" It goes on where attempt {len(attempts)} ended." if attempts else ""
    return (cluster, sent), f"{name} was sent to {urlsplit(cluster.address).netloc}.{again}"


def collect(name: str | None, command: Sequence[str] = COMMAND) -> str:
    """Bring home what a submission left on the remote: ``dvc.lock``, ``splits.csv``, and all that the lock names.

    Args:
        name: of the submission; None: that of the commit that stands here.
        command: which command was submitted, where ``name`` is None.

    Returns:
        the submission's name.

    Raises:
        ClusterError: it has not left anything, the ledger here holds what is not committed, or it is of another commit
            and its ledger would forget patients of the one here.
    """
    study = examine((LEDGER.name,))
    own = study.submission(command)
    name = name or own
    files = delivery.fetch(name)
    if files is None or not LEDGER.is_file() or LEDGER.read_bytes() != files.get(LEDGER.name):
        examine()  # a ledger that is not committed is the one that comes home, as after a pull that failed
    if files is None:
        raise ClusterError(
            f"{name} has left nothing whole on the remote yet. How it is doing: medimg jobs; medimg logs {name}"
        )
    if name != own:
        _check_ledger(name, files)
        print(
            f"note: {name} ran another commit or command than what stands here: what differs, dvc repro would run anew",
            file=sys.stderr,
        )
    delivery.bring(files)
    return name


def _check_ledger(name: str, files: dict[str, bytes]) -> None:
    """Refuse the ledger of another commit where it would forget a patient of the one here, or move them."""
    here = set(LEDGER.read_bytes().splitlines()) if LEDGER.is_file() else set()
    if lost := len(here - set(files.get(LEDGER.name, b"").splitlines())):
        raise ClusterError(
            f"Nothing was brought home: {name} ran another commit, whose {LEDGER} does not hold {lost} rows of the one "
            "here, and a patient stays in one part for life. To see its results, check out the commit that was "
            "submitted, in a clone."
        )


def _versions_here() -> dict[str, Any]:
    from importlib.metadata import version

    packages = {name: version(name).split("+")[0] for name in SAME}
    return {"Python": f"{sys.version_info[0]}.{sys.version_info[1]}"} | packages | {"medimg": code_sha256()[:16]}


def _read(job: Any) -> Submission:
    start, end = (job.start_time or 0) / 1000, (job.end_time or 0) / 1000
    name = "-".join((job.submission_id or "").split("-")[:2])
    return Submission(
        name=name,
        attempt=job.submission_id or "",
        status=str(getattr(job.status, "value", job.status)),
        message=(job.message or "").strip(),
        command=job.metadata.get("command", ""),
        started=start,
        seconds=max(0.0, (end or time.time()) - start) if start else 0.0,
    )
