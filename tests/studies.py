"""Making and running temporary studies."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from medimg.border.account import Summary
from medimg.border.locate import locate
from medimg.border.pipeline import import_from

ROOT = Path(__file__).parent.parent
ONLY_IN_CAMPAIGNS = pytest.mark.skipif(
    os.environ.get("MEDIMG_CAMPAIGN") != "all", reason="minutes: make campaigns runs it"
)


def copy_study(folder: Path, data: Path | None) -> None:
    """The root's pipeline, without what it made, into ``folder``."""
    folder.mkdir()
    for name in ("params.yaml", "dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    for name in ("pipelines", "medimg"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc")
    if data is not None:
        shutil.copytree(data, folder / "data")


def set_params(folder: Path, **blocks: dict[str, object]) -> None:
    """Change keys of blocks of ``params.yaml``."""
    path = folder / "params.yaml"
    values = yaml.safe_load(path.read_text())
    for block, keys in blocks.items():
        values[block] |= keys
    path.write_text(yaml.safe_dump(values))


def run_stage(name: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, f"pipelines/{name}.py"],
        cwd=folder or Path.cwd(),
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def run_medimg(*words: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medimg", *words],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def run_dvc(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *words], cwd=folder, capture_output=True, text=True, check=False
    )


def git(*words: str) -> None:
    own = ["-c", "user.name=tester", "-c", "user.email=tester@example.org", "-c", "core.hooksPath=/dev/null"]
    subprocess.run(["git", *own, *words], check=True, capture_output=True)


def commit(folder: Path, remote: Path) -> None:
    """Put the current study, which is in ``folder``, under Git, and its data on a remote in a folder."""
    shutil.copytree(ROOT / "cluster", folder / "cluster")
    with (folder / ".dvc/config").open("a") as config:
        config.write(f"    remote = storage\n['remote \"storage\"']\n    url = {remote}\n")
    git("init", "--quiet")
    assert run_dvc(folder, "add", "--quiet", "data").returncode == 0
    git("add", ".")
    git("commit", "--quiet", "--message", "a study")
    assert run_dvc(folder, "push", "--quiet", "data.dvc").returncode == 0


def import_folder(source: Path, labels: Path | None, out: Path, keep: Collection[str] = (), **options: Any) -> Summary:
    """What ``medimg import`` does with a folder, archive or address."""
    return import_from(locate(str(source), out), labels, out, keep, **options)


def shares(said: str) -> dict[str, int]:
    """Address of a node → the pieces of work that it did, as a stage or command reports them."""
    (line,) = re.findall(r"^on the Ray cluster: (.*)", said, re.MULTILINE)
    pieces = [re.search(r"(?:(\d+) on )?.*?(127[\d.]+)", piece) for piece in line.split(", ")]
    return {found[2]: int(found[1] or 1) for found in pieces if found}


def free_port() -> int:
    """One that nobody listens at, and that no system, Ray (10002 to 19999) or cluster of ours hands out meanwhile."""
    while True:
        port = 30000 + secrets.randbelow(2768)
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port


def wait_for(condition: Callable[[], Any], seconds: float = 300) -> Any:
    """What ``condition`` gives as soon as it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError("it did not happen")
