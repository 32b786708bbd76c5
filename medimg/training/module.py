"""The Lightning module: augmentation on the device, a loss that is the whole batch's mean, scores over all samples."""

import math
import time
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from medimg.augment import augment, draw
from medimg.errors import TrainingError
from medimg.params import Augment, Train
from medimg.tasks import Task
from medimg.training.data import normalise, scale


class Module(pl.LightningModule):  # type: ignore[misc]  # Lightning is not typed for us
    """A network and how it learns.

    Args:
        network: ``(N, C, H, W)`` → ``(N, task.outputs)``.
        task: loss and score.
        settings: the block ``train``.
        augmentation: the block ``augment``.
        seed: ``study.seed``.
        steps: optimizer steps in an epoch.
    """

    def __init__(
        self, network: nn.Module, task: Task, settings: Train, augmentation: Augment, seed: int, steps: int
    ) -> None:
        super().__init__()
        self.network, self.task, self.settings = network, task, settings
        self.augmentation, self.seed, self.steps = augmentation, seed, steps
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {"score": -float("inf"), "epoch": -1, "weights": {}}
        self.seen = 0  # training samples that this worker took, over all epochs
        self._sums: list[Tensor] = []
        self._outputs: list[tuple[Tensor, Tensor, Tensor]] = []
        self._validation: dict[str, float] = {}
        self._started = time.monotonic()

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, H, W)`` in the store's dtype → ``(N, outputs)`` logits."""
        logits: Tensor = self.network(normalise(scale(image)))
        return logits

    def on_train_epoch_start(self) -> None:
        """Start the clock and the sums; whatever a network draws (dropout) is keyed by seed and epoch."""
        torch.manual_seed((self.seed << 20) + self.current_epoch)
        self._started, self._sums = time.monotonic(), []

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        """This worker's part of the whole batch's mean loss, times the workers, since DDP takes the mean over them."""
        draws = draw(self.augmentation, self.seed, batch["epoch"], batch["number"])
        image = augment(scale(batch["image"]), draws, self.seed, batch["epoch"])
        losses = self.task.loss(self.network(normalise(image)), batch["truth"])
        self._sums.append(torch.stack([losses.detach().sum().double(), losses.new_tensor(len(losses)).double()]))
        self.seen += len(losses)
        loss: Tensor = losses.sum() * self.trainer.world_size / batch["size"]
        return loss

    def validation_step(self, batch: dict[str, Any], _: int) -> None:
        """Keep the logits until all samples are seen."""
        self._outputs.append((self(batch["image"]).float(), batch["truth"], batch["weight"]))

    def on_validation_epoch_end(self) -> None:
        """Loss and score over every validation sample of every worker, each counted once."""
        logits, truth, weight = (torch.cat(column) for column in zip(*self._outputs, strict=True))
        self._outputs = []
        logits, truth, weight = (_gather(self, values) for values in (logits, truth, weight))
        real = weight > 0
        logits, truth = logits[real], truth[real]
        loss = float(self.task.loss(logits, truth).double().mean())
        score = self.task.score(logits.cpu().numpy(), truth.cpu().numpy())
        self._validation = {"validation_loss": loss, "validation_score": score}
        self.log_dict(
            {name: torch.tensor(value) for name, value in self._validation.items()}, logger=False, sync_dist=True
        )

    def on_train_epoch_end(self) -> None:
        """Add a row to the history and keep the best weights so far."""
        total = self.trainer.strategy.reduce(torch.stack(self._sums).sum(0).to(self.device), reduce_op="sum")
        loss, count = float(total[0]), int(total[1])
        if not math.isfinite(loss):
            raise TrainingError(
                f"The training loss is not a number in epoch {self.current_epoch + 1}. "
                f"Lower train.learning_rate (now {self.settings.learning_rate:g}), for instance to a tenth."
            )
        score = self._validation["validation_score"]
        row = {"epoch": self.current_epoch, "train_loss": loss / count, **self._validation}
        rate = self.optimizers().param_groups[0]["lr"]
        self.history.append(
            row | {"learning_rate": rate, "seconds": time.monotonic() - self._started, "samples": count}
        )
        if score > self.best["score"]:  # false for a NaN
            weights = {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}
            self.best = {"score": score, "epoch": self.current_epoch, "weights": weights}
        self._stop_when_patience_ends()

    def configure_optimizers(self) -> Any:
        """AdamW or SGD with linear warm-up and a cosine to zero, stepped with each batch."""
        settings = self.settings
        weights, rate, decay = self.network.parameters(), settings.learning_rate, settings.weight_decay
        optimizer: torch.optim.Optimizer
        if settings.optimizer == "adamw":
            optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=decay)
        else:
            optimizer = torch.optim.SGD(weights, lr=rate, weight_decay=decay, momentum=0.9, nesterov=True)
        total, warmup = settings.max_epochs * self.steps, max(1, round(settings.warmup_epochs * self.steps))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Plain types and tensors only, so that a resume can read it with ``weights_only``."""
        checkpoint["medimg"] = {"history": self.history, "best": self.best, "seen": self.seen}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The opposite of ``on_save_checkpoint``."""
        kept = checkpoint["medimg"]
        self.history, self.best, self.seen = kept["history"], kept["best"], kept["seen"]
        self._stop_when_patience_ends()

    def _stop_when_patience_ends(self) -> None:
        if len(self.history) - 1 - self.best["epoch"] >= self.settings.patience:
            self.trainer.should_stop = True


def _gather(module: pl.LightningModule, values: Tensor) -> Tensor:
    gathered = module.all_gather(values)
    assert isinstance(gathered, Tensor)
    return gathered.reshape(-1, *values.shape[1:])
