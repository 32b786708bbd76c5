"""The train stage: from a store and a split to weights, and a record of how they came about."""

from typing import Any

import pandas as pd
import yaml

from medimg.files import code_sha256, publish, publish_folder, sha256, sha256_file, sha256_json, write_json, write_text
from medimg.params import Augment, Model, Train
from medimg.records import INDEX, PARTS, STORE, TRAINING, WEIGHTS
from medimg.store import Store
from medimg.tasks import Task
from medimg.training import Job
from medimg.training.data import TrainBatches, read_parts
from medimg.training.launch import Outcome, launch


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
    outcome = launch(job, _inputs(job))
    about = _about(job, outcome)
    with publish_folder(WEIGHTS) as folder:
        (folder / "weights.safetensors").write_bytes(outcome.weights)
        write_text(folder / "model.yaml", yaml.safe_dump(about, sort_keys=False))
    with publish_folder(TRAINING) as folder:
        with publish(folder / "history.csv") as history:
            pd.DataFrame(outcome.history).to_csv(history, index=False, lineterminator="\n")
        write_json(folder / "workers.json", outcome.workers)
    shares = ", ".join(f"worker {worker['rank']} {worker['samples']} images" for worker in outcome.workers)
    print(
        f"{len(outcome.history)} epochs; the best is epoch {about['epoch'] + 1}, "
        f"validation score {about['score']:.4f}; {shares}"
    )


def _inputs(job: Job) -> str:
    """16 hex digits of all that determines the result: parameters, samples, labels, split, given weights, code."""
    source = job.model.weights
    blocks = [block.model_dump(mode="json") for block in (job.model, job.train, job.augment)]
    tables = [sha256_file(path) for path in (INDEX, PARTS, STORE / "samples.parquet", STORE / "store.json")]
    return sha256_json([repr(job.task), job.seed, *blocks, *tables, _hash_of_given(source), code_sha256()])[:16]


def _hash_of_given(source: str) -> str | None:
    from medimg.models.transfer import weights_file

    return None if source == "none" else sha256_file(weights_file(source))


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
