"""Work spread over a Ray cluster, for real: a head without a slot for work, and two nodes with one each."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from studies import free_port, run_medimg, run_stage, set_params, shares, wait_for

from cluster.local import MARK, Node, local_cluster
from medimg.errors import ClusterError
from medimg.files import sha256_file
from medimg.ingest import JOURNAL
from medimg.records import INDEX, INGEST, PREDICTIONS, QUARANTINE, STORE
from medimg.work import gate
from medimg.work import head as heads
from medimg.work import room as rooms
from medimg.work.gate import knock

OUTPUTS = (INDEX, QUARANTINE, INGEST)


@pytest.fixture(scope="module")
def there():
    """The environment that leads to it."""
    with local_cluster(3, head_cpus=0) as cluster:
        yield cluster.environment | {"RAY_ADDRESS": cluster.address}


NODES = {"127.0.0.3", "127.0.0.4"}


@pytest.mark.slow
def test_ingest_spreads_over_the_nodes_of_a_cluster_and_writes_the_same_bytes(study, there):
    (study / "data/images/crash.dcm").symlink_to("/dev/null")
    Path("data/imports/0001.json").unlink()  # what is not vouched for now is allowed below
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("allow_unverified: false", "allow_unverified: true"))
    done = run_stage("ingest")
    assert done.returncode == 0, done.stderr
    here = [path.read_bytes() for path in OUTPUTS]
    JOURNAL.unlink()
    done = run_stage("ingest", **there)
    assert done.returncode == 0, done.stderr
    did = shares(done.stderr)
    assert set(did) == NODES
    assert sum(did.values()) == 453
    assert [path.read_bytes() for path in OUTPUTS] == here
    assert not list(Path(".medimg").glob("cluster-*"))


@pytest.mark.slow
def test_preprocess_train_predict_and_tune_run_on_the_nodes_and_not_here(ready, there):
    set_params(ready, model={"name": "lenet5"}, train={"workers": 2, "max_epochs": 1})
    here = {path.name: sha256_file(path) for path in STORE.iterdir()}
    shutil.rmtree(STORE)
    done = run_stage("preprocess", **there)
    assert done.returncode == 0, done.stderr
    did = shares(done.stderr)
    assert set(did) == NODES
    assert sum(did.values()) == 450
    assert {path.name: sha256_file(path) for path in STORE.iterdir()} == here

    done = run_stage("train", **there)
    assert done.returncode == 0, done.stderr
    assert len({worker["node"] for worker in json.loads(Path("artifacts/training/workers.json").read_text())}) == 2

    done = run_stage("predict", **there)
    assert done.returncode == 0, done.stderr
    (node,) = shares(done.stderr)
    assert node in NODES
    scored = PREDICTIONS.read_bytes()
    assert run_stage("predict").returncode == 0
    assert PREDICTIONS.read_bytes() == scored

    set_params(ready, tune={"search": {"train.weight_decay": [0, 0.1]}, "trials": 2, "at_once": 2})
    done = run_medimg("tune", **there)
    assert done.stdout.startswith("2 settings tried"), done.stderr
    assert set(shares(done.stderr)) == NODES


def test_a_cluster_that_does_not_answer_is_named(study):
    done = run_stage("ingest", RAY_ADDRESS="127.0.0.1:1")
    assert done.returncode == 2
    assert "Ray does not answer at RAY_ADDRESS=127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_what_a_cluster_can_never_give_is_said_with_what_it_has(study, there):
    set_params(study, cluster={"ingest": {"cpus": 2, "gpus": None, "memory": None}, "wait": 1})
    done = run_stage("ingest", **there)
    assert done.returncode == 2
    assert "can never run stage ingest: it takes one node with 2 CPU" in done.stderr
    assert "3 nodes (0 CPU, 0 GPU" in done.stderr and "; 1 CPU, 0 GPU" in done.stderr
    assert "cluster.ingest" in done.stderr and "Traceback" not in done.stderr


@contextmanager
def ray_head(at="127.0.0.1", **environment):
    """A head, as Ray's own documents start one; its address, and that of the port for its clients."""
    folder = Path(tempfile.mkdtemp(prefix="head-", dir="/tmp"))
    ports = [free_port() for _ in range(2)]
    environment = os.environ | {MARK: str(folder), "RAY_USAGE_STATS_ENABLED": "0"} | environment
    command = [Path(sys.executable).parent / "ray", "start", "--head", "--block", "--num-cpus=1"]
    command += [f"--node-ip-address={at}", f"--temp-dir={folder}/ray", "--include-dashboard=false"]
    command += [f"--port={ports[0]}", f"--ray-client-server-port={ports[1]}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        for port in ports:
            wait_for(lambda port=port: answers(port), 120)
        yield tuple(f"{at}:{port}" for port in ports)
    finally:
        Node(0, at, str(folder), process).kill()
        shutil.rmtree(folder, ignore_errors=True)


def answers(port):
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True


@pytest.mark.slow
def test_a_head_that_lets_anybody_in_gets_nothing_by_any_way(ready, tmp_path):
    JOURNAL.unlink()
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text("f" * 64)
    with ray_head(RAY_AUTH_MODE="disabled") as (head, clients):
        for stage, address in (("ingest", head), ("ingest", f"ray://{clients}"), ("train", head)):
            done = run_stage(stage, RAY_ADDRESS=address, RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"))
            assert done.returncode == 2
            assert f"Nothing was sent to the Ray cluster at RAY_ADDRESS={address}" in done.stderr
            assert "anybody who reaches it can run code" in done.stderr and "Traceback" not in done.stderr
        done = run_medimg("doctor", RAY_ADDRESS=head, RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"))
        assert re.search(r"fail.*anybody who reaches it can run code", done.stdout)


@pytest.mark.slow
def test_a_head_that_asks_for_a_token_gets_work_only_with_its_own(study, there, tmp_path):
    for name, text, said in (("none", "", "There is no token"), ("other", "f" * 64, "The token here is not the clus")):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(text)
        done = run_stage("ingest", **(there | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / name)}))
        assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    done = run_stage("ingest", **there)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_head_that_encrypts_gets_work_from_who_has_a_certificate_and_the_token(study, tmp_path):
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text("f" * 64)
    made = Path(__file__).parent.parent / "cluster/certificates.sh"
    subprocess.run([made, tmp_path / "c", "127.0.0.2"], check=True, capture_output=True)
    own = {"CA_CERT": "ca.crt", "SERVER_CERT": "node.crt", "SERVER_KEY": "node.key"}
    tls = {f"RAY_TLS_{name}": str(tmp_path / "c/127.0.0.2" / file) for name, file in own.items()}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    tls["RAY_USE_TLS"] = "1"
    with ray_head("127.0.0.2", **token, **tls) as (head, _):
        knock(head)  # by which the watch tells that it lives
        for environment, said in (
            (token, "RAY_USE_TLS=1 and the certificates"),
            (token | tls | {"RAY_TLS_CA_CERT": str(tmp_path / "nothing")}, "cannot be read"),
            (token | tls | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "nothing")}, "There is no token"),
        ):
            done = run_stage("ingest", RAY_ADDRESS=head, **environment)
            assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
        done = run_stage("ingest", RAY_ADDRESS=head, **token, **tls)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_task_for_which_there_is_never_memory_enough_ends_the_stage(study, tmp_path):
    """Ray's memory monitor ends whatever runs, from a share of the memory on that is always in use."""
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text("f" * 64)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    monitor = {"RAY_memory_usage_threshold": "0.0001", "RAY_memory_monitor_refresh_ms": "100"}
    with ray_head(**token, **monitor) as (head, _):
        done = run_stage("ingest", RAY_ADDRESS=head, **token)
    assert done.returncode == 2
    assert "four times (OutOfMemoryError)" in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def door(monkeypatch):
    """What is knocked at, as often as a test has time for; a head that lives, until it is closed."""
    monkeypatch.setattr(heads, "_KNOCK", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as door:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{door.getsockname()[1]}")
        yield door


def wait_to_be_interrupted():
    end = time.monotonic() + 30
    while time.monotonic() < end:
        time.sleep(0.01)


@pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN], ids=["heeded", "ignored"])
def test_a_head_that_dies_is_said_also_when_it_lives_again_and_where_ctrl_c_is_ignored(door, ctrl_c):
    before = signal.signal(signal.SIGINT, ctrl_c)
    address = door.getsockname()
    try:
        with pytest.raises(ClusterError, match="does not answer any more"), heads.head_watched():
            time.sleep(0.3)
            door.close()
            try:
                wait_to_be_interrupted()
            except KeyboardInterrupt:
                again = socket.create_server(address)
                raise
        again.close()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_head_that_goes_once_the_work_is_done_interrupts_nothing(monkeypatch):
    asked, ended = threading.Event(), threading.Event()

    def at_the_last_knock():
        asked.set()
        ended.wait(30)
        return "gone"

    monkeypatch.setattr(heads, "_KNOCK", 0.01)
    monkeypatch.setattr(heads, "_MISSED", 1)
    monkeypatch.setattr(heads, "lost_head", at_the_last_knock)
    with heads.head_watched():
        assert asked.wait(30)
    ended.set()
    time.sleep(0.3)  # where a late interrupt would arrive


