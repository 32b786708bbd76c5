"""A study is a folder: this makes one, and writes down which code it was made with."""

import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import yaml

import medimg
from medimg.errors import MedimgError, ParamsError
from medimg.files import write_text
from medimg.stage import LOCK, lock_head

TEMPLATE = "params.yaml", "dvc.yaml", "pipelines"
AUGMENT = """augment:                 # docs/augmentation.md; every key of the preset can be set here
  preset: mild           # none, mild, cxr, ct, mr, us or fundus

"""
DVC_CONFIG = "[core]\n    analytics = false\n    check_update = false\n    autostage = true\n"
IGNORED = "/.medimg/\n/answers/\n/artifacts/\n/dvc_plots/\n/plots/\n__pycache__/\n"


def make(folder: Path, quiet: bool = False) -> None:
    """Make a study in ``folder``, under Git and DVC, ready for ``medimg import``; ``quiet``: without what comes next.

    Raises:
        ParamsError: the folder holds something already, or Git is not installed.
    """
    if shutil.which("git") is None:
        raise ParamsError("Git is not installed. A study is kept under Git: install it, then try again.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ParamsError(f"{folder} holds something already. Name a folder that is empty or does not exist.")
    folder.mkdir(parents=True, exist_ok=True)
    source = template()
    shutil.copytree(source / "pipelines", folder / "pipelines", ignore=shutil.ignore_patterns("__pycache__"))
    write_text(folder / "params.yaml", _params((source / "params.yaml").read_text(encoding="utf-8")))
    write_text(folder / "dvc.yaml", _dvc((source / "dvc.yaml").read_text(encoding="utf-8")))
    write_text(folder / ".gitignore", IGNORED)
    write_text(folder / ".dvcignore", "__pycache__\n.partial-*\n")
    write_lock(folder)
    if not _inside_git(folder):
        _run(folder, "git", "init", "--quiet")
    below = [] if (folder / ".git").exists() else ["--subdir"]
    _run(folder, sys.executable, "-m", "dvc", "init", "--quiet", *below)
    write_text(folder / ".dvc/config", DVC_CONFIG)
    if not quiet:
        print(
            f"A study in {folder}/. Next:\n  cd {folder}\n"
            "  medimg import /path/to/images --labels /path/to/labels.csv\n"
            "  then set study.question, study.label and study.positive in params.yaml, and run: dvc repro"
        )


def write_lock(folder: Path) -> None:
    """Write ``requirements.lock``: medimg's version and code, and the exact version of every package it stands on.

    Stages of a study depend on this file instead of on medimg's folders: another medimg makes them stale.

    Raises:
        ParamsError: ``folder`` is medimg's own repository.
    """
    if (folder / "pyproject.toml").exists():
        raise ParamsError(
            "This is medimg's own repository; its requirements.lock is kept by hand. Run this in a study."
        )
    packages = sorted(f"{name}=={version}" for name, version in _closure("medimg").items())
    write_text(folder / LOCK, "\n".join([lock_head(), *packages]) + "\n")


def _closure(root: str) -> dict[str, str]:
    """Every installed distribution that ``root`` requires, directly or not, with its version; ``root`` apart."""
    from packaging.requirements import Requirement

    found: dict[str, str] = {}
    queue = [root]
    while queue:
        for text in metadata.requires(queue.pop()) or ():
            requirement = Requirement(text)
            name = requirement.name.lower().replace("_", "-")
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and name not in found:
                try:
                    found[name] = metadata.version(name).split("+")[0]  # +cpu is this machine's build
                except metadata.PackageNotFoundError:
                    continue
                queue.append(name)
    return found


def template() -> Path:
    """Where params.yaml, dvc.yaml and pipelines/ are: beside the package in the repository, else installed with it."""
    beside = Path(medimg.__file__).parent.parent
    return beside if (beside / "dvc.yaml").is_file() else beside / "medimg_study"


def _params(text: str) -> str:
    """The demo's params.yaml with what a new study must say left to be said."""
    replacements = {
        "# The demo study. Every": "# The study. Every",
        "question: Does this radiograph show a lesion?": "question: What do you ask of an image?",
        "label: lesion          #": "label: label           #",
        "None. A demonstration on synthetic images; not for any decision about a person.": "Research only.",
        "test: 0.35": "test: 0.3",
        "  size: 96  ": "  size: 224 ",
        "max_epochs: 16": "max_epochs: 30",
        "patience: 16": "patience: 10",
        "name: resnet10": "name: resnet18",
    }
    for old, new in replacements.items():
        if old.rstrip() not in text:
            raise MedimgError(f"The template params.yaml does not say {old!r}: mend medimg/study.py.")
        text = text.replace(old.rstrip(), new.rstrip(), 1)
    return re.sub(r"^augment:.*?(?=^\S)", AUGMENT, text, flags=re.DOTALL | re.MULTILINE)


def _dvc(text: str) -> str:
    """The demo's dvc.yaml with requirements.lock in the place of medimg's rooms."""
    pipeline = yaml.safe_load(text)
    for stage in pipeline["stages"].values():
        own = [dep for dep in stage["deps"] if not dep.startswith("medimg/")]
        stage["deps"] = [*own, "requirements.lock"]
    return "# Made by: medimg new. The code that stages depend on is the one that requirements.lock names.\n\n" + (
        yaml.safe_dump(pipeline, sort_keys=False, allow_unicode=True, width=110)
    )


def _inside_git(folder: Path) -> bool:
    found = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=folder, capture_output=True, check=False)  # noqa: S607
    return found.returncode == 0


def _run(folder: Path, *command: str) -> None:
    subprocess.run(list(command), cwd=folder, check=True)
