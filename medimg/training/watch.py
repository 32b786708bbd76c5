"""What is wrong early: sentences for a person, from what the epochs so far have shown."""

from typing import Any

import numpy as np

from medimg.params import Train

EPOCHS = 3  # after which the first judgement is made
WAITING = 0.2  # share of an epoch spent waiting for data
SAME = 0.02  # standard deviation of the answers to all validation images
FEW = 4  # images in a share of a batch: with fewer, batch norm errs much more (Wu and He 2018, figure 1)
UPDATE = (1e-6, 0.1)  # of a step, relative to the weights: around 1e-3 is usual


def warnings(history: list[dict[str, Any]], settings: Train) -> dict[str, str]:
    """Kind → sentence, of what is wrong by the last epoch; the same kind is worth saying once.

    Args:
        history: rows as in history.csv.
        settings: the block ``train``.
    """
    last, said = history[-1], {}
    smallest, greatest = UPDATE
    peak = last["learning_rate"] >= settings.learning_rate / 2
    if peak and last["update"] > greatest:
        said["rate"] = (
            f"a step changes the weights by {last['update']:.1%} of their size, and around 0.1 % is usual: "
            f"train.learning_rate {settings.learning_rate:g} is probably too high"
        )
    elif peak and last["update"] < smallest:
        said["rate"] = (
            f"a step changes the weights by {last['update']:.1e} of their size, and around 1e-3 is usual: "
            f"train.learning_rate {settings.learning_rate:g} is probably too low"
        )
    if last["waiting"] > WAITING:
        said["waiting"] = (
            f"{last['waiting']:.0%} of the epoch was waiting for data. Is artifacts/store on a slow disk, or larger "
            "than the memory? A local disk helps"
        )
    if len(history) >= EPOCHS:
        first = history[0]["train_loss"]
        lowest = min(row["train_loss"] for row in history[1:])
        if lowest > 0.98 * first:
            said["loss"] = (
                f"the training loss has not fallen in {len(history)} epochs ({first:.4f}, then {lowest:.4f} at best). "
                "Check the labels (artifacts/preview.png) and try another train.learning_rate"
            )
        if last["spread"] < SAME:
            said["same"] = (
                "the network gives nearly the same answer to every validation image. Try another train.learning_rate, "
                "train.class_weights: balanced, or longer training"
            )
    return said


def fresh(settings: Train) -> dict[str, str]:
    """As ``warnings``: of a training from scratch whose layers are to keep what they start with."""
    asked = {"freeze": settings.freeze, "unfreeze_epochs": settings.unfreeze_epochs}
    names = " and ".join(f"train.{name}: {value:g}" for name, value in asked.items() if value)
    if not names:
        return {}
    what = "never learn" if settings.freeze else "learn late"
    return {
        "fresh": f"{names}: layers {what} that start as drawn at random, since model.weights is none. "
        f"Set {' and '.join(f'train.{name}' for name, value in asked.items() if value)} to 0, or name weights"
    }


def lifted(level: float) -> dict[str, str]:
    """As ``warnings``: of a network that takes what is above 0 for the patient, and a store whose background is there.

    Args:
        level: where background lies in 0…1, as in ``Store``.
    """
    if not level:
        return {}
    return {
        "lifted": "this network knows an image by its values above 0 (model.normalisation: zscore, as MedicalNet's "
        "weights), and preprocess.intensity: zscore keeps background above 0: it counts as part of the patient. Set "
        "preprocess.intensity: scale"
    }


def few(images: float, norms: int) -> dict[str, str]:
    """As ``warnings``: of batch norms that are shown ``images`` images at a time."""
    if not norms or images >= FEW:
        return {}
    return {
        "norm": f"batch norm sees {images:.3g} images at a time, too few to tell what is usual. Raise "
        "train.batch_size, or lower train.accumulate or train.workers: they part every batch into shares"
    }


def spread(answers: np.ndarray) -> float:
    """How far the answers ``(N, K)`` to different images differ: the greatest standard deviation of an output.

    It is relative to the largest answer where that is more than a probability can be.
    """
    return float((answers.std(axis=0) / np.maximum(np.abs(answers).max(axis=0), 1)).max())
