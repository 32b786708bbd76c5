"""Training on a Ray cluster: what is prepared goes there by ``medimg submit``, and comes home by ``medimg collect``.

What is sent is a commit of the clone that no night publishes. A submission is named by its inputs, so a night that is
cut off while it waits costs nothing: the next one prepares the same, and finds the job running or done.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from medimg.errors import ClusterError, NightError
from medimg.retrain.outcome import Status
from medimg.retrain.pipeline import failure
from medimg.retrain.state import Night

if TYPE_CHECKING:
    from medimg.submit import Cluster, Submission

PAUSE = 2.0  # seconds between two looks at the job
PREPARED = ("ingest", "split", "preprocess")
UNAVAILABLE = "exit code 75"
"""What cluster/job.sh ends with when the DVC remote does not answer there."""


def train_there(night: Night) -> None:
    """Run the rest of the pipeline on the cluster that ``retrain.submit`` names.

    Raises:
        NightError: the cluster or the remote does not answer, the job failed, or the budget is spent.
    """
    with night.clone.candidate(), contextlib.chdir(night.place):
        with _told(Status.USAGE):
            from medimg.cluster.commit import examine

            examine()
        night.clone.store("data.dvc", *PREPARED)  # what is prepared here is not prepared again there
        with _told(Status.POSTPONED):
            _send_and_wait(night)
            from medimg.submit import collect

            collect(None)
    stages = yaml.safe_load((night.place / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    if night.clone.dvc("status", "--quiet", *stages).returncode:
        raise NightError(Status.FAILED, "What came home from the cluster is not what this study asks for: dvc status")


def _send_and_wait(night: Night) -> None:
    from medimg.submit import submit

    settings = night.params.retrain
    ca = night.clone.study / Path(settings.ca).expanduser() if settings.ca else None
    found, said = submit(settings.submit, ca)
    log = night.room / "night.log"
    with log.open("a", encoding="utf-8") as file:
        print(said, file=file)
    if found is None:
        return
    cluster, submission = found
    try:
        ended = _ended(cluster, submission, night)
    except NightError:
        with contextlib.suppress(OSError, RuntimeError):
            cluster.stop(submission.attempt)
        raise
    start = log.stat().st_size
    with log.open("a", encoding="utf-8") as file:
        print(cluster.jobs.get_job_logs(ended.attempt), file=file)
    if ended.status == "STOPPED" or UNAVAILABLE in ended.message:
        why = "was stopped there" if ended.status == "STOPPED" else "could not reach the DVC remote from there"
        raise NightError(Status.POSTPONED, f"{ended.attempt} {why}. Nothing was changed; the next night goes on.")
    if ended.status != "SUCCEEDED":
        raise failure(log, start)


def _ended(cluster: "Cluster", submission: "Submission", night: Night) -> "Submission":
    """The job when it has ended; the cluster may be silent for a while.

    Raises:
        NightError: the budget is spent.
        ClusterError: the cluster does not answer any more, or has forgotten the job.
    """
    from medimg.cluster.follow import SILENCE

    heard = time.monotonic()
    while True:
        night.budget.check()
        try:
            now = cluster.one(submission.attempt)
            if now.ended:
                return now
            heard = time.monotonic()
        except (OSError, RuntimeError) as error:
            if time.monotonic() - heard > SILENCE:
                raise ClusterError(
                    f"The cluster has not answered for {SILENCE:g} s ({type(error).__name__}). If it lives, "
                    f"{submission.name} goes on there, and the next night finds it."
                ) from None
        time.sleep(PAUSE)


@contextlib.contextmanager
def _told(status: Status) -> Iterator[None]:
    """What goes wrong between here and the cluster ends the night with ``status``."""
    try:
        yield
    except ClusterError as error:
        raise NightError(status, str(error)) from None
