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
    INGEST,
    PARTS,
    PARTS_SCHEMA,
    PREDICTIONS,
    PREDICTIONS_SCHEMA,
    SPLIT,
    TRAINING,
    WEIGHTS,
    read_table,
)

_AGAIN = "Run dvc repro to make it again."


@dataclass(frozen=True)
class Sources:
    """The files of one run."""

    predictions: pd.DataFrame
    parts: pd.DataFrame
    ingest: dict[str, Any]
    split: dict[str, Any]
    history: pd.DataFrame
    workers: list[dict[str, Any]]
    model: dict[str, Any]
    index_sha256: str
    """It holds the hash of every image and every label, so it stands for all data used."""


def read() -> Sources:
    """Read and check the files in the current folder.

    Raises:
        DataError: a file is missing or damaged, or predictions cannot be: a patient in two parts, a sample twice or not
            at all, a truth other than 0 and 1, a probability that is no number from 0 to 1, several weights or other
            weights than those in the weights folder.
    """
    sources = Sources(
        predictions=read_table(PREDICTIONS, PREDICTIONS_SCHEMA),
        parts=read_table(PARTS, PARTS_SCHEMA),
        ingest=_loaded(INGEST),
        split=_loaded(SPLIT),
        history=pd.read_csv(_there(TRAINING / "history.csv")),
        workers=_loaded(TRAINING / "workers.json"),
        model=_loaded(WEIGHTS / "model.yaml"),
        index_sha256=sha256_file(_there(INDEX)),
    )
    _check_rows(sources.predictions)
    _check_patients(sources.predictions)
    _check_weights(sources.predictions, sources.model["weights_sha256"])
    _check_parts(sources.predictions, sources.parts)
    return sources


def _check_rows(rows: pd.DataFrame) -> None:
    twice = int(rows["sample"].duplicated().sum())
    if twice:
        raise DataError(f"{PREDICTIONS} holds {twice} samples more than once; each counts once. {_AGAIN}")
    odd = int((~rows["truth"].isin([0.0, 1.0])).sum())
    if odd:
        raise DataError(f"{PREDICTIONS} holds {odd} truths that are neither 0 nor 1. {_AGAIN}")
    known = rows["probability"].between(0, 1) & np.isfinite(rows["logit"])
    if not known.all():
        raise DataError(
            f"{int((~known).sum())} of {len(rows)} predictions are no probability from 0 to 1. The training has "
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


def _check_parts(rows: pd.DataFrame, parts: pd.DataFrame) -> None:
    expected = parts[parts["part"].isin(["validation", "test"])]
    both = expected.merge(rows, on="sample", how="outer", suffixes=("", "_predicted"), indicator=True)
    differ = int(((both["_merge"] != "both") | (both["part"] != both["part_predicted"])).sum())
    if differ:
        raise DataError(
            f"{differ} samples differ between {PREDICTIONS} and {PARTS}: each sample of validation and test needs one "
            f"prediction. {_AGAIN}"
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
