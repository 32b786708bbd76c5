"""kill -9 at random moments: the next run ends with the bytes of an undisturbed one.

``make campaigns`` runs every moment; elsewhere a seeded sample. ``MEDIMG_SEED`` chooses other moments.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from studies import copy_study, run_stage, set_params

from medimg.files import sha256_file

WHOLE = os.environ.get("MEDIMG_CAMPAIGN") == "all"
SEED = int(os.environ.get("MEDIMG_SEED", "0"))
MOMENTS = (
    {"ingest": 50, "preprocess": 20, "split": 5, "train": 10} if WHOLE else {"ingest": 2, "preprocess": 2, "train": 1}
)
CASES = [(stage, moment) for stage, count in MOMENTS.items() for moment in range(count)]
ORDER = ["ingest", "split", "preprocess", "train"]
TIMES = {"history.csv", "workers.json", "training.json"}  # hold seconds, process ids and shares of time


def outputs(folder):
    files = [*(folder / "artifacts").rglob("*"), folder / "splits.csv"]
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in files
        if path.is_file() and path.name not in TIMES
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, demo_data):
    """Of a stage: a study in which the stages before it have run, how long it takes, and what it writes."""
    folder = tmp_path_factory.mktemp("campaign") / "study"
    copy_study(folder, demo_data)
    set_params(folder, preprocess={"size": 32}, train={"max_epochs": 4})
    known = {}

    def of(stage):
        for name in ORDER[len(known) : ORDER.index(stage) + 1]:
            before = folder.parent / f"before-{name}"
            shutil.copytree(folder, before)
            start = time.monotonic()
            done = run_stage(name, folder)
            assert done.returncode == 0, done.stderr
            known[name] = before, time.monotonic() - start, outputs(folder)
        return known[stage]

    return of


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize(("stage", "moment"), CASES)
def test_a_stage_killed_at_any_moment_is_finished_by_the_next_run(undisturbed, tmp_path, stage, moment):
    before, seconds, expected = undisturbed(stage)
    folder = tmp_path / "study"
    shutil.copytree(before, folder)
    wait = random.Random(f"{SEED} {stage} {moment}").uniform(0.05, 1) * seconds
    victim = subprocess.Popen(
        [sys.executable, f"pipelines/{stage}.py"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(wait)
    victim.kill()
    victim.wait()
    done = run_stage(stage, folder)
    assert done.returncode == 0, done.stderr
    assert outputs(folder) == expected
    assert not list(Path(folder, "artifacts").rglob(".partial-*"))


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("moment", range(10 if WHOLE else 1))
def test_training_goes_on_when_its_worker_is_killed_at_any_moment(undisturbed, tmp_path, moment):
    before, seconds, expected = undisturbed("train")
    folder = tmp_path / "study"
    shutil.copytree(before, folder)
    wait = random.Random(f"{SEED} worker {moment}").uniform(0, 0.6) * seconds  # the rest is the start of Ray
    command = [sys.executable, "pipelines/train.py"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        while run.poll() is None and not workers_of(run.pid):
            time.sleep(0.05)
        time.sleep(wait)
        for worker in workers_of(run.pid):  # none where the moment is after its end
            worker.kill()
        said = run.stderr.read()
    assert run.returncode == 0, said
    assert outputs(folder) == expected


def workers_of(pid):
    try:
        return [p for p in psutil.Process(pid).children(recursive=True) if "RayTrainWorker" in " ".join(p.cmdline())]
    except psutil.Error:  # one has just ended
        return []


@pytest.mark.slow
@pytest.mark.campaign
def test_ingest_stopped_by_ctrl_c_is_finished_by_the_next_run(undisturbed, tmp_path):
    before, _, expected = undisturbed("ingest")
    folder = tmp_path / "study"
    shutil.copytree(before, folder)
    with subprocess.Popen(
        [sys.executable, "pipelines/ingest.py"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's background ignores it
    ) as run:
        while not (folder / ".medimg/ingest.sqlite-wal").exists():
            time.sleep(0.01)
        time.sleep(0.5)
        run.send_signal(signal.SIGINT)
        said = run.stderr.read()
    assert run.returncode == 130
    assert "ingest: stopped." in said
    assert "Traceback" not in said
    assert run_stage("ingest", folder).returncode == 0
    assert outputs(folder) == expected


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("full", [".medimg", "artifacts"])
def test_ingest_on_a_full_disk_says_so_and_is_finished_when_there_is_room(undisturbed, tmp_path, full):
    before, _, expected = undisturbed("ingest")
    folder = tmp_path / "study"
    shutil.copytree(before, folder)
    (folder / full).mkdir(exist_ok=True)
    small = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder / full]
    if not shutil.which("mount") or subprocess.run(small, check=False, capture_output=True).returncode:
        pytest.skip("a small disk can only be mounted as root")
    try:
        done = run_stage("ingest", folder)
    finally:
        subprocess.run(["umount", folder / full], check=True)
    assert done.returncode == 2
    assert "disk is full" in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert run_stage("ingest", folder).returncode == 0
    assert outputs(folder) == expected
