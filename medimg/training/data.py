"""Batches out of the store: which samples stand in which batch depends on (seed, epoch) alone.

The batch is the whole job's. ``world`` workers share each one: worker ``rank`` takes every ``world``-th sample of it,
so that two workers together see what one would have seen. There is no padding in training: an epoch is dealt into equal
batches of at most ``train.batch_size``; the few samples left over (fewer than there are batches) differ from epoch to
epoch. In validation each sample counts exactly once: workers pad to equal length, and the padding weighs nothing.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from medimg.errors import TrainingError
from medimg.records import INDEX, INDEX_SCHEMA, PARTS, PARTS_SCHEMA, STORE, read_table
from medimg.store import Ragged, Store
from medimg.tasks import Task
from medimg.training import Job

if TYPE_CHECKING:
    from torch import Tensor

    from medimg.augment import Mixture

    Mixing = Callable[[int, np.ndarray, tuple[int, ...]], Mixture]

TURN = np.uint64(0x9E3779B97F4A7C15)
"""Between the numbers of a sample's turns: odd, so that no two of 2⁶⁴ are the same (Knuth, TAOCP 3, 6.4)."""
AHEAD = 2
"""batches that are gathered before they are asked for"""
ABOUT = ["sample", "patient", "study", "fold"]
LEARNED = ("train", "validation")
"""The parts that a cross-validation deals into folds."""


@dataclass(frozen=True)
class Part:
    """The samples of one part, sorted by sample."""

    images: np.ndarray
    """the store's ``(rows, C, H, W)``, memory-mapped"""
    rows: np.ndarray
    """row of each sample, int64 ``(N,)``"""
    truth: np.ndarray
    """float64 ``(N, T)``; NaN where one of several labels is not known"""
    numbers: np.ndarray
    """a number that is the sample's own, uint64 ``(N,)``"""
    about: pd.DataFrame
    """sample, patient, study and fold of each"""
    level: float = 0.0
    """where background lies in 0…1, as in ``Store``"""

    def __len__(self) -> int:
        return len(self.rows)


def read_parts(task: Task, *names: str) -> dict[str, Part]:
    """Join store, parts and labels of the current study; every part named, each sorted by sample."""
    table, store = _joined()
    return {name: _part(task, store, table[table["part"] == name]) for name in names}


def read_fold(task: Task, fold: int) -> dict[str, Part]:
    """``train`` and ``validation`` of one network of a cross-validation: the fold validates, the other folds train."""
    table, store = _joined()
    known = table[table["part"].isin(LEARNED) & table["fold"].notna()]
    here = known["fold"] == fold
    return {"train": _part(task, store, known[~here]), "validation": _part(task, store, known[here])}


def _joined() -> tuple[pd.DataFrame, Store]:
    index = read_table(INDEX, INDEX_SCHEMA)[["sample", "study", "label"]]
    table = read_table(PARTS, PARTS_SCHEMA).merge(index, on="sample").sort_values("sample")
    store = Store.open(STORE)
    return table[table["sample"].isin(store.samples["sample"])], store  # without what could not be preprocessed


def _part(task: Task, store: Store, chosen: pd.DataFrame) -> Part:
    numbers = np.array([int(sample, 16) for sample in chosen["sample"]], np.uint64)
    truth, about = task.truth(chosen["label"]), chosen.reindex(columns=ABOUT).reset_index(drop=True)
    return Part(store.images, store.rows(chosen["sample"]), truth, numbers, about, store.level)


class Step(NamedTuple):
    """What one worker takes of one batch."""

    epoch: int
    positions: np.ndarray
    """of its samples in the part, int64 ``(n,)``; -1 pads"""
    size: int
    """samples in the whole batch, over all workers"""
    turns: np.ndarray
    """which time in this epoch each sample is seen, from 0, uint64 ``(n,)``"""
    partners: np.ndarray
    """positions of the samples of the whole batch that these may be mixed with, int64 ``(n,)``"""
    partner_turns: np.ndarray


