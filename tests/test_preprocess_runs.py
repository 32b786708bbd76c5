"""The stage as DVC runs it: killed and run again, two at once, on every node of a cluster: always the same bytes."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from studies import run_stage

from medimg.records import STORE

pytestmark = pytest.mark.slow


def stored():
    return {path.name: path.read_bytes() for path in sorted(STORE.iterdir())}


def start():
    return subprocess.Popen(
        [sys.executable, "pipelines/preprocess.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def spooled():
    return sum(path.read_bytes().count(b"\n") for path in Path("artifacts").glob(".spool-store/journal-*"))


def test_what_was_killed_goes_on_and_two_at_once_are_one(study):
    assert run_stage("ingest").returncode == 0
    assert run_stage("preprocess").returncode == 0
    whole = stored()
    for path in STORE.iterdir():
        path.unlink()
    STORE.rmdir()
    first = start()
    end = time.monotonic() + 120
    while spooled() < 20:
        assert first.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # or it may end before the second has begun
    second = start()
    assert second.wait(120) == 2 and "Stage preprocess is already running here" in second.stderr.read()
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert not STORE.exists()
    again = run_stage("preprocess")
    assert again.returncode == 0, again.stderr
    computed, kept = map(int, re.search(r"(\d+) computed, (\d+) kept", again.stdout).groups())
    assert kept >= 20 and computed + kept == 450
    assert stored() == whole
    assert sorted(path.name for path in Path("artifacts").iterdir() if "store" in path.name) == ["store"]
