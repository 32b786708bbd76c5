"""A study sent to a Ray cluster and brought home, for real: Ray's job API, a token, a DVC remote, Git."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import termios
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import pytest
import requests
from studies import ROOT, commit, git, run_dvc, run_medimg, set_params, wait_for

from cluster.local import local_cluster
from medimg.cluster import delivery, probe
from medimg.cluster import follow as following
from medimg.cluster.commit import examine, export
from medimg.cluster.follow import Summary
from medimg.errors import ClusterError
from medimg.files import sha256_file
from medimg.records import LEDGER
from medimg.submit import COMMAND, Cluster, collect, submit


@pytest.fixture
def committed(study, tmp_path):
    """A study under Git, its data on a remote in a folder."""
    set_params(study, train={"max_epochs": 2})
    commit(study, tmp_path / "remote")
    return study


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MEDIMG_RETRIES", "0 1")
        with local_cluster(1, cpus=2) as one:
            yield one


def medimg(*words, cluster=None, **environment):
    if cluster:
        environment = cluster.environment | {"RAY_API_SERVER_ADDRESS": cluster.dashboard} | environment
    environment.setdefault("PYTHONPATH", str(ROOT))
    return run_medimg(*words, **environment)


@pytest.mark.slow
def test_what_was_submitted_comes_home_whole_and_once(committed, cluster):
    sent = medimg("submit", "--", "dvc", "repro", "split", cluster=cluster)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert "── 1 of" in sent.stdout and "succeeded" in sent.stdout
    name = re.search(r"medimg-[0-9a-f]{16}", sent.stdout).group()
    assert not Path("artifacts").exists() and not Path("dvc.lock").exists()

    again = medimg("submit", "--", "dvc", "repro", "split", cluster=cluster)
    assert again.returncode == 0, again.stderr
    assert "has been done" in again.stdout and name in again.stdout
    listed = medimg("jobs", cluster=cluster).stdout
    assert listed.count(name) == 1 and "dvc repro split" in listed
    assert "fetching the data" in medimg("logs", name, cluster=cluster).stdout

    shutil.rmtree("data")
    shutil.rmtree(".dvc/cache")
    home = medimg("collect", name)
    assert home.returncode == 0, home.stderr
    work = cluster.jobs / name
    assert Path("dvc.lock").read_bytes() == (work / "dvc.lock").read_bytes()
    assert Path("splits.csv").read_bytes() == (work / "splits.csv").read_bytes()
    assert Path("artifacts/parts.parquet").is_file()
    told = run_dvc(committed, "repro", "split").stdout
    assert "Running" not in told and "up to date" in told

    texts = [listed, sent.stdout, *(path.read_text(errors="replace") for path in (work / ".dvc").glob("config*"))]
    token = Path(cluster.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    assert not any(token in text for text in texts)


@contextmanager
def tls_before(port, certificate, key):
    """A door that speaks TLS with a certificate of our own and passes on to ``port``; yields its address."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    door = socket.create_server(("127.0.0.1", 0))

    def pass_on(source, sink):
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def serve():
        with suppress(OSError):
            while True:
                caller, _ = door.accept()
                with suppress(ssl.SSLError):
                    inside = context.wrap_socket(caller, server_side=True)
                    behind = socket.create_connection(("127.0.0.1", port))
                    for pair in ((inside, behind), (behind, inside)):
                        Thread(target=pass_on, args=pair, daemon=True).start()

    Thread(target=serve, daemon=True).start()
    try:
        yield f"https://127.0.0.1:{door.getsockname()[1]}"
    finally:
        door.close()


