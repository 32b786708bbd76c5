"""Nodes of a cluster lose power at random moments: the work is finished by the others, with the bytes it had anyhow.

``make campaigns`` plays twenty; elsewhere one. ``MEDIMG_SEED`` chooses other stages, moments and nodes.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time

import pytest
from studies import ROOT, run_stage, set_params, wait_for

from cluster.local import local_cluster
from medimg.files import sha256_file
from medimg.ingest import JOURNAL
from medimg.records import INDEX, QUARANTINE, STORE, THUMBNAILS, WEIGHTS

KILLS = 20 if os.environ.get("MEDIMG_CAMPAIGN") == "all" else 1
SEED = int(os.environ.get("MEDIMG_SEED", "0"))
WORKS = {"ingest": "::_chunk", "preprocess": "::_chunk", "train": "RayTrainWorker"}
"""Of a stage: the process by which a node is known to work."""


@pytest.fixture(scope="module")
def cluster():
    """Three nodes of one slot; training takes two."""
    with local_cluster(3) as three:
        yield three


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory):
    """A study in which each stage has run on this machine, seconds of each, and what it wrote."""
    folder = tmp_path_factory.mktemp("undisturbed") / "study"
    shutil.copytree(prepared, folder)
    set_params(folder, model={"name": "lenet5"}, train={"workers": 2, "max_epochs": 12, "patience": 12})
    cores, found = os.sched_getaffinity(0), {}
    os.sched_setaffinity(0, sorted(cores)[:2])  # a thread for each worker of training, as there
    try:
        for stage in WORKS:
            forget(folder, stage)
            start = time.monotonic()
            done = run_stage(stage, folder)
            assert done.returncode == 0, done.stderr
            found[stage] = time.monotonic() - start, outputs(folder, stage)
    finally:
        os.sched_setaffinity(0, cores)
    return folder, found


def forget(study, stage):
    """Have the stage do its work anew."""
    if stage == "ingest":
        (study / JOURNAL).unlink(missing_ok=True)
    if stage == "preprocess":
        shutil.rmtree(study / STORE)


def outputs(study, stage):
    """SHA-256 of what the stage wrote, but for times and processes."""
    files = {
        "ingest": [INDEX, THUMBNAILS, QUARANTINE],
        "preprocess": [path.relative_to(study) for path in (study / STORE).iterdir()],
        "train": [WEIGHTS / "weights.safetensors"],
    }
    return {path.as_posix(): sha256_file(study / path) for path in files[stage]}


def works(node, stage):
    return any(WORKS[stage] in command for command in node.commands())


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("number", range(KILLS))
def test_a_node_that_dies_costs_nothing_but_time(cluster, undisturbed, tmp_path, number):
    chance = random.Random(f"{SEED} {number}")
    stage = "train" if number == 0 else chance.choice(["ingest", "preprocess", *["train"] * 4])
    folder, expected = undisturbed
    seconds, written = expected[stage]
    study = tmp_path / "study"
    shutil.copytree(folder, study)
    forget(study, stage)
    there = os.environ | cluster.environment | {"RAY_ADDRESS": cluster.address, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, f"pipelines/{stage}.py"], cwd=study, env=there, stderr=subprocess.PIPE, text=True
    ) as run:
        working = wait_for(lambda: [node for node in cluster.nodes[1:] if works(node, stage)])
        victim = chance.choice(working if chance.random() < 0.75 else cluster.nodes[1:])
        time.sleep(chance.uniform(0, 0.7 * seconds))
        victim.kill()
        _, said = run.communicate(timeout=600)
    cluster.revive(victim)
    assert run.returncode == 0, said
    assert "Traceback" not in said and "state-dump" not in said
    assert outputs(study, stage) == written
    if stage == "train":
        workers = json.loads((study / "artifacts/training/workers.json").read_text())
        assert len({worker["node"] for worker in workers}) == 2
