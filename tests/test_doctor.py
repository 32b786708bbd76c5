"""The doctor tells what is in order and what is not, and changes nothing."""

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from medimg import doctor
from medimg.cli import main as command_line
from medimg.doctor import Check, codecs, examine, machine, study
from medimg.errors import ClusterError
from medimg.images.codecs import READABLE
from medimg.work import gate


def only(checks: list[Check], about: str) -> Check:
    (found,) = (check for check in checks if check.about == about)
    return found


def test_every_codec_that_can_be_written_here_reads_its_sample() -> None:
    checks = list(codecs.codecs())
    assert [check for check in checks if check.status != "ok"] == []
    *tried, untried = checks
    assert len(tried) >= 12 and len(tried) + untried.found.count(",") + 1 >= len(READABLE)


@pytest.mark.parametrize("off", [0, 1])
def test_a_codec_that_gives_other_pixels_fails(monkeypatch: pytest.MonkeyPatch, off: int) -> None:
    monkeypatch.setattr(codecs, "_read", lambda syntax, frame: np.asarray(codecs.picture() + off))
    found = {check.status for check in codecs.codecs() if "Lossless" in check.about and "Lossy" not in check.about}
    assert found == {"fail" if off else "ok"}
    monkeypatch.setattr(codecs, "_read", lambda syntax, frame: None)
    assert "does not decode" in next(codecs.codecs()).found


def test_a_lock_that_names_other_versions_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert only(list(machine.packages()), "packages").status == "warn"
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"numpy=={np.__version__}\n")
    assert only(list(machine.packages()), "packages").status == "ok"
    lock.write_text(f"numpy=={np.__version__}\npydicom==1.0\n")
    found = only(list(machine.packages()), "packages")
    assert found.status == "warn" and "pydicom" in found.found and "numpy" not in found.found
    lock.write_text("# medimg 0.0.1, code 0; written by: medimg lock\nno-such-package==1\n")
    checks = list(machine.packages())
    assert only(checks, "packages").status == only(checks, "medimg").status == "fail"


def test_the_site_key_is_looked_at_and_never_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "site.key"
    monkeypatch.setenv("MEDIMG_SITE_KEY", str(path))
    assert [check.status for check in study.site_key()] == ["warn"] and not path.exists()
    path.write_text("0" * 64)
    path.chmod(0o644)
    (found,) = study.site_key()
    assert found.status == "fail" and "chmod 600" in found.found and "0" * 64 not in found.found
    path.chmod(0o600)
    (found,) = study.site_key()
    assert found.status == "ok" and "0" * 64 not in found.found


def test_an_address_where_nobody_answers_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "SECONDS", 0.5)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        assert [check.status for check in study.ray()] == ["fail"]
        server.listen()  # somebody, and no Ray
        assert [check.status for check in study.ray()] == ["fail"]
    monkeypatch.delenv("RAY_ADDRESS")
    assert [check.status for check in study.ray()] == ["ok"]


@pytest.mark.parametrize("asks", [True, False])
def test_a_head_that_asks_for_no_token_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asks: bool) -> None:
    """What stands for it speaks gRPC as it does; real heads are asked in tests/test_work_cluster.py."""
    import grpc

    (tmp_path / "token").write_text("t")
    (tmp_path / "token").chmod(0o600)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))

    def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
        if asks and dict(context.invocation_metadata()).get("authorization") != "Bearer t":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "")
        return b""

    server = grpc.server(ThreadPoolExecutor(2))
    service, _, method = gate._HEAD[1:].partition("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    try:
        found = [check.status for check in study.ray()]
        assert found == (["ok", "ok", "ok", "ok", "ok"] if asks else ["ok", "fail", "ok", "fail", "ok"])
        with pytest.raises(ClusterError, match="anybody who reaches it") if not asks else nullcontext():
            gate.admit(os.environ["RAY_ADDRESS"])
        (tmp_path / "token").chmod(0o640)
        with pytest.raises(ClusterError):
            gate.admit(os.environ["RAY_ADDRESS"])
        (tmp_path / "token").unlink()
        with pytest.raises(ClusterError, match="There is no token" if asks else "anybody"):
            gate.admit(os.environ["RAY_ADDRESS"])
    finally:
        server.stop(0)


@pytest.mark.slow
def test_a_damaged_cache_and_a_remote_that_is_gone_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["init", "--no-scm", "-q"], ["remote", "add", "-d", "far", str(tmp_path / "far")]):
        subprocess.run([sys.executable, "-m", "dvc", *words], check=True)
    (tmp_path / "file.txt").write_text("content")
    for words in (["add", "-q", "file.txt"], ["push", "-q"]):
        subprocess.run([sys.executable, "-m", "dvc", *words], check=True)
    checks = list(study.dvc())
    assert only(checks, "DVC cache").status == only(checks, "DVC remote").status == "ok"
    cached = next(path for path in (tmp_path / ".dvc/cache/files").rglob("*") if path.is_file())
    cached.chmod(0o644)
    cached.write_text("another")
    modify = [sys.executable, "-m", "dvc", "remote", "modify", "far", "url"]
    subprocess.run([*modify, "http://127.0.0.1:9/none"], check=True)
    checks = list(study.dvc())
    assert only(checks, "DVC cache").status == "fail" and cached.name in only(checks, "DVC cache").do
    assert only(checks, "DVC remote").status == "warn"
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    subprocess.run([*modify, "s3://nowhere/of-ours"], check=True)
    found = only(list(study.dvc()), "DVC remote")
    assert found.status == "fail" and "far cannot be used (NoCredentialsError)" in found.found


def test_a_probe_that_breaks_is_a_finding_and_the_others_go_on() -> None:
    def breaks():  # type: ignore[no-untyped-def]
        yield Check("one", "ok", "well")
        raise RuntimeError("Zebrafink")

    checks = list(examine([("broken", breaks), ("Python", machine.python)]))
    assert [check.status for check in checks[:3]] == ["ok", "fail", "ok"]
    assert "RuntimeError" in checks[1].found and "Zebrafink" not in str(checks[1])


def test_the_command_prints_lines_or_json_and_fails_when_one_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    probes = [("a", lambda: iter([Check("disk", "warn", "full", "make room"), Check("clock", "ok", "fine")]))]
    monkeypatch.setattr(doctor, "all_probes", lambda cluster: probes)
    monkeypatch.setattr("sys.argv", ["medimg", "doctor"])
    with pytest.raises(SystemExit, match="0"):
        command_line()
    assert capsys.readouterr().out.splitlines()[:2] == ["warn  disk: full", "      → make room"]
    probes.append(("b", lambda: iter([Check("key", "fail", "gone")])))
    monkeypatch.setattr("sys.argv", ["medimg", "doctor", "--json"])
    with pytest.raises(SystemExit, match="1"):
        command_line()
    told = json.loads(capsys.readouterr().out)
    assert told["counts"] == {"ok": 1, "warn": 1, "fail": 1} and told["checks"][2]["about"] == "key"
