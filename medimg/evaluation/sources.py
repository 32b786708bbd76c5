"""What the evaluation reads: predictions, and the files that tell how they came about."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from medimg.errors import DataError
from medimg.files import sha256_file
from medimg.records import (
    INDEX,
    INDEX_SCHEMA,
    INGEST,
    PARTS,
    PARTS_SCHEMA,
    PREDICTIONS,
    PREVIEW_FINDINGS,
    SPLIT,
    STORE,
    TRAINING,
    WEIGHTS,
    Predictions,
    read_predictions,
    read_table,
)
from medimg.store import samples_in
from medimg.tasks import Task

_AGAIN = "Run dvc repro to make it again."


@dataclass(frozen=True)
class Sources:
    """The files of one run."""

    predictions: Predictions
    parts: pd.DataFrame
    index: pd.DataFrame
    ingest: dict[str, Any]
    split: dict[str, Any]
    history: pd.DataFrame
    workers: list[dict[str, Any]]
    training: dict[str, Any]
    """training.json: speed, waiting, warnings"""
    model: dict[str, Any]
    unprocessed: dict[str, int]
    """samples that could not be preprocessed and count nowhere, by the part that they were in"""
    preview: list[str]
    """what the preview warns of, where it has looked at what the network learned from"""
    index_sha256: str
    """It holds the hash of every image and every label, so it stands for all data used."""


def read(task: Task, elsewhere: bool = False) -> Sources:
    """Read and check the files in the current folder; ``task`` is what they should answer.

    A model that was trained ``elsewhere`` comes without the account of its training.

    Raises:
        DataError: a file is missing or damaged, or predictions cannot be: a patient in two parts, a sample twice or not
            at all, a truth or a probability that the task does not have, several weights or other weights than those in
            the weights folder.
    """
    parts, unprocessed = _processed(read_table(PARTS, PARTS_SCHEMA))
    sources = Sources(
        predictions=read_predictions(),
        parts=parts,
        index=read_table(INDEX, INDEX_SCHEMA),
        ingest=_loaded(INGEST),
        split=_loaded(SPLIT),
        history=pd.DataFrame() if elsewhere else pd.read_csv(_there(TRAINING / "history.csv")),
        workers=[] if elsewhere else _loaded(TRAINING / "workers.json"),
        training={} if elsewhere else _loaded(TRAINING / "training.json"),
        model=_loaded(WEIGHTS / "model.yaml"),
        unprocessed=unprocessed,
        preview=_loaded(PREVIEW_FINDINGS)["warnings"] if PREVIEW_FINDINGS.exists() else [],
        index_sha256=sha256_file(INDEX),
    )
    rows = sources.predictions.rows
    _check_rows(sources.predictions, task)
    _check_patients(rows)
    _check_weights(rows, sources.model["weights_sha256"])
    _check_parts(rows, sources.parts, folded=len(sources.model["members"]) > 1)
    return sources


def _processed(parts: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """The parts, without the samples that the store does not hold, and how many of these were in each part."""
    held = samples_in(STORE)
    lost = parts["part"].ne("excluded") & (False if held is None else ~parts["sample"].isin(held))
    counts = {str(part): int(count) for part, count in parts.loc[lost, "part"].value_counts().sort_index().items()}
    return parts.assign(part=parts["part"].mask(lost, "excluded")), counts


def _check_rows(predictions: Predictions, task: Task) -> None:
    rows = predictions.rows
    twice = int(rows["sample"].duplicated().sum())
    if twice:
        raise DataError(f"{PREDICTIONS} holds {twice} samples more than once; each counts once. {_AGAIN}")
    answers = task.questions(predictions.truth)
    odd = int((~np.isin(answers, [0.0, 1.0]) & np.isfinite(answers)).sum())
    if odd or predictions.probabilities.shape[1] != task.outputs:
        what = f"{odd} truths" if odd else f"{predictions.probabilities.shape[1]} answers an image"
        raise DataError(f"{PREDICTIONS} holds {what} that this task does not have. {_AGAIN}")
    known = np.isfinite(predictions.probabilities).all(axis=1) & np.isfinite(predictions.logits).all(axis=1)
    if not known.all():
        raise DataError(
            f"{int((~known).sum())} of {len(rows)} predictions are no finite numbers. The training has "
            "probably diverged: lower train.learning_rate and run dvc repro."
        )


def _check_patients(rows: pd.DataFrame) -> None:
    shared = int((rows.groupby("patient")["part"].nunique() > 1).sum())
    if shared:
        raise DataError(
            f"{shared} patients are in more than one part of {PREDICTIONS}: the result would be too good. "
            "Run dvc repro to split again."
        )


def _check_weights(rows: pd.DataFrame, expected: str) -> None:
    weights = set(rows["weights"])
    if len(weights) > 1:
        raise DataError(f"{PREDICTIONS} mixes the predictions of {len(weights)} weights. {_AGAIN}")
    if weights - {expected}:
        raise DataError(f"{PREDICTIONS} was made with other weights than those in {WEIGHTS}. {_AGAIN}")


def _check_parts(rows: pd.DataFrame, parts: pd.DataFrame, folded: bool) -> None:
    """Of a cross-validation, whoever is train validates too, by the network that did not learn from them."""
    if folded and rows["part"].eq("validation").any():
        parts = parts.assign(part=parts["part"].where(parts["part"] != "train", "validation"))
    expected = parts[parts["part"].isin(["validation", "test", "promotion"])]
    both = expected.merge(rows, on="sample", how="outer", suffixes=("", "_predicted"), indicator=True)
    differ = int(((both["_merge"] != "both") | (both["part"] != both["part_predicted"])).sum())
    if differ:
        raise DataError(
            f"{differ} samples differ between {PREDICTIONS} and {PARTS}: each sample of validation, test and promotion "
            f"needs one prediction. {_AGAIN}"
        )


def _loaded(path: Path) -> Any:
    """A JSON or YAML file.

    Raises:
        DataError: it is not there or cannot be read.
    """
    text = _there(path).read_text(encoding="utf-8")
    try:
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError):
        raise DataError(f"{path} is damaged. {_AGAIN}") from None


def _there(path: Path) -> Path:
    if not path.exists():
        raise DataError(f"There is no {path}. Run dvc repro, which makes it.")
    return path
