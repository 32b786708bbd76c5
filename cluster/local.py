"""A Ray cluster of several nodes on one machine, each with a raylet, an address, ports and a folder of its own.

For the demonstration (cluster/demo.py) and the tests: what runs here between nodes runs between machines. All nodes
listen on loopback's addresses and ask for a token. Everything ends with the block, by process.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import requests

PORTS = 100
"""that one node may use"""
MARK = "MEDIMG_LOCAL_NODE"


class Loopback:
    """Where the nodes stand: each at an address of loopback."""

    interface = "lo"

    def address(self, number: int) -> str:
        """Of a node."""
        return f"127.0.0.{number + 2}"

    def inside(self, number: int) -> list[str]:
        """What to write before a command that a node runs."""
        return []

    @property
    def dashboard(self) -> str:
        """Where the head serves it."""
        return "127.0.0.1"


@dataclass
class Node:
    """One raylet and all that it starts."""

    number: int
    address: str
    mark: str
    process: subprocess.Popen[bytes]

    def processes(self) -> list[psutil.Process]:
        """Every process of the node that is alive."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark:
                    found.append(process)
        return found

    def commands(self) -> list[str]:
        """The command lines of its processes."""
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                found.append(" ".join(process.cmdline()))
        return found

    def kill(self) -> None:
        """End it as a power cut does."""
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()
        self.process.wait()


@dataclass
class LocalCluster:
    """The nodes, the first one the head; and what reaches them."""

    folder: Path
    base: int
    jobs: Path
    place: Loopback = field(default_factory=Loopback)
    nodes: list[Node] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Of Ray, for ``RAY_ADDRESS``."""
        return f"{self.place.address(0)}:{self.base}"

    @property
    def dashboard(self) -> str:
        """Of the job API."""
        return f"http://{self.place.dashboard}:{self.base + 1}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs beside the address."""
        return {"RAY_AUTH_TOKEN_PATH": str(self.folder / "token"), "RAY_AUTH_MODE": "token"}

    def add(self, cpus: int = 1) -> Node:
        """Start one more node and wait until the cluster counts it."""
        self.nodes.append(self._up(len(self.nodes), cpus))
        return self.nodes[-1]

    def revive(self, node: Node, cpus: int = 1) -> Node:
        """Start a node that was killed once more, at its address, as a machine that has power again."""
        self.nodes[node.number] = self._up(node.number, cpus)
        return self.nodes[node.number]

    def _up(self, number: int, cpus: int) -> Node:
        for _ in range(3):  # on a busy machine Ray may give up too early
            node = self._start(number, cpus)
            if self._counts(node):
                return node
            node.kill()
        log = Path(f"{node.mark}.log").read_text(errors="replace")[-800:]
        raise RuntimeError(f"node {number} did not start: {log}")

    def _start(self, number: int, cpus: int) -> Node:
        mark = str(self.folder / f"node-{number}")
        environment = os.environ | self.environment
        environment |= {
            MARK: mark,
            "MEDIMG_JOBS": str(self.jobs),
            "GLOO_SOCKET_IFNAME": self.place.interface,  # or workers on two nodes would not find each other
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",  # or Ray takes no loopback address for a cluster of several
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            environment.pop(name, None)
        with Path(f"{mark}.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *self.place.inside(number),
                    Path(sys.executable).parent / "ray",
                    "start",
                    "--block",
                    f"--num-cpus={cpus}",
                    *self._role(number),
                    *self._ports(number),
                ],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=partial(_keep_to, number * cpus, cpus),
            )
        return Node(number, self.place.address(number), mark, process)

    def _role(self, number: int) -> list[str]:
        if number:
            return [f"--address={self.address}", f"--node-ip-address={self.place.address(number)}"]
        return [
            "--head",
            f"--node-ip-address={self.place.address(0)}",
            f"--port={self.base}",
            f"--dashboard-host={self.place.dashboard}",
            f"--dashboard-port={self.base + 1}",
            f"--ray-client-server-port={self.base + 2}",
            f"--temp-dir={self.folder / 'ray'}",
            "--disable-usage-stats",
        ]

    def _ports(self, number: int) -> list[str]:
        first = self.base + 10 + number * PORTS
        names = (
            "node-manager-port",
            "object-manager-port",
            "dashboard-agent-listen-port",
            "dashboard-agent-grpc-port",
            "runtime-env-agent-port",
            "metrics-export-port",
        )
        fixed = [f"--{name}={first + at}" for at, name in enumerate(names)]
        return [*fixed, f"--min-worker-port={first + 10}", f"--max-worker-port={first + PORTS - 1}"]

    def _counts(self, node: Node) -> bool:
        """Wait until the dashboard answers for the node; False: it ended, or did not come up within two minutes."""
        end = time.monotonic() + 120
        while time.monotonic() < end and node.process.poll() is None:
            with suppress(requests.RequestException, KeyError, ValueError):
                listed = requests.get(f"{self.dashboard}/nodes?view=summary", headers=self._bearer(), timeout=5).json()
                alive = {one["ip"] for one in listed["data"]["summary"] if one["raylet"].get("state") == "ALIVE"}
                if node.address in alive:
                    return True
            time.sleep(0.5)
        return False

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.folder / 'token').read_text()}"}


@contextmanager
def local_cluster(
    nodes: int = 1, cpus: int = 1, head_cpus: int | None = None, place: Loopback | None = None
) -> Iterator[LocalCluster]:
    """Start a cluster of ``nodes`` nodes with ``cpus`` slots each."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # a socket's path must be short
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(secrets.token_hex(32))
    base, claim = _free(nodes + 2)
    cluster = LocalCluster(folder, base, folder / "jobs", place or Loopback())
    try:
        cluster.add(cpus if head_cpus is None else head_cpus)
        for _ in range(1, nodes):
            cluster.add(cpus)
        yield cluster
    finally:
        for node in reversed(cluster.nodes):
            with suppress(ProcessLookupError):
                os.killpg(node.process.pid, signal.SIGKILL)
            node.kill()
        claim.close()
        shutil.rmtree(folder, ignore_errors=True)


def _keep_to(first: int, cpus: int) -> None:
    """Let the node use as many cores as it says it has: a worker of training takes a thread for each."""
    if hasattr(os, "sched_setaffinity"):
        have = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {have[(first + at) % len(have)] for at in range(max(cpus, 1))})


def _free(nodes: int) -> tuple[int, socket.socket]:
    """The first of enough ports in a row that nobody uses; a socket that, while open, keeps other clusters off them."""
    for _ in range(100):
        base = 20000 + secrets.randbelow(10) * 10 * PORTS
        claim = socket.socket()
        try:
            claim.bind(("127.0.0.1", base + 9))
            for port in (base, base + 1, *(base + 10 + at * PORTS + of for at in range(nodes) for of in range(12))):
                with socket.socket() as tried:
                    tried.bind(("0.0.0.0", port))
        except OSError:
            claim.close()
            continue
        return base, claim
    raise RuntimeError("no ports are free between 20000 and 30000")
