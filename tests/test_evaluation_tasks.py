"""The stage for classes, labels and numbers, against scikit-learn and by hand."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn import metrics as reference
from test_evaluation import INDEX, SPLIT, WEIGHT, Page, change, index, predictions
from test_evaluation import prepare as uneventful

from medimg.evaluation import evaluate, frozen, summary
from medimg.evaluation.units import cases_of
from medimg.params import Evaluate, Params, Study
from medimg.records import (
    EVALUATION,
    INDEX_SCHEMA,
    PARTS,
    PARTS_SCHEMA,
    Predictions,
    read_predictions,
    write_predictions,
    write_table,
)
from medimg.tasks import Task, task_of

STUDIES = {
    "multiclass": {"label": "organ", "classes": ["liver", "lung", "heart"]},
    "multilabel": {"label": ["mass", "fluid"], "positive": "1"},
    "regression": {"label": "age", "range": [0, 100]},
}
KINDS = list(STUDIES)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def study(kind: str, **changes: object) -> Study:
    return Study.model_validate({"question": "What is it?", "task": kind, "seed": 3} | STUDIES[kind] | changes)


def answers(task: Task, kind: str, patients: int = 120, images: int = 2, seed: int = 0) -> Predictions:
    """Predictions that know something of the truth, one truth a patient; of two labels the second is often unknown."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), images)
    noise = random.normal(size=(patients, task.outputs))[patient] + random.normal(size=(len(patient), task.outputs))
    if kind == "regression":
        truth = random.uniform(20, 80, (patients, 1))[patient]
        logits = 0.8 * task.logits(truth) + 0.15 * noise
    elif kind == "multiclass":
        truth = random.integers(3, size=(patients, 1)).astype(float)[patient]
        logits = 2 * task.questions(truth) + noise
    else:
        truth = (random.random((patients, 2)) < 0.4).astype(float)[patient]
        logits = 2 * truth - 1 + noise
        truth[random.random(len(patient)) < 0.3, 1] = np.nan
    rows = pd.DataFrame(
        {
            "sample": [f"{number:016x}" for number in range(len(patient))],
            "patient": [f"P{number:04d}" for number in patient],
            "study": [f"S{number:04d}" for number in patient],
            "part": np.where(patient % 2, "test", "validation"),
            "fold": None,
            "weights": WEIGHT,
        }
    )
    return Predictions(rows, truth, logits, task.probabilities(logits))


def prepare(found: Predictions, counts: dict[str, int]) -> None:
    uneventful(predictions())
    classes = {name: {"patients": 30, "images": images} for name, images in counts.items()}
    part = {"patients": 60, "images": 120, "classes": classes, "subgroups": {}}
    parts = dict.fromkeys(["test", "train", "validation"], part)
    change(SPLIT, parts=parts)
    INDEX.unlink(missing_ok=True)
    write_table(INDEX, index(found.rows), INDEX_SCHEMA)
    write_table(PARTS, found.rows[["sample", "patient", "part", "fold"]].assign(reason=None), PARTS_SCHEMA)
    write_predictions(found)


def run(kind: str, found: Predictions | None = None, settings: dict[str, object] | None = None, **changes) -> dict:
    asked = study(kind, **changes)
    task = task_of(asked)
    found = answers(task, kind) if found is None else found
    prepare(found, task.counts(found.truth))
    evaluate(Params.model_validate({"study": asked, "evaluate": settings or {}}))
    return json.loads((EVALUATION / "metrics.json").read_text())


def of_test() -> Predictions:
    return read_predictions().part("test")


def close(found: dict, expected: dict[str, float]) -> None:
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-6), name
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"], name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", ["image", "patient"])
def test_every_task_writes_a_report_that_fetches_nothing(kind: str, unit: str) -> None:
    metrics = run(kind, unit=unit)
    first = {path.name: path.read_bytes() for path in EVALUATION.iterdir()}
    evaluate(Params.model_validate({"study": study(kind, unit=unit)}))
    assert {path.name: path.read_bytes() for path in EVALUATION.iterdir()} == first
    page = Page(first["report.html"].decode())
    assert page.silent == 0 and page.tags.count("img") >= 3
    assert all(address.startswith("data:") for address in page.fetched)
    assert "undefined" not in summary(metrics)
    assert metrics["counts"]["test"]["units"] == (60 if unit == "patient" else 120)