class TrainBatches:
    """Sampler of ``Step``: this worker's share of each batch, and the whole one's size.

    A sample that returns within an epoch, as balanced sampling makes rare ones, has its turn counted from 0: each turn
    is augmented in its own way.

    The order is keyed by (seed, epoch), whatever the number of workers. Where each share is taken in pieces, the pieces
    of one worker are the shares of as many workers, so that the same samples meet in each batch norm.

    Args:
        count: samples in the part.
        batch: samples in a batch of the whole job.
        seed: of the order.
        rank: of this worker, from 0.
        world: number of workers.
        pieces: in which a worker takes its share, ``train.accumulate``.
        classes: of each sample, to be drawn equally often; None to take each sample once.
        even: refuse a batch that the shares do not divide.

    Raises:
        TrainingError: the batch cannot be shared evenly, or there are not enough images.
    """

    def __init__(
        self,
        count: int,
        batch: int,
        seed: int,
        rank: int,
        world: int,
        pieces: int = 1,
        classes: np.ndarray | None = None,
        even: bool = True,
    ) -> None:
        shares = world * pieces
        if even and batch % shares:
            by = f"train.workers {world}" + (f" × train.accumulate {pieces}" if pieces > 1 else "")
            raise TrainingError(
                f"train.batch_size {batch} cannot be shared by {by}: {batch} / {shares} = "
                f"{batch / shares:g}. Choose a multiple, such as {max(batch // shares, 1) * shares}."
            )
        self.steps = -(-count // batch)
        self.batch = count // self.steps if count else 0
        if self.batch < shares:
            raise TrainingError(f"There are {count} training images for {shares} shares of a batch. Use fewer workers.")
        self._count, self._seed, self._classes, self.epoch = count, seed, classes, 0
        self._mine, self._shares = range(rank * pieces, (rank + 1) * pieces), shares

    @property
    def least(self) -> int:
        """Samples in the smallest share."""
        return self.batch // self._shares

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch, also after a restart."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps * len(self._mine)

    def __iter__(self) -> Iterator[Step]:
        key = np.array([self.epoch, self._seed], np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key))
        pairing = np.random.Generator(np.random.Philox(key=key + np.array([2**63, 0], np.uint64)))
        order = generator.permutation(self._count) if self._classes is None else _balanced(self._classes, generator)
        turns = _turns(order)
        for step in range(self.steps):
            partner = step * self.batch + pairing.permutation(self.batch)
            for share in self._mine:
                mine = slice(step * self.batch + share, (step + 1) * self.batch, self._shares)
                other = partner[share :: self._shares]
                yield Step(self.epoch, order[mine], self.batch, turns[mine], order[other], turns[other])


def _turns(order: np.ndarray) -> np.ndarray:
    """How often each entry of ``order`` ``(N,)`` stands before it, uint64."""
    turns = np.zeros(len(order), np.uint64)
    place = np.argsort(order, kind="stable")
    first = np.diff(order[place], prepend=-1) > 0
    turns[place] = np.arange(len(order)) - np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    return turns


