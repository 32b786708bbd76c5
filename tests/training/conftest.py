import shutil

import pytest
from studies import copy_study, set_params

from medimg.ingest import ingest
from medimg.params import load
from medimg.preprocess import preprocess
from medimg.split import split
from medimg.tasks import task_of


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, demo_data):
    """The demo study up to the store, at 32 pixels and two short epochs; to copy."""
    folder = tmp_path_factory.mktemp("prepared") / "study"
    copy_study(folder, demo_data)
    tiny = {"max_epochs": 2, "batch_size": 32, "patience": 5}
    set_params(folder, preprocess={"size": 32}, train=tiny, augment={"noise": 0.5})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        params = load()
        ingest(params.study.label, params.ingest)
        split(task_of(params.study), params.study.seed, params.split)
        preprocess(params.preprocess)
    return folder


@pytest.fixture
def ready(prepared, tmp_path, monkeypatch):
    """A study that is ready to train, the current folder."""
    folder = tmp_path / "study"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    return folder
