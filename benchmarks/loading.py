"""The loader against a tensor in memory and MONAI's data sets, and a whole augmented epoch against a bare loop.

Images of 224², 8 bit, on disk in the store's memory map; the peers hold or read the same pixels.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytorch_lightning as pl
import torch
from monai.data import CacheDataset, DataLoader, PersistentDataset
from monai.transforms import ScaleIntensityRanged

from benchmarks.paired import Row, ratio, seconds
from medimg.models.architecture import Architecture
from medimg.params import Augment, Study, Train
from medimg.tasks import task_of
from medimg.training.data import Part, TrainBatches, loader, scale
from medimg.training.losses import Loss
from medimg.training.module import Module

BATCH = 32
IMAGES = 1024
NOT_MEASURED = "a GPU; a cold disk; several workers"


@contextmanager
def stored(count: int, side: int) -> Iterator[Part]:
    """A part of ``count`` random images in a memory map, half of them positive."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images.npy")
        images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, 1, side, side))
        images[:] = np.random.default_rng(0).integers(0, 256, images.shape, np.uint8)
        images.flush()
        yield mapped(path)


def mapped(path: Path) -> Part:
    """The part whose images are in a file."""
    images = np.load(path, mmap_mode="r")
    count = len(images)
    about = pd.DataFrame({"sample": range(count), "patient": "", "study": None})
    truth = (np.arange(count) % 2).astype(float)[:, None]
    return Part(images, np.arange(count), truth, np.arange(count, dtype=np.uint64), about)


def batches(part: Part) -> list[Row]:
    """Steady throughput of batches, nothing done with them."""
    ours = loader(part, TrainBatches(len(part), BATCH, 0, 0, 1))
    tensor, order = torch.from_numpy(np.array(part.images)), torch.randperm(len(part)).split(BATCH)
    items = [{"image": torch.from_numpy(np.array(image)), "truth": 1.0} for image in part.images]
    cached = DataLoader(CacheDataset(items, None, progress=False), batch_size=BATCH, shuffle=True)

    def all_of(source: object) -> float:
        return float(sum(len(batch["image"]) for batch in source))  # type: ignore[attr-defined]

    def indexed() -> None:
        for at in order:
            tensor[at]

    def selected() -> None:
        for at in order:
            tensor.index_select(0, at)

    def mine() -> float:
        return all_of(ours)

    rows = [
        Row("batches: against tensor[index] in memory", *ratio(indexed, mine), goal="≥ 0.95"),
        Row("batches: against tensor.index_select in memory", *ratio(selected, mine)),
        Row("batches: against MONAI's CacheDataset and DataLoader", *ratio(lambda: all_of(cached), mine)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        kept = DataLoader(PersistentDataset(items[:256], [], cache_dir=folder), batch_size=BATCH, shuffle=True)
        some = Part(part.images, part.rows[:256], part.truth[:256], part.numbers[:256], part.about[:256])
        few = loader(some, TrainBatches(256, BATCH, 0, 0, 1))
        what = "batches: against MONAI's PersistentDataset and DataLoader"
        rows.append(Row(what, *ratio(lambda: all_of(kept), lambda: all_of(few)), goal="≥ 6"))
    firsts = [seconds(lambda: next(iter(loader(part, TrainBatches(len(part), BATCH, 0, 0, 1))))) for _ in range(7)]
    rows.append(Row("first batch, s", float(np.median(firsts)), min(firsts), max(firsts), goal="≤ 0.1"))
    return rows


def resident(part: Part) -> Row:
    """Memory of a process that has seen every image, each in a process of its own."""
    path = Path(str(part.images.filename))  # type: ignore[attr-defined]
    found = []
    for _ in range(3):
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as alone:
            found.append(alone.apply(_loader_bytes, (path,)) / alone.apply(_cache_bytes, (path,)))
    what = "resident memory, mapped pages too, by that of CacheDataset with MONAI's float32 (lower is better)"
    return Row(what, statistics.median(found), min(found), max(found), goal="≤ 0.5")


def _loader_bytes(path: Path) -> int:
    before, part = psutil.Process().memory_info().rss, mapped(path)
    for batch in loader(part, TrainBatches(len(part), BATCH, 0, 0, 1)):
        del batch
    grown: int = psutil.Process().memory_info().rss - before
    return grown


def _cache_bytes(path: Path) -> int:
    """Without the pages of the file that it reads."""
    used = psutil.Process().memory_info
    before = used().rss - used().shared
    scaled = ScaleIntensityRanged("image", 0, 255, 0, 1)
    held = CacheDataset([{"image": image} for image in mapped(path).images], scaled, progress=False)
    for batch in DataLoader(held, batch_size=BATCH, shuffle=True):
        del batch
    grown: int = used().rss - used().shared - before
    return grown


def epoch(part: Part) -> Row:
    """DenseNet121: a bare PyTorch loop over a tensor in memory, not augmented, against Lightning with the default."""
    task = task_of(Study(question="q", label="a", positive="1"))
    images, truth = scale(torch.from_numpy(np.array(part.images))), torch.from_numpy(part.truth).float()
    architecture = Architecture("densenet121", tuple(images.shape[1:]), 1)
    settings, steps = Train(max_epochs=1, batch_size=BATCH), len(part) // BATCH
    loss = Loss.of(task, settings, part.truth)

    def bare() -> float:
        network = architecture.network(0).train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
        start = time.perf_counter()
        for step in range(steps):
            chosen = slice(step * BATCH, (step + 1) * BATCH)
            optimizer.zero_grad()
            task.loss(network(images[chosen]), truth[chosen]).mean().backward()
            optimizer.step()
        return time.perf_counter() - start

    def ours() -> float:
        module = Module(architecture.network(0), task, loss, settings, Augment(), 0, steps)
        clock: list[float] = []  # as the peer's: once network and optimizer stand
        module.on_train_start = lambda: clock.append(time.perf_counter())
        module.on_train_epoch_end = lambda: clock.append(time.perf_counter())  # no validation here
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        trainer = pl.Trainer(
            max_epochs=1, accelerator="cpu", limit_val_batches=0, use_distributed_sampler=False, **quiet
        )
        trainer.fit(module, loader(part, TrainBatches(len(part), BATCH, 0, 0, 1)))
        return clock[1] - clock[0]

    bare(), ours()
    ratios = [bare() / ours() for _ in range(5)]
    what = "epoch: DenseNet121 at 64², Lightning, augmented (mild), against a bare loop, not augmented"
    return Row(what, float(np.median(ratios)), min(ratios), max(ratios), goal="≥ 0.98")


def measure() -> list[Row]:
    """On all cores."""
    with stored(IMAGES, 224) as part:
        rows = [*batches(part), resident(part)]
    with stored(640, 64) as part:
        return [*rows, epoch(part)]
