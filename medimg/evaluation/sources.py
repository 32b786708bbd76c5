"""What the evaluation reads: predictions, and whatever else is in the folder to tell their story."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

from medimg.errors import DataError
from medimg.params import PARAMS
from medimg.records import (
    INDEX,
    INDEX_SCHEMA,
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
    """The files of one run. Only predictions must be there; what else is absent is left out of the report."""

    predictions: pd.DataFrame
    parts: pd.DataFrame | None
    index: pd.DataFrame | None
    ingest: dict[str, Any]
    split: dict[str, Any]
    history: pd.DataFrame | None
    workers: list[dict[str, Any]]
    model: dict[str, Any]
    params: str
    data: dict[str, Any]
    """The output that data.dvc names: md5, size, nfiles."""


def read() -> Sources:
    """Read and check the files in the current folder.

    Raises:
        DataError: predictions are missing or cannot be: a patient in two parts, a sample twice or not at all, a truth
            other than 0 and 1, a probability that is no number from 0 to 1, several weights or other weights than those
            in the weights folder.
    """
    predictions = read_table(PREDICTIONS, PREDICTIONS_SCHEMA)
    parts = _table(PARTS, PARTS_SCHEMA)
    model = _mapping(WEIGHTS / "model.yaml")
    _check_rows(predictions)
    _check_patients(predictions)
    _check_weights(predictions, model)
    if parts is not None:
        _check_parts(predictions, parts)
    workers = _loaded(TRAINING / "workers.json", [])
    history = TRAINING / "history.csv"
    outputs = _mapping(Path("data.dvc")).get("outs") or [{}]
    return Sources(
        predictions=predictions,
        parts=parts,
        index=_table(INDEX, INDEX_SCHEMA),
        ingest=_mapping(INGEST),
        split=_mapping(SPLIT),
        history=pd.read_csv(history) if history.exists() else None,
        workers=[worker for worker in workers if isinstance(worker, dict)] if isinstance(workers, list) else [],
        model=model,
        params=PARAMS.read_text(encoding="utf-8") if PARAMS.exists() else "",
        data=outputs[0],
    )


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


def _check_weights(rows: pd.DataFrame, model: dict[str, Any]) -> None:
    weights = set(rows["weights"])
    if len(weights) > 1:
        raise DataError(f"{PREDICTIONS} mixes the predictions of {len(weights)} weights. {_AGAIN}")
    expected = model.get("weights_sha256")
    if expected and weights and weights != {expected}:
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


def _table(path: Path, schema: pa.Schema) -> pd.DataFrame | None:
    return read_table(path, schema) if path.exists() else None


def _mapping(path: Path) -> dict[str, Any]:
    value = _loaded(path, {})
    return value if isinstance(value, dict) else {}


def _loaded(path: Path, absent: Any) -> Any:
    """A JSON or YAML file.

    Raises:
        DataError: it is there and cannot be read.
    """
    if not path.exists():
        return absent
    text = path.read_text(encoding="utf-8")
    try:
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError):
        raise DataError(f"{path} is damaged. {_AGAIN}") from None
