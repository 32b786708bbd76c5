import shutil
from pathlib import Path

import pytest
from studies import ROOT, run_medimg

from medimg import __version__
from medimg.params.reference import reference


def test_help_lists_the_commands():
    done = run_medimg("--help")
    assert done.returncode == 0
    for command in ("new", "import", "demo", "result", "params", "lock"):
        assert command in done.stdout
    assert run_medimg("--version").stdout.strip() == f"medimg {__version__}"


def test_the_page_of_parameters_is_what_the_models_say():
    assert run_medimg("params").stdout == reference() == (ROOT / "docs/parameters.md").read_text()


def test_how_much_may_stay_in_the_cache_is_refused_where_nothing_is_removed():
    done = run_medimg("cache", "--keep", "1")
    assert done.returncode == 2 and "--keep says how much --prune leaves" in done.stderr


def test_a_result_that_is_not_there_says_how_to_get_it(tmp_path):
    assert "There is no params.yaml" in run_medimg("result", folder=tmp_path).stderr
    shutil.copy(ROOT / "params.yaml", tmp_path)
    done = run_medimg("result", folder=tmp_path)
    assert done.returncode == 2
    assert "Run dvc repro" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_refuses_a_folder_that_holds_something_else(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.dcm").write_text("mine")
    done = run_medimg("demo", folder=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["mine.dcm"]


def test_an_import_outside_of_a_study_or_out_of_one_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"x")
    assert "is no study" in run_medimg("import", "images", folder=tmp_path).stderr
    shutil.copy(ROOT / "params.yaml", tmp_path)
    done = run_medimg("import", "images", folder=tmp_path)
    assert done.returncode == 2
    assert "lies inside the study" in done.stderr
    assert not (tmp_path / "data").exists()


def test_dvc_is_not_asked_to_note_what_lies_outside_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medimg.cli.border import _take_note
    from medimg.errors import BorderError

    (tmp_path / "study" / ".dvc").mkdir(parents=True)  # no repository: DVC would refuse
    monkeypatch.chdir(tmp_path / "study")
    for out in (tmp_path / "data", Path("../data"), tmp_path / "study" / ".." / "data"):
        _take_note(out)
    with pytest.raises(BorderError, match="DVC could not take note"):
        _take_note(Path("data"))


@pytest.mark.parametrize("words", [("import", "nowhere"), ("import", ".", "--labels", "none.csv")])
def test_an_import_that_cannot_start_is_a_sentence(tmp_path, words):
    done = run_medimg(*words, folder=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()
