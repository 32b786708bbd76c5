"""Ratios against plain MONAI and PyTorch on the demo study, alternating in one run; writes BENCHMARKS.md.

    make bench

Each figure is the median of paired ratios: A and B in turn, so that a machine whose speed drifts drifts for both.
"""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from monai.data import CacheDataset, DataLoader
from monai.transforms import (
    Compose,
    RandAdjustContrast,
    RandAffine,
    RandFlip,
    RandGaussianNoise,
)

from medimg import demo
from medimg.augment import augment, draw
from medimg.ingest import ingest
from medimg.models.cnn import build
from medimg.params import Params, load
from medimg.preprocess import preprocess
from medimg.split import split
from medimg.tasks import task_of
from medimg.training.data import EvaluationBatches, Part, TrainBatches, loader, normalise, read_parts, scale
from medimg.training.module import Module
from medimg.work import cores

ROOT = Path(__file__).parent.parent
PAIRS = 7
BATCH = 32


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call, s."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(peer: Callable[[], object], ours: Callable[[], object]) -> tuple[float, float, float]:
    """Median, least and greatest of how many times faster ours is than the peer, after one warm-up of each."""
    seconds(peer), seconds(ours)
    ratios = [seconds(peer) / seconds(ours) for _ in range(PAIRS)]
    return statistics.median(ratios), min(ratios), max(ratios)


def batches_of(part: Part) -> tuple[float, float, float]:
    """An epoch of batches: MONAI's CacheDataset and DataLoader in this process, against the memory-mapped store."""
    cached = CacheDataset([{"row": row} for row in part.rows], transform=None, progress=False)
    images = np.array(part.images)

    def gather(items: list[dict[str, int]]) -> torch.Tensor:
        return torch.stack([torch.from_numpy(images[item["row"]]) for item in items])

    peer = DataLoader(cached, batch_size=BATCH, num_workers=0, collate_fn=gather)
    ours = loader(part, EvaluationBatches(len(part), BATCH, 0, 1))
    return ratio(lambda: [scale(batch) for batch in peer], lambda: [scale(batch["image"]) for batch in ours])


def augmentation(part: Part, params: Params) -> tuple[float, float, float]:
    """Flip, affine, gamma and noise of every training image: MONAI's transforms for each sample, against the batch."""
    settings, angle = params.augment, np.deg2rad(params.augment.rotate)
    shift = settings.translate * part.images.shape[-1]
    peer = Compose(
        [
            RandFlip(settings.flip, spatial_axis=1),
            RandAffine(
                settings.affine,
                rotate_range=angle,
                scale_range=(settings.scale, settings.scale),
                translate_range=(shift, shift),
                padding_mode="zeros",
                cache_grid=True,
            ),
            RandAdjustContrast(settings.contrast, (1 / settings.gamma, settings.gamma)),
            RandGaussianNoise(settings.noise, std=settings.noise_std),
        ]
    )
    images = scale(torch.from_numpy(part.images[part.rows]))

    def ours() -> None:
        for start in range(0, len(images), BATCH):
            chosen = slice(start, start + BATCH)
            augment(images[chosen], draw(settings, 0, 0, part.numbers[chosen]), 0, 0)

    return ratio(lambda: [peer(image) for image in images], ours)


def epoch(part: Part, params: Params) -> tuple[float, float, float]:
    """A training epoch: a bare PyTorch loop over a tensor in memory without augmentation, against Lightning with it."""
    task = task_of(params.study)
    images, truth = scale(torch.from_numpy(part.images[part.rows])), torch.from_numpy(part.truth).float()
    network = build("resnet18", images.shape[1], 1, 0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    steps = len(part) // BATCH

    def bare() -> None:
        network.train()
        for step in range(steps):
            chosen = slice(step * BATCH, (step + 1) * BATCH)
            optimizer.zero_grad()
            task.loss(network(normalise(images[chosen])), truth[chosen]).mean().backward()
            optimizer.step()

    settings = params.train.model_copy(update={"max_epochs": 1, "batch_size": BATCH})

    def ours() -> None:
        module = Module(build("resnet18", images.shape[1], 1, 0), task, settings, params.augment, 0, steps)
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        trainer = pl.Trainer(
            max_epochs=1, accelerator="cpu", limit_val_batches=0, use_distributed_sampler=False, **quiet
        )
        module.on_train_epoch_end = lambda: None  # no validation here
        trainer.fit(module, loader(part, TrainBatches(len(part), BATCH, 0, 0, 1)))

    return ratio(bare, ours)


def main() -> None:
    """Prepare the demo study in a temporary folder, measure, write BENCHMARKS.md."""
    torch.set_num_threads(cores())
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        demo.write(Path("data"))
        params = load(ROOT / "params.yaml")
        ingest(params.study.label, params.ingest)
        split(task_of(params.study), params.study.seed, params.split)
        preprocess(params.preprocess)
        part = read_parts(task_of(params.study), "train")["train"]
        rows = {
            "batches: store against MONAI CacheDataset": batches_of(part),
            "augmentation: batch against MONAI Compose": augmentation(part, params),
            "epoch: Lightning, augmented, against a bare loop, not augmented": epoch(part, params),
        }
    names = ("torch", "monai", "pytorch-lightning", "numpy")
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`, on the demo study. How many times as fast as the peer, in the same run, alternating:",
        f"median of {PAIRS} paired ratios, and their range. Above 1 medimg is faster.",
        "",
        "| what | median | range |",
        "|---|---|---|",
        *(f"| {what} | {middle:.2f} | {low:.2f} – {high:.2f} |" for what, (middle, low, high) in rows.items()),
        "",
        f"{platform.machine()}, {cores()} cores; Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in names)
        + ". Not measured: a GPU, 3D, several machines.",
    ]
    (ROOT / "BENCHMARKS.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
