"""One fit, in plain Lightning: the same function alone, under a test, and in each worker that Ray starts."""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from medimg.augment import draw_mixture
from medimg.errors import TrainingError
from medimg.models.architecture import CLASSIC, Architecture
from medimg.models.transfer import Transferred, start
from medimg.params import Train
from medimg.training import Job
from medimg.training.cohort import moments
from medimg.training.data import EvaluationBatches, Part, loader, read_fold, read_parts, train_batches
from medimg.training.losses import Loss
from medimg.training.module import Module
from medimg.training.watch import fresh, lifted


@dataclass(frozen=True)
class Place:
    """Where this worker stands among the workers of a job, and what runs it there."""

    rank: int = 0
    world: int = 1
    nodes: int = 1
    """machines, where Lightning itself counts them"""
    strategy: Any = "auto"
    """a Lightning strategy"""
    plugins: Sequence[Any] = ()
    callbacks: Sequence[pl.Callback] = ()
    say: Callable[[str], None] = print
    """tells the person something"""


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves."""

    module: Module
    transferred: Transferred | None


def fit(
    job: Job, place: Place = Place(), resume: Path | None = None, parts: Mapping[str, Part] | None = None
) -> Fitted:
    """Fit on the train part; validation decides which epoch's weights are the best.

    Args:
        job: what to fit.
        place: alone, or one of several workers.
        resume: a checkpoint of this same job to go on from.
        parts: ``train`` and ``validation``; those of the study in the current folder by default.

    Raises:
        TrainingError: the batch cannot be shared, the weights do not fit, or losses or outputs are not numbers.
    """
    task, seed = job.task, job.seed
    if parts is None:
        parts = read_parts(task, "train", "validation") if job.fold is None else read_fold(task, job.fold)
    batches = train_batches(parts["train"], job, place.rank, place.world)
    whole = EvaluationBatches(len(parts["validation"]), job.train.batch_size, place.rank, place.world)
    cohort = moments(parts["train"]) if job.model.normalisation == "cohort" else None
    network, transferred = start(job.model, parts["train"].images.shape[1:], task.outputs, seed, cohort)
    if transferred:
        place.say(transferred.sentence())
    loss = Loss.of(task, job.train, parts["train"].truth)
    pieces = job.train.pieces(place.world)
    module = Module(network, task, loss, job.train, job.augment, seed, batches.steps, pieces, parts["train"].level)
    module.warned = {} if transferred else fresh(job.train)
    module.warned |= lifted(parts["train"].level) if network.architecture.zscore else {}
    for warning in module.warned.values():
        place.say(f"warning: {warning}")
    trainer = _trainer(job.train, network.architecture, pieces, place)
    mixing = partial(draw_mixture, job.augment, seed) if job.augment.mixes else None
    training = loader(parts["train"], batches, mixing)
    trainer.fit(module, training, loader(parts["validation"], whole), ckpt_path=resume, weights_only=True)
    if module.best["epoch"] < 0:
        raise TrainingError(
            "No epoch had a validation score: the network's outputs are not numbers. "
            f"Lower train.learning_rate (now {job.train.learning_rate:g}), for instance to a tenth."
        )
    return Fitted(module, transferred)


def precision(asked: str, network: Architecture) -> str:
    """``train.precision`` as Lightning names it; auto takes bf16 where the device is faster at it.

    Those are GPUs from NVIDIA's Ampere on and, for pictures, CPUs with AVX512-BF16 or AMX: gradients of small 3D
    convolutions come out of torch 2.13's kernels for CPUs as NaN now and then (docs/training.md). The lecture's
    networks stay in 32 bits: they are small, and their textbook figures are exact.
    """
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = torch.cpu.get_capabilities()
        fast = network.dimensions == 2 and bool(has.get("avx512_bf16") or has.get("amx_bf16"))
    return "bf16-mixed" if asked == "bf16" or (asked == "auto" and fast and network.name not in CLASSIC) else "32-true"


def _trainer(settings: Train, network: Architecture, pieces: int, place: Place) -> pl.Trainer:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")  # advice to programmers
    return pl.Trainer(
        max_epochs=settings.max_epochs,
        accelerator="cuda" if torch.cuda.is_available() else "cpu",  # not Apple's, which lacks float64 and DDP
        devices="auto" if place.world > place.nodes else 1,
        num_nodes=place.nodes,
        strategy=place.strategy,
        plugins=list(place.plugins),
        callbacks=list(place.callbacks),
        precision=precision(settings.precision, network),
        accumulate_grad_batches=pieces,
        gradient_clip_val=settings.clip,
        logger=False,
        enable_checkpointing=bool(place.callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        deterministic="warn",
    )
