"""Machines in a network of their own, whose links can be cut: Linux's network namespaces on a bridge, made by root."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.local import Loopback


def possible() -> bool:
    """Whether this machine lets us make one."""
    if os.geteuid() or not shutil.which("ip"):
        return False
    name = f"mi{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "link", "add", name, "type", "bridge"], capture_output=True, check=False)
    drop("link", "del", name)
    return made.returncode == 0


class Namespaces(Loopback):
    """``count`` of them, 10.77.N.1 and up; this machine is 10.77.N.254."""

    interface = "eth0"

    def __init__(self, count: int) -> None:
        self.name = f"mi{secrets.token_hex(3)}"
        self.net = f"10.77.{secrets.randbelow(250)}"
        self.count = count

    def address(self, number: int) -> str:
        return f"{self.net}.{number + 1}"

    def inside(self, number: int) -> list[str]:
        return ["ip", "netns", "exec", f"{self.name}-{number}"]

    @property
    def dashboard(self) -> str:
        return self.address(0)

    def cut(self, number: int) -> None:
        """Nothing goes to the machine or comes from it any more; nobody is told."""
        ip("link", "set", f"{self.name}v{number}", "nomaster")

    def up(self) -> None:
        ip("link", "add", self.name, "type", "bridge")
        ip("addr", "add", f"{self.net}.254/24", "dev", self.name)
        ip("link", "set", self.name, "up")
        for number in range(self.count):
            space, outer = f"{self.name}-{number}", f"{self.name}v{number}"
            ip("netns", "add", space)
            ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", outer, "master", self.name, "up")
            ip("-n", space, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")

    def down(self) -> None:
        for number in range(self.count):
            drop("netns", "del", f"{self.name}-{number}")
            drop("link", "del", f"{self.name}v{number}")
        drop("link", "del", self.name)


@contextmanager
def namespaces(count: int) -> Iterator[Namespaces]:
    """They exist while the block runs."""
    machines = Namespaces(count)
    try:
        machines.up()
        yield machines
    finally:
        machines.down()


def drop(*words: str) -> None:
    subprocess.run(["ip", *words], check=False, capture_output=True)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
