"""The study as a commit: what is sent to a cluster, and the name that follows from it."""

import os
import subprocess
import sys
import tarfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medimg.errors import ClusterError
from medimg.files import code_sha256, sha256_json
from medimg.study import template

SECRETS = {
    "access_key_id",
    "account_key",
    "client_secret",
    "connection_string",
    "custom_auth_header",
    "gdrive_client_secret",
    "oss_key_secret",
    "passphrase",
    "password",
    "sas_token",
    "secret_access_key",
    "session_token",
    "sse_customer_key",
    "token",
}
"""Options of a DVC remote that must not stand in a committed file."""


@dataclass(frozen=True)
class Study:
    """What stands in the last commit of the current folder."""

    commit: str
    files: tuple[str, ...]
    """``mode type hash<TAB>path`` of each file, as Git lists them; ``dvc.lock`` apart, which decides no result"""

    @property
    def carries_medimg(self) -> bool:
        """Whether medimg's own code is in it, as in medimg's own repository, and not installed beside it."""
        return any(line.endswith("\tmedimg/__init__.py") for line in self.files)

    def submission(self, command: Sequence[str]) -> str:
        """The name of running ``command`` on it: another for other inputs, the same for the same."""
        code = None if self.carries_medimg else code_sha256()
        return "medimg-" + sha256_json([self.files, list(command), code, sys.version_info[:2]])[:16]


def examine(but: Collection[str] = ()) -> Study:
    """The study in the current folder, once nothing stands in the way of sending it.

    Args:
        but: files beside ``dvc.lock`` that may differ from the commit.

    Raises:
        ClusterError: it is no study under Git, it has changes that are not committed, or it has no remote that
            a cluster can reach.
    """
    for needed in ("dvc.yaml", "params.yaml", ".dvc/config"):
        if not Path(needed).is_file():
            raise ClusterError(f"There is no {needed} in {Path.cwd()}: run this inside a study (medimg new).")
    commit = _git("rev-parse", "HEAD").strip()
    changed = [line[3:] for line in _git("status", "--porcelain", "--untracked-files=normal", "--", ".").splitlines()]
    changed = [name for name in changed if name.rpartition("/")[2] not in ("dvc.lock", *but)]
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise ClusterError(
            f"A cluster gets the study as it was committed, and {', '.join(changed[:3])}{more} "
            "differ from that. Commit, then submit again."
        )
    _check_remote()
    listing = _git("ls-tree", "-r", commit).splitlines()
    return Study(commit, tuple(line for line in listing if not line.endswith("\tdvc.lock")))


def export(folder: Path, commit: str = "HEAD") -> None:
    """Write the files of ``commit`` into ``folder``, and the script that runs them on the cluster.

    Raises:
        ClusterError: Git does not give all of them.
    """
    archive = subprocess.run(["git", "archive", commit], capture_output=True, check=True).stdout  # noqa: S607
    try:
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
    except tarfile.FilterError as error:
        raise ClusterError(f"Nothing was sent: {error}. A cluster has nothing at such a place.") from None
    listed = _git("ls-tree", "-r", "-z", "--name-only", commit).split("\0")
    missing = [name for name in listed if name and not ((at := folder / name).is_symlink() or at.is_file())]
    if missing:
        raise ClusterError(
            f"Nothing was sent: Git leaves {missing[0]} out of what it gives away, for it is a submodule or "
            ".gitattributes calls it export-ignore. What runs on a cluster stands in the commit itself."
        )
    for name in listed:
        if name.rpartition("/")[2] == ".rayignore":  # Ray would leave out what it names, and the job would lack it
            (folder / name).unlink()
    (folder / "job.sh").write_bytes((template() / "cluster" / "job.sh").read_bytes())


def _check_remote() -> None:
    """Refuse a remote that only this machine knows, and one whose secrets are committed."""
    from configobj import ConfigObj, ConfigObjError  # what DVC reads it with; DVC itself would make paths absolute

    try:
        config = ConfigObj(".dvc/config")
    except ConfigObjError as error:
        raise ClusterError(f".dvc/config cannot be read: {error}") from None
    name = config.get("core", {}).get("remote")
    url = _url(config, name)
    if not name or not url:
        raise ClusterError(
            "The study has no DVC remote from which a cluster could fetch its data. Add one, which the cluster reaches "
            "under the same address, to .dvc/config and commit that: dvc remote add --default storage s3://bucket/study"
        )
    for title in config.sections:
        _check_secrets(title, config[title])
    if "://" not in url and not Path(url).is_absolute():
        raise ClusterError(f"The DVC remote {name} is {url}, a path that means something else on a cluster.")
    _check_local(name, url)


def _check_local(name: str, url: str) -> None:
    """Refuse a remote that ``.dvc/config.local`` puts in the place of the one that a cluster will use."""
    from configobj import ConfigObj, ConfigObjError

    try:
        local = ConfigObj(".dvc/config.local")
    except ConfigObjError as error:
        raise ClusterError(f".dvc/config.local cannot be read: {error}") from None
    used = local.get("core", {}).get("remote", name)
    at = _url(local, used) or (url if used == name else "")
    if "://" not in at:
        at = os.path.normpath(Path(".dvc").absolute() / at)
    if used != name or at != (url if "://" in url else os.path.normpath(url)):
        raise ClusterError(
            f"Here .dvc/config.local puts another DVC remote ({used}) in the place of the one that .dvc/config names "
            f"({name}), and that alone is sent: the cluster would look where nothing was pushed. Keys and passwords "
            f"belong into .dvc/config.local, the place does not: dvc remote modify --local --unset {used} url, or dvc "
            "config --local --unset core.remote"
        )


def _url(config: Any, name: str | None) -> str | None:
    """Of a remote, as DVC or a person wrote its title."""
    remote = config.get(f'remote "{name}"') or config.get(f"'remote \"{name}\"'", {})
    found: str | None = remote.get("url")
    return found


def _check_secrets(title: str, remote: Any) -> None:
    """Refuse a block of .dvc/config that would be sent, and is in Git, with what nobody else should read."""
    found = SECRETS & {str(key).lower() for key in remote}
    try:
        found |= {"a password in url"} if urlsplit(str(remote.get("url", ""))).password else set()
    except ValueError:
        found.add("an url that cannot be read")
    if found:
        name = title.strip("'").removeprefix("remote ").strip('"')
        raise ClusterError(
            f".dvc/config holds {', '.join(sorted(found))} of the remote {name}, in Git for all to read. Remove "
            "it, change it where it was given out, and put it into .dvc/config.local: dvc remote modify --local …"
        )


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)  # noqa: S607
    if done.returncode:
        raise ClusterError(f"{Path.cwd()} is no study under Git with a commit: git init, then git commit.")
    return done.stdout
