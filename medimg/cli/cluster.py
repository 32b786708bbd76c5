"""A study on a Ray cluster: submit, jobs, logs, collect."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medimg.submit import Cluster, Submission

Address = Annotated[
    str | None,
    typer.Option(help="The cluster's dashboard, such as http://127.0.0.1:8265; default: RAY_API_SERVER_ADDRESS."),
]
Ca = Annotated[Path | None, typer.Option(help="Certificates to trust, where the cluster's signed itself.", exists=True)]
Name = Annotated[str, typer.Argument(help="The submission, or the beginning of its name.")]


def submit(
    command: Annotated[list[str] | None, typer.Argument(help="What to run, after --; default: dvc repro.")] = None,
    address: Address = None,
    ca: Ca = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for it.")] = False,
) -> None:
    """Send the study's commit to a Ray cluster and run it there; data go by the DVC remote."""
    from medimg import submit as room

    found, said = room.submit(address, ca, command or room.COMMAND)
    print(said)
    if found is None:
        return
    cluster, submission = found
    if detach:
        print(f"Its log: medimg logs {submission.name}. Its results: medimg collect")
        return
    _watch(cluster, submission)


def jobs(address: Address = None, ca: Ca = None) -> None:
    """List what was submitted to the cluster since its head was started."""
    import time

    from medimg.submit import Cluster, answered

    cluster = Cluster(address, ca)
    with answered(cluster):
        found = cluster.submissions()
    for one in found:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.started)) if one.started else "not begun"
        print(f"{one.attempt}  {one.status:<9}  {began}  {one.seconds:7.0f} s  {one.command}")


def logs(name: Name, address: Address = None, ca: Ca = None) -> None:
    """Print a submission's log, and go on until it ends."""
    from medimg.submit import Cluster, answered

    cluster = Cluster(address, ca)
    with answered(cluster):
        found = cluster.one(name)
    _watch(cluster, found)


def collect(
    name: Annotated[str | None, typer.Argument(help="The submission; default: that of the commit here.")] = None,
) -> None:
    """Bring home what a job left on the DVC remote: dvc.lock, splits.csv, and all results."""
    from medimg.submit import collect as bring

    print(f"{bring(name)} is home: dvc repro has nothing to do, medimg result says what came out")


def _watch(cluster: "Cluster", submission: "Submission") -> None:
    """Follow to the end, or until Ctrl-C; a job that failed ends with status 1."""
    from medimg.cluster.follow import follow

    try:
        ended = follow(cluster, submission)
    except KeyboardInterrupt:
        _leave(cluster, submission)
        return
    print(f"{ended.name}: {ended.status.lower()} after {ended.seconds:.0f} s")
    if ended.status == "SUCCEEDED":
        print("Bring the results home: medimg collect")
        return
    print(f"{ended.message.splitlines()[0][:300] if ended.message else ''}\nTo go on where it ended: medimg submit")
    raise typer.Exit(1)


def _leave(cluster: "Cluster", submission: "Submission") -> None:
    """After Ctrl-C: let the job go on, unless a person says otherwise."""
    import sys

    from medimg.submit import answered

    try:
        answer = input("\nStop the job too? It goes on otherwise. [y/N] ") if sys.stdin.isatty() else ""
    except (KeyboardInterrupt, EOFError):
        answer = ""
    if answer.strip().lower().startswith(("y", "s")):
        with answered(cluster):
            cluster.stop(submission.attempt)
        print(f"{submission.name} is being stopped; medimg submit goes on where it ended.")
    else:
        print(f"{submission.name} goes on. Its log: medimg logs {submission.name}. Its results: medimg collect")
