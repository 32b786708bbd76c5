"""Faults of a whole cluster: its head dies, a link is cut, too few nodes are left. Minutes each: ``make campaigns``."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from namespaces import namespaces, possible
from studies import ONLY_IN_CAMPAIGNS, ROOT, commit, copy_study, run_dvc, run_stage, set_params, wait_for

from cluster.local import local_cluster
from medimg.files import sha256_file
from medimg.ingest import JOURNAL
from medimg.records import STORE

pytestmark = [pytest.mark.slow, pytest.mark.campaign, ONLY_IN_CAMPAIGNS]
WEIGHTS = Path("artifacts/weights/weights.safetensors")
LONG = {"workers": 2, "max_epochs": 60, "patience": 60}


def environment_of(cluster):
    return os.environ | cluster.environment | {"RAY_ADDRESS": cluster.address, "PYTHONPATH": str(ROOT)}


@contextmanager
def running(stage, cluster, inside=()):
    with subprocess.Popen(
        [*inside, sys.executable, f"pipelines/{stage}.py"],
        env=environment_of(cluster),
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        try:
            yield run
        finally:
            run.kill()


def trained_here():
    """SHA-256 of the weights of the same training on this machine."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:2])  # a thread for each worker, as there
    done = run_stage("train")
    os.sched_setaffinity(0, cores)
    assert done.returncode == 0, done.stderr
    weights = sha256_file(WEIGHTS)
    WEIGHTS.unlink()
    return weights


def checkpoints(folder=Path(".medimg/train")):
    return list(folder.rglob("epoch-*.ckpt"))


def training(cluster):
    return [node for node in cluster.nodes[1:] if any("RayTrainWorker" in command for command in node.commands())]


@pytest.fixture
def long(ready):
    set_params(ready, model={"name": "lenet5"}, train=LONG)
    return ready


def test_the_head_dies_and_the_next_submission_goes_on_from_the_last_checkpoint(demo_data, tmp_path, monkeypatch):
    study = tmp_path / "study"
    copy_study(study, demo_data)
    monkeypatch.chdir(study)
    set_params(study, preprocess={"size": 32}, model={"name": "lenet5"}, train=LONG)
    commit(study, tmp_path / "remote")
    medimg = [sys.executable, "-m", "medimg"]
    submit = [*medimg, "submit", "--", "dvc", "repro", "train"]
    with local_cluster(3, head_cpus=0) as cluster:
        client = environment_of(cluster) | {"RAY_API_SERVER_ADDRESS": cluster.dashboard}
        client.pop("RAY_ADDRESS")
        with subprocess.Popen(submit, env=client, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
            wait_for(lambda: checkpoints(cluster.jobs), 600)
            cluster.nodes[0].kill()
            told, said = first.communicate(timeout=600)
        assert first.returncode == 2
        assert "has not answered for 120 s" in said and "medimg submit goes on from the last checkpoint" in said
        assert "Traceback" not in said
        for node in cluster.nodes:
            node.kill()
        cluster.revive(cluster.nodes[0], 0)
        for node in cluster.nodes[1:]:
            cluster.revive(node)
        second = subprocess.run(submit, env=client, capture_output=True, text=True, check=False, timeout=900)
        assert second.returncode == 0, second.stdout + second.stderr
        assert "Running stage 'train'" in told and "epoch  1/60" not in second.stdout
        assert "Stage 'ingest' didn't change" in second.stdout
        name = re.search(r"medimg-[0-9a-f]{16}", second.stdout).group()
        there = sha256_file(cluster.jobs / name / WEIGHTS)
    assert run_dvc(study, "repro", "preprocess", "split").returncode == 0
    assert trained_here() == there


@pytest.mark.parametrize("stage", ["ingest", "preprocess", "train"])
def test_the_head_dies_under_a_stage_and_one_line_says_so(long, stage):
    """The driver runs on a machine that lives on."""
    JOURNAL.unlink()
    if stage == "preprocess":
        shutil.rmtree(STORE)
    works = "RayTrainWorker" if stage == "train" else "::_chunk"
    with local_cluster(3, head_cpus=0) as cluster, running(stage, cluster) as run:
        wait_for(lambda: any(works in command for command in cluster.nodes[1].commands()))
        cluster.nodes[0].kill()
        said = run.communicate(timeout=600)[1]
    assert run.returncode == 2, said
    assert "The head of the Ray cluster" in said and "does not answer any more" in said
    assert "Traceback" not in said
    done = run_stage(stage)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not possible(), reason="network namespaces cannot be made here: not root, or no ip")
def test_a_node_whose_link_is_cut_is_given_up_and_another_takes_its_place(long):
    expected = trained_here()
    with namespaces(4) as machines, local_cluster(4, head_cpus=0, place=machines) as cluster:
        with running("train", cluster, machines.inside(0)) as run:
            wait_for(checkpoints)
            victim = wait_for(lambda: training(cluster))[0]
            machines.cut(victim.number)
            said = run.communicate(timeout=600)[1]
        assert run.returncode == 0, said
    assert sha256_file(WEIGHTS) == expected


def test_too_few_nodes_are_left_and_it_is_said_after_a_while_and_not_waited_for_ever(long):
    expected = trained_here()
    with local_cluster(2) as cluster:
        with running("train", cluster) as run:
            wait_for(checkpoints)
            cluster.nodes[1].kill()
            said = run.communicate(timeout=900)[1]
        assert run.returncode == 2
        assert "The Ray cluster has had no room for train.workers: 2 for a while" in said
        assert "Traceback" not in said
        cluster.revive(cluster.nodes[1])
        with running("train", cluster) as run:
            said = run.communicate(timeout=600)[1]
        assert run.returncode == 0, said
        assert "epoch  1/60" not in said
    assert sha256_file(WEIGHTS) == expected
