"""What a job on a cluster leaves on the DVC remote beside the data, and how it comes home.

``<remote>/medimg/<submission>/`` holds ``dvc.lock`` and ``splits.csv`` (the ledger, which DVC does not keep) as the job
ended with them, and ``job.json``, written last, with their hashes: a delivery is whole, or it is not there.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from medimg.errors import ClusterError
from medimg.files import publish, sha256
from medimg.records import LEDGER

LOCK = Path("dvc.lock")
ROOM = "medimg"
ABOUT = "job.json"


def leave(submission: str) -> None:
    """Put this study's lock and ledger on its remote, under ``submission``; what they name has been pushed.

    Raises:
        ClusterError: the remote does not take them.
    """
    fs, folder = _place(submission)
    files = {path.name: path.read_bytes() for path in (LOCK, LEDGER) if path.is_file()}
    about = {"submission": submission, "sha256": {name: sha256(data) for name, data in files.items()}}
    try:
        fs.makedirs(folder, exist_ok=True)
        if fs.exists(fs.join(folder, ABOUT)):  # of an earlier attempt: while its files are replaced, none is there
            fs.rm_file(fs.join(folder, ABOUT))
        for name, data in [*files.items(), (ABOUT, json.dumps(about, indent=2, sort_keys=True).encode())]:
            fs.pipe_file(fs.join(folder, name), data)
    except Exception as error:  # each kind of remote has exceptions of its own
        raise ClusterError(f"The DVC remote does not take {folder} ({type(error).__name__}).") from None


def fetch(submission: str) -> dict[str, bytes] | None:
    """The files that the job left, by name; None: it has not left any, or what is there is not whole, which is said.

    Raises:
        ClusterError: the remote does not answer.
    """
    fs, folder = _place(submission)
    try:
        if not fs.exists(fs.join(folder, ABOUT)):
            return None
        about = json.loads(fs.cat_file(fs.join(folder, ABOUT)))["sha256"]
        files = {name: bytes(fs.cat_file(fs.join(folder, name))) for name in about}
        if all(sha256(data) == about[name] for name, data in files.items()):
            return files
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):  # half of it
        pass
    except Exception as error:
        raise ClusterError(f"The DVC remote does not answer for {folder} ({type(error).__name__}).") from None
    print(
        f"warning: {folder} on the DVC remote is not whole: its files are not the ones that {ABOUT} names. It counts "
        "as not there; medimg submit has the job deliver it anew.",
        file=sys.stderr,
    )
    return None


def bring(files: dict[str, bytes]) -> None:
    """Put lock and ledger in their place here, then let DVC pull what the lock names.

    Raises:
        ClusterError: DVC could not pull all of it.
    """
    for path in (LOCK, LEDGER):
        if path.name in files:
            with publish(path) as partial:
                partial.write_bytes(files[path.name])
    stages = yaml.safe_load(files[LOCK.name])["stages"] if LOCK.name in files else {}
    targets = [
        *(path.name for path in Path().glob("*.dvc") if path.is_file()),
        *stages,
    ]  # a lock of some stages says nothing of the others
    command = [sys.executable, "-m", "dvc", "pull", *targets]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), "ERROR: no reason given")
        raise ClusterError(
            f"Lock and ledger are home, the results are not, for dvc pull says: {said.partition(': ')[2]} "
            "When that is mended, bring them home as before: medimg collect"
        )


def unsent() -> str | None:
    """Why the remote does not hold the data that this study's ``.dvc`` files name; None: it does.

    Raises:
        ClusterError: the remote does not answer.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            outs = [out for stage in repo.index.stages if stage.is_data_source for out in stage.outs]
            changed = [out.def_path for out in outs if out.exists and "modified" in out.status().values()]
            held = repo.cloud.get_remote_odb()
            absent = [out.def_path for out in outs if not held.exists(out.hash_info.value)]
    except DvcException as error:
        raise ClusterError(f"The DVC remote cannot be used: {str(error).splitlines()[0]}") from None
    except Exception as error:  # each kind of remote has exceptions of its own
        raise ClusterError(f"The DVC remote does not answer ({type(error).__name__}).") from None
    if changed:
        return f"{changed[0]}/ is not what {changed[0]}.dvc names. Run: dvc add {changed[0]}, commit, dvc push"
    if absent:
        return f"the remote does not hold {absent[0]}/. Run: dvc add {absent[0]} && dvc push {absent[0]}.dvc"
    return None


def _place(submission: str) -> tuple[Any, str]:
    """The remote's file system and the job's folder on it."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            remote = repo.cloud.get_remote()
    except DvcException as error:
        raise ClusterError(f"The DVC remote cannot be used: {str(error).splitlines()[0]}") from None
    return remote.fs, remote.fs.join(remote.path, ROOM, submission)


if __name__ == "__main__":  # what cluster/job.sh calls
    leave(sys.argv[1])
