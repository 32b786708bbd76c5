"""MONAI's own command on an exported bundle."""

import subprocess
import sys
from pathlib import Path

import pandas as pd


def run_monai(folder: Path, images: Path) -> pd.Series:
    """What MONAI's own command says of the files of a folder, by file name; without medimg on its path."""
    words = ["run", "--config_file", "configs/inference.json", "--meta_file", "configs/metadata.json"]
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", *words, "--dataset_dir", str(images)],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(folder / "eval/predictions.csv", header=None, index_col=0)[1]
    return table.rename(index=lambda path: Path(path).name).sort_index()