def test_a_head_that_dies_while_a_result_is_being_used_is_said_at_the_next(door):
    """A generator that has yielded cannot tell what happens outside of it."""

    def results():
        with heads.head_watched() as watch:
            told.append(watch)
            for result in (1, 2):
                with watch.away():
                    yield result

    told = []
    found = results()
    assert next(found) == 1
    door.close()
    wait_for(lambda: told[0].lost, 30)  # in the consumer's own work; Ctrl-C would end it
    with pytest.raises(ClusterError, match="does not answer any more"):
        next(found)
    with heads.head_watched() as watch, suppress(GeneratorExit), watch.away():
        time.sleep(1)
        raise GeneratorExit  # nobody asks for the next


def test_what_is_handed_out_grows_with_the_cluster_and_a_cluster_without_nodes_is_given_up(study, monkeypatch):
    def node(cpus, alive=True):
        return {"Alive": alive, "Resources": {"CPU": cpus}}

    nodes = [node(2.0)]
    room = rooms.Room(SimpleNamespace(nodes=lambda: nodes), "ingest")
    assert room.ahead() == 4
    nodes += [node(4.0), node(8.0, alive=False)]
    assert room.ahead() == 4  # it is not looked at for each piece
    monkeypatch.setattr(rooms, "LOOK", 0.0)
    assert room.ahead() == 12
    nodes[:] = [node(0.0)]
    assert room.ahead() == 2  # others may come
    monkeypatch.setattr(rooms, "LOST", 0.0)
    set_params(study, cluster={"wait": 0})
    with pytest.raises(ClusterError, match="no room for a single piece of stage ingest"):
        room.check()


