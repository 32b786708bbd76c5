"""What tests share: temporary studies, never the root."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from studies import copy_study, run_stage, set_params

os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # `python` of a stage is ours
os.environ.pop("RAY_ADDRESS", None)  # a test brings its own cluster or none
os.environ |= {"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"}  # or what commands print is cut and coloured
for name in ("VIRTUAL_ENV", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session", autouse=True)
def site_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site key of the tests' own, so that none is made in the home of whoever runs them."""
    path = tmp_path_factory.mktemp("key") / "site.key"
    os.environ["MEDIMG_SITE_KEY"] = str(path)
    return path


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded demo study's data, to read; who changes it copies it."""
    from medimg import demo

    data = tmp_path_factory.mktemp("demo") / "data"
    demo.write(data)
    return data


@pytest.fixture
def study(tmp_path: Path, demo_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh demo study with its data, made the current folder; nothing has run."""
    folder = tmp_path / "study"
    copy_study(folder, demo_data)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Path:
    """The demo study up to the store, at 32 pixels and two short epochs; to copy."""
    from medimg.ingest import ingest
    from medimg.params import load
    from medimg.preprocess import preprocess
    from medimg.split import split
    from medimg.tasks import task_of

    folder = tmp_path_factory.mktemp("prepared") / "study"
    copy_study(folder, demo_data)
    tiny = {"max_epochs": 2, "batch_size": 32, "patience": 5}
    set_params(folder, preprocess={"size": 32}, train=tiny, augment={"noise": {"probability": 0.5, "std": 0.02}})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        params = load()
        ingest(params.study.label, params.ingest)
        split(task_of(params.study), params.study.seed, params.split)
        preprocess(params.preprocess)
    return folder


@pytest.fixture
def ready(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study that is ready to train, the current folder."""
    folder = tmp_path / "study"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Path:
    """The demo study after a short training, with its bundle; to read."""
    folder = tmp_path_factory.mktemp("bundled") / "study"
    copy_study(folder, demo_data)
    set_params(folder, preprocess={"size": 32, "window": "header"}, train={"max_epochs": 2}, saliency={"cases": 1})
    for stage in ("ingest", "split", "preprocess", "train", "predict", "evaluate", "bundle"):
        done = run_stage(stage, folder)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder
