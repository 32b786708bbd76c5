"""The study in the current folder, DVC, the site key, and the Ray cluster that RAY_ADDRESS names."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from medimg.border.identity import key_path, load_key
from medimg.doctor import Check
from medimg.errors import ClusterError, MedimgError
from medimg.params import load

_LOOKED_AT = 20  # files of the cache
_SECONDS = 30  # a remote may take to answer
_ASK = """
from dvc.repo import Repo
try:
    with Repo() as repo:
        remote = repo.cloud.get_remote()
        print(remote.fs.exists(remote.path))
except Exception as error:  # each kind of remote has its own
    raise SystemExit(type(error).__name__)
"""  # a program of its own, so that a remote that hangs can be left


def site_key() -> Iterator[Check]:
    """Whether it is there and its owner's alone; it is not made here."""
    path = key_path()
    if not path.exists():
        yield Check("site key", "warn", f"none at {path}", "The first medimg import makes it; then back it up.")
        return
    try:
        key = load_key(path)
    except MedimgError as error:
        yield Check("site key", "fail", str(error))
        return
    yield Check("site key", "ok", f"{path}, fingerprint {key.fingerprint}")


def study() -> Iterator[Check]:
    """Whether this is a study, and its parameters are allowed."""
    if not Path("params.yaml").is_file():
        yield Check("study", "warn", f"{Path.cwd()} is none", "Go into one, or make one: medimg new STUDY")
        return
    try:
        params = load()
    except MedimgError as error:
        yield Check("study", "fail", str(error))
        return
    yield Check("study", "ok", f"params.yaml is allowed; {params.study.task}, label {params.study.label}")
    if not Path("data").is_dir():
        yield Check("data", "warn", "there is no data/", "medimg import IMAGES --labels ../labels.csv, or dvc pull")


def dvc() -> Iterator[Check]:
    """Cache and remote."""
    if not Path(".dvc").is_dir():
        return
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from scmrepo.exceptions import SCMError

    try:
        with Repo() as repo:
            cache = Path(repo.cache.local.path)
            kinds = repo.config["cache"].get("type") or ["reflink", "copy"]
    except (DvcException, SCMError) as error:
        yield Check("DVC", "fail", f"it cannot open this study ({type(error).__name__})", "Look at: dvc status")
        return
    own = ", ".join(kinds) if isinstance(kinds, list) else str(kinds)
    links = any(word in own for word in ("hardlink", "symlink"))
    yield Check(
        "DVC links",
        "ok" if links else "warn",
        f"cache.type is {own}" + ("" if links else ": on a disk without reflinks every file is kept twice"),
        "" if links else "To keep each once: dvc config cache.type reflink,hardlink,copy",
    )
    files = [path for path in islice(cache.rglob("*"), 100 * _LOOKED_AT) if path.is_file()][:_LOOKED_AT]
    broken = [path for path in files if not _whole(path)]
    yield Check(
        "DVC cache",
        "fail" if broken else "ok",
        f"{cache}: of {len(files)} files looked at {len(broken)} are not what their names say",
        "Remove them and run dvc pull or dvc repro: " + ", ".join(map(str, broken[:3])) if broken else "",
    )
    yield from _remote()


def _whole(path: Path) -> bool:
    name = path.parent.name + path.name.removesuffix(".dir")
    return len(name) != 32 or hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == name


def _remote() -> Iterator[Check]:
    command = [sys.executable, "-m", "dvc"]
    listed = subprocess.run([*command, "remote", "list"], capture_output=True, text=True, check=False).stdout.split()
    if not listed:
        yield Check("DVC remote", "warn", "none: data and results are on this machine alone",
                    "dvc remote add --default backup /path/or/url")  # fmt: skip
        return
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _ASK], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        why = (asked.stderr.splitlines() or [f"it ended with {asked.returncode}"])[-1] if asked.returncode else ""
    except subprocess.TimeoutExpired:
        why = f"no answer in {_SECONDS} s"
    if why:
        yield Check("DVC remote", "fail", f"{listed[0]} cannot be used ({why})",
                    "Look at its address, the way to it and its credentials: dvc remote list")  # fmt: skip
    elif asked.stdout.split() == ["True"]:
        yield Check("DVC remote", "ok", f"{listed[0]} is there")
    else:
        yield Check("DVC remote", "warn", f"{listed[0]} shows nothing: it cannot be reached, or was never pushed to",
                    "dvc push")  # fmt: skip


def ray() -> Iterator[Check]:
    """The address that stages would use."""
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        yield Check("Ray", "ok", "RAY_ADDRESS is not set: stages work on this machine")
        return
    from medimg.work.gate import Foreign, look

    try:
        found = look(address)
    except (ClusterError, Foreign) as error:
        yield Check("Ray", "fail", f"RAY_ADDRESS={address}: {error}", "See docs/security.md.")
        return
    except OSError as error:
        yield Check("Ray", "fail", f"nobody answers at RAY_ADDRESS={address} ({type(error).__name__})",
                    "Start the cluster (cluster/start.sh), or unset RAY_ADDRESS.")  # fmt: skip
        return
    yield Check("Ray", "ok", f"{address} answers")
    for finding in found:
        yield Check("Ray token", "ok" if finding.ok else "fail", finding.what)


def cluster(address: str) -> Iterator[Check]:
    """Whether the Ray cluster whose dashboard is at ``address`` is safe to send work to."""
    from medimg.cluster.probe import probe

    for finding in probe(address):
        yield Check("cluster", "ok" if finding.ok else "fail", finding.what)
