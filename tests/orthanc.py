"""A real Orthanc with its DICOMweb plugin, and a proxy in front of it that drops connections."""

import base64
import json
import select
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from studies import free_port

ORTHANC = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
PLUGIN = next(
    (
        path
        for folder in ("/usr/share/orthanc/plugins", "/usr/local/share/orthanc/plugins")
        for path in [Path(folder, "libOrthancDicomWeb.so")]
        if path.exists()
    ),
    None,
)
needs_orthanc = pytest.mark.skipif(not (ORTHANC and PLUGIN), reason="orthanc and orthanc-dicomweb are not installed")
USER, PASSWORD = "researcher", "pässwörd:1"


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and it with its key in one file."""
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    return folder / "cert.pem", both


@dataclass
class Proxy:
    """Passes bytes on to a port; a connection in which more than ``most`` come back is cut, ``cuts`` times.

    With ``tls`` (a certificate with its key) it speaks TLS to its clients, as a hospital's gateway does; Debian's own
    Orthanc 1.10.1 crashes over TLS.
    """

    target: int
    most: int = 0
    cuts: int = 0
    tls: Path | None = None
    port: int = 0
    cut: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "Proxy":
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self.tls:
            self._context.load_cert_chain(self.tls)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        passed = 0
        try:
            with socket.create_connection(("127.0.0.1", self.target)) as server, client:
                if self.tls:
                    client = self._context.wrap_socket(client, server_side=True)
                while True:
                    for source in select.select([client, server], [], [])[0]:
                        data = source.recv(2**16)
                        if not data:
                            return
                        passed += len(data) * (source is server)
                        if passed > self.most and source is server and self._may_cut():
                            return
                        (client if source is server else server).sendall(data)
        except OSError:
            return

    def _may_cut(self) -> bool:
        with self.lock:
            self.cut += 1
            return self.cut <= self.cuts


@dataclass
class Orthanc:
    http: int
    dicom: int
    move: int
    """the port to which it sends what MEDIMG asks to move"""
    ca: Path
    both: Path
    """certificate and key"""
    tls: int = 0
    """the port of a gateway to ``http`` that speaks TLS"""

    def ask(self, path: str, data: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data)
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {pair}")
        with urllib.request.urlopen(request, timeout=20) as response:
            return bytes(response.read())


@contextmanager
def orthanc(folder: Path) -> Iterator[Orthanc]:
    """Start one on free loopback ports with its storage in ``folder``; it is gone afterwards."""
    cert, both = certificate(folder)
    server = Orthanc(free_port(), free_port(), free_port(), cert, both)
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": server.http,
        "DicomPort": server.dicom,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "DicomModalities": {"medimg": ["MEDIMG", "127.0.0.1", server.move]},
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomAlwaysAllowStore": True,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(ORTHANC), str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder)
    try:
        for _ in range(300):
            try:
                server.ask("/system")
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        else:
            pytest.fail((folder / "log").read_text())
        with Proxy(server.http, tls=both) as gateway:
            server.tls = gateway.port
            yield server
    finally:
        process.terminate()
        process.wait(120)
