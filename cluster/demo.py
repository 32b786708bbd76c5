"""The demonstration of make cluster-demo: a cluster of three nodes on this machine, one of which dies in training.

The demo study is submitted from a clone, trains with two workers on two nodes, loses one of these nodes in the
middle, finishes, and comes home; then the same is trained here, and the weights' hashes are compared.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cluster.local import LocalCluster, Node, local_cluster
from medimg.files import sha256_file

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = Path("artifacts/weights/weights.safetensors")
GIT = ("git", "-c", "user.name=demo", "-c", "user.email=demo@example.org", "-c", "commit.gpgsign=false")


def main() -> int:
    """Run all of it; 0 when the hashes are equal."""
    with tempfile.TemporaryDirectory(prefix="medimg-") as folder:
        study = _study(Path(folder))
        say("a Ray cluster of three nodes, of one CPU slot each, which asks for a token")
        with local_cluster(3) as cluster:
            _submit_and_lose_a_node(cluster, study)
            start = time.monotonic()
            _run(study, "medimg", "submit", **_client(cluster))
            say(f"the same, submitted again, is known to be done after {time.monotonic() - start:.1f} s")
            _run(study, "medimg", "collect")
        there = sha256_file(study / WEIGHTS)
        told = subprocess.run(["dvc", "repro"], cwd=study, capture_output=True, text=True, check=True).stdout
        say("dvc repro has " + ("something" if "Running stage" in told else "nothing") + " to do after medimg collect")
        say("the same with two workers here, without a cluster")
        cores = sorted(os.sched_getaffinity(0))[:2]  # one thread for each worker, as there
        (study / WEIGHTS).unlink()
        _run(study, "taskset", "-c", ",".join(map(str, cores)), "dvc", "repro", "--single-item", "--force", "train")
        here = sha256_file(study / WEIGHTS)
    say(
        f"weights of the cluster {there[:16]}, of this machine {here[:16]}: "
        + ("equal" if there == here else "NOT EQUAL")
    )
    return 0 if there == here and "Running stage" not in told else 1


def _study(folder: Path) -> Path:
    """A clone of this repository with two workers and a remote, committed; its data pushed."""
    study = folder / "study"
    subprocess.run(["git", "clone", "--quiet", ROOT, study], check=True)
    path = study / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["train"] |= {"workers": 2, "max_epochs": 6}
    path.write_text(yaml.safe_dump(params, sort_keys=False))
    _run(study, "dvc", "remote", "add", "--quiet", "--default", "storage", str(folder / "remote"))
    _run(study, "medimg", "demo")
    _run(study, "dvc", "add", "--quiet", "data")
    _run(study, *GIT, "commit", "--quiet", "--all", "--message", "Two workers, and a remote")
    _run(study, "dvc", "push", "--quiet", "data.dvc")
    return study


def _client(cluster: LocalCluster) -> dict[str, str]:
    return cluster.environment | {"RAY_API_SERVER_ADDRESS": cluster.dashboard}


def _submit_and_lose_a_node(cluster: LocalCluster, study: Path) -> None:
    client = _client(cluster)
    _run(study, "medimg", "submit", "--detach", **client)
    (work,) = _soon(lambda: list(cluster.jobs.iterdir()) if cluster.jobs.is_dir() else [])
    with subprocess.Popen(["medimg", "logs", work.name], cwd=study, env=os.environ | client) as log:
        _soon(lambda: list((work / ".medimg/train").rglob("epoch-*.ckpt")))
        victim = _soon(lambda: [node for node in cluster.nodes[1:] if _trains(node)])[0]
        say(f"the machine of node {victim.number} ({victim.address}) loses power in the middle of training")
        victim.kill()
        if log.wait() != 0:
            raise SystemExit("the job failed")


def _trains(node: Node) -> bool:
    return any("RayTrainWorker" in command for command in node.commands())


def _soon(look: Callable[[], list[Any]], seconds: float = 900) -> list[Any]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.3)
    raise SystemExit("it did not happen")


def _run(folder: Path, *command: str, **environment: str) -> None:
    subprocess.run(list(command), cwd=folder, env=os.environ | environment, check=True)


def say(text: str) -> None:
    """A line of the demonstration itself."""
    print(f"\n══ {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
