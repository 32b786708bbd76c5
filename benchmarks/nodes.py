"""A Ray cluster of two nodes on this machine: what it adds to torchrun, and what it takes to submit what is done."""

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.overhead import prepare, workers
from benchmarks.paired import ROOT, Row, seconds
from cluster.local import LocalCluster, local_cluster
from medimg import demo

RUNS = 5
NOT_MEASURED = "two machines and the network between them; GPUs"


def scaling() -> Row:
    """Steady epochs of one worker on each of two nodes, against torchrun's on the same two cores."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        _, part = prepare()
        with local_cluster(3, head_cpus=0) as cluster:
            found = workers("resnet18", part, RAY_ADDRESS=cluster.address, **cluster.environment)
    return Row("two nodes, a worker of resnet18 each: medimg against torchrun", *found, "≥ 0.98")


def resubmission() -> Row:
    """Seconds of ``medimg submit`` for what is on the remote already."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), local_cluster(1, cpus=2) as cluster:
        _committed(Path("study"), Path(folder) / "remote")
        with contextlib.chdir("study"):
            _submit(cluster)
            found = [seconds(lambda: _submit(cluster)) for _ in range(RUNS)]
    return Row("s to submit again what is done", statistics.median(found), min(found), max(found), "≤ 5")


def _committed(study: Path, remote: Path) -> None:
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "core.hooksPath=/dev/null"]
    dvc = [sys.executable, "-m", "dvc"]
    study.mkdir()
    for name in ("params.yaml", "dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, study)
    for name in ("pipelines", "medimg", "cluster", ".dvc"):
        shutil.copytree(
            ROOT / name, study / name, ignore=shutil.ignore_patterns("__pycache__", "cache", "tmp", "*.local")
        )
    with contextlib.chdir(study):
        demo.write(Path("data"))
        for command in (
            ["git", "init", "--quiet"],
            [*dvc, "remote", "add", "--quiet", "--default", "storage", str(remote)],
            [*dvc, "add", "--quiet", "data"],
            [*git, "add", "."],
            [*git, "commit", "--quiet", "--message", "a study"],
            [*dvc, "push", "--quiet", "data.dvc"],
        ):
            subprocess.run(command, check=True, capture_output=True)


def _submit(cluster: LocalCluster) -> None:
    own = os.environ | cluster.environment | {"RAY_API_SERVER_ADDRESS": cluster.dashboard, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "medimg", "submit", "--", "dvc", "repro", "split"]
    subprocess.run(command, env=own, check=True, capture_output=True)


def measure() -> list[Row]:
    """Both, each on a cluster of its own."""
    return [scaling(), resubmission()]
