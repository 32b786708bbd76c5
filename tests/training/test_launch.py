"""Training on Ray, for real: local clusters of one and two processes, and a worker that is killed."""

import ast
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from studies import ROOT, run_stage, set_params

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


def test_two_workers_are_two_processes_that_each_did_half_the_work(ready):
    set_params(ready, train={"workers": 2})
    done = train()
    two = workers()
    assert [worker["rank"] for worker in two] == [0, 1]
    assert two[0]["pid"] != two[1]["pid"]
    assert [worker["samples"] for worker in two] == [196, 196]  # half of two epochs of seven batches of 28, each
    assert "epoch 2/2" in done.stderr
    assert not list(Path(".medimg/train").iterdir())
    about = yaml.safe_load(Path("artifacts/weights/model.yaml").read_text())
    assert about["weights_sha256"] == sha256_file(WEIGHTS)
    assert about["weights"] == "from scratch"


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_the_same_number_of_workers_gives_the_same_weights(ready, count):
    set_params(ready, train={"workers": count})
    train()
    first, history = sha256_file(WEIGHTS), losses()
    train()
    assert sha256_file(WEIGHTS) == first
    assert losses().equals(history)


LISTENERS = """
import os, psutil
from medimg.training.launch import _ray
with _ray(1):
    mine = psutil.Process().children(recursive=True)
    found = [c.laddr.ip for p in [psutil.Process(), *mine] for c in p.net_connections() if c.status == "LISTEN"]
print(sorted(set(found)), len(found))
"""


def test_on_one_machine_ray_listens_on_loopback_alone_and_its_token_is_its_owners(tmp_path):
    token = tmp_path / "token"
    token.write_text("0" * 64)
    token.chmod(0o644)
    environment = os.environ | {"RAY_AUTH_TOKEN_PATH": str(token)}
    printed = subprocess.check_output([sys.executable, "-c", LISTENERS], env=environment, text=True, cwd=tmp_path)
    addresses, count = printed.strip().splitlines()[-1].rsplit(" ", 1)
    assert int(count) >= 3
    assert set(ast.literal_eval(addresses)) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert token.stat().st_mode & 0o777 == 0o600


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


@pytest.mark.slow
def test_transfer_starts_from_the_weights_of_an_earlier_run(ready):
    train()
    Path("artifacts/weights").rename("given")
    set_params(ready, model={"weights": "given", "weights_sha256": "0" * 64})
    refused = run_stage("train")
    assert refused.returncode == 2
    assert "model.weights_sha256 asks for 0000" in refused.stderr
    set_params(ready, model={"weights_sha256": sha256_file(Path("given/weights.safetensors"))})
    train()
    about = yaml.safe_load(Path("artifacts/weights/model.yaml").read_text())
    assert about["weights"] == "transfer"
    assert about["transferred"]["skipped"] == []
    assert about["transferred"]["source_sha256"] == sha256_file(Path("given/weights.safetensors"))


@pytest.mark.slow
def test_training_runs_on_the_cluster_that_ray_address_names(ready, tmp_path):
    """A cluster started with cluster/start.sh: token on, readable by its owner alone."""
    token = tmp_path / "token"
    own = {"RAY_AUTH_TOKEN_PATH": str(token), "RAY_AUTH_MODE": "token", "RAY_TMPDIR": tempfile.mkdtemp(prefix="ray-")}
    environment = os.environ | own
    started = subprocess.run(
        [ROOT / "cluster/start.sh", "head", "127.0.0.1", "6399"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        assert "RAY_ADDRESS=127.0.0.1:6399" in started.stdout
        assert token.stat().st_mode & 0o777 == 0o600
        set_params(ready, train={"workers": 2})
        done = run_stage("train", RAY_ADDRESS="127.0.0.1:6399", **own)
        assert done.returncode == 0, done.stderr
        nodes = {worker["node"] for worker in workers()}
        code = "import ray; ray.init('127.0.0.1:6399', logging_level='ERROR'); print(ray.nodes()[0]['NodeID'])"
        listed = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
        assert nodes == {listed.strip().splitlines()[-1]}
    finally:
        end_cluster(own["RAY_TMPDIR"])


def end_cluster(folder):
    """End the Ray processes that were started with this ``RAY_TMPDIR``, and no other's."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("RAY_TMPDIR") == folder:
                process.kill()
        except psutil.Error:
            continue
