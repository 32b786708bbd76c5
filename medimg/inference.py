"""The one forward path: samples of the store through trained weights, each exactly once."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from medimg.errors import DataError
from medimg.files import sha256_file
from medimg.params import Predict
from medimg.records import PREDICTIONS, PREDICTIONS_SCHEMA, WEIGHTS, write_table
from medimg.tasks import Task
from medimg.training.data import EvaluationBatches, Part, loader, normalise, read_parts, scale
from medimg.work import cores

if TYPE_CHECKING:
    from torch.nn import Module


def predict(task: Task, settings: Predict) -> None:
    """Score every sample of validation and test once: ``artifacts/predictions.parquet``.

    Raises:
        DataError: weights, store or split are missing or do not belong together.
    """
    network, sha256 = load_network(WEIGHTS)
    parts = read_parts(task, "validation", "test")
    tables = []
    for name, part in parts.items():
        scores = np.concatenate(list(logits(network, part, settings.batch_size)))
        columns = {"logit": scores[:, 0].astype(np.float64), "probability": task.probabilities(scores)}
        tables.append(part.about.assign(part=name, truth=part.truth, weights=sha256, **columns))
    write_table(PREDICTIONS, pd.concat(tables), PREDICTIONS_SCHEMA)
    print(", ".join(f"{len(part)} images of {name}" for name, part in parts.items()) + " scored")


def load_network(folder: Path) -> "tuple[Module, str]":
    """The network of a weights folder, ready to score, and the SHA-256 of its weights.

    Raises:
        DataError: the weights are not the ones that model.yaml names.
    """
    from medimg.models.cnn import build
    from medimg.models.transfer import read_weights

    about = yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))
    path = folder / "weights.safetensors"
    sha256 = sha256_file(path)
    if sha256 != about["weights_sha256"]:
        raise DataError(f"{path} is not the file that {folder}/model.yaml names. Run dvc repro to make both again.")
    network = build(about["name"], about["channels"], about["outputs"], seed=0)
    network.load_state_dict(read_weights(path))
    return network.eval(), sha256


def logits(network: "Module", part: Part, batch: int) -> Iterator[np.ndarray]:
    """Logits ``(≤ batch, outputs)`` float32 of the samples of ``part``, in their order."""
    import torch

    torch.set_num_threads(cores())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    with torch.inference_mode():
        for step in loader(part, EvaluationBatches(len(part), batch, rank=0, world=1)):
            values: Any = network(normalise(scale(step["image"].to(device))))
            yield values.float().cpu().numpy()
