"""The train stage: from a store and a split to weights, and a record of how they came about."""

import json
import sys
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import pandas as pd
import yaml

from medimg.errors import TrainingError
from medimg.files import code_sha256, publish, publish_folder, sha256, sha256_file, sha256_json, write_json, write_text
from medimg.models.architecture import MEMBERS, Architecture
from medimg.models.transfer import unsaid
from medimg.models.weights import Given, find
from medimg.params import Augment, Model, Train
from medimg.records import (
    INDEX,
    INDEX_SCHEMA,
    PARTS,
    PARTS_SCHEMA,
    SEEN,
    STORE,
    TRAINING,
    WEIGHTS,
    known,
    read_table,
)
from medimg.store import Ragged, Store
from medimg.tasks import Task
from medimg.training import Job
from medimg.training.checks import check_judge, check_shares
from medimg.training.curves import draw
from medimg.training.data import read_fold, read_parts
from medimg.training.launch import forget, launch
from medimg.training.outcome import Outcome


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
    shape = _check(job)
    given = find(model, len(shape) - 1)
    if given:
        _apart(given)
        print(f"model.weights_sha256: {given.sha256} is what {given.source} gave")
        if unsaid(model, given):
            print(
                f"warning: nothing says how {given.source} knows its images; they are shown as -1…1. Set "
                "model.normalisation to what the weights were trained with, such as imagenet",
                file=sys.stderr,
            )
    inputs = _inputs(job, given)
    outcomes = launch(job, inputs)
    weights = _together(outcomes)
    about = _about(job, outcomes, weights)
    with publish_folder(WEIGHTS) as folder:
        (folder / "weights.safetensors").write_bytes(weights)
        write_text(folder / "model.yaml", yaml.safe_dump(about, sort_keys=False))
    history = _history(outcomes)
    with publish_folder(TRAINING) as folder:
        with publish(folder / "history.csv") as table:
            history.to_csv(table, index=False, lineterminator="\n")
        write_json(folder / "workers.json", _workers(outcomes))
        write_json(folder / "training.json", _summary(outcomes, history, settings, task.score_name))
        draw(history, [member["epoch"] for member in about["members"]], task.score_name, folder / "curves.png")
    forget(inputs)
    for outcome in outcomes:
        if outcome.stopped:
            print(f"warning: {outcome.stopped}", file=sys.stderr)
    print(_sentence(outcomes, settings.monitor))


def _check(job: Job) -> tuple[int, ...]:
    """Say what cannot work before any process starts; the shape of an image.

    Raises:
        TrainingError: the batch cannot be shared, the folds are not there or cannot be scored, or the network is not
            for such images.
    """
    settings, task = job.train, job.task
    if settings.folds is None:
        parts = [read_parts(task, "train", "validation")]
    else:
        parts = [read_fold(task, fold) for fold in range(settings.folds)]
        if not all(len(part["validation"]) for part in parts):
            raise TrainingError(f"{PARTS} lacks folds that train.folds asks for. Run dvc repro to split again.")
    learners = [part["train"] for part in parts]
    if isinstance(learners[0].images, Ragged):
        raise TrainingError(
            "The store keeps each image at a shape of its own (preprocess.size: null), and images of different shapes "
            "cannot be one batch. Set preprocess.size, with fit: pad or stretch to resize them, or with fit: crop to "
            "cut and pad them around the middle. Then run dvc repro."
        )
    shape = learners[0].images.shape[1:]
    Architecture(job.model.name, shape, task.outputs).check()
    for part in learners:
        check_shares(part, job, settings.workers)
    for number, both in enumerate(parts):
        check_judge(job, both["validation"], "validation" if settings.folds is None else f"fold {number + 1}")
    return tuple(shape)


def _apart(given: Given) -> None:
    """Refuse a bundle's weights that learned from whoever is to judge them here.

    Raises:
        TrainingError: an image of the parts test or promotion, or its patient, is marked in the bundle as known.
    """
    marks = given.path.with_name(SEEN)
    if not marks.is_file():
        return
    index, parts = read_table(INDEX, INDEX_SCHEMA), read_table(PARTS, PARTS_SCHEMA)
    judges = parts.loc[parts["part"].isin(["test", "promotion"]), "sample"]
    judged = index[index["sample"].isin(judges)]
    count = int(known(judged, json.loads(marks.read_text(encoding="utf-8"))).sum())
    if count:
        raise TrainingError(
            f"{count} of {len(judged)} images of the parts test and promotion, or their patients, are among those that "
            f"{given.source} learned from ({SEEN}): the test would flatter. Choose weights that learned from others, "
            "or train that model anew with the split of this study."
        )


