"""Training: the module, its batches, the fit, and how Ray launches it."""

from dataclasses import dataclass

from medimg.params import Augment, Model, Train
from medimg.tasks import Task


@dataclass(frozen=True)
class Job:
    """What to fit; plain values, so that it travels to any worker."""

    task: Task
    seed: int
    model: Model
    train: Train
    augment: Augment
    fold: int | None = None
    """the fold that validates, in a cross-validation"""
