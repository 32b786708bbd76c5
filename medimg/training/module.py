"""The Lightning module: augmentation on the device, a loss that is the whole batch's mean, scores over all samples."""

import math
import time
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from medimg.augment import augment, draw, mix, mixed_loss
from medimg.errors import TrainingError
from medimg.models.network import Network
from medimg.params import Augment, Train
from medimg.params.learning import LESS_IS_BETTER
from medimg.tasks import Task
from medimg.training.average import Average
from medimg.training.data import scale
from medimg.training.losses import Loss
from medimg.training.optimise import Depth, optimizer
from medimg.training.statistics import Statistics
from medimg.training.watch import few, spread, warnings

LOOK = 100  # optimizer steps between two looks at whether the weights are still numbers


class Module(pl.LightningModule):  # type: ignore[misc]  # Lightning is not typed for us
    """A network and how it learns.

    Args:
        network: an image in 0…1 → ``(N, task.outputs)``.
        task: loss and score.
        loss: what is made of the task's loss.
        settings: the block ``train``.
        augmentation: the block ``augment``.
        seed: ``study.seed``.
        steps: optimizer steps in an epoch.
        pieces: in which each worker takes its share of a batch; None: ``train.accumulate``.
        level: where background lies in 0…1, as in ``Store``.
    """

    def __init__(
        self,
        network: Network,
        task: Task,
        loss: Loss,
        settings: Train,
        augmentation: Augment,
        seed: int,
        steps: int,
        pieces: int | None = None,
        level: float = 0.0,
    ) -> None:
        super().__init__()
        self.network, self.task, self.loss, self.settings = network, task, loss, settings
        self.augmentation, self.seed, self.steps, self.level = augmentation, seed, steps, level
        self.pieces = pieces or settings.accumulate
        self.depth = Depth(network.body, settings)
        self.average = Average(network.body, settings.ema) if settings.ema else None
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {"score": -float("inf"), "epoch": -1, "weights": {}}
        self.seen = 0  # training samples that this worker took, over all epochs
        self.warned: dict[str, str] = {}
        self.stopped: str | None = None  # why, when losses were no numbers any more
        self._sums: list[Tensor] = []
        self._outputs: list[tuple[Tensor, Tensor, Tensor]] = []
        self._validation: dict[str, float] = {}
        self._statistics: Statistics | None = None
        self._validating = 0.0
        self._update, self._waited, self._started, self._stepped = 0.0, 0.0, time.monotonic(), time.monotonic()

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, H, W)`` in the store's dtype → ``(N, outputs)`` logits."""
        logits: Tensor = self.network(scale(image))
        return logits

    def on_fit_start(self) -> None:
        """Take charge of batch norm's running statistics."""
        shares = self.trainer.world_size * self.pieces
        self._statistics = Statistics(self.network, shares, self._sum_over_workers)

    def on_train_start(self) -> None:
        """Refuse to go on from different epochs."""
        at = float(self.current_epoch)
        mine = torch.tensor([at, at**2], dtype=torch.float64, device=self.device)
        total, squares = self._sum_over_workers(mine).tolist()
        if total**2 != self.trainer.world_size * squares:
            raise RuntimeError("the workers found different checkpoints to go on from; they are started again")

    def on_train_epoch_start(self) -> None:
        """Start the clock and the sums."""
        self.depth.set_epoch(self.current_epoch)
        self._sums, self._waited = [], 0.0
        self._started = self._stepped = time.monotonic()

    def on_train_batch_start(self, *_: Any) -> int | None:
        """Count the time without a batch; skip the rest of an epoch (-1) once the weights are no numbers.

        They are the same on all workers, so all skip at the same step.
        """
        self._waited += time.monotonic() - self._stepped
        step = self.trainer.global_step
        if step and step % LOOK == 0 and not self._finite():
            return -1
        return None

    def on_train_batch_end(self, *_: Any) -> None:
        """The wait for the next batch begins."""
        self._stepped = time.monotonic()

    def training_step(self, batch: dict[str, Any], at: int) -> Tensor:
        """This worker's part of the whole batch's mean loss, times the workers, since DDP takes the mean over them.

        Where a worker takes its share in pieces, times the pieces too, since Lightning takes the mean over those.
        Whatever the network draws (dropout) is keyed by seed, epoch, step and share, not by the worker that takes it.
        """
        step, piece = divmod(at, self.pieces)
        torch.manual_seed(_key(self.seed, batch["epoch"], step, self.global_rank * self.pieces + piece))
        assert self._statistics is not None
        self._statistics.begin()
        image, truth = scale(batch["image"]), batch["truth"]
        draws = draw(self.augmentation, self.seed, batch["epoch"], batch["number"], tuple(image.shape[2:]))
        image, mixture = augment(image, draws, self.level), batch.get("mixture")
        if mixture is None:
            losses = self.loss(self.network(image), truth)
        else:
            logits = self.network(mix(image, mixture, len(truth)))
            losses = mixed_loss(self.loss, logits, truth, mixture, batch["other"])
        self._sums.append(torch.stack([losses.detach().sum().double(), losses.new_tensor(len(losses)).double()]))
        self.seen += len(losses)
        loss: Tensor = losses.sum() * self.trainer.world_size * self.pieces / batch["size"]
        return loss

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None, *_: Any, **__: Any) -> None:
        """Of what learns by now: the gradients of layers that wait would make those of the others smaller."""
        if gradient_clip_val is not None:
            learning = [values for group in optimizer.param_groups if group["lr"] for values in group["params"]]
            torch.nn.utils.clip_grad_norm_(learning, gradient_clip_val)

    def optimizer_step(self, *args: Any, **more: Any) -> None:
        """A step, then the average of the weights; how large the epoch's last step is, is kept."""
        last = (self.trainer.global_step + 1) % self.steps == 0
        before = self._flat() if last else None
        super().optimizer_step(*args, **more)
        assert self._statistics is not None
        self._statistics.end()
        if before is not None:
            after = self._flat()
            self._update = float((after - before).norm() / before.norm().clamp(min=1e-12))
        if self.average:
            self.average.update()

    def on_validation_start(self) -> None:
        """Validate the average of the weights, where there is one."""
        self._validating = time.monotonic()
        if self.average:
            self.average.swap()

    def on_validation_end(self) -> None:
        """Go on with the weights themselves."""
        if self.average:
            self.average.swap()
        self._validating = time.monotonic() - self._validating

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        """Keep the logits until all samples are seen; in 32 bits, as the predict stage works them out."""
        with torch.autocast(self.device.type, enabled=False):  # in bf16 scores would tie
            self._outputs.append((self(batch["image"]), batch["truth"], batch["weight"]))

    def on_validation_epoch_end(self) -> None:
        """Loss and score over every validation sample of every worker, each counted once."""
        logits, truth, weight = (torch.cat(column) for column in zip(*self._outputs, strict=True))
        self._outputs = []
        logits, truth, weight = (_gather(self, values) for values in (logits, truth, weight))
        real = weight > 0
        logits, truth = logits[real], truth[real]
        loss = float(self.task.loss(logits, truth).double().mean())
        scores = logits.cpu().numpy()
        score = self.task.score(scores, truth.cpu().numpy())
        answers = spread(self.task.probabilities(scores))
        self._validation = {"validation_loss": loss, "validation_score": score, "spread": answers}
        if self.settings.monitor not in ("loss", "score"):
            measured = self.task.measure(self.settings.monitor, scores, truth.cpu().numpy())
            self._validation[f"validation_{self.settings.monitor}"] = measured

    def on_train_epoch_end(self) -> None:
        """Add a row to the history and keep the best weights so far."""
        total = self._sum_over_workers(torch.stack(self._sums).sum(0).to(self.device))
        loss, count = float(total[0]), int(total[1])
        if not (math.isfinite(loss) and self._finite()):
            self._stop_without_numbers()
            return
        seconds = time.monotonic() - self._started
        self.history.append(
            {
                "epoch": self.current_epoch,
                "train_loss": loss / count,
                **self._validation,
                "learning_rate": self.optimizers().param_groups[-1]["lr"],
                "update": self._update,
                "waiting": self._waited / seconds,
                "seconds": seconds,
                "validation_seconds": self._validating,
                "samples": count,
                "workers": self.trainer.world_size,
            }
        )
        judged = self._validation[f"validation_{self.settings.monitor}"]
        by = -judged if self.settings.monitor in LESS_IS_BETTER else judged
        if by > self.best["score"]:  # false for a NaN
            weights = self.average.weights if self.average else self.network.body.state_dict()
            plain = torch.contiguous_format  # a weights file knows no other
            kept = {name: values.detach().cpu().clone(memory_format=plain) for name, values in weights.items()}
            self.best = {"score": by, "epoch": self.current_epoch, "weights": kept}
        assert self._statistics is not None
        shares = self.steps * self.trainer.world_size * self.pieces
        noted = warnings(self.history, self.settings) | few(count / shares, self._statistics.norms)
        self.warned = noted | self.warned
        self._stop_when_patience_ends()

    def configure_optimizers(self) -> Any:
        """See ``optimizer``."""
        return optimizer(self.depth, self.settings, self.steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Plain types and tensors only, so that a resume can read it with ``weights_only``."""
        kept = {"history": self.history, "best": self.best, "seen": self.seen, "warned": self.warned}
        average = {"weights": self.average.weights, "steps": self.average.steps} if self.average else None
        checkpoint["medimg"] = kept | {"average": average}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The opposite of ``on_save_checkpoint``."""
        kept = checkpoint["medimg"]
        self.history, self.best, self.seen, self.warned = (kept[n] for n in ("history", "best", "seen", "warned"))
        if self.average:
            self.average.weights, self.average.steps = kept["average"]["weights"], kept["average"]["steps"]
        self._stop_when_patience_ends()

    def _stop_when_patience_ends(self) -> None:
        if len(self.history) - 1 - self.best["epoch"] >= self.settings.patience:
            self.trainer.should_stop = True

    def _stop_without_numbers(self) -> None:
        what = (
            f"The training loss is not a number in epoch {self.current_epoch + 1}. "
            f"Lower train.learning_rate (now {self.settings.learning_rate:g}), for instance to a tenth, "
            "or set train.clip: 1"
        )
        if self.best["epoch"] < 0:
            raise TrainingError(f"{what}.")
        self.stopped = f"{what}. Kept are the weights of epoch {self.best['epoch'] + 1}, the best before."
        self.trainer.should_stop = True

    def recent_loss(self) -> float:
        """Mean loss of the batch that this worker took last; waits for the device."""
        total, count = self._sums[-1].tolist()
        return float(total / count)

    def _finite(self) -> bool:
        """Whether the last layer holds numbers: what is none anywhere is none there after another step."""
        return all(bool(values.isfinite().all()) for values in list(self.network.parameters())[-2:])

    def _sum_over_workers(self, values: Tensor) -> Tensor:
        total: Tensor = self.trainer.strategy.reduce(values, reduce_op="sum")
        return total

    def _flat(self) -> Tensor:
        return torch.cat([values.detach().flatten() for values in self.network.parameters() if values.requires_grad])


def _key(*numbers: int) -> int:
    """A seed that belongs to these numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _gather(module: pl.LightningModule, values: Tensor) -> Tensor:
    gathered = module.all_gather(values)
    assert isinstance(gathered, Tensor)
    return gathered.reshape(-1, *values.shape[1:])