def _sentence(outcomes: list[Outcome], monitor: str) -> str:
    """What a person is told at the end."""
    shares = ", ".join(f"worker {worker['rank']} {worker['samples']} images" for worker in outcomes[-1].workers)
    if len(outcomes) == 1:
        (one,) = outcomes
        best, by = int(one.best["epoch"]) + 1, "" if monitor == "score" else f" by {monitor}"
        return (
            f"{len(one.history)} epochs; the best{by} is epoch {best}, validation score {one.validated:.4f}; {shares}"
        )
    scores = ", ".join(f"{one.validated:.4f}" for one in outcomes)
    return f"{len(outcomes)} folds; score of each network on its own fold: {scores}; in the last one {shares}"


def _inputs(job: Job, given: Given | None) -> str:
    """16 hex digits of all that determines the result: parameters, data, split, given weights, code, PyTorch."""
    blocks = [block.model_dump(mode="json") for block in (job.model, job.train, job.augment)]
    tables = [sha256_file(path) for path in (INDEX, PARTS, STORE / "samples.parquet", STORE / "store.json")]
    start = given.sha256 if given else None
    return sha256_json([repr(job.task), job.seed, *blocks, *tables, start, code_sha256(), version("torch")])[:16]


def _together(outcomes: list[Outcome]) -> bytes:
    """One network's weights; or all of them in one file, each under its number."""
    from safetensors.torch import load, save

    if len(outcomes) == 1:
        return outcomes[0].weights
    named = {
        f"{MEMBERS}{number}.{name}": tensor
        for number, outcome in enumerate(outcomes)
        for name, tensor in load(outcome.weights).items()
    }
    together: bytes = save(named, _architecture(outcomes).header())
    return together


def _architecture(outcomes: list[Outcome]) -> Architecture:
    return replace(Architecture.read(outcomes[0].architecture), members=len(outcomes))


def _history(outcomes: list[Outcome]) -> pd.DataFrame:
    """Rows of all networks; with several, each with its fold."""
    if len(outcomes) == 1:
        return pd.DataFrame(outcomes[0].history)
    return pd.concat(
        [pd.DataFrame([{"fold": fold, **row} for row in outcome.history]) for fold, outcome in enumerate(outcomes)]
    )


def _workers(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    if len(outcomes) == 1:
        return outcomes[0].workers
    return [{"fold": fold, **worker} for fold, outcome in enumerate(outcomes) for worker in outcome.workers]


def _summary(outcomes: list[Outcome], history: pd.DataFrame, settings: Train, score_name: str) -> dict[str, Any]:
    seconds = float(history["seconds"].sum())
    warnings = [warning for outcome in outcomes for warning in outcome.warnings]
    return {
        "score_name": score_name,
        "monitor": settings.monitor,
        "epochs": len(history),
        "seconds": round(seconds, 1),
        "images_a_second": round(float(history["samples"].sum()) / seconds, 1),
        "waiting_for_data": round(float((history["waiting"] * history["seconds"]).sum()) / seconds, 4),
        "warnings": list(dict.fromkeys(warnings)),
        "stopped": next((outcome.stopped for outcome in outcomes if outcome.stopped), None),
    }


def _about(job: Job, outcomes: list[Outcome], weights: bytes) -> dict[str, Any]:
    from safetensors.torch import load

    shape = Store.open(STORE).images.shape
    transferred = outcomes[0].transferred
    members = [{"epoch": int(outcome.best["epoch"]), "score": outcome.validated} for outcome in outcomes]
    return {
        "name": job.model.name,
        "channels": shape[1],
        "size": shape[2],
        "outputs": job.task.outputs,
        "architecture": _architecture(outcomes).record(),
        "parameters": sum(tensor.numel() for tensor in load(weights).values() if tensor.is_floating_point()),
        "weights": "transfer" if transferred else "from scratch",
        "transferred": {name: _plain(value) for name, value in transferred.items()} if transferred else None,
        "members": members,
        "weights_sha256": sha256(weights),
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
