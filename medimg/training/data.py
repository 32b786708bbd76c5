"""Batches out of the store: which samples stand in which batch depends on (seed, epoch) alone.

The batch is the whole job's. ``world`` workers share each one: worker ``rank`` takes every ``world``-th sample of it,
so that two workers together see what one would have seen. There is no padding in training: an epoch is dealt into equal
batches of at most ``train.batch_size``; the few samples left over (fewer than there are batches) differ from epoch to
epoch. In validation each sample counts exactly once: workers pad to equal length, and the padding weighs nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from medimg.errors import TrainingError
from medimg.records import INDEX, INDEX_SCHEMA, PARTS, PARTS_SCHEMA, STORE, read_table
from medimg.store import Store
from medimg.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import DataLoader


@dataclass(frozen=True)
class Part:
    """The samples of one part, sorted by sample."""

    images: np.ndarray
    """the store's ``(rows, C, H, W)``, memory-mapped"""
    rows: np.ndarray
    """row of each sample, int64 ``(N,)``"""
    truth: np.ndarray
    """float64 ``(N,)``"""
    numbers: np.ndarray
    """a number that is the sample's own, uint64 ``(N,)``"""
    about: pd.DataFrame
    """sample, patient and study of each"""

    def __len__(self) -> int:
        return len(self.rows)


def read_parts(task: Task, *names: str) -> dict[str, Part]:
    """Join store, parts and labels of the current study; every part named, each sorted by sample."""
    index = read_table(INDEX, INDEX_SCHEMA)[["sample", "study", "label"]]
    table = read_table(PARTS, PARTS_SCHEMA).merge(index, on="sample").sort_values("sample")
    store = Store.open(STORE)
    parts = {}
    for name in names:
        chosen = table[table["part"] == name]
        numbers = np.array([int(sample, 16) for sample in chosen["sample"]], np.uint64)
        truth, about = task.truth(chosen["label"]), chosen[["sample", "patient", "study"]].reset_index(drop=True)
        parts[name] = Part(store.images, store.rows(chosen["sample"]), truth, numbers, about)
    return parts


class TrainBatches:
    """Sampler of ``(epoch, positions, size)``: this worker's share of each batch, and the whole one's size.

    The order is keyed by (seed, epoch), whatever the number of workers.

    Args:
        count: samples in the part.
        batch: samples in a batch of the whole job.
        seed: of the order.
        rank: of this worker, from 0.
        world: number of workers.

    Raises:
        TrainingError: the batch cannot be shared evenly.
    """

    def __init__(self, count: int, batch: int, seed: int, rank: int, world: int) -> None:
        if batch % world:
            raise TrainingError(
                f"train.batch_size {batch} cannot be shared by train.workers {world}: {batch} / {world} = "
                f"{batch / world:g}. Choose a multiple of the workers, such as {max(batch // world, 1) * world}."
            )
        self.steps = -(-count // batch)
        self.batch = count // self.steps if count else 0
        if self.batch < world:
            raise TrainingError(f"There are {count} training images for {world} workers. Use fewer workers.")
        self._count, self._seed, self._rank, self._world, self.epoch = count, seed, rank, world, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch, also after a restart."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple[int, np.ndarray, int]]:
        key = np.array([self.epoch, self._seed], np.uint64)
        order = np.random.Generator(np.random.Philox(key=key)).permutation(self._count)
        for step in range(self.steps):
            whole = order[step * self.batch : (step + 1) * self.batch]
            yield self.epoch, whole[self._rank :: self._world], self.batch


class EvaluationBatches:
    """Sampler of ``(0, positions, size)``: every sample once over all workers; -1 pads to equal length."""

    def __init__(self, count: int, batch: int, rank: int, world: int) -> None:
        mine = np.arange(-(-count // world)) * world + rank
        self._positions = np.where(mine < count, mine, -1)
        self._batch = -(-batch // world)

    def __len__(self) -> int:
        return -(-len(self._positions) // self._batch)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray, int]]:
        for start in range(0, len(self._positions), self._batch):
            positions = self._positions[start : start + self._batch]
            yield 0, positions, len(positions)


class _Gather:
    """A whole batch at a time out of the memory map: no process per worker, no copy per rank."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def __getitem__(self, step: tuple[int, np.ndarray, int]) -> dict[str, Any]:
        import torch

        epoch, positions, size = step
        at = np.maximum(positions, 0)
        return {
            "image": torch.from_numpy(self._part.images[self._part.rows[at]]),
            "truth": torch.from_numpy(self._part.truth[at].astype(np.float32)),
            "weight": torch.from_numpy((positions >= 0).astype(np.float32)),
            "number": self._part.numbers[at],
            "epoch": epoch,
            "size": size,
        }


def loader(part: Part, batches: TrainBatches | EvaluationBatches) -> "DataLoader[dict[str, Any]]":
    """Batches: ``image (N, C, H, W)`` as stored, ``truth`` and ``weight (N,)``, ``number``, ``epoch``, ``size``."""
    from torch.utils.data import DataLoader

    return DataLoader(_Gather(part), sampler=batches, batch_size=None, collate_fn=_same)  # type: ignore[arg-type]


def _same(batch: dict[str, Any]) -> dict[str, Any]:
    return batch  # the default would make tensors of the numbers, which stay on the host


def scale(image: "Tensor") -> "Tensor":
    """The store's integers → float32 in 0…1, on the tensor's own device."""
    import torch

    return image.float() / torch.iinfo(image.dtype).max


def normalise(image: "Tensor") -> "Tensor":
    """0…1 → -1…1, what a network takes."""
    return image * 2 - 1
