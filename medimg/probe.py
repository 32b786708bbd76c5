"""What the network is asked beside its predictions: whose rim it reads, and where it looks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from medimg.inference import load_network
from medimg.params import Predict, Saliency
from medimg.records import WEIGHTS, read_predictions
from medimg.saliency import explain, ready
from medimg.tasks import Task
from medimg.training.data import Part, read_parts
from medimg.transplant import transplant

if TYPE_CHECKING:
    from torch.nn import Module


def probe(task: Task, settings: Predict, saliency: Saliency, rim: float, seed: int) -> None:
    """Write ``artifacts/transplants.parquet`` and ``artifacts/saliency`` for the test part, once it is predicted.

    Args:
        task: what the network's outputs mean.
        settings: the block ``predict``.
        saliency: the block ``saliency``.
        rim: width of the rim, ``evaluate.shortcuts.rim``.
        seed: of the lot that draws donors.
    """
    import torch

    network, _ = load_network(WEIGHTS)
    network.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    test = read_parts(task, "test")["test"]

    def score(batches: Iterator[np.ndarray]) -> np.ndarray:
        return task.probabilities(np.concatenate([scored(network, batch) for batch in batches]))

    transplant(test.about, test.images, test.rows, score, share=rim, batch=settings.batch_size, seed=seed)
    show(network, task, test, saliency, rim)


def show(network: "Module", task: Task, test: Part, saliency: Saliency, rim: float) -> None:
    """Write ``artifacts/saliency`` for the test part, once it is predicted; arguments as of ``probe``."""
    predictions = read_predictions().part("test")
    place = {sample: row for row, sample in enumerate(predictions.rows["sample"])}
    given = predictions.probabilities[[place[sample] for sample in test.about["sample"]]]
    explain(network, task, test, given, saliency.cases, rim)


def scored(network: "Module", images: np.ndarray) -> np.ndarray:
    """Logits ``(N, K)`` float64 of images of the store, ``(N, C, …)``."""
    import torch

    with torch.inference_mode():
        logits: torch.Tensor = network(ready(network, images))
        return logits.float().cpu().numpy().astype(np.float64)
