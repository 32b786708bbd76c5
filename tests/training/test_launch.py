"""Training on Ray, for real: local clusters of one and two processes, and a worker that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from studies import run_stage, set_params

from medimg.files import sha256_file

WEIGHTS = Path("artifacts/weights/weights.safetensors")


def workers():
    return json.loads(Path("artifacts/training/workers.json").read_text())


def losses():
    return pd.read_csv("artifacts/training/history.csv")[["train_loss", "validation_loss", "validation_score"]]


def train():
    done = run_stage("train")
    assert done.returncode == 0, done.stderr
    return done


def test_two_workers_share_the_work_and_the_same_number_repeats_the_same_weights(ready):
    train()
    assert len(workers()) == 1
    alone, one = losses(), sha256_file(WEIGHTS)
    set_params(ready, train={"workers": 2})
    done = train()
    two = workers()
    assert [worker["rank"] for worker in two] == [0, 1]
    assert two[0]["pid"] != two[1]["pid"]
    assert [worker["samples"] for worker in two] == [192, 192]  # half of two epochs of six batches of 32, each
    assert "epoch 2/2" in done.stderr
    assert not list(Path(".medimg/train").iterdir())
    first = sha256_file(WEIGHTS)
    assert first != one  # batch statistics are of 16 images, not of 32
    train()
    assert sha256_file(WEIGHTS) == first
    assert losses()["train_loss"].iloc[0] == pytest.approx(alone["train_loss"].iloc[0], rel=0.2)
    about = yaml.safe_load(Path("artifacts/weights/model.yaml").read_text())
    assert about["weights_sha256"] == first
    assert about["weights"] == "from scratch"


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError("it did not happen")


def checkpoints():
    return list(Path(".medimg/train").glob("*/checkpoint_*/last.ckpt"))


def train_workers():
    listing = subprocess.check_output(["ps", "-eo", "pid,args"], text=True)
    return [int(line.split()[0]) for line in listing.splitlines() if "RayTrainWorker" in line]


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "driver"])
def test_a_killed_worker_or_driver_loses_nothing(ready, victim):
    set_params(ready, train={"max_epochs": 6})
    train()
    undisturbed = sha256_file(WEIGHTS)
    before = set(train_workers())
    with subprocess.Popen([sys.executable, "pipelines/train.py"], stderr=subprocess.PIPE, text=True) as process:
        wait_for(checkpoints)
        if victim == "driver":
            process.kill()
        else:
            mine = wait_for(lambda: set(train_workers()) - before)
            for pid in mine:
                os.kill(pid, signal.SIGKILL)
        process.stderr.read()
    if victim == "driver":
        assert checkpoints()
        done = train()
        assert "epoch 1/6" not in done.stderr  # it went on, it did not start over
    else:
        assert process.returncode == 0
    assert sha256_file(WEIGHTS) == undisturbed


def test_what_cannot_work_is_said_before_a_process_starts(ready):
    set_params(ready, train={"workers": 3})
    done = run_stage("train")
    assert done.returncode == 2
    assert "32 / 3" in done.stderr
    assert "Traceback" not in done.stderr
    assert not WEIGHTS.exists()


def test_a_loss_that_is_no_number_is_a_sentence_from_the_workers_too(ready):
    set_params(ready, train={"learning_rate": 1.0e30, "warmup_epochs": 0})
    done = run_stage("train")
    assert done.returncode == 2
    assert "train.learning_rate" in done.stderr
    assert "Traceback" not in done.stderr
    assert not WEIGHTS.exists()
    assert not list(Path(".medimg/train").iterdir())


def test_a_cluster_that_does_not_answer_is_named(ready):
    done = run_stage("train", RAY_ADDRESS="127.0.0.1:1")
    assert done.returncode == 2
    assert "Ray does not answer at RAY_ADDRESS=127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_transfer_starts_from_the_weights_of_an_earlier_run(ready):
    train()
    Path("artifacts/weights").rename("given")
    set_params(ready, model={"weights": "given"})
    train()
    about = yaml.safe_load(Path("artifacts/weights/model.yaml").read_text())
    assert about["weights"] == "transfer"
    assert about["transferred"]["skipped"] == []
    assert about["transferred"]["source_sha256"] == sha256_file(Path("given/weights.safetensors"))
