"""``medimg receive`` and real senders of DCMTK: who is known may send, and what comes is one batch."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pictures import CANARY, ct, tree
from studies import free_port, import_folder

from medimg.border import spool
from medimg.border.identity import refused_path
from medimg.border.listener import Peer, checked_title, listening
from medimg.border.pipeline import import_from
from medimg.border.receive import Receiver, next_time
from medimg.errors import BorderError

DCMTK = {name: shutil.which(name, path="/usr/bin:/usr/local/bin") for name in ("storescu", "dcmsend", "echoscu")}
needs_dcmtk = pytest.mark.skipif(None in DCMTK.values(), reason="dcmtk is not installed")


@pytest.fixture(autouse=True)
def site_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config" / "site.key"
    monkeypatch.setenv("MEDIMG_SITE_KEY", str(path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.dcm").write_bytes(ct(number, patient=number % 2))
    (tmp_path / "labels.csv").write_text(f"patient,label\n{CANARY}0,a\n{CANARY}1,b\n")
    return folder


@contextmanager
def receiver(tmp_path: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """``medimg receive`` in a study, listening; stopped at the end if it still runs."""
    study = tmp_path / "study"
    study.mkdir(exist_ok=True)
    (study / "params.yaml").touch()
    port = free_port()
    command = [sys.executable, "-m", "medimg", "receive", "--peer", "SENDER@127.0.0.1", "--port", str(port)]
    command += ["--labels", "../labels.csv", *words]
    process = subprocess.Popen(command, cwd=study, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith(f"MEDIMG listens on 127.0.0.1, port {port}"), first + process.stdout.read()
        yield process, port
    finally:
        process.kill()
        process.wait()


def send(name: str, port: int, *words: str, calling: str = "SENDER", called: str = "MEDIMG") -> int:
    command = [str(DCMTK[name]), "-aet", calling, "-aec", called, "127.0.0.1", str(port), *words]
    return subprocess.run(command, capture_output=True, check=False).returncode


@needs_dcmtk
@pytest.mark.parametrize("name", ["storescu", "dcmsend"])
def test_what_is_sent_is_imported_as_one_batch_when_ctrl_c_ends_it(tmp_path: Path, source: Path, name: str) -> None:
    with receiver(tmp_path) as (process, port):
        assert send("echoscu", port) == 0
        assert send(name, port, "+sd", str(source)) == 0
        process.send_signal(signal.SIGINT)
        said = process.communicate()[0]
    assert process.returncode == 0, said
    assert "8 images imported, of 2 patients" in said
    assert CANARY.lower() not in said.lower()
    import_folder(source, tmp_path / "labels.csv", tmp_path / "folder" / "data")
    written, expected = [
        {str(image.SOPInstanceUID): image for image in map(pydicom.dcmread, (tmp_path / folder).rglob("*.dcm"))}
        for folder in ("study", "folder")
    ]
    assert written == expected  # their names come from the bytes that were sent, which dcmsend writes anew
    for path, data in tree(tmp_path / "study").items():
        assert CANARY.lower().encode() not in path.lower().encode() + data.lower(), path
    assert [path for path in (tmp_path / "tmp").rglob("*") if path.name != "lock" and path.is_file()] == []


@needs_dcmtk
@pytest.mark.slow
def test_who_is_not_known_is_turned_away(tmp_path: Path, source: Path) -> None:
    with receiver(tmp_path, "--idle", "2") as (process, port):
        assert send("echoscu", port, calling="STRANGER") != 0
        assert send("echoscu", port, called="SOMEONE") != 0
        assert send("storescu", port, "+sd", str(source), calling="STRANGER") != 0
        with pytest.raises(OSError), socket.create_connection((own_address(), port), 1):
            pass
        said = process.communicate()[0]
    assert process.returncode == 2
    assert "No image could be imported from the network" in said
    assert not (tmp_path / "study" / "data").exists()


def own_address() -> str:
    """An address of this machine that is not its loopback one, or one that nobody answers at."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "192.0.2.1"


@needs_dcmtk
def test_the_host_of_a_peer_counts_as_well_as_its_title(tmp_path: Path, source: Path) -> None:
    kept: list[str] = []
    with listening("MEDIMG", "127.0.0.1", 0, [Peer("SENDER", "192.0.2.7")], lambda uid, data: kept.append(uid)) as port:
        assert send("echoscu", port) != 0
        assert send("storescu", port, str(source / "0.dcm")) != 0
    with listening("MEDIMG", "127.0.0.1", 0, [Peer("SENDER", "localhost")], lambda uid, data: kept.append(uid)) as port:
        assert send("storescu", port, str(source / "0.dcm")) == 0
    assert kept == ["1.2.3.0.0.0"]


