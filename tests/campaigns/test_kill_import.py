"""kill -9 of an import at random moments: nothing identifiable and nothing partial in data/, and the next run ends with
the bytes of an undisturbed one.

``make campaigns`` runs every moment; elsewhere a seeded sample. ``MEDIMG_SEED`` chooses other moments.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pictures import CANARY, ct, tree, write_folder

WHOLE = os.environ.get("MEDIMG_CAMPAIGN") == "all"
SEED = int(os.environ.get("MEDIMG_SEED", "0"))
TRIGGERS = ("ready", "first image", "labels", "manifest", "records")
MOMENTS = 30 if WHOLE else 3
WORDS = [sys.executable, "-m", "medimg", "import", "../source", "--labels", "../source.csv"]


def study(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text("study: {}")
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The source, how long its import takes, and what it writes."""
    room = tmp_path_factory.mktemp("import")
    write_folder(room / "source")
    for number in range(100, 160):
        (room / "source" / f"{CANARY}{number}").write_bytes(ct(number, patient=number % 7))
    folder = study(room / "undisturbed")
    start = time.monotonic()
    subprocess.run(WORDS, cwd=folder, check=True, capture_output=True)
    return room, time.monotonic() - start, tree(folder / "data")


def reached(folder: Path, trigger: str) -> bool:
    """Whether an import has come so far."""
    staging, data = folder / ".medimg" / "import", folder / "data"
    if trigger == "ready":
        return (staging / "ready").exists()
    if trigger == "first image":
        return (data / "images").exists()
    if trigger == "labels":
        return (data / "labels.csv").exists()
    if trigger == "manifest":
        return (data / "imports").exists()
    return len(list(staging.glob("*/records/*"))) > 20


def kill(victim: subprocess.Popen[bytes], group: bool) -> None:
    os.killpg(victim.pid, signal.SIGKILL) if group else victim.kill()
    victim.wait()


def check_nothing_leaked(folder: Path, expected: dict[str, bytes]) -> None:
    for name, data in tree(folder).items():
        assert CANARY.lower() not in name.lower()
        assert CANARY.lower().encode() not in data.lower(), name
    for name, data in tree(folder / "data").items():
        assert data == expected[name], name  # whole, and nothing else


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_an_import_killed_at_any_moment_leaves_nothing_partial_and_goes_on(undisturbed, moment):
    room, seconds, expected = undisturbed
    folder = study(room / f"killed {moment}")
    draw = random.Random(f"{SEED} {moment}")
    trigger = TRIGGERS[moment // 3 % len(TRIGGERS)] if moment % 3 == 0 else None
    victim = subprocess.Popen(
        WORDS, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    if trigger is None:
        time.sleep(draw.uniform(0.1, 1) * seconds)
    else:
        while not reached(folder, trigger) and victim.poll() is None:
            pass
    kill(victim, group=moment % 2 == 0)  # or its processes outlive it for a file
    check_nothing_leaked(folder, expected)
    done = subprocess.run(WORDS, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert tree(folder / "data") == expected
    assert sorted(tree(folder / ".medimg")) == ["import.lock", "import/workers.lock"]


@pytest.mark.slow
@pytest.mark.campaign
def test_of_two_imports_at_once_one_is_refused_by_name(undisturbed):
    room, _, expected = undisturbed
    folder = study(room / "twice")
    first = subprocess.Popen(WORDS, cwd=folder, stdout=subprocess.DEVNULL)
    while not reached(folder, "records"):
        assert first.poll() is None
    first.send_signal(signal.SIGSTOP)
    second = subprocess.run(WORDS, cwd=folder, capture_output=True, text=True, check=False)
    first.send_signal(signal.SIGCONT)
    assert (second.returncode, first.wait()) == (2, 0)
    assert f"An import is already running here (process {first.pid})" in second.stderr
    assert tree(folder / "data") == expected
