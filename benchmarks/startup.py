"""From ``dvc repro`` to the first step of training, on the demo study, in seconds; goal: at most 15, of which Ray 8."""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.paired import ROOT, Row
from medimg import demo

RUNS = 5
PATIENCE = 300.0  # s
NOT_MEASURED = "a cluster that is running already, where Ray does not start"


def study(folder: Path) -> None:
    """The demo study, ready to train: all stages before have run."""
    for name in ("params.yaml", "dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    for name in ("pipelines", "medimg"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    demo.write(folder / "data")
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q", "split", "preprocess"], cwd=folder, check=True)


def start(folder: Path) -> tuple[float, float]:
    """Seconds until the first step, and those of them in which Ray starts, until a worker works."""
    shutil.rmtree(folder / ".medimg", ignore_errors=True)
    began = time.monotonic()
    command = [sys.executable, "-m", "dvc", "repro", "-s", "train"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            launched = _when(lambda: any(folder.glob(".medimg/train/*")))
            working = _when((folder / ".medimg/logs/train-0.log").exists)
            stepped = _when(
                lambda: any('"epoch": 0' in log.read_text() for log in folder.glob(".medimg/train/*/*.log"))
            )
        finally:
            os.killpg(process.pid, signal.SIGTERM)
    return stepped - began, working - launched


def _when(happened: Callable[[], bool]) -> float:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if happened():
            return time.monotonic()
        time.sleep(0.05)
    raise TimeoutError("training did not start")


def measure() -> list[Row]:
    """Start the train stage of a fresh demo study several times."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study(folder)
        runs = [start(folder) for _ in range(RUNS + 1)][1:]  # the first one reads the packages from disk
    rows = []
    for what, goal, values in (
        ("s from dvc repro to the first step", "≤ 15", [run[0] for run in runs]),
        ("s of them Ray's", "≤ 8", [run[1] for run in runs]),
    ):
        rows.append(Row(what, statistics.median(values), min(values), max(values), goal))
    return rows
