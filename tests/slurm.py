"""A Slurm of one node, for real: munge, controller and daemon of Debian's packages, in a folder of their own."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from studies import free_port

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun")


def installed() -> bool:
    """Whether it can run here: the programs are there, and we are root, as its daemons want."""
    return os.geteuid() == 0 and all(shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in NEEDED)


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Run one; yields the environment in which its commands find it."""
    name, ports = socket.gethostname().split(".")[0], [free_port() for _ in range(2)]
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o400)
    for state in ("state", "spool"):
        (folder / state).mkdir()
    (folder / "slurm.conf").write_text(
        f"""ClusterName=medimg
SlurmctldHost={name}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
MpiDefault=none
KillWait=5
ReturnToService=2
NodeName={name} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
    )
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    commands = [
        ["munged", "--foreground", "--force", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket",
         f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"],
        ["slurmctld", "-D"],
        ["slurmd", "-D", "-N", name],
    ]  # fmt: skip
    daemons = []
    try:
        for command in commands:
            with (folder / f"{command[0]}.out").open("w") as log:
                daemons.append(
                    subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
                )
            time.sleep(1)
        _until_idle(environment, folder)
        yield environment
    finally:
        for daemon in reversed(daemons):
            with suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()


def _until_idle(environment: dict[str, str], folder: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        told = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True, check=False)
        if told.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text()[-500:] for path in folder.glob("*.out"))
    raise AssertionError(f"Slurm has no idle node: {told.stdout} {told.stderr} {logs}")
