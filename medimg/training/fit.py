"""One fit, in plain Lightning: the same function alone, under a test, and in each worker that Ray starts."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from medimg.errors import TrainingError
from medimg.models.cnn import build
from medimg.models.transfer import Transferred, transfer
from medimg.params import Train
from medimg.training import Job
from medimg.training.data import EvaluationBatches, TrainBatches, loader, read_parts
from medimg.training.module import Module


@dataclass(frozen=True)
class Place:
    """Where this worker stands among the workers of a job, and what runs it there."""

    rank: int = 0
    world: int = 1
    strategy: Any = "auto"
    """a Lightning strategy"""
    plugins: Sequence[Any] = ()
    callbacks: Sequence[pl.Callback] = ()


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves."""

    module: Module
    transferred: Transferred | None


def fit(job: Job, place: Place = Place(), resume: Path | None = None) -> Fitted:
    """Fit on the train part of the study in the current folder; validation decides which epoch's weights are the best.

    Args:
        job: what to fit.
        place: alone, or one of several workers.
        resume: a checkpoint of this same job to go on from.

    Raises:
        TrainingError: the batch cannot be shared, the weights do not fit, or losses or outputs are not numbers.
    """
    task, seed = job.task, job.seed
    parts = read_parts(task, "train", "validation")
    batches = TrainBatches(len(parts["train"]), job.train.batch_size, seed, place.rank, place.world)
    whole = EvaluationBatches(len(parts["validation"]), job.train.batch_size, place.rank, place.world)
    network = build(job.model.name, parts["train"].images.shape[1], task.outputs, seed)
    transferred = transfer(network, job.model.weights) if job.model.weights != "none" else None
    module = Module(network, task, job.train, job.augment, seed, batches.steps)
    trainer = _trainer(job.train, place)
    trainer.fit(
        module, loader(parts["train"], batches), loader(parts["validation"], whole), ckpt_path=resume, weights_only=True
    )
    if module.best["epoch"] < 0:
        raise TrainingError(
            "No epoch had a validation score: the network's outputs are not numbers. "
            f"Lower train.learning_rate (now {job.train.learning_rate:g}), for instance to a tenth."
        )
    return Fitted(module, transferred)


def precision(asked: str) -> str:
    """``train.precision`` as Lightning names it: bf16 only where the device is fast at it, as few CPUs are."""
    fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if asked == "bf16" or (asked == "auto" and fast) else "32-true"


def _trainer(settings: Train, place: Place) -> pl.Trainer:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")  # advice to programmers
    return pl.Trainer(
        max_epochs=settings.max_epochs,
        accelerator="cuda" if torch.cuda.is_available() else "cpu",  # not Apple's, which lacks float64 and DDP
        devices="auto" if place.world > 1 else 1,
        strategy=place.strategy,
        plugins=list(place.plugins),
        callbacks=list(place.callbacks),
        precision=precision(settings.precision),
        logger=False,
        enable_checkpointing=bool(place.callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        deterministic="warn",
    )
