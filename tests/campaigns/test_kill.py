"""kill -9 at random moments: the next run ends with the bytes of an undisturbed one.

``make campaigns`` runs every moment; elsewhere a seeded sample. ``MEDIMG_SEED`` chooses other moments.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from studies import copy_study, run_stage, set_params

from medimg.files import sha256_file

WHOLE = os.environ.get("MEDIMG_CAMPAIGN") == "all"
SEED = int(os.environ.get("MEDIMG_SEED", "0"))
MOMENTS = (
    {"ingest": 20, "preprocess": 20, "split": 5, "train": 10} if WHOLE else {"ingest": 2, "preprocess": 2, "train": 1}
)
CASES = [(stage, moment) for stage, count in MOMENTS.items() for moment in range(count)]
ORDER = ["ingest", "split", "preprocess", "train"]
TIMES = {"history.csv", "workers.json"}  # hold seconds and process ids


def outputs(folder):
    files = [*(folder / "artifacts").rglob("*"), folder / "splits.csv"]
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in files
        if path.is_file() and path.name not in TIMES
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, demo_data):
    """For each stage: a study in which the stages before it have run, how long it takes, and what it writes."""
    folder = tmp_path_factory.mktemp("campaign") / "study"
    copy_study(folder, demo_data)
    set_params(folder, preprocess={"size": 32}, train={"max_epochs": 4})
    known = {}
    for stage in ORDER:
        before = folder.parent / f"before-{stage}"
        shutil.copytree(folder, before)
        start = time.monotonic()
        done = run_stage(stage, folder)
        assert done.returncode == 0, done.stderr
        known[stage] = before, time.monotonic() - start, outputs(folder)
    return known


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize(("stage", "moment"), CASES)
def test_a_stage_killed_at_any_moment_is_finished_by_the_next_run(undisturbed, tmp_path, stage, moment):
    before, seconds, expected = undisturbed[stage]
    folder = tmp_path / "study"
    shutil.copytree(before, folder)
    wait = random.Random(f"{SEED} {stage} {moment}").uniform(0.05, 1) * seconds
    victim = subprocess.Popen(
        [sys.executable, f"pipelines/{stage}.py"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(wait)
    victim.kill()
    victim.wait()
    done = run_stage(stage, folder)
    assert done.returncode == 0, done.stderr
    assert outputs(folder) == expected
    assert not list(Path(folder, "artifacts").rglob(".partial-*"))
