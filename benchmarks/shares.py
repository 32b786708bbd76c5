"""What it does to a network that a batch of 32 is taken in more shares: each batch norm sees fewer images."""

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml

from benchmarks.paired import ROOT, Row
from medimg import demo
from medimg.ingest import ingest
from medimg.params import load
from medimg.preprocess import preprocess
from medimg.split import split
from medimg.tasks import task_of
from medimg.training import Job
from medimg.training.fit import fit
from medimg.work import cores

SHARES, SEEDS, EPOCHS, SIZE = (1, 2, 4, 8), range(5), 8, 32
NOT_MEASURED = "other data, other networks: the demo study and resnet10 alone"


def measure() -> list[Row]:
    """Best validation score (AUROC) of the demo study at 32 × 32 by number of shares, over seeds of the training."""
    torch.set_num_threads(cores())
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        demo.write(Path("data"))
        values = yaml.safe_load((ROOT / "params.yaml").read_text())
        values["preprocess"]["size"] = SIZE
        Path("params.yaml").write_text(yaml.safe_dump(values))
        params = load()
        task = task_of(params.study)
        ingest(params.study.label, params.ingest)
        split(task, params.study.seed, params.split)
        preprocess(params.preprocess)
        rows = []
        for shares in SHARES:
            settings = params.train.model_copy(update={"accumulate": shares, "max_epochs": EPOCHS, "batch_size": 32})
            scores = []
            for seed in SEEDS:
                module = fit(Job(task, seed, params.model, settings, params.augment)).module
                scores.append(max(row["validation_score"] for row in module.history))
            what = f"validation AUROC, {shares} shares of {32 // shares} images"
            rows.append(Row(what, float(np.median(scores)), min(scores), max(scores)))
        return rows
