"""What a model says of the patients who decide: the stages' own functions, in a folder where they look like test.

No second way of scoring or evaluating: in a folder of its own, with the clone's index, split and store, the patients of
``promotion`` stand as test, and ``predict`` and ``evaluate`` do there what they do in the pipeline.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medimg.bundle import FILES, opened
from medimg.errors import NightError
from medimg.evaluation.compare import Model
from medimg.evaluation.frozen import read as read_frozen
from medimg.files import write_json
from medimg.params import Params
from medimg.records import (
    DATA,
    EVALUATION,
    INDEX,
    INDEX_SCHEMA,
    INGEST,
    PARTS,
    PARTS_SCHEMA,
    PREDICTIONS,
    SPLIT,
    STORE,
    WEIGHTS,
    read_predictions,
    read_table,
    write_table,
)
from medimg.retrain.outcome import Status
from medimg.tasks import task_of


@dataclass(frozen=True)
class Assessment:
    """A model on the promotion part."""

    model: Model
    metrics: dict[str, Any]
    shortcuts: dict[str, Any] | None


def scored(place: Path, bundle: Path, params: Params, chosen: pd.Series) -> Model:
    """What the model of ``bundle`` says of some samples, with the thresholds and calibration that it brings.

    Args:
        place: the study's folder, with index, split and store.
        bundle: a whole bundle.
        params: of the study now.
        chosen: names of the samples.

    Raises:
        NightError: the bundle answers another question.
    """
    from medimg.inference import predict
    from medimg.preprocess import preprocess

    own = opened(bundle)
    asked = [(study.task, study.label, study.positive, study.classes) for study in (own.study, params.study)]
    if asked[0] != asked[1]:
        raise NightError(
            Status.FAILED,
            "The block study asks another question than the champion answers, so the two cannot be compared. A new "
            "question is a new study (medimg new), or begins again here: medimg retrain --anew",
        )
    parts = read_table(place / PARTS, PARTS_SCHEMA)
    as_test = parts.assign(part=parts["sample"].isin(set(chosen)).map({True: "test", False: "excluded"}))
    same = own.preprocess == params.preprocess
    with _folder(place, bundle, as_test, STORE if same else None):
        if not same:
            preprocess(own.preprocess.model_copy(update={"remote": None}), own.ingest.sample, own.ingest.geometry)
        predict(task_of(params.study), params.predict, ("test",))
        found = read_predictions()
    real = parts.set_index("sample")["part"]
    rows = found.rows.assign(part=found.rows["sample"].map(real))
    return Model(
        type(found)(rows, found.truth, found.logits, found.probabilities), read_frozen(bundle / "operating.yaml")
    )


def assess(place: Path, bundle: Path, params: Params, report: Path) -> Assessment:
    """Evaluate the model of ``bundle`` on promotion as the pipeline does on test, and write the report to ``report``.

    Raises:
        DataError: promotion is empty, or a prediction is no finite number.
    """
    from medimg.evaluation import evaluate_frozen
    from medimg.inference import predict
    from medimg.probe import probe

    parts = read_table(place / PARTS, PARTS_SCHEMA)
    as_test = parts["part"].replace({"test": "excluded", "promotion": "test"})
    task, rim = task_of(params.study), params.evaluate.shortcuts.rim
    with _folder(place, bundle, parts.assign(part=as_test), STORE):
        account = json.loads((place / SPLIT).read_text(encoding="utf-8"))
        account["parts"]["test"] = account["parts"].pop("promotion")
        SPLIT.unlink(missing_ok=True)
        write_json(SPLIT, account)
        predict(task, params.predict, ("validation", "test"))
        probe(task, params.predict, params.saliency.model_copy(update={"cases": 0}), rim, params.study.seed)
        evaluate_frozen(params, bundle)
        shutil.rmtree(report, ignore_errors=True)
        shutil.copytree(EVALUATION, report)
        found = read_predictions(PREDICTIONS).part("test")
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    audit = report / "shortcuts.json"
    shortcuts = json.loads(audit.read_text(encoding="utf-8")) if audit.exists() else None
    return Assessment(Model(found, read_frozen(bundle / "operating.yaml")), metrics, shortcuts)


@contextlib.contextmanager
def _folder(place: Path, bundle: Path, parts: pd.DataFrame, store: Path | None) -> Iterator[None]:
    """The current folder becomes one in which ``parts`` hold and the bundle's weights lie; it is removed at the end."""
    room = place / ".medimg/assess"
    shutil.rmtree(room, ignore_errors=True)
    (room / WEIGHTS).mkdir(parents=True)
    with contextlib.chdir(room):
        DATA.symlink_to(place / DATA, target_is_directory=True)
        for path in (INDEX, INGEST, SPLIT, *([store] if store else [])):
            path.symlink_to(place / path)
        for name, where in FILES.items():
            if where.parent == WEIGHTS:
                shutil.copyfile(bundle / name, where)
        write_table(PARTS, parts, PARTS_SCHEMA)
        yield
    shutil.rmtree(room, ignore_errors=True)


def index_of(place: Path) -> pd.DataFrame:
    """The clone's index."""
    return read_table(place / INDEX, INDEX_SCHEMA)
