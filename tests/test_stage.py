"""What a person sees when a stage cannot run: a sentence, exit status 2, no traceback, nothing half-written."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from studies import run_stage, set_params

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
    refused("ingest", "There is no data/labels.csv", "medimg import IMAGES --labels labels.csv")


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
    assert "of 451 images have no patient" in done.stderr
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
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            with lock(Path(".medimg/orphan.lock"), "Stage orphan"):
                return
        except Exception:
            time.sleep(0.1)
    raise AssertionError("the stage lives on")
