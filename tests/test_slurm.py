"""cluster/slurm.sh on a real Slurm of one node, where that is installed."""

import re
import subprocess
from pathlib import Path

import psutil
import pytest
from slurm import installed, slurm
from studies import ROOT

from medimg.records import INDEX

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not installed(), reason="Slurm is not installed, or we are not root"),
]


def test_a_study_runs_on_ray_inside_an_allocation_and_nothing_is_left(study, tmp_path):
    folder = tmp_path / "slurm"
    folder.mkdir()
    Path(".medimg").mkdir()
    with slurm(folder) as environment:
        done = subprocess.run(
            [
                "sbatch",
                "--wait",
                "--nodes=1",
                "--cpus-per-task=1",
                ROOT / "cluster/slurm.sh",
                "python",
                "pipelines/ingest.py",
            ],
            env=environment | {"PYTHONPATH": str(study)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        (log,) = Path(".medimg").glob("slurm-*.log")
        assert done.returncode == 0, log.read_text()
        assert re.search(r"Ray at \S+ on 1 nodes", log.read_text())
        assert re.search(r"on the Ray cluster: \d+ on", log.read_text())
        assert INDEX.is_file()
        assert not [path for path in Path(".medimg").glob("slurm-*") if path.is_dir()]  # the token is gone
        failed = ["sbatch", "--wait", "--nodes=1", "--cpus-per-task=1", ROOT / "cluster/slurm.sh", "false"]
        assert subprocess.run(failed, env=environment, capture_output=True, check=False, timeout=300).returncode != 0
    marks = [process for process in psutil.process_iter() if str(folder) in _environment(process)]
    assert not [process for process in marks if "raylet" in process.name()]


def _environment(process):
    try:
        return " ".join(process.environ().values())
    except (psutil.Error, OSError):
        return ""