def test_a_token_that_another_owns_or_that_is_right_is_left_alone(tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("f" * 64)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    token.chmod(0o644)
    gate.hide_token()
    assert token.stat().st_mode & 0o777 == 0o600
    token.chmod(0o400)  # as a mounted secret
    gate.hide_token()
    assert token.stat().st_mode & 0o777 == 0o400


ASKS = """
import os
from types import SimpleNamespace
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="f" * 64, RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0")
import ray
from medimg.work.room import room_for

ray.init("local", num_cpus=1, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
groups = lambda: list(ray.util.placement_group_table().values())
asked = []

def nodes():  # a second slot comes as soon as Ray counts the request among what it cannot place
    asked.extend(group["bundles"][0] for group in groups() if group["state"] == "PENDING")
    return [node | {"Resources": node["Resources"] | {"CPU": 2.0 if asked else 1.0}} for node in ray.nodes()]

each, places = room_for(SimpleNamespace(nodes=nodes, util=ray.util), "ingest")
print(asked[0], each["num_cpus"], places, [group["state"] for group in groups()])
"""


@pytest.mark.slow
def test_nodes_that_are_missing_are_asked_for_so_that_a_cluster_that_scales_itself_starts_them(study):
    set_params(study, cluster={"ingest": {"cpus": 2, "gpus": None, "memory": None}, "wait": 60})
    done = subprocess.run([sys.executable, "-c", ASKS], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.splitlines()[-1:] == ["{'CPU': 2.0} 2.0 1 ['REMOVED']"], done.stdout + done.stderr
