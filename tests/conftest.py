"""What tests share: temporary studies, never the root."""

import os
import sys
from pathlib import Path

import pytest
from studies import copy_study

os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # `python` of a stage is ours
os.environ.pop("RAY_ADDRESS", None)  # a test brings its own cluster or none
os.environ.pop("VIRTUAL_ENV", None)


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
