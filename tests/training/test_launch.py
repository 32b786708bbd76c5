"""Training on Ray, for real: local clusters of one and two processes, and a worker that is killed."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
import yaml
from studies import ONLY_IN_CAMPAIGNS, ROOT, run_stage, set_params, wait_for

from medimg.errors import TrainingError
from medimg.files import sha256_file
from medimg.params import load
from medimg.records import PARTS, PARTS_SCHEMA, read_table
from medimg.training import launch

WEIGHTS = Path("artifacts/weights/weights.safetensors")


def workers():
    return json.loads(Path("artifacts/training/workers.json").read_text())


def losses():
    return pd.read_csv("artifacts/training/history.csv")[["train_loss", "validation_loss", "validation_score"]]


def train():
    done = run_stage("train")
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_two_workers_are_two_processes_that_each_did_half_the_work_and_again_give_the_same_weights(ready):
    """Of one worker, the runs below that are cut off say so."""
    set_params(ready, train={"workers": 2})
    done = train()
    two = workers()
    assert [worker["rank"] for worker in two] == [0, 1]
    assert two[0]["pid"] != two[1]["pid"]
    count = int((read_table(PARTS, PARTS_SCHEMA)["part"] == "train").sum())
    steps = -(-count // 32)
    shares = [worker["samples"] for worker in two]
    assert sum(shares) == 2 * steps * (count // steps)  # of two epochs
    assert max(shares) - min(shares) <= 2 * steps  # a batch may be odd
    assert json.loads(Path("artifacts/training/training.json").read_text())["epochs"] == 2
    assert Path(".medimg/logs/train-1.log").is_file()
    assert "epoch 2/2" in done.stderr
    assert not list(Path(".medimg/train").iterdir())
    about = yaml.safe_load(Path("artifacts/weights/model.yaml").read_text())
    assert about["weights_sha256"] == sha256_file(WEIGHTS)
    assert about["weights"] == "from scratch"
    first, history = sha256_file(WEIGHTS), losses()
    train()
    assert sha256_file(WEIGHTS) == first and losses().equals(history)


LISTENERS = """
import contextlib, psutil
from medimg.params import Train
from medimg.training.launch import connected
with connected(Train()):
    found = []
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [one.laddr.ip for one in process.net_connections() if one.status == "LISTEN"]
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


def checkpoints():
    return list(Path(".medimg/train").glob("*/network/epoch-*.ckpt"))


def workers_of(process):
    """The processes that train for it: never those of another run on this machine."""
    try:
        mine = psutil.Process(process.pid).children(recursive=True)
        return [worker for worker in mine if "RayTrainWorker" in " ".join(worker.cmdline())]
    except psutil.Error:  # one has just ended
        return []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "how"),
    [  # kill -9 of either: tests/campaigns/test_kill.py
        pytest.param("worker", signal.SIGTERM, marks=[pytest.mark.campaign, ONLY_IN_CAMPAIGNS]),  # preemption
        ("worker", signal.SIGSTOP),  # a hang
        pytest.param("driver", signal.SIGTERM, marks=[pytest.mark.campaign, ONLY_IN_CAMPAIGNS]),
    ],
)
def test_a_worker_or_driver_that_ends_or_hangs_loses_nothing(ready, undisturbed, victim, how):
    set_params(ready, model={"name": "lenet5"}, train={"max_epochs": EPOCHS, "hang_seconds": 60})
    with subprocess.Popen([sys.executable, "pipelines/train.py"], stderr=subprocess.PIPE, text=True) as process:
        wait_for(checkpoints)
        for one in workers_of(process) if victim == "worker" else [process]:
            one.send_signal(how)
        said = process.stderr.read()
    if victim == "driver":
        assert process.returncode != 0
        assert "Traceback" not in said
        assert checkpoints()
        done = train()
        assert "epoch 1/" not in done.stderr  # it went on, it did not start over
    else:
        assert process.returncode == 0, said
    assert sha256_file(WEIGHTS) == undisturbed