def _balanced(classes: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """As many positions as there are samples, of each class equally many: rare ones return, frequent ones wait."""
    values = np.unique(classes)
    chosen = []
    for at, value in enumerate(values):
        positions = np.flatnonzero(classes == value)
        wanted = len(classes) // len(values) + (at < len(classes) % len(values))
        rounds = -(-wanted // len(positions))
        chosen.append(np.concatenate([generator.permutation(positions) for _ in range(rounds)])[:wanted])
    return generator.permutation(np.concatenate(chosen))


def train_batches(part: Part, job: Job, rank: int, world: int) -> TrainBatches:
    """The batches of one worker.

    Raises:
        TrainingError: see ``TrainBatches``; or classes are to be balanced, and there are several labels.
    """
    settings, classes = job.train, None
    if settings.sampling == "balanced":
        if part.truth.shape[1] > 1:
            raise TrainingError(
                "train.sampling: balanced is for one label. For several: train.class_weights: balanced."
            )
        classes = part.truth[:, 0]
    pieces, even = settings.pieces(world), world == settings.workers
    return TrainBatches(len(part), settings.batch_size, job.seed, rank, world, pieces, classes, even)


class EvaluationBatches:
    """Sampler of ``Step``: every sample once over all workers; -1 pads to equal length."""

    def __init__(self, count: int, batch: int, rank: int, world: int) -> None:
        mine = np.arange(-(-count // world)) * world + rank
        self._positions = np.where(mine < count, mine, -1)
        self._batch = -(-batch // world)

    def __len__(self) -> int:
        return -(-len(self._positions) // self._batch)

    def __iter__(self) -> Iterator[Step]:
        for start in range(0, len(self._positions), self._batch):
            positions = self._positions[start : start + self._batch]
            turns = np.zeros(len(positions), np.uint64)
            yield Step(0, positions, len(positions), turns, positions, turns)


class Loader:
    """Whole batches out of the memory map, gathered by a thread ahead of their use: no process, no copy per worker.

    Where there is a GPU they lie in pinned memory, so that Lightning's copies to it do not wait for each other.
    """

    def __init__(self, part: Part, batches: "TrainBatches | EvaluationBatches", mixing: "Mixing | None") -> None:
        self.sampler = batches
        """whose ``set_epoch`` Lightning calls"""
        self.batch_sampler = None
        """Lightning asks for it of what has a sampler"""
        self._part, self._mixing = part, mixing

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        steps = iter(self.sampler)
        with ThreadPoolExecutor(1, "loader") as thread:
            waiting = deque(thread.submit(self._gather, step) for step in islice(steps, AHEAD))
            while waiting:
                batch = waiting.popleft().result()
                waiting.extend(thread.submit(self._gather, step) for step in islice(steps, 1))
                yield batch

    def _gather(self, step: Step) -> dict[str, Any]:
        import torch

        part, at, turns = self._part, np.maximum(step.positions, 0), step.turns
        batch: dict[str, Any] = {
            "truth": torch.from_numpy(part.truth[at].astype(np.float32)),
            "weight": torch.from_numpy((step.positions >= 0).astype(np.float32)),
            "epoch": step.epoch,
            "size": step.size,
        }
        if self._mixing:
            numbers = part.numbers[at] + turns * TURN
            mixture = self._mixing(step.epoch, numbers, part.images.shape[2:])
            other, more = _found(step, mixture.at)
            at = np.append(at, step.partners[more])
            turns = np.append(turns, step.partner_turns[more])
            batch |= {"mixture": mixture._replace(other=other)}
            batch |= {"other": torch.from_numpy(part.truth[at[other]].astype(np.float32))}
        batch["image"] = torch.from_numpy(part.images[part.rows[at]])
        batch["number"] = part.numbers[at] + turns * TURN
        if torch.cuda.is_available():
            batch |= {name: values.pin_memory() for name, values in batch.items() if isinstance(values, torch.Tensor)}
        return batch


def _found(step: Step, mixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the partners of the samples at ``mixed`` stand, int64 ``(k,)``, once the share is followed by ``more``.

    ``more`` are places in ``step.partners``: of those that another worker has, which this one must read too.
    """
    place = {pair: at for at, pair in enumerate(zip(step.positions.tolist(), step.turns.tolist(), strict=True))}
    other: list[int] = []
    more: list[int] = []
    for at in mixed.tolist():
        pair = int(step.partners[at]), int(step.partner_turns[at])
        if pair not in place:
            place[pair] = len(step.positions) + len(more)
            more.append(at)
        other.append(place[pair])
    return np.array(other, np.int64), np.array(more, np.int64)


def loader(part: Part, batches: TrainBatches | EvaluationBatches, mixing: "Mixing | None" = None) -> Loader:
    """Batches: ``image (N, C, …)`` as stored, ``truth (N, T)``, ``weight (N,)``, ``number``, ``epoch``, ``size``.

    Where pictures are mixed, ``mixture`` says which with which, ``other (k, T)`` are the other truths, and ``image``
    and ``number`` go on with those pictures of other workers that are taken in.

    Args:
        part: what to load.
        batches: which samples, in which order.
        mixing: epoch, numbers ``(N,)`` and shape of a picture → which samples take in how much of another; None: none.

    Raises:
        TrainingError: the store keeps images of different shapes.
    """
    if isinstance(part.images, Ragged):
        raise TrainingError("Images of different shapes cannot be one batch. Set preprocess.size, then run dvc repro.")
    return Loader(part, batches, mixing)


def scale(image: "Tensor") -> "Tensor":
    """The store's integers → float32 in 0…1, on the tensor's own device; floats are in 0…1 already."""
    import torch

    return image if image.is_floating_point() else image.float() / torch.iinfo(image.dtype).max
