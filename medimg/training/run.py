"""The train stage: from a store and a split to weights, and a record of how they came about."""

from typing import Any

import pandas as pd
import yaml

from medimg.errors import TrainingError
from medimg.files import code_sha256, publish, publish_folder, sha256, sha256_file, sha256_json, write_json, write_text
from medimg.params import Augment, Model, Train
from medimg.records import INDEX, PARTS, STORE, TRAINING, WEIGHTS
from medimg.store import Store
from medimg.tasks import Task
from medimg.training import Job
from medimg.training.data import TrainBatches, read_parts
from medimg.training.launch import Outcome, forget, launch


def train(task: Task, seed: int, model: Model, settings: Train, augmentation: Augment) -> None:
    """Fit, then write ``artifacts/weights/`` and ``artifacts/training/``.

    Args:
        task: loss and score.
        seed: ``study.seed``.
        model: the block ``model``.
        settings: the block ``train``.
        augmentation: the block ``augment``.

    Raises:
        TrainingError: the job cannot start or did not end well; see ``launch``.
    """
    job = Job(task, seed, model, settings, augmentation)
    part = read_parts(task, "train")["train"]
    for rank in range(settings.workers):  # what cannot work is said before any process starts
        TrainBatches(len(part), settings.batch_size, seed, rank, settings.workers)
    inputs = _inputs(job)
    outcome = launch(job, inputs)
    about = _about(job, outcome)
    with publish_folder(WEIGHTS) as folder:
        (folder / "weights.safetensors").write_bytes(outcome.weights)
        write_text(folder / "model.yaml", yaml.safe_dump(about, sort_keys=False))
    with publish_folder(TRAINING) as folder:
        with publish(folder / "history.csv") as history:
            pd.DataFrame(outcome.history).to_csv(history, index=False, lineterminator="\n")
        write_json(folder / "workers.json", outcome.workers)
    forget(inputs)
    shares = ", ".join(f"worker {worker['rank']} {worker['samples']} images" for worker in outcome.workers)
    print(
        f"{len(outcome.history)} epochs; the best is epoch {about['epoch'] + 1}, "
        f"validation score {about['score']:.4f}; {shares}"
    )


def _inputs(job: Job) -> str:
    """16 hex digits of all that determines the result: parameters, samples, labels, split, given weights, code."""
    blocks = [block.model_dump(mode="json") for block in (job.model, job.train, job.augment)]
    tables = [sha256_file(path) for path in (INDEX, PARTS, STORE / "samples.parquet", STORE / "store.json")]
    return sha256_json([repr(job.task), job.seed, *blocks, *tables, _hash_of_given(job.model), code_sha256()])[:16]


def _hash_of_given(model: Model) -> str | None:
    """SHA-256 of the weights to start from; None for none.

    Raises:
        TrainingError: they are not there, or not the ones that ``model.weights_sha256`` names.
    """
    from medimg.models.transfer import weights_file

    if model.weights == "none":
        return None
    found = sha256_file(weights_file(model.weights))
    if model.weights_sha256 is None:
        print(f"starting from weights with model.weights_sha256: {found}")
    elif model.weights_sha256 != found:
        raise TrainingError(
            f"The file that model.weights names has the SHA-256 {found}, and model.weights_sha256 asks for "
            f"{model.weights_sha256}. Bring the right file, or change the parameter."
        )
    return found


def _about(job: Job, outcome: Outcome) -> dict[str, Any]:
    from safetensors.torch import load

    shape = Store.open(STORE).images.shape
    transferred = outcome.transferred
    return {
        "name": job.model.name,
        "channels": shape[1],
        "size": shape[2],
        "outputs": job.task.outputs,
        "parameters": sum(tensor.numel() for tensor in load(outcome.weights).values() if tensor.is_floating_point()),
        "weights": "transfer" if transferred else "from scratch",
        "transferred": {name: _plain(value) for name, value in transferred.items()} if transferred else None,
        "epoch": int(outcome.best["epoch"]),
        "score": float(outcome.best["score"]),
        "weights_sha256": sha256(outcome.weights),
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
