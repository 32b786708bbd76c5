"""Making and running temporary studies."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def copy_study(folder: Path, data: Path | None) -> None:
    """The root's pipeline, without what it made, into ``folder``."""
    folder.mkdir()
    for name in ("params.yaml", "dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    for name in ("pipelines", "medimg"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc")
    if data is not None:
        shutil.copytree(data, folder / "data")


def set_params(folder: Path, **blocks: dict[str, object]) -> None:
    """Change keys of blocks of ``params.yaml``."""
    path = folder / "params.yaml"
    values = yaml.safe_load(path.read_text())
    for block, keys in blocks.items():
        values[block] |= keys
    path.write_text(yaml.safe_dump(values))


def run_stage(name: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, f"pipelines/{name}.py"],
        cwd=folder or Path.cwd(),
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def run_dvc(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *words], cwd=folder, capture_output=True, text=True, check=False
    )
