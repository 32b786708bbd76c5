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
from medimg.records import WEIGHTS, Predictions, write_predictions
from medimg.tasks import Task
from medimg.training.data import EvaluationBatches, Part, loader, read_fold, read_parts, scale
from medimg.work import cores

if TYPE_CHECKING:
    from medimg.models.network import Network


SCORED = ("validation", "test", "promotion")


def predict(task: Task, settings: Predict, names: tuple[str, ...] = SCORED) -> None:
    """Score every sample of the parts ``names`` once: ``artifacts/predictions.parquet``. A study may have no promotion.

    The networks of a cross-validation answer together, but for who learned with them: those samples are validation,
    each scored by the one network that did not learn from its fold.

    Raises:
        DataError: weights, store or split are missing or do not belong together.
    """
    network, sha256 = load_network(WEIGHTS)
    members = network.alone()
    scored: list[tuple[str, Part, Network]] = []
    for name in names:
        if name == "validation" and len(members) > 1:
            folds = [read_fold(task, fold)["validation"] for fold in range(len(members))]
            scored += [(name, part, member) for part, member in zip(folds, members, strict=True)]
        else:
            scored.append((name, read_parts(task, name)[name], network))
    scored = [(name, part, by) for name, part, by in scored if len(part) or name != "promotion"]
    rows = [part.about.assign(part=name, weights=sha256) for name, part, _ in scored]
    steps = [step for _, part, by in scored for step in logits(by, part, settings.batch_size)]
    scores = np.concatenate(steps).astype(np.float64)
    truth = np.concatenate([part.truth for _, part, _ in scored])
    write_predictions(Predictions(pd.concat(rows), truth, scores, task.probabilities(scores)))
    counts = {name: sum(len(part) for other, part, _ in scored if other == name) for name, *_ in scored}
    print(", ".join(f"{count} images of {name}" for name, count in counts.items()) + " scored")


def load_network(folder: Path) -> "tuple[Network, str]":
    """The network of a weights folder, ready to score, and the SHA-256 of its weights.

    Raises:
        DataError: the weights are not the ones that model.yaml names.
    """
    from medimg.models.architecture import Architecture
    from medimg.models.transfer import read_weights

    about = yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))
    path = folder / "weights.safetensors"
    sha256 = sha256_file(path)
    if sha256 != about["weights_sha256"]:
        raise DataError(f"{path} is not the file that {folder}/model.yaml names. Run dvc repro to make both again.")
    network = Architecture.read(about["architecture"]).network(seed=0)
    network.body.load_state_dict(read_weights(path))
    return network.eval(), sha256


def logits(network: "Network", part: Part, batch: int) -> Iterator[np.ndarray]:
    """Logits ``(≤ batch, outputs)`` float32 of the samples of ``part``, in their order."""
    import torch

    torch.set_num_threads(cores())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    with torch.inference_mode():
        for step in loader(part, EvaluationBatches(len(part), batch, rank=0, world=1)):
            values: Any = network(scale(step["image"].to(device)))
            yield values.float().cpu().numpy()
