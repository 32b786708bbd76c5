"""Cross-validation: a network for each fold, one model of them all."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from studies import run_stage, set_params

from medimg.errors import ParamsError
from medimg.inference import load_network, logits
from medimg.models.architecture import Architecture
from medimg.params import load
from medimg.records import PARTS, PARTS_SCHEMA, WEIGHTS, read_predictions, read_table
from medimg.split import split
from medimg.tasks import task_of
from medimg.training.data import read_fold, read_parts

FOLDS = 3


def deal(number=FOLDS, **settings):
    set_params(Path(), train={"folds": number}, split=settings)
    params = load()
    split(task_of(params.study), params.study.seed, params.split, params.train.folds)
    return read_table(PARTS, PARTS_SCHEMA)


def test_folds_hold_whoever_is_not_test_once_and_change_no_part(ready):
    before = read_table(PARTS, PARTS_SCHEMA)
    ledger = Path("splits.csv").read_bytes()
    after = deal()
    assert Path("splits.csv").read_bytes() == ledger
    assert after.drop(columns="fold").equals(before.drop(columns="fold"))
    learned = after["part"].isin(["train", "validation"])
    assert after.loc[learned, "fold"].isin(range(FOLDS)).all()
    assert after.loc[~learned & (after["part"] == "test"), "fold"].isna().all()
    assert (after[learned].groupby("patient")["fold"].nunique() == 1).all()
    task = task_of(load().study)
    parts = [read_fold(task, fold) for fold in range(FOLDS)]
    assert sorted(pd.concat([part["validation"].about for part in parts])["sample"]) == sorted(after[learned]["sample"])
    shares = [part["validation"].truth.mean() for part in parts]
    assert max(shares) - min(shares) < 0.08
    for part in parts:
        assert not set(part["train"].about["patient"]) & set(part["validation"].about["patient"])


def test_folds_that_the_ledger_holds_are_used_and_others_refused(ready):
    parts = deal(FOLDS, folds=FOLDS, redraw=True)
    assert parts.loc[parts["part"] == "validation", "fold"].eq(0).all()
    with pytest.raises(ParamsError, match=r"train.folds is 5, and split.folds deals 3"):
        deal(5, folds=3)
    with pytest.raises(ParamsError, match=r"train.folds needs a test part"):
        deal(3, folds=3, test=0)


def test_an_ensemble_answers_with_the_mean_of_its_members():
    architecture = Architecture("lenet5", (1, 32, 32), 2, members=3)
    network = Architecture.read(architecture.record()).network(0).eval()
    image = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    alone = [member(image) for member in network.alone()]
    assert torch.equal(network(image), torch.stack(alone).mean(0))
    assert not torch.equal(alone[0], alone[1])
    single = Architecture("lenet5", (1, 32, 32), 2).network(0)
    assert single.alone() == [single]


@pytest.mark.slow
def test_a_cross_validation_is_trained_predicted_evaluated_and_bundled(ready):
    set_params(ready, model={"name": "lenet5"}, train={"folds": FOLDS, "learning_rate": 0.003})
    for stage in ("split", "train", "predict", "evaluate", "bundle"):
        done = run_stage(stage)
        assert done.returncode == 0, done.stderr
    assert not list(Path(".medimg/train").iterdir())
    predictions = read_predictions()
    parts = read_table(PARTS, PARTS_SCHEMA).set_index("sample")
    rows = predictions.rows.set_index("sample")
    assert sorted(rows.index) == sorted(parts.index[parts["part"] != "excluded"])
    assert (rows["part"] == np.where(parts.loc[rows.index, "part"] == "test", "test", "validation")).all()
    out = rows[rows["part"] == "validation"]
    assert out["fold"].equals(parts.loc[out.index, "fold"].astype(out["fold"].dtype).rename("fold"))
    network, _ = load_network(WEIGHTS)
    task = task_of(load().study)
    given = dict(zip(predictions.rows["sample"], predictions.logits[:, 0], strict=True))
    for fold, member in enumerate(network.alone()):
        part = read_fold(task, fold)["validation"]
        scores = np.concatenate(list(logits(member, part, 64)))[:, 0]
        assert np.allclose([given[sample] for sample in part.about["sample"]], scores, atol=1e-6)
    test = read_parts(task, "test")["test"]
    each = np.stack([np.concatenate(list(logits(member, test, 64)))[:, 0] for member in network.alone()])
    assert np.allclose([given[sample] for sample in test.about["sample"]], each.mean(0), atol=1e-5)
    found = json.loads(Path("artifacts/evaluation/crossvalidation.json").read_text())
    assert [one["fold"] for one in found["folds"]] == list(range(FOLDS))
    assert all(one["low"] < one["value"] < one["high"] for one in (*found["folds"], found["out_of_fold"]))
    assert sum(one["images"] for one in found["folds"]) == len(out)
    assert "<h2>Cross-validation</h2>" in Path("artifacts/evaluation/report.html").read_text()
    history = pd.read_csv("artifacts/training/history.csv")
    assert history.groupby("fold").size().tolist() == [2] * FOLDS
    sealed = yaml.safe_load(Path("artifacts/bundle/model.yaml").read_text())
    assert sealed["architecture"]["members"] == FOLDS
