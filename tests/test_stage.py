"""What a person sees when a stage cannot run: a sentence, exit status 2, no traceback, nothing half-written."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from studies import run_dvc, run_stage, set_params, wait_for

from medimg.errors import BusyError
from medimg.files import lock


def refused(stage, *words):
    done = run_stage(stage)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    artifacts = Path("artifacts")
    assert not artifacts.exists() or not [path for path in artifacts.rglob("*") if path.is_file()]
    return done.stderr


def test_a_misspelt_key(study):
    set_params(study, train={"max_epoch": 3})
    refused("ingest", "train.max_epoch: there is no such key. Did you mean max_epochs?")


def test_a_missing_labels_csv(study):
    (study / "data/labels.csv").unlink()
    refused("ingest", "There is no data/labels.csv", "medimg import IMAGES --labels ../labels.csv")


def test_a_label_column_that_is_not_there(study):
    set_params(study, study={"label": "leison"})
    refused("ingest", "no column 'leison'", "Did you mean lesion?")


def test_an_empty_folder(study, tmp_path):
    (study / "data").rename(tmp_path / "elsewhere")
    (study / "data").mkdir()
    refused("ingest", "data/ is empty", "medimg import")


def test_one_class_only(study):
    set_params(study, study={"positive": "yes"})
    assert run_stage("ingest").returncode == 0
    done = run_stage("split")
    assert done.returncode == 2
    assert "Values found: '0', '1'. Set study.positive to one of them" in done.stderr
    assert not Path("splits.csv").exists()


def test_a_patient_without_id(study):
    labels = pd.read_csv("data/labels.csv", dtype=str)
    labels.loc[labels["path"].str.endswith(".png"), "patient"] = None
    labels.to_csv("data/labels.csv", index=False)
    set_params(study, ingest={"allow_unverified": True})
    assert run_stage("ingest").returncode == 0
    done = run_stage("split")
    assert done.returncode == 2
    assert "of 450 images have no patient" in done.stderr
    assert not Path("splits.csv").exists()


def test_a_stage_out_of_turn_says_what_makes_its_input(study):
    refused("split", "There is no artifacts/index.parquet. Run dvc repro")


def test_two_runs_at_once_one_refuses_by_name(study):
    with lock(Path(".medimg/ingest.lock"), "Stage ingest"):
        refused("ingest", "Stage ingest is already running here", str(os.getpid()))


ORPHAN = """
import sys, time
from medimg.stage import run
def main():
    print("started", flush=True)
    time.sleep(60)
run("orphan", main)
"""
LONG = """
stages:
  orphan:
    cmd: {python} orphan.py > said
    outs: [said]
"""


def nobody_holds_the_lock():
    try:
        with lock(Path(".medimg/orphan.lock"), "Stage orphan"):
            return True
    except BusyError:
        return False


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_stage_dies_with_dvc_and_not_only_with_the_shell_between_them(tmp_path, monkeypatch, shell):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHELL", shutil.which(shell) or pytest.skip(f"no {shell} here"))
    Path("orphan.py").write_text(ORPHAN)
    Path("dvc.yaml").write_text(LONG.format(python=sys.executable))
    assert run_dvc(tmp_path, "init", "--no-scm").returncode == 0
    dvc = subprocess.Popen([sys.executable, "-m", "dvc", "repro", "--quiet"])
    wait_for(lambda: Path("said").is_file() and Path("said").read_text(), 60)
    assert not nobody_holds_the_lock()
    dvc.kill()
    dvc.wait()
    wait_for(nobody_holds_the_lock, 20)


QUICK = "from medimg.stage import run; run('quick', lambda: print('ran'))"
SLOW_TO_START = """
stages:
  quick:
    cmd: echo > begun; sleep 3; {python} quick.py > said; echo > made
    outs: [made]
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the lock keeps two runs apart")
def test_a_stage_dies_with_the_process_that_started_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("orphan.py").write_text(ORPHAN)
    parent = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, 'orphan.py'])"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout.readline() == "started\n"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(nobody_holds_the_lock, 20)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the lock keeps two runs apart")
def test_a_stage_whose_dvc_died_before_python_had_started_does_not_begin(tmp_path):
    (tmp_path / "quick.py").write_text(QUICK)
    (tmp_path / "dvc.yaml").write_text(SLOW_TO_START.format(python=sys.executable))
    assert run_dvc(tmp_path, "init", "--no-scm").returncode == 0
    assert run_dvc(tmp_path, "repro").returncode == 0
    assert (tmp_path / "said").read_text() == "ran\n"
    for made in ("begun", "made"):
        (tmp_path / made).unlink()
    dvc = subprocess.Popen([sys.executable, "-m", "dvc", "repro", "--quiet"], cwd=tmp_path)
    wait_for((tmp_path / "begun").is_file, 60)
    dvc.kill()
    dvc.wait()
    wait_for((tmp_path / "made").is_file, 60)
    assert (tmp_path / "said").read_text() == ""