@pytest.mark.slow
def test_only_who_has_the_token_is_let_in_and_tls_is_checked(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", cluster.environment["RAY_AUTH_TOKEN_PATH"])
    assert requests.post(cluster.dashboard + "/api/jobs/", json={"entrypoint": "true"}, timeout=10).status_code == 401
    assert all(finding.ok for finding in probe.probe(cluster.dashboard))
    token = tmp_path / "token"
    token.write_text("f" * 64)
    token.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    with pytest.raises(ClusterError, match="Others on this machine can read the token"):
        probe.guard(cluster.dashboard)
    token.chmod(0o600)
    with pytest.raises(ClusterError, match="The token here is not the cluster's"):
        probe.guard(cluster.dashboard)

    subprocess.run([ROOT / "cluster/certificates.sh", tmp_path / "c", "127.0.0.1"], check=True, capture_output=True)
    node = tmp_path / "c/127.0.0.1"
    with tls_before(cluster.base + 1, node / "node.crt", node / "node.key") as address:
        listed = medimg("jobs", "--address", address, "--ca", str(tmp_path / "c/ca.crt"), cluster=cluster)
        assert listed.returncode == 0, listed.stderr
        refused = medimg("jobs", "--address", address, cluster=cluster)
        assert refused.returncode == 2 and "SSLError" in refused.stderr


class _Open(BaseHTTPRequestHandler):
    """A job API that lets anybody in, as Ray's does without a token."""

    def do_POST(self):
        self.send_response(400)
        self.end_headers()

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_nothing_is_sent_to_a_cluster_that_asks_for_no_token_or_over_an_open_way(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    with ThreadingHTTPServer(("127.0.0.1", 0), _Open) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(ClusterError, match="There is no token"):
            probe.guard(address)
        (tmp_path / "token").write_text("f" * 64)
        (tmp_path / "token").chmod(0o600)
        with pytest.raises(ClusterError, match="got 400: anybody who reaches it can run code"):
            probe.guard(address)
        server.shutdown()
    with pytest.raises(ClusterError, match="in clear"):
        probe.guard("http://192.0.2.1:8265")
    with pytest.raises(ClusterError, match="no address of a dashboard"):
        probe.guard("10.0.0.1:6379")
    with pytest.raises(ClusterError, match="does not answer"):
        probe.guard("http://127.0.0.1:1")


@pytest.mark.slow
def test_a_push_that_fails_leaves_the_results_and_the_next_submission_only_pushes(committed, cluster, tmp_path):
    remote = tmp_path / "remote"
    script = f"dvc repro split && mv {remote} {remote}.away && touch {remote}"
    command = ["submit", "--", "bash", "-c", script]
    failed = medimg(*command, cluster=cluster)
    assert failed.returncode == 1
    assert "did not succeed; once more in 1 s" in failed.stdout  # MEDIMG_RETRIES, above
    assert "They are whole in" in failed.stdout
    assert "medimg submit" in failed.stdout
    remote.unlink()
    Path(f"{remote}.away").rename(remote)
    done = medimg("submit", "--", "bash", "-c", script.split(" && ")[0], cluster=cluster)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_an_attempt_that_was_cut_off_within_a_stage_does_not_stand_in_the_way_of_the_next(committed, tmp_path):
    sent = tmp_path / "sent"
    sent.mkdir()
    export(sent)
    environment = os.environ | {"MEDIMG_JOBS": str(tmp_path / "jobs"), "MEDIMG_RETRIES": "0", "PYTHONPATH": str(ROOT)}

    def attempt(script):
        return subprocess.run(
            ["bash", "job.sh", "medimg-0", "bash", "-c", script],
            cwd=sent,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    begun = "mkdir -p artifacts/training && touch artifacts/training/history.csv && exit 3"
    assert attempt(f"dvc repro ingest && {begun}").returncode == 3
    done = attempt("dvc repro ingest")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Stage 'ingest' didn't change" in done.stdout
    assert delivery.fetch("medimg-0")


def environment_of(cluster):
    return os.environ | cluster.environment | {"RAY_API_SERVER_ADDRESS": cluster.dashboard, "PYTHONPATH": str(ROOT)}


def status_of(name, cluster):
    (line,) = [line for line in medimg("jobs", cluster=cluster).stdout.splitlines() if line.startswith(name)]
    return line.split()[1]


@pytest.mark.slow
def test_ctrl_c_asks_and_the_job_goes_on_or_is_stopped(committed, cluster):
    sent = medimg("submit", "--detach", "--", "sleep", "611", cluster=cluster)
    name = re.search(r"medimg-[0-9a-f]{16}", sent.stdout).group()
    for answer, said, status in (("", "goes on. Its log", "RUNNING"), ("y", "is being stopped", "STOPPED")):
        person, terminal = pty.openpty()
        watching = subprocess.Popen(
            [sys.executable, "-m", "medimg", "logs", name],
            env=environment_of(cluster),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            preexec_fn=at_a_terminal,
        )
        os.close(terminal)
        told = read_until(person, "fetching the data")
        os.write(person, b"\x03")
        told += read_until(person, "[y/N]")
        os.write(person, answer.encode() + b"\n")
        told += read_until(person, said)
        assert "Traceback" not in told
        assert watching.wait(timeout=60) == 0
        os.close(person)
        wait_for(lambda status=status: status_of(name, cluster) == status)
    wait_for(lambda: not any(command.endswith(" 611") for command in cluster.nodes[0].commands()))


def at_a_terminal():
    """Make standard input the process's terminal; Ctrl-C reaches it, also where the tests run in the background."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def read_until(terminal, text, seconds=120):
    """What comes from a terminal, up to ``text``."""
    found = ""
    while text not in found:
        assert select.select([terminal], [], [], seconds)[0], found
        found += os.read(terminal, 65536).decode(errors="replace")
    return found


@pytest.mark.slow
def test_the_job_goes_on_while_the_machine_that_sent_it_sleeps(committed, cluster, tmp_path):
    script = f"until [ -e {tmp_path}/go ]; do sleep 0.2; done; echo the last line"
    with subprocess.Popen(
        [sys.executable, "-m", "medimg", "submit", "--", "bash", "-c", script],
        env=environment_of(cluster),
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        told = ""
        while "fetching the data" not in told:
            told += watching.stdout.readline()
        watching.send_signal(signal.SIGSTOP)
        name = re.search(r"medimg-[0-9a-f]{16}", told).group()
        (tmp_path / "go").touch()
        wait_for(lambda: status_of(name, cluster) == "SUCCEEDED")
        watching.send_signal(signal.SIGCONT)
        rest, _ = watching.communicate(timeout=120)
    assert watching.returncode == 0
    assert rest.splitlines().count("the last line") == 1
    assert "succeeded after" in rest


def test_what_a_cluster_could_not_run_is_said_before_anything_is_sent(committed):
    assert examine().submission(["dvc", "repro"]) == examine().submission(["dvc", "repro"])
    before = examine().submission(["dvc", "repro"])
    assert before != examine().submission(["dvc", "repro", "train"])
    Path("dvc.lock").write_text("schema: '2.0'\n")
    assert examine().submission(["dvc", "repro"]) == before  # it decides no result
    set_params(committed, train={"max_epochs": 3})
    with pytest.raises(ClusterError, match=r"params\.yaml"):
        examine()
    git("commit", "--quiet", "--all", "--message", "longer")
    assert examine().submission(["dvc", "repro"]) != before
    config = Path(".dvc/config")
    whole = config.read_text()
    for text, said in (
        (whole.replace("remote = storage", ""), "no DVC remote"),
        (re.sub(r"url = .*", "url = ../elsewhere", whole), "means something else"),
        (whole + "    secret_access_key = 123\n", "secret_access_key"),
        (whole + "['remote \"other\"']\n    url = s3://b\n    Password = 123\n", "password of the remote other"),
        (re.sub(r"url = .*", "url = webdavs://me:123@example.org/x", whole), "a password in url"),
    ):
        config.write_text(text)
        git("commit", "--quiet", "--all", "--message", "another remote")
        with pytest.raises(ClusterError, match=said):
            examine()


def test_data_that_were_not_pushed_are_named(committed, tmp_path):
    assert delivery.unsent() is None
    for path in (tmp_path / "remote").rglob("*.dir"):
        path.unlink()
    assert "does not hold data/" in delivery.unsent()
    victim = next(Path("data/images").rglob("*.dcm"))
    victim.unlink()
    assert "is not what data.dvc names" in delivery.unsent()


def test_a_delivery_is_whole_or_not_there(committed, tmp_path):
    Path("dvc.lock").write_text("schema: '2.0'\n")
    Path("splits.csv").write_text("patient,part,batch\n")
    assert delivery.fetch("medimg-0") is None
    delivery.leave("medimg-0")
    assert delivery.fetch("medimg-0") == {name: Path(name).read_bytes() for name in ("dvc.lock", "splits.csv")}
    about = json.loads((tmp_path / "remote/medimg/medimg-0/job.json").read_text())
    assert about["sha256"]["dvc.lock"] == sha256_file(Path("dvc.lock"))


def test_half_a_delivery_counts_as_none_and_the_next_one_heals_it(committed, tmp_path, capsys):
    Path("dvc.lock").write_text("schema: '2.0'\n")
    there = tmp_path / "remote/medimg/medimg-0"
    for spoil in (
        lambda: (there / "dvc.lock").write_text("half"),
        lambda: (there / "dvc.lock").unlink(),
        lambda: (there / "job.json").write_text('{"sha256": {'),
        lambda: (there / "job.json").write_text("[]"),
    ):
        delivery.leave("medimg-0")
        assert delivery.fetch("medimg-0")
        spoil()
        assert delivery.fetch("medimg-0") is None
        assert "is not whole" in capsys.readouterr().err
    delivery.leave("medimg-0")
    assert delivery.fetch("medimg-0")


def test_what_a_first_attempt_did_is_not_forgotten_by_the_second(tmp_path):
    """All but DVC is real, which does nothing here."""
    sent, work = tmp_path / "sent", tmp_path / "jobs/medimg-0"
    (sent / "room").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/dvc").write_text("#!/bin/sh\n")
    (tmp_path / "bin/dvc").chmod(0o755)
    shutil.copy(ROOT / "cluster/job.sh", sent)
    for name in ("dvc.lock", "splits.csv", "room/splits.csv"):
        (sent / name).write_text("sent: 1\n")
    environment = os.environ | {"MEDIMG_JOBS": str(work.parent), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}

    def attempt(script):
        command = ["bash", "job.sh", "medimg-0", "bash", "-c", script + "; exit 3"]
        done = subprocess.run(command, cwd=sent, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 3, done.stderr
        return [(work / name).read_text() for name in ("dvc.lock", "splits.csv", "room/splits.csv")]

    did = "for name in dvc.lock splits.csv room/splits.csv; do echo did: 2 > $name; done"
    assert attempt(did) == ["did: 2\n"] * 3
    assert attempt(":") == ["did: 2\n", "did: 2\n", "sent: 1\n"]
    assert attempt("printf 'stages: {a: [' > dvc.lock; : > splits.csv") == ["stages: {a: [", "", "sent: 1\n"]
    assert attempt(":") == ["sent: 1\n"] * 3  # what was cut off while it was written says nothing


def test_a_remote_that_only_this_machine_uses_is_said_before_anything_is_sent(committed, tmp_path):
    local = Path(".dvc/config.local")
    remote = tmp_path / "remote"
    for text, ok in (
        ("['remote \"storage\"']\n    secret_access_key = 123\n", True),
        (f"['remote \"storage\"']\n    url = {remote}\n", True),
        (f"['remote \"storage\"']\n    url = {os.path.relpath(remote, '.dvc')}\n", True),
        ("['remote \"storage\"']\n    url = s3://me:123@elsewhere/study\n", False),
        ("[core]\n    remote = mine\n['remote \"mine\"']\n    url = /elsewhere\n", False),
        ("[core]\n    remote = mine\n", False),
    ):
        local.write_text(text)
        if ok:
            examine()
            continue
        with pytest.raises(ClusterError, match="puts another DVC remote") as found:
            examine()
        assert "123" not in str(found.value)


def test_what_could_not_be_pulled_is_brought_home_by_the_same_command(committed, tmp_path):
    name = examine().submission(COMMAND)
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    LEDGER.write_text("patient,part,batch\nA,train,1\n")
    made = LEDGER.read_bytes()
    delivery.leave(name)
    LEDGER.unlink()
    shutil.rmtree("data")
    shutil.rmtree(".dvc/cache")
    held = tmp_path / "remote/files"
    held.rename(tmp_path / "away")
    with pytest.raises(ClusterError, match="bring them home as before"):
        collect(None)
    assert LEDGER.read_bytes() == made
    (tmp_path / "away").rename(held)
    assert collect(None) == name
    assert Path("data/images").is_dir()
    LEDGER.write_text("patient,part,batch\n")
    with pytest.raises(ClusterError, match=r"splits\.csv"):
        collect(None)


@pytest.mark.parametrize(
    "words",
    [
        ("env", "AWS_SECRET_ACCESS_KEY=hunter2", "dvc", "repro"),
        ("bash", "-c", "export DB_PASSWORD='hunter2'; dvc repro"),
        ("dvc", "remote", "modify", "storage", "url", "webdavs://me:hunter2@example.org/x"),
    ],
)
def test_a_secret_in_a_command_is_not_sent_nor_said(committed, words):
    with pytest.raises(ClusterError, match="holds a secret") as found:
        submit("http://127.0.0.1:1", None, words)
    assert "hunter2" not in str(found.value)


def test_what_rays_own_ignore_file_names_is_sent_too(committed, tmp_path):
    for name in (".rayignore", "pipelines/.rayignore"):
        Path(name).write_text("params.yaml\n")
    git("add", ".")
    git("commit", "--quiet", "--message", "for another use of Ray")
    export(tmp_path / "sent", examine().commit)
    assert (tmp_path / "sent/params.yaml").is_file() and not list((tmp_path / "sent").rglob(".rayignore"))


@contextmanager
def dashboard_that_falls_silent():
    """It sends one line of a log, and then nothing on any connection, as a machine without power; its address."""
    import asyncio

    from aiohttp import web

    silent, loop, up, found = Event(), asyncio.new_event_loop(), Event(), []

    async def tail(request):
        socket = web.WebSocketResponse()
        if not silent.is_set():
            await socket.prepare(request)
            await socket.send_str("a line\n")
            silent.set()
        await asyncio.sleep(3600)
        return socket

    async def other(request):
        if silent.is_set():
            await asyncio.sleep(3600)
        return web.json_response({"version": "4", "ray_version": "2", "ray_commit": ""})

    async def serve():
        app = web.Application()
        app.add_routes([web.get("/api/jobs/{name}/logs/tail", tail), web.get("/{rest:.*}", other)])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        found.append(site._server.sockets[0].getsockname()[1])
        up.set()

    loop.create_task(serve())
    Thread(target=loop.run_forever, daemon=True).start()
    assert up.wait(30)
    try:
        yield f"http://127.0.0.1:{found[0]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)


def test_a_cluster_that_falls_silent_without_hanging_up_is_given_up(monkeypatch):
    from ray.job_submission import JobSubmissionClient

    monkeypatch.setattr(following, "QUIET", 2)
    monkeypatch.setattr(following, "SILENCE", 5)
    monkeypatch.setattr(probe, "SECONDS", 1)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
    with dashboard_that_falls_silent() as address:
        cluster = object.__new__(Cluster)
        cluster.address, cluster.ca, cluster.jobs = address, None, JobSubmissionClient(address)
        out, said = StringIO(), []

        def watch():
            try:
                following.follow(cluster, SimpleNamespace(attempt="medimg-0", name="medimg-0"), out)
            except ClusterError as error:
                said.append(str(error))

        watching = Thread(target=watch, daemon=True)
        watching.start()
        watching.join(60)
        assert said and "has not answered for 5 s" in said[0]
        assert out.getvalue() == "a line\n"


def test_what_is_sent_is_the_commit_that_was_named_and_all_of_it(committed, tmp_path):
    study = examine()
    before = Path("params.yaml").read_bytes()
    set_params(committed, train={"max_epochs": 3})
    git("commit", "--quiet", "--all", "--message", "somebody commits while the cluster is asked")
    export(tmp_path / "sent", study.commit)
    assert (tmp_path / "sent/params.yaml").read_bytes() == before
    Path(".gitattributes").write_text("params.yaml export-ignore\n")
    git("add", ".gitattributes")
    git("commit", "--quiet", "--message", "something is left out")
    with pytest.raises(ClusterError, match=r"params\.yaml"):
        export(tmp_path / "again", examine().commit)


def test_the_ledger_of_another_commit_makes_no_patient_forgotten(committed):
    Path("splits.csv").write_text("patient,part,batch\nA,train,1\nB,test,1\n")
    git("add", "splits.csv")
    git("commit", "--quiet", "--message", "a ledger")
    ours = Path("splits.csv").read_bytes()
    name = "medimg-0"
    for text in ("patient,part,batch\nA,train,1\n", "patient,part,batch\nA,train,1\nB,train,1\nC,test,1\n"):
        Path("splits.csv").write_text(text)
        delivery.leave(name)
        Path("splits.csv").write_bytes(ours)
        with pytest.raises(ClusterError, match="does not hold 1 rows"):
            collect(name)
        assert Path("splits.csv").read_bytes() == ours


def test_the_summary_counts_a_stage_once():
    summary = Summary(["ingest", "split"])
    assert summary.line("Running stage 'ingest':") == "── 1 of 2: ingest"
    assert summary.line("Stage 'ingest' is cached") is None
    assert summary.line("Running stage 'other':") is None
    assert summary.line("Stage 'split' didn't change, skipping") == "── 2 of 2: split"
    assert summary.line("its stage 'split'") is None
