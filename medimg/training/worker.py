"""One worker of a fit: where it goes on, what it tells the person, what it keeps, what it brings back."""

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
import torch.distributed as dist

from medimg.errors import MedimgError
from medimg.files import publish
from medimg.records import TRAINING
from medimg.stage import WORK
from medimg.training import Job
from medimg.training.afar import Afar, Sender
from medimg.training.checkpoints import keep, named, newest
from medimg.training.fit import Fitted, Place, fit
from medimg.training.module import Module
from medimg.training.outcome import SAID, Outcome
from medimg.training.progress import Meter, epoch_line, writer
from medimg.training.pulse import Pulse

BOARD = WORK / "tensorboard"
SCALARS = ("train_loss", "validation_loss", "validation_score", "learning_rate", "update", "waiting")


@dataclass(frozen=True)
class Worker:
    """One of ``world`` processes that fit ``job`` together, in the study's folder."""

    job: Job
    folder: Path
    """where the network's checkpoints are; all workers see it"""
    progress: Path
    """the log that the person follows"""
    rank: int
    world: int
    node: str
    strategy: Any
    """a Lightning strategy"""
    plugins: Sequence[Any]
    afar: Afar | None = None
    """where checkpoints are kept beside ``folder``"""
    agree: Callable[[str | None], str | None] = lambda name: name
    """what rank 0 says → the same on every worker"""

    def fit(self) -> Outcome | str:
        """Fit from the last whole checkpoint on; a sentence where trying again is no use.

        Raises:
            Exception: something else went wrong; or there is such a sentence, and this is one of several workers: those
                that are started in their place return what it left.
        """
        said = self.folder / SAID
        if self.agree("said" if self.rank == 0 and said.is_file() else None):  # one that went on would wait for all
            return said.read_text(encoding="utf-8") if self.rank == 0 else ""
        say = writer(self.progress) if self.rank == 0 else _nothing
        pulse = Pulse(self.job.train.hang_seconds)
        place = Place(
            rank=self.rank,
            world=self.world,
            strategy=self.strategy,
            plugins=self.plugins,
            callbacks=[pulse, Report(say, self.world, self.folder, self._sender())],
            say=say,
        )
        try:
            with pulse.watching():
                return self._outcome(fit(self.job, place, resume=self._checkpoint(say)))
        except Exception as error:
            sentence = self._sentence(error)
            if sentence is None:
                raise
            if self.world == 1:
                return sentence
            partial = self.folder / f".partial-{secrets.token_hex(8)}"  # several may have something to say at once
            partial.write_text(sentence, encoding="utf-8")
            partial.replace(self.folder / SAID)
            raise  # the others may be well, and would wait for this one

    def _checkpoint(self, say: Callable[[str], None]) -> Path | None:
        """Where all workers go on: rank 0 names it, since a shared disk may show another the last one late."""
        mine = newest(self.folder, say) if self.rank == 0 else None
        name = self.agree(mine.name if mine else None)
        return mine if self.rank == 0 or name is None else named(self.folder, name)

    def _sentence(self, error: Exception) -> str | None:
        """What a person is told where trying again is no use; None: it may be."""
        if isinstance(error, MedimgError):
            return str(error)
        if not isinstance(error, RuntimeError) or not out_of_memory(error):
            return None
        return (
            "The memory of the device or the machine is too small for this network and batch. Raise "
            f"train.accumulate (now {self.job.train.accumulate}), which takes the batch in smaller pieces, or "
            "lower train.batch_size, preprocess.size or the network's size."
        )

    def _sender(self) -> Sender | None:
        return Sender(self.afar, self.job.train.hang_seconds / 4) if self.afar else None

    def _outcome(self, fitted: Fitted) -> Outcome:
        from safetensors.torch import save

        module = fitted.module
        return Outcome(
            weights=save(module.best["weights"], module.network.architecture.header()) if self.rank == 0 else b"",
            history=module.history,
            workers=self._all(module),
            best={"epoch": module.best["epoch"], "score": module.best["score"]},
            stopped=module.stopped,
            warnings=list(module.warned.values()),
            architecture=module.network.architecture.record(),
            transferred=vars(fitted.transferred) if fitted.transferred else None,
        )

    def _all(self, module: Module) -> list[dict[str, Any]]:
        where = {"rank": self.rank, "node": self.node, "pid": os.getpid(), "device": str(module.device)}
        mine = where | {"precision": module.trainer.precision, "samples": module.seen}
        workers: list[Any] = [None] * self.world
        dist.all_gather_object(workers, mine)
        return workers


class Report(pl.callbacks.Checkpoint):  # type: ignore[misc]  # a Checkpoint runs after the module's own hook
    """Keeps a checkpoint after each epoch, and tells the person where the fit stands.

    Args:
        say: adds a line to what the person follows.
        world: number of workers.
        folder: of the checkpoints.
        afar: brings them to where they are kept too.
    """

    def __init__(self, say: Callable[[str], None], world: int, folder: Path, afar: Sender | None = None) -> None:
        self._say, self._world, self._folder, self._afar = say, world, folder, afar
        self._meter, self._told = Meter(say), 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """What the fit has warned of before it started, or was cut off, is said."""
        self._told = len(pl_module.warned)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, at: int) -> None:
        """Move the bar."""
        if trainer.global_rank == 0:
            step = trainer.current_epoch * trainer.num_training_batches + at
            self._meter.step(pl_module, step, len(batch["truth"]) * self._world)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """A whole checkpoint, a line, and the epochs so far where ``dvc plots`` finds them."""
        if pl_module.stopped:  # these weights are no numbers
            return
        if trainer.global_rank:
            trainer.save_checkpoint(self._folder / "of-another-rank.ckpt")  # every rank takes part, rank 0 writes
            return
        kept = keep(self._folder, trainer.current_epoch, trainer.save_checkpoint)
        if self._afar:
            self._afar.put(kept, self._say)
        row = pl_module.history[-1]
        settings, best = pl_module.settings, pl_module.best["epoch"] == row["epoch"]
        self._say(epoch_line(row, settings.max_epochs, best, settings.monitor))
        for warning in list(pl_module.warned.values())[self._told :]:
            self._say(f"warning: {warning}")
        self._told = len(pl_module.warned)
        with publish(TRAINING / "history.csv") as history:
            pd.DataFrame(pl_module.history).to_csv(history, index=False, lineterminator="\n")
        if pl_module.settings.tensorboard:
            board(BOARD / self._folder.parent.name / self._folder.name, row)


def board(folder: Path, row: dict[str, Any]) -> None:
    """Add one epoch to the files that TensorBoard shows."""
    from tensorboardX import SummaryWriter  # type: ignore[import-untyped]

    with SummaryWriter(str(folder), filename_suffix=f".{row['epoch'] + 1:.0f}") as events:  # a file an epoch
        for name in SCALARS:
            events.add_scalar(name, row[name], int(row["epoch"]) + 1)


def out_of_memory(error: RuntimeError) -> bool:
    """Whether a device or the machine had no memory left to give."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _nothing(_: str) -> None:
    pass
