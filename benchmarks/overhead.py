"""What Lightning and Ray add to a bare PyTorch loop: same network, same batches, no augmentation, in steady epochs."""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
import yaml

from benchmarks.paired import ROOT, Row
from medimg import demo
from medimg.ingest import ingest
from medimg.models.architecture import Architecture
from medimg.params import Augment, Model, Params, Train, load
from medimg.preprocess import preprocess
from medimg.split import split
from medimg.tasks import task_of
from medimg.training import Job
from medimg.training.data import Part, read_parts, train_batches
from medimg.training.fit import Place, fit
from medimg.work import cores

SIZE, BATCH, EPOCHS = 64, 32, 8
PLAIN = Augment(preset="none")
NOT_MEASURED = "a GPU; validation and checkpoints, which a bare loop has not"


class Alternate(pl.callbacks.Checkpoint):  # type: ignore[misc]  # a Checkpoint runs after the module's own hook
    """Times each epoch of a fit, and runs the peer's epoch after it."""

    def __init__(self, peer: Callable[[int], object]) -> None:
        self.peer, self.ours, self.theirs, self._start = peer, list[float](), list[float](), 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        """The clock starts."""
        self._start = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """The clock stops at the last batch, before validation."""
        if trainer.is_last_batch:
            self.ours.append(time.perf_counter() - self._start)

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """The peer's turn."""
        start = time.perf_counter()
        self.peer(trainer.current_epoch)
        self.theirs.append(time.perf_counter() - start)


def epochs(name: str, params: Params, part: Part) -> tuple[list[float], list[float], int]:
    """Seconds of each epoch, bare and ours, without the first of each; steps in an epoch."""
    task = task_of(params.study)
    job = Job(task, 0, Model(name=name), Train(max_epochs=EPOCHS, patience=EPOCHS, batch_size=BATCH), PLAIN)
    batches = train_batches(part, job, 0, 1)
    network = Architecture(name, part.images.shape[1:], task.outputs).network(0).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    truth = torch.from_numpy(part.truth).float()

    def bare(epoch: int) -> None:
        batches.set_epoch(epoch)
        for _, positions, *_ in batches:
            images = torch.from_numpy(part.images[part.rows[positions]]).float() / 255
            optimizer.zero_grad()
            task.loss(network(images), truth[positions]).mean().backward()
            optimizer.step()

    both = Alternate(bare)
    fit(job, Place(callbacks=[both]))
    return both.theirs[1:], both.ours[1:], len(batches)


def workers(name: str, part: Part, **cluster: str) -> tuple[float, float, float]:
    """Two workers: torchrun with a bare loop, against Ray and Lightning; the median epoch of each run, in turn.

    Args:
        name: of the network.
        part: to learn from.
        cluster: environment that leads to a Ray cluster; without it medimg's workers are on a Ray of their own.
    """
    np.save("images.npy", part.images[part.rows])
    np.save("truth.npy", part.truth)
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        ROOT / "benchmarks/peers/ddp.py",
    ]
    ratios = []
    for _ in range(3):
        said = subprocess.run(
            [*torchrun, "images.npy", "truth.npy", name, str(BATCH), str(EPOCHS)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            text=True,
        )
        bare = statistics.median(float(line) for line in said.stdout.split()[1:])
        own = os.environ | {"PYTHONPATH": str(ROOT)} | cluster
        subprocess.run([sys.executable, ROOT / "pipelines/train.py"], env=own, check=True, capture_output=True)
        history = pd.read_csv("artifacts/training/history.csv")
        ratios.append(bare / float((history["seconds"] - history["validation_seconds"])[1:].median()))
    return statistics.median(ratios), min(ratios), max(ratios)


def prepare() -> tuple[Params, Part]:
    """The demo study at 64 × 64 in the current folder, to be trained by two workers; its parameters and train part."""
    demo.write(Path("data"))
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["preprocess"]["size"] = SIZE
    values["model"]["name"] = "resnet18"
    values["train"] |= {"workers": 2, "max_epochs": EPOCHS, "patience": EPOCHS, "batch_size": BATCH}
    values["augment"] = PLAIN.model_dump(mode="json")
    Path("params.yaml").write_text(yaml.safe_dump(values))
    params = load()
    ingest(params.study.label, params.ingest)
    split(task_of(params.study), params.study.seed, params.split)
    preprocess(params.preprocess)
    return params, read_parts(task_of(params.study), "train")["train"]


def measure() -> list[Row]:
    """Prepare the demo study at 64 × 64 in a temporary folder and measure."""
    torch.set_num_threads(cores())
    rows = []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        params, part = prepare()
        for name in ("resnet18", "densenet121"):
            bare, ours, _ = epochs(name, params, part)
            ratios = [one / other for one, other in zip(bare, ours, strict=True)]
            what = f"steady epoch of {name}: Lightning against a bare loop"
            rows.append(Row(what, statistics.median(ratios), min(ratios), max(ratios), "≥ 0.98"))
        bare, ours, steps = epochs("perceptron", params, part)
        added = [1000 * (other - one) / steps for one, other in zip(bare, ours, strict=True)]
        rows.append(Row("ms a step added to a tiny net", statistics.median(added), min(added), max(added), "≤ 0.5"))
        rows.append(
            Row("two workers of resnet18: Ray and Lightning against torchrun", *workers("resnet18", part), "≥ 0.98")
        )
    return rows