EPOCHS = 40


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory):
    """SHA-256 of the weights of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed") / "study"
    shutil.copytree(prepared, folder)
    set_params(folder, model={"name": "lenet5"}, train={"max_epochs": EPOCHS})
    done = run_stage("train", folder)
    assert done.returncode == 0, done.stderr
    return sha256_file(folder / WEIGHTS)


@pytest.mark.slow
@pytest.mark.campaign
@ONLY_IN_CAMPAIGNS
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(ready, undisturbed):
    set_params(ready, model={"name": "lenet5"}, train={"max_epochs": EPOCHS})
    with subprocess.Popen([sys.executable, "pipelines/train.py"], stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: len(checkpoints()) == 2)
        mine = workers_of(process)
        process.kill()
        process.stderr.read()
    psutil.wait_procs(mine, timeout=60)  # they write what they have begun
    last = max(checkpoints())
    last.write_bytes(last.read_bytes()[:1000])
    done = train()
    assert f"{last.name} is damaged" in done.stderr
    assert "epoch 1/" not in done.stderr
    assert sha256_file(WEIGHTS) == undisturbed


@pytest.mark.slow
@pytest.mark.campaign
@ONLY_IN_CAMPAIGNS
def test_workers_join_and_leave_and_the_weights_are_those_of_one_worker_throughout(ready):
    """A cluster of one core, to which a second node of one core comes, and from which it goes again."""
    long = 4 * EPOCHS  # it takes some seconds to notice that a node has come
    set_params(ready, model={"name": "lenet5"}, train={"max_epochs": long, "workers": 2, "least_workers": 1})
    set_params(ready, train={"patience": long})
    folder = tempfile.mkdtemp(prefix="ray-")
    own = {"RAY_AUTH_TOKEN_PATH": f"{folder}/token", "RAY_AUTH_MODE": "token", "RAY_TMPDIR": folder}
    Path(own["RAY_AUTH_TOKEN_PATH"]).write_text("0" * 64)
    ray = [Path(sys.executable).parent / "ray", "start", "--num-cpus=1", "--disable-usage-stats"]
    nodes = [[*ray, "--head", "--port=6398", "--node-ip-address=127.0.0.1", "--include-dashboard=false"]]
    nodes += [[*ray, "--address=127.0.0.1:6398", "--node-ip-address=127.0.0.1"]]
    address = {"RAY_ADDRESS": "127.0.0.1:6398", "MEDIMG_RESIZE_SECONDS": "1"}
    try:
        subprocess.run(nodes[0], env=os.environ | own, check=True, capture_output=True)
        with subprocess.Popen(
            [sys.executable, "pipelines/train.py"], env=os.environ | own | address, stderr=subprocess.PIPE, text=True
        ) as process:
            wait_for(lambda: process.poll() is not None or seen_workers() == [1])
            before = raylets(folder)
            subprocess.run(nodes[1], env=os.environ | own, check=True, capture_output=True)
            wait_for(lambda: process.poll() is not None or 2 in seen_workers())
            assert process.poll() is None, process.stderr.read()
            (second,) = raylets(folder) - before
            os.kill(second, signal.SIGKILL)
            said = process.stderr.read()
        assert process.returncode == 0, said
        workers, weights = pd.read_csv("artifacts/training/history.csv")["workers"].tolist(), sha256_file(WEIGHTS)
        assert run_stage("train", **own, **address).returncode == 0
        assert seen_workers() == [1]
        assert sha256_file(WEIGHTS) == weights
    finally:
        end_cluster(folder)
    assert (workers[0], max(workers), workers[-1]) == (1, 2, 1)
    assert len(workers) == long


def seen_workers():
    """Numbers of workers of the epochs so far."""
    path = Path("artifacts/training/history.csv")
    return sorted(set(pd.read_csv(path)["workers"])) if path.is_file() else []


def raylets(folder):
    found = set()
    for process in psutil.process_iter(["name"]):
        try:
            if process.name() == "raylet" and process.environ().get("RAY_TMPDIR") == folder:
                found.add(process.pid)
        except psutil.Error:
            continue
    return found


def test_what_a_worker_that_died_said_stands_before_what_the_next_one_says(tmp_path):
    for says in ("no step for 600 s; it stood here", "going on"):
        with launch._own_log(tmp_path / "train-0.log"):
            os.write(2, f"{says}\n".encode())
    assert (tmp_path / "train-0.log").read_text() == "no step for 600 s; it stood here\ngoing on\n"


def test_a_node_that_is_silent_is_waited_for_and_an_error_of_the_workers_is_not(tmp_path, monkeypatch):
    from ray.exceptions import ActorUnavailableError
    from ray.train import WorkerGroupError
    from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

    (tmp_path / launch.LOGS).mkdir(parents=True)
    dead = ActorUnavailableError("The node is down", None)
    silent = WorkerGroupError("", {0: WorkerHealthCheckFailedError("", dead), 1: ValueError("beside it")})
    broken = WorkerGroupError("what broke", {0: ValueError("what broke")})
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "NOTICED", 0.0)
    job = SimpleNamespace(train=load().train.model_copy(update={"max_failures": 2}))

    def run(*ends):
        fits = list(ends)

        def fit(*_):
            if isinstance(end := fits.pop(0), Exception):
                raise end
            return end

        monkeypatch.setattr(launch, "_fit", fit)
        try:
            return launch._run(job, tmp_path, tmp_path / "progress.log", False), len(fits)
        except TrainingError as error:
            return str(error), len(fits)

    assert run("learned") == ("learned", 0)
    assert run(silent, silent, "learned") == ("learned", 0)
    assert (tmp_path / "progress.log").read_text().count("a node of the cluster does not answer") == 2
    said, left = run(silent, silent, silent, "learned")
    assert "more often than train.max_failures: 2 allows" in said and left == 1
    said, left = run(broken, "learned")
    assert "The last error was: what broke" in said and left == 1


def test_what_cannot_work_is_said_before_a_process_starts(ready):
    set_params(ready, train={"workers": 3})
    done = run_stage("train")
    assert done.returncode == 2
    assert "32 / 3" in done.stderr
    assert "Traceback" not in done.stderr
    assert not WEIGHTS.exists()


@pytest.mark.slow
def test_a_loss_that_is_no_number_is_a_sentence_from_the_workers_too(ready):
    set_params(ready, train={"learning_rate": 1.0e30, "warmup_epochs": 0})
    done = run_stage("train")
    assert done.returncode == 2
    assert "train.learning_rate" in done.stderr
    assert "Traceback" not in done.stderr
    assert not WEIGHTS.exists()
    assert not checkpoints()


ONE_LACKS_THE_STORE = """
import importlib.abc, importlib.util, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "medimg.training.worker":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            fit = module.fit
            def lacking(job, place, **more):
                if place.rank == 1:
                    raise module.MedimgError("There is no whole store on this node.")
                return fit(job, place, **more)
            module.fit = lacking
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


@pytest.mark.slow
def test_what_one_worker_cannot_mend_ends_the_run_with_its_sentence_and_the_other_does_not_wait(ready, tmp_path):
    """Worker 0 is well, and waits for worker 1 in the first batch: for ``train.hang_seconds``, were it left alone."""
    (tmp_path / "sitecustomize.py").write_text(ONE_LACKS_THE_STORE)
    set_params(ready, train={"workers": 2, "hang_seconds": 3000})
    done = run_stage("train", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == 2
    assert "There is no whole store on this node." in done.stderr
    assert "Traceback" not in done.stderr
    assert not WEIGHTS.exists()


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
@pytest.mark.campaign
@ONLY_IN_CAMPAIGNS
def test_training_runs_on_the_cluster_that_ray_address_names(ready, tmp_path):
    """A cluster started with cluster/start.sh: token on, readable by its owner alone."""
    token = tmp_path / "token"
    own = {"RAY_AUTH_TOKEN_PATH": str(token), "RAY_AUTH_MODE": "token", "RAY_TMPDIR": tempfile.mkdtemp(prefix="ray-")}
    environment = os.environ | own | {"DASHBOARD_PORT": "6398", "CLIENT_PORT": "6397"}
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
