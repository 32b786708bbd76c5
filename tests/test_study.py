import subprocess
import sys

import pytest
import yaml
from studies import ROOT, run_stage

from medimg import __version__
from medimg.errors import ParamsError
from medimg.files import code_sha256
from medimg.params import load
from medimg.study import make, write_lock


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new") / "my-study"
    make(folder)
    return folder


def test_a_new_study_has_the_pipeline_and_valid_parameters(made):
    for name in ("pipelines/train.py", "dvc.yaml", "requirements.lock", ".gitignore", ".dvc/config", ".git"):
        assert (made / name).exists()
    params = load(made / "params.yaml")
    assert params.study.label == "label"
    assert params.augment.preset == "mild" and params.augment.flip.width == 0
    assert "demonstration" not in params.study.intended_use


def test_its_stages_depend_on_the_lock_where_the_repositorys_depend_on_code(made):
    ours = yaml.safe_load((made / "dvc.yaml").read_text())["stages"]
    roots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert list(ours) == list(roots)
    for name, stage in ours.items():
        assert "requirements.lock" in stage["deps"]
        kept = [dep for dep in roots[name]["deps"] if not dep.startswith("medimg/")]
        assert [dep for dep in stage["deps"] if dep != "requirements.lock"] == kept
        assert {**stage, "deps": None} == {**roots[name], "deps": None}


def test_dvc_understands_it(made):
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status"], cwd=made, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    config = (made / ".dvc/config").read_text()
    assert "analytics = false" in config


def test_the_lock_names_medimgs_code_and_the_packages_it_stands_on(made):
    head, *packages = (made / "requirements.lock").read_text().splitlines()
    assert head == f"# medimg {__version__}, code {code_sha256()[:16]}; written by: medimg lock"
    names = {line.split("==")[0] for line in packages}
    assert {"torch", "monai", "ray", "pydicom", "dvc", "numpy", "pytorch-lightning"} <= names
    assert "torch==2.13.0" in packages
    assert packages == sorted(packages)
    before = (made / "requirements.lock").read_bytes()
    write_lock(made)
    assert (made / "requirements.lock").read_bytes() == before


def test_a_study_refuses_to_run_with_another_medimg_than_its_lock_names(made):
    lock = made / "requirements.lock"
    before = lock.read_text()
    lock.write_text(before.replace("code ", "code 0", 1))
    done = run_stage("ingest", made)
    lock.write_text(before)
    assert done.returncode == 2
    assert "This medimg is not the one that requirements.lock names" in done.stderr
    assert "medimg lock" in done.stderr
    assert "data/ does not exist" in run_stage("ingest", made).stderr  # with its own it goes on to the next trouble


def test_the_repositorys_own_lock_is_not_overwritten():
    with pytest.raises(ParamsError, match="medimg's own repository"):
        write_lock(ROOT)


def test_without_git_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ParamsError, match="Git is not installed"):
        make(tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ParamsError, match="holds something already"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
