"""Every task through every stage, on the demo study's images with other labels."""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from studies import copy_study, run_stage, set_params

from medimg.external import evaluate
from medimg.params import load
from medimg.records import LABELS, read_predictions
from medimg.tasks import task_of

STUDIES: dict[str, dict[str, object]] = {
    "multiclass": {"label": "kind", "positive": None, "classes": ["plain", "lesion", "doubtful"], "unit": "patient"},
    "multilabel": {"label": ["lesion", "elderly", "female"]},
    "regression": {"label": "years", "positive": None, "range": [0, 100]},
}


def relabel(folder: Path) -> None:
    """More columns in labels.csv, made of those that there are; some cells empty."""
    table = pd.read_csv(folder / LABELS, dtype=str)
    old = table["age"].astype(float) > 60
    table["kind"] = np.where(table["lesion"] == "1", np.where(old, "doubtful", "lesion"), "plain")
    table["elderly"] = np.where(table.index % 4 == 0, "", old.astype(int).astype(str))
    table["female"] = (table["sex"] == "F").astype(int).astype(str)
    table["years"] = table["age"]
    table.to_csv(folder / LABELS, index=False)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Path:
    """The demo study with more labels, few pixels and a training of one epoch; the images are preprocessed."""
    folder = tmp_path_factory.mktemp("tasks") / "study"
    copy_study(folder, demo_data)
    relabel(folder)
    tiny = {"max_epochs": 1, "batch_size": 64}
    set_params(folder, preprocess={"size": 32}, train=tiny, ingest={"allow_unverified": True})
    for stage in ("ingest", "preprocess"):
        done = run_stage(stage, folder)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def main(stage: str) -> None:
    """What the stage's entry does, in this process."""
    runpy.run_path(f"pipelines/{stage}.py")["main"]()


@pytest.mark.slow
@pytest.mark.parametrize("kind", STUDIES)
def test_every_task_goes_through_every_stage(kind: str, small: Path, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "study"
    shutil.copytree(small, folder)
    monkeypatch.chdir(folder)
    set_params(folder, study=STUDIES[kind] | {"task": kind, "headline": "auto"})
    for stage in ("ingest", "split", "preview"):
        main(stage)
    done = run_stage("train")  # Ray in a process of its own
    assert done.returncode == 0, done.stdout + done.stderr
    for stage in ("predict", "evaluate", "bundle"):
        main(stage)
    task = task_of(load().study)
    found = read_predictions()
    parts = pd.read_parquet("artifacts/parts.parquet")
    assert sorted(found.rows["sample"]) == sorted(parts.loc[parts["part"].isin(["validation", "test"]), "sample"])
    assert found.probabilities.shape == found.logits.shape == (len(found), task.outputs)
    np.testing.assert_allclose(task.probabilities(found.logits), found.probabilities)
    metrics = json.loads(Path("artifacts/evaluation/metrics.json").read_text())
    assert metrics["headline"]["value"] is not None and metrics["headline"]["low"] is not None
    sealed, made = (Path(f"artifacts/{folder}/operating.yaml") for folder in ("bundle", "evaluation"))
    assert sealed.read_bytes() == made.read_bytes()
    evaluate(Path("artifacts/bundle"), Path("data"), tmp_path / "out", allow_unverified=True)
    assert (tmp_path / "out/operating.yaml").read_bytes() == made.read_bytes()  # nothing is fitted anew
    again = json.loads((tmp_path / "out/metrics.json").read_text())
    assert again["headline"] == metrics["headline"]  # what the model knows is left out: test is what remains
    assert again["validation"] == metrics["validation"] and again["counts"] == metrics["counts"]
