"""External validation: a bundle's frozen model, thresholds and calibration on other data, with the full report."""

import contextlib
import csv
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from medimg.bundle import FILES, opened
from medimg.errors import DataError, LabelsError
from medimg.files import publish_folder, write_json
from medimg.params import Params
from medimg.records import (
    DATA,
    EVALUATION,
    INDEX,
    INDEX_SCHEMA,
    INGEST,
    LABELS,
    PARTS,
    PARTS_SCHEMA,
    PREDICTIONS,
    QUARANTINE,
    SEEN,
    SPLIT,
    WEIGHTS,
    known,
    read_table,
    write_table,
)
from medimg.split.account import summary
from medimg.split.copies import find
from medimg.tasks import Task, task_of

KNOWN = "pixels or patient known to the model"
KEPT = (PREDICTIONS, INGEST, QUARANTINE, SPLIT)
"""What stands beside the evaluation's own files."""


def evaluate(
    bundle: Path,
    data: Path,
    out: Path,
    *,
    label: str | None = None,
    each_image_is_a_patient: bool = False,
    allow_unverified: bool = False,
) -> dict[str, Any]:
    """Score every labelled patient of ``data`` with the model of ``bundle``, and write the report to ``out``.

    The stages run as in a study, in a folder of their own beside ``out`` that is removed at the end; nothing is
    trained, fitted or chosen.

    Args:
        bundle: a study's ``artifacts/bundle``, or a copy of it.
        data: what ``medimg import`` wrote.
        out: a folder that does not exist or is empty.
        label: the column of labels.csv in the place of ``study.label``; for one label only.
        each_image_is_a_patient: an image without a patient id counts as a patient.
        allow_unverified: use files that no import vouches for; the report says so.

    Returns:
        The content of metrics.json.

    Raises:
        DataError: the bundle is not whole, the data cannot be used, or they hold no two classes to tell apart.
    """
    from medimg.evaluation import evaluate_frozen
    from medimg.inference import load_network, predict
    from medimg.ingest import ingest
    from medimg.preprocess import preprocess
    from medimg.probe import show
    from medimg.training.data import read_parts

    bundle, data, out = bundle.resolve(), data.resolve(), out.resolve()
    params = _frozen(opened(bundle), each_image_is_a_patient, allow_unverified)
    column = _column(params, data, label)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} holds something already. Name a folder that is empty or does not exist.")
    task, rim = task_of(params.study), params.evaluate.shortcuts.rim
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".medimg-evaluate-", dir=out.parent) as folder, contextlib.chdir(folder):
        DATA.symlink_to(data, target_is_directory=True)
        WEIGHTS.mkdir(parents=True)
        for name, place in FILES.items():
            if place.parent == WEIGHTS:
                shutil.copyfile(bundle / name, place)
        ingest(column, params.ingest)
        _all_into_test(task, params, json.loads((bundle / SEEN).read_text(encoding="utf-8")))
        preprocess(params.preprocess, params.ingest.sample, params.ingest.geometry)
        predict(task, params.predict, ("test",))
        show(load_network(WEIGHTS)[0], task, read_parts(task, "test")["test"], params.saliency, rim)
        evaluate_frozen(params, bundle)
        with publish_folder(out) as made:
            shutil.copytree(EVALUATION, made, dirs_exist_ok=True)
            for path in KEPT:
                shutil.copyfile(path, made / path.name)
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return found


def _frozen(params: Params, each: bool, allow_unverified: bool) -> Params:
    """The bundle's parameters, but for those about the data that it was made of.

    No share of images refused or without a label stops the evaluation: the report counts them and says why.
    """
    ours = {"labels_key": "auto", "max_quarantined": 1.0, "max_unlabelled": 1.0, "allow_unverified": allow_unverified}
    return params.model_copy(
        update={
            "ingest": params.ingest.model_copy(update=ours),
            "preprocess": params.preprocess.model_copy(update={"remote": None}),
            "split": params.split.model_copy(update={"each_image_is_a_patient": each, "redraw": False}),
        }
    )


def _column(params: Params, data: Path, label: str | None) -> str | tuple[str, ...]:
    """The column or columns of labels.csv that hold the label.

    Raises:
        DataError: there are no data, or a column that is asked for is not there.
    """
    wanted = params.study.label if label is None else label
    if label is not None and len(params.study.columns) > 1:
        raise LabelsError(
            f"The bundle answers {len(params.study.columns)} questions ({', '.join(params.study.columns)}), each with "
            "its own column. --label names one column: bring the labels in under these names instead."
        )
    if not data.is_dir():
        raise DataError(f"There is no folder {data}. Bring the data in first: medimg import IMAGES --out {data.name}")
    if params.ingest.labels == "folders":
        return wanted
    path = data / LABELS.name
    if not path.is_file():
        raise LabelsError(
            f"There is no {path}, so there is no truth to compare with: medimg import --labels brings it."
        )
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        columns = [name.strip() for name in next(csv.reader(file), [])]
    missing = [name for name in ((wanted,) if isinstance(wanted, str) else wanted) if name not in columns]
    if missing:
        raise LabelsError(
            f"{path} has no column {', '.join(missing)}, which the bundle was made to answer. Its columns are: "
            f"{', '.join(columns)}. If it has another name here: --label NAME"
        )
    return wanted


def _all_into_test(task: Task, params: Params, seen: dict[str, list[str]]) -> None:
    """Write ``parts.parquet`` and ``split.json``: every labelled image is test, unless there is a reason against it."""
    index = read_table(INDEX, INDEX_SCHEMA)
    missing = int(index["patient"].isna().sum())
    if missing and not params.split.each_image_is_a_patient:
        raise DataError(
            f"{missing} of {len(index)} images have no patient, so nothing can be said of how sure a number is. Add a "
            "column patient to labels.csv. If each image truly is another person: --each-image-is-a-patient"
        )
    familiar = known(index, seen)
    index["patient"] = index["patient"].where(index["patient"].notna(), "image-" + index["sample"])
    excluded = index["label"].isna().map({True: "no label", False: None})
    labelled = index[excluded.isna()].copy()
    labelled["stratum"] = task.strata(labelled["label"])
    excluded.update(find(labelled, task, params.split.altered_copies).at_odds())
    excluded = excluded.mask(familiar & excluded.isna(), KNOWN)
    parts = pd.DataFrame(
        {
            "sample": index["sample"],
            "patient": index["patient"],
            "part": excluded.isna().map({True: "test", False: "excluded"}),
            "reason": excluded,
            "fold": pd.array([None] * len(index), "Int32"),
        }
    )
    test = parts["part"] == "test"
    if not test.any() or (lacking := task.lacking(task.truth(index.loc[test, "label"]))):
        counts = "; ".join(f"{count} {reason}" for reason, count in excluded.value_counts().items())
        raise DataError(
            f"Of {len(index)} images {int(test.sum())} can be used"
            + (f" ({counts})" if counts else "")
            + (f", and there is {lacking} among them" if test.any() else "")
            + ": nothing can be measured. Bring in labelled patients of what is missing. The bundle takes a label as "
            f"it was named where it was made: study.positive {params.study.positive!r}, study.classes "
            f"{params.study.classes!r}."
        )
    account = summary(parts, labelled, params.split, params.study.seed, missing)
    account["parts"] = {"test": account["parts"]["test"]}
    account["few"] = [one for one in account["few"] if one["part"] == "test"]
    write_table(PARTS, parts, PARTS_SCHEMA)
    write_json(SPLIT, account)