@needs_dcmtk
def test_what_was_told_to_be_stored_is_there_although_the_time_was_up_in_between(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    (tmp_path / "room").mkdir()
    for number in range(150):
        (tmp_path / "many" / str(number)).write_bytes(ct(number))
    port, said = free_port(), []
    words = [str(DCMTK["storescu"]), "-v", "-aet", "SENDER", "-aec", "MEDIMG", "127.0.0.1", str(port), "+sd"]

    def start(_: str) -> None:
        out = subprocess.PIPE
        said.append(subprocess.Popen([*words, str(tmp_path / "many")], stdout=out, stderr=subprocess.STDOUT, text=True))

    until = time.time() + 4
    source = Receiver("MEDIMG", "127.0.0.1", port, [Peer("SENDER", "localhost")], 600, until, start)
    names = [item.name for item in source.items(tmp_path / "room")]
    assert 0 < len(names) == said[0].communicate()[0].count("Received Store Response (Success)")


@needs_dcmtk
def test_a_full_disk_is_told_to_the_sender(source: Path) -> None:
    def full(uid: str, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with listening("MEDIMG", "127.0.0.1", 0, [Peer("SENDER", "localhost")], full) as port:
        assert send("storescu", port, str(source / "0.dcm")) != 0


@needs_dcmtk
@pytest.mark.slow
def test_what_a_killed_receiver_has_stored_is_private_and_imported_by_the_next_one(
    tmp_path: Path, source: Path
) -> None:
    with receiver(tmp_path) as (process, port):
        assert send("storescu", port, "+sd", str(source)) == 0  # every file was told to be stored
        process.kill()
        process.wait()
    (spool,) = (tmp_path / "tmp").glob("medimg-*/received-*")
    left = list(spool.iterdir())
    assert len(left) == 8 and {path.stat().st_mode & 0o777 for path in left} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in [spool, spool.parent]} == {0o700}
    for path, data in tree(tmp_path / "study").items():
        assert CANARY.lower().encode() not in path.lower().encode() + data.lower(), path
    import_folder(source, tmp_path / "labels.csv", tmp_path / "elsewhere" / "data")
    assert sorted(spool.iterdir()) == sorted(left)  # no other import sweeps them
    (tmp_path / "labels.csv").write_text(f"patient,label\n{CANARY}0,c\n{CANARY}1,d\n")  # what was staged is void
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "9.dcm").write_bytes(ct(9))
    with receiver(tmp_path) as (process, port):
        assert send("storescu", port, "+sd", str(tmp_path / "more")) == 0
        process.send_signal(signal.SIGINT)
        said = process.communicate()[0]
    assert process.returncode == 0, said
    assert "8 files that were received before and are not imported yet are taken up" in said
    assert "9 images imported, of 2 patients" in said
    assert CANARY.lower() not in said.lower()
    assert not spool.exists()
    assert not refused_path().read_text().splitlines()[1:]


def test_what_was_received_outlives_an_import_that_fails(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "study" / "data"
    said: list[str] = []
    nobody = Receiver("MEDIMG", "127.0.0.1", free_port(), [], 0, say=said.append)
    with pytest.raises(KeyboardInterrupt), spool.received(out) as room:
        spool.keep(room / "a", (source / "0.dcm").read_bytes()[:2000])
        (room / ".partial-b").touch()
        raise KeyboardInterrupt
    assert import_folder(source, tmp_path / "labels.csv", out).waiting == 1
    with pytest.raises(BorderError, match=r"1 truncated.* 1 received files wait in .*; the next medimg receive takes"):
        import_from(nobody, None, out)
    assert spool.waiting(out) == 1
    with pytest.raises(KeyboardInterrupt), spool.received(out) as room:
        spool.keep(room / "c", (source / "1.dcm").read_bytes())
        raise KeyboardInterrupt
    done = import_from(nobody, None, out)
    assert (done.batch, done.already, done.waiting, spool.waiting(out)) == (None, 1, 0, 0)
    assert done.refused == {"truncated": 1}
    with pytest.raises(BorderError, match=r"No image could be imported from the network\. [^/]*$"):
        import_from(nobody, None, out)
    assert [int(line.split()[0]) for line in said if "taken up" in line] == [1, 2]


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BorderError, match=f"port {port} is not possible"):
            with listening("MEDIMG", "127.0.0.1", port, [], lambda uid, data: None):
                pass


@pytest.mark.parametrize("text", ["CT1", "CT1@", "@host", "A" * 17 + "@host", "CT 1@host"])
def test_a_peer_is_a_title_and_a_host(text: str) -> None:
    with pytest.raises(BorderError, match=r"TITLE@HOST|is no AE title"):
        Peer.parse(text)
    assert Peer.parse("CT1@10.0.0.5") == Peer("CT1", "10.0.0.5")
    assert checked_title("CT-1.a_B") == "CT-1.a_B"


def test_the_end_of_the_day_is_the_next_one() -> None:
    assert next_time(None) == float("inf")
    assert 0 < next_time("00:00") - time.time() <= 86400 + 3600
    for text in ("24:00", "5", "noon"):
        with pytest.raises(BorderError, match="takes a time of the day"):
            next_time(text)