def test_evaluating_needs_no_torch_and_no_ray() -> None:
    asked = study("multilabel")
    task = task_of(asked)
    found = answers(task, "multilabel")
    prepare(found, task.counts(found.truth))
    Path("params.yaml").write_text(yaml.safe_dump({"study": asked.model_dump(mode="json")}))
    code = """
import sys

class Refuse:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {"torch", "monai", "ray", "pytorch_lightning"}:
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
from medimg.evaluation import evaluate
from medimg.params import load

evaluate(load())
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (EVALUATION / "report.html").exists()


def test_classes_are_scored_as_scikit_learn_does() -> None:
    metrics = run("multiclass", prevalence=0.1)
    test = of_test()
    truth, p = test.truth[:, 0].astype(int), test.probabilities
    choice, names = p.argmax(axis=1), np.array(STUDIES["multiclass"]["classes"])
    close(
        metrics["test"],
        {
            "auroc": reference.roc_auc_score(truth, p, multi_class="ovr"),
            "auprc": np.mean([reference.average_precision_score(truth == k, p[:, k]) for k in range(3)]),
            "accuracy": reference.accuracy_score(truth, choice),
            "balanced_accuracy": reference.balanced_accuracy_score(truth, choice),
            "f1": reference.f1_score(truth, choice, average="macro"),
            "brier": ((p - np.eye(3)[truth]) ** 2).sum(axis=1).mean(),
            "log_loss": reference.log_loss(truth, p),
        },
    )
    for k, name in enumerate(names):
        close(
            metrics["questions"][name],
            {
                "auroc": reference.roc_auc_score(truth == k, p[:, k]),
                "sensitivity": reference.recall_score(truth == k, choice == k),
                "ppv": reference.precision_score(truth == k, choice == k),
                "brier": reference.brier_score_loss(truth == k, p[:, k]),
                "log_loss": reference.log_loss(truth == k, p[:, k]),
            },
        )
        assert "ppv_at_prevalence" in metrics["questions"][name]
    table = pd.read_csv(EVALUATION / "answers.csv")
    assert (table["answer"] == names[choice]).all() and (table["truth"] == names[truth]).all()


def test_a_class_that_is_never_called_is_warned_of() -> None:
    task = task_of(study("multiclass"))
    found = answers(task, "multiclass")
    hearts = int((found.part("test").truth == 2).sum())
    for shift, expected in ((0, []), (-20, [f"None of the 120 images of test is called heart; {hearts} are."])):
        logits = found.logits + np.array([0, 0, shift])
        run("multiclass", replace(found, logits=logits, probabilities=task.probabilities(logits)))
        titles = [caution["title"] for caution in json.loads((EVALUATION / "cautions.json").read_text())]
        assert [title for title in titles if "called" in title] == expected


def test_labels_are_scored_where_they_are_known() -> None:
    metrics = run("multilabel")
    test = of_test()
    points = yaml.safe_load((EVALUATION / "operating.yaml").read_text())["thresholds"]
    areas = []
    table = pd.read_csv(EVALUATION / "answers.csv").value_counts().to_dict()
    for k, name in enumerate(STUDIES["multilabel"]["label"]):
        known = np.isfinite(test.truth[:, k])
        truth, p = test.truth[known, k], test.probabilities[known, k]
        areas.append(reference.roc_auc_score(truth, p))
        close(
            metrics["questions"][name],
            {"auroc": areas[-1], "f1": reference.f1_score(truth, p >= points[name]["threshold"])},
        )
        assert metrics["counts"]["test"]["questions"][name]["positive"] == truth.sum()
        cells = reference.confusion_matrix(truth, p >= points[name]["threshold"])
        words = [f"{name} negative", f"{name} positive"]
        assert [[table.pop((one, other), 0) for other in words] for one in words] == cells.tolist()
    assert not table  # a row for each label that is known, and no other
    close(metrics["test"], {"auroc": np.mean(areas)})
    each = [metrics["questions"][name] for name in points]
    for name in ("auprc", "f1", "brier", "log_loss", "balanced_accuracy"):
        assert metrics["test"][name]["value"] == pytest.approx(np.mean([one[name]["value"] for one in each]), abs=1e-5)


@pytest.mark.parametrize(("kind", "name"), [("multilabel", "fluid"), ("multiclass", "liver")])
def test_a_class_that_validation_lacks_is_not_said_to_be_missing_in_test(kind: str, name: str) -> None:
    found = answers(task_of(study(kind)), kind)
    k = list(task_of(study(kind)).names).index(name)
    lacks = (found.rows["part"] == "validation").to_numpy()
    truth = found.truth.copy()
    column = truth[:, k] if kind == "multilabel" else truth[:, 0]
    column[lacks & (column == (1 if kind == "multilabel" else k))] = 0 if kind == "multilabel" else 1
    metrics = run(kind, replace(found, truth=truth))
    assert metrics["validation"]["auroc"]["reason"] == f"the part holds no positive unit of {name}"
    assert metrics["headline"]["value"] is not None


def test_numbers_are_scored_as_scikit_learn_does() -> None:
    metrics = run("regression")
    test = of_test()
    y, p = test.truth[:, 0], test.probabilities[:, 0]
    close(
        metrics["test"],
        {
            "mae": reference.mean_absolute_error(y, p),
            "rmse": reference.root_mean_squared_error(y, p),
            "r2": reference.r2_score(y, p),
            "bias": np.mean(p - y),
            "correlation": np.corrcoef(y, p)[0, 1],
            "calibration_slope": np.polyfit(p, y, 1)[0],
        },
    )
    assert metrics["headline"]["name"] == "mae"


def test_what_is_undefined_has_a_reason_that_names_the_class() -> None:
    found = answers(task_of(study("multiclass")), "multiclass")
    gone = (found.rows["part"] == "test").to_numpy() & (found.truth[:, 0] == 2)
    found.truth[gone] = 0
    metrics = run("multiclass", found)
    assert metrics["headline"]["value"] is None
    assert metrics["headline"]["reason"] == "test holds no positive unit of heart"
    assert metrics["questions"]["heart"]["sensitivity"]["value"] is None
    assert metrics["questions"]["lung"]["auroc"]["value"] > 0.5
    assert metrics["test"]["accuracy"]["value"] > 0 and metrics["test"]["log_loss"]["value"] > 0


def test_equal_numbers_have_no_r2() -> None:
    found = answers(task_of(study("regression")), "regression")
    found.truth[(found.rows["part"] == "test").to_numpy()] = 40.0
    metrics = run("regression", found)["test"]
    assert metrics["r2"] == {"value": None, "low": None, "high": None, "reason": "all true values of test are equal"}
    assert metrics["mae"]["value"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_decides_comes_from_validation_alone_and_can_be_read_again(kind: str) -> None:
    settings = {"recalibrate": True}
    run(kind, settings=settings)
    before = (EVALUATION / "operating.yaml").read_text()
    found = read_predictions()
    test = (found.rows["part"] == "test").to_numpy()
    task = task_of(study(kind))
    logits = np.where(test[:, None], -found.logits, found.logits)
    found = Predictions(found.rows, found.truth, logits, task.probabilities(logits))
    run(kind, found, settings=settings)
    assert (EVALUATION / "operating.yaml").read_text() == before
    validation = cases_of(found.part("validation"), task, "image", "mean", "validation")
    again = frozen.read(EVALUATION / "operating.yaml")
    made = frozen.freeze(validation, study(kind), Evaluate.model_validate(settings))
    np.testing.assert_allclose(again.corrected(validation).probability, made.corrected(validation).probability)
    assert {name: point.threshold for name, point in again.points.items()} == {
        name: point.threshold for name, point in made.points.items()
    }


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_recalibration_undoes_a_shift_and_a_stretch(kind: str) -> None:
    task = task_of(study(kind))
    plain = answers(task, kind, patients=1500, images=1)
    shift = np.arange(task.outputs) - 1.0
    bent = Predictions(plain.rows, plain.truth, 3 * plain.logits + shift, task.probabilities(3 * plain.logits + shift))
    corrected, left = run(kind, bent, {"recalibrate": True}), run(kind, bent)
    assert corrected["recalibration"] == left["recalibration"]
    for question in corrected["recalibration"].values():
        assert question["after"]["ece"] < question["before"]["ece"] / 2
        assert question["after"]["slope"]["value"] == pytest.approx(1, abs=0.2)
        assert question["after"]["intercept"]["value"] == pytest.approx(0, abs=0.4)
    assert corrected["test"]["log_loss"]["value"] < left["test"]["log_loss"]["value"]


def test_classes_that_validation_separates_completely_are_not_made_surer() -> None:
    task = task_of(study("multiclass"))
    found = answers(task, "multiclass", patients=60)
    apart = task.questions(found.truth) * 2.0
    perfect = Predictions(found.rows, found.truth, apart, task.probabilities(apart))
    cases = cases_of(perfect.part("validation"), task, "image", "mean", "validation")
    made = frozen.freeze(cases, study("multiclass"), Evaluate(recalibrate=True))
    assert set(made.recalibration.slope) == {1.0} and "separate the classes" in made.recalibration.notes[task.names[0]]
    np.testing.assert_allclose(made.corrected(cases).probability, cases.probability)


def test_the_decision_curve_is_drawn_for_test_and_for_the_prevalence_of_use() -> None:
    run("multilabel", prevalence=0.02)
    page = (EVALUATION / "report.html").read_text()
    for name in STUDIES["multilabel"]["label"]:
        assert f"Decision curve, {name}, in test: where" in page
        assert f"Decision curve, {name}, at 2\u00a0%: where" in page
    table = pd.read_csv(EVALUATION / "decision.csv")
    first = table.groupby("question").first()
    assert np.allclose(first["all"], 0.02 - 0.98 * 0.01 / 0.99, atol=1e-6)
    assert (first["all_in_test"] > 0.2).all()
