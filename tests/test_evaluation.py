"""The stage as a whole: what it writes, what it refuses, what changes nothing."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from scipy.special import expit
from studies import ROOT

from medimg.cli.results import result
from medimg.errors import DataError
from medimg.evaluation import curves, evaluate, summary
from medimg.evaluation.bootstrap import DRAWS
from medimg.evaluation.figures import Drawing, learning_curves
from medimg.evaluation.sources import read
from medimg.params import NO_RESULT, Evaluate, Params, Study, Threshold
from medimg.records import (
    EVALUATION,
    INDEX,
    INDEX_SCHEMA,
    INGEST,
    PARTS,
    PARTS_SCHEMA,
    PREVIEW_FINDINGS,
    SPLIT,
    STORE,
    TRAINING,
    WEIGHTS,
    Predictions,
    write_predictions,
    write_table,
)
from medimg.store import Geometry, Row, rebuild
from medimg.tasks import task_of

FILES = [
    *("answers.csv", "calibration.csv", "cautions.json", "decision.csv", "methods.json", "metrics.json"),
    *("operating.yaml", "pr.csv", "report.html", "roc.csv", "shortcuts.json", "subgroups.json"),
]
WEIGHT = "ab" * 32
MODEL = {
    "name": "resnet18",
    "channels": 1,
    "size": 96,
    "parameters": 11_170_753,
    "weights": "from scratch",
    "transferred": None,
    "members": [{"epoch": 1, "score": 0.8}],
    "weights_sha256": WEIGHT,
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def study(**changes: object) -> Study:
    values = {"question": "Is there a nodule?", "label": "finding", "positive": "nodule", "seed": 3} | changes
    return Study.model_validate(values)


def predictions(patients: int = 80, images: int = 2, seed: int = 0, **columns: object) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), images)
    truth = (random.random(patients) < 0.4).astype(float)[patient]
    logit = 2.5 * truth - 1.2 + random.normal(size=patients)[patient] + random.normal(size=len(patient))
    rows = pd.DataFrame(
        {
            "sample": [f"{number:016x}" for number in range(len(patient))],
            "patient": [f"P{number:04d}" for number in patient],
            "study": [f"S{number:04d}" for number in patient],
            "part": np.where(patient % 2, "test", "validation"),
            "truth": truth,
            "logit": logit,
            "probability": expit(logit),
            "weights": WEIGHT,
        }
    )
    return rows.assign(**columns)


def store(rows: pd.DataFrame) -> None:
    """Write flat columns as predictions.parquet."""
    about = rows.reindex(columns=["sample", "patient", "study", "part", "fold", "weights"])
    numbers = (rows[[name]].to_numpy(float) for name in ("truth", "logit", "probability"))
    write_predictions(Predictions(about, *numbers))


def scored(rows: pd.DataFrame, logit: np.ndarray) -> pd.DataFrame:
    return rows.assign(logit=logit, probability=expit(logit))


def put(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))  # which is YAML as well


def index(rows: pd.DataFrame) -> pd.DataFrame:
    """What ingest would say of the same images."""
    facts = {"format": "png", "photometric": "MONOCHROME2", "file_sha256": "f", "pixel_sha256": "p"}
    facts |= {"channels": 1, "height": 96, "width": 96, "bits": 8, "files": 1, "frames": 1, "depth": 1}
    facts |= {"path": rows["sample"] + ".png"}
    facts |= {"sex": np.where(rows["patient"].str[-1].isin(list("0145")), "F", "M"), "label": "finding"}
    table = rows[["sample", "patient", "study"]].assign(**facts).reindex(columns=INDEX_SCHEMA.names)
    return table.sort_values("sample")


def prepare(rows: pd.DataFrame) -> None:
    """The files that earlier stages leave, of an uneventful run."""
    classes = {name: {"patients": 50, "images": 99} for name in ("negative", "positive")}
    part = {
        "patients": 1234,
        "images": 4321,
        "classes": classes,
        "subgroups": {"sex": {"F": {"patients": 9, "images": 12}}},
    }
    put(
        SPLIT,
        {
            "parts": dict.fromkeys(["test", "train", "validation"], part),
            "excluded": {},
            "folds": [],
            "few": [],
            "redraw": False,
        }
        | {"each_image_is_a_patient": 0},
    )
    put(
        INGEST,
        {"seen": 200, "indexed_files": 160, "not_an_image": 0, "quarantined": 0, "by_code": {}, "refused_at_import": {}}
        | {"patients": 80, "sites": {}, "unlabelled": 0, "unverified": 0, "nobody": 0},
    )
    INDEX.unlink(missing_ok=True)
    write_table(INDEX, index(rows), INDEX_SCHEMA)
    write_table(PARTS, rows[["sample", "patient", "part"]].assign(reason=None, fold=None), PARTS_SCHEMA)
    store(rows)
    put(WEIGHTS / "model.yaml", MODEL)
    put(TRAINING / "workers.json", [{"rank": 0, "node": "node-a", "pid": 12345, "device": "cuda:0", "samples": 80}])
    put(TRAINING / "training.json", {"images_a_second": 40, "waiting_for_data": 0.01, "warnings": [], "stopped": None})
    (TRAINING / "history.csv").write_text(
        "epoch,train_loss,validation_loss,validation_score,learning_rate,seconds,samples\n"
        "0,0.9,0.8,0.5,0.1,2,80\n1,0.7,0.6,0.8,0.1,2,80\n2,0.5,0.5,0.7,0.1,2,80\n"
    )


def change(path: Path, **values: object) -> None:
    put(path, json.loads(path.read_text()) | values)


def again(settings: Evaluate | None = None, **changes: object) -> dict:
    evaluate(Params(study=study(**changes), evaluate=settings or Evaluate()))
    return json.loads((EVALUATION / "metrics.json").read_text())


def run(rows: pd.DataFrame, settings: Evaluate | None = None, **changes: object) -> dict:
    prepare(rows)
    return again(settings, **changes)


def written() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(EVALUATION.iterdir())}


def operating() -> dict:
    """The one threshold."""
    (point,) = yaml.safe_load((EVALUATION / "operating.yaml").read_text())["thresholds"].values()
    return point


def report() -> str:
    return (EVALUATION / "report.html").read_text()


def test_writes_its_files_and_a_summary() -> None:
    metrics = run(predictions())
    assert sorted(written()) == FILES
    assert metrics["headline"] == metrics["test"]["auroc"] | {"name": "auroc", "confidence": 0.95}
    assert metrics["counts"]["test"]["patients"] == 40
    assert metrics["counts"]["test"]["units"] == metrics["counts"]["test"]["images"] == 80
    value, low, high = (f"{metrics['headline'][end]:.2f}" for end in ("value", "low", "high"))
    assert summary(metrics) == f"AUROC {value} (95 % interval {low}–{high}) on 40 test patients"
    assert value in report()


@pytest.mark.parametrize("unit", ["image", "patient"])
def test_equal_inputs_make_equal_bytes_whatever_the_order_of_rows(unit: str) -> None:
    rows = predictions(images=5)
    run(rows, unit=unit)
    first = written()
    run(rows, unit=unit)
    assert written() == first
    run(rows.sample(frac=1, random_state=1), unit=unit)
    assert written() == first


def test_every_value_lies_in_its_interval() -> None:
    metrics = run(predictions(), prevalence=0.05)
    for name, estimate in metrics["test"].items():
        if estimate["low"] is not None:
            assert estimate["low"] <= estimate["value"] <= estimate["high"], name
            assert estimate["low"] < estimate["high"], name


def test_copies_of_images_narrow_no_interval() -> None:
    once = predictions(images=1)
    copies = [once.assign(sample=once["sample"] + str(number)) for number in range(3)]
    first, thrice = run(once)["test"], run(pd.concat(copies))["test"]
    for name in ("auroc", "auprc", "brier", "log_loss", "f1", "calibration_slope"):
        assert thrice[name] == first[name], name
    for name in ("sensitivity", "specificity", "accuracy"):
        assert thrice[name]["high"] - thrice[name]["low"] > 0.97 * (first[name]["high"] - first[name]["low"]), name


def test_metrics_are_those_of_scikit_learn() -> None:
    from sklearn import metrics as reference

    rows = predictions()
    found = run(rows)["test"]
    test = rows[rows["part"] == "test"]
    called = test["probability"] >= operating()["threshold"]
    expected = {
        "auroc": reference.roc_auc_score(test["truth"], test["probability"]),
        "auprc": reference.average_precision_score(test["truth"], test["probability"]),
        "sensitivity": reference.recall_score(test["truth"], called),
        "specificity": reference.recall_score(1 - test["truth"], ~called),
        "ppv": reference.precision_score(test["truth"], called),
        "npv": reference.precision_score(1 - test["truth"], ~called),
        "accuracy": reference.accuracy_score(test["truth"], called),
        "balanced_accuracy": reference.balanced_accuracy_score(test["truth"], called),
        "f1": reference.f1_score(test["truth"], called),
        "brier": reference.brier_score_loss(test["truth"], test["probability"]),
        "log_loss": reference.log_loss(test["truth"], test["probability"]),
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-6), name


def test_roc_csv_holds_the_area() -> None:
    metrics = run(predictions())
    curve = pd.read_csv(EVALUATION / "roc.csv")
    assert np.trapezoid(curve["tpr"], curve["fpr"]) == pytest.approx(metrics["test"]["auroc"]["value"], abs=1e-4)
    assert list(curve.columns) == ["question", "fpr", "tpr", "threshold"]
    bins = pd.read_csv(EVALUATION / "calibration.csv")
    assert list(bins.columns) == ["question", "predicted", "observed", "low", "high", "n"]


def test_the_threshold_comes_from_validation_alone() -> None:
    rows = predictions()
    run(rows)
    before = operating()
    test = rows["part"] == "test"
    run(scored(rows, np.where(test, -rows["logit"] + 1, rows["logit"])))
    assert operating() == before
    run(scored(rows, np.where(test, rows["logit"], rows["logit"] + 1)))
    assert operating()["threshold"] != before["threshold"]


def test_predictive_values_at_a_prevalence_follow_bayes() -> None:
    found = run(predictions(), prevalence=0.02)["test"]
    sensitivity, specificity = found["sensitivity"]["value"], found["specificity"]["value"]
    expected = sensitivity * 0.02 / (sensitivity * 0.02 + (1 - specificity) * 0.98)
    assert found["ppv_at_prevalence"]["value"] == pytest.approx(expected, abs=1e-5)
    assert "ppv_at_prevalence" not in run(predictions())["test"]


@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_one_class_in_test_leaves_undefined_metrics_null_with_a_reason(truth: float) -> None:
    rows = predictions()
    metrics = run(rows.assign(truth=np.where(rows["part"] == "test", truth, rows["truth"])), prevalence=0.1)
    gone = {"auroc", "calibration_slope", "calibration_intercept", "balanced_accuracy", "ppv_at_prevalence"}
    gone |= {"sensitivity", "auprc"} if truth == 0 else {"specificity"}
    for name in gone:
        assert metrics["test"][name]["value"] is None, name
        assert metrics["test"][name]["reason"], name
    assert metrics["test"]["brier"]["value"] > 0
    assert "undefined" in summary(metrics)
    assert "undefined" in report()


def test_one_class_in_validation_takes_one_half_and_says_so() -> None:
    rows = predictions()
    run(rows.assign(truth=np.where(rows["part"] == "validation", 0.0, rows["truth"])))
    assert operating()["threshold"] == 0.5
    assert operating()["reached"] is False
    assert "not what was asked for" in report()


def test_a_perfect_model_is_never_certain() -> None:
    rows = predictions()
    found = run(scored(rows, np.where(rows["truth"] > 0, 3.0, -3.0) + np.linspace(0, 1, len(rows))))["test"]
    for name in ("auroc", "sensitivity", "specificity", "balanced_accuracy"):
        assert found[name]["value"] == 1, name
        assert found[name]["low"] < 0.95, name
    for name in ("auprc", "f1"):
        assert found[name]["value"] == 1, name
        assert found[name]["low"] is None and found[name]["reason"], name
    assert found["calibration_slope"]["value"] is None


def test_a_model_that_may_be_guessing_is_called_so() -> None:
    rows = predictions()
    run(scored(rows, np.random.default_rng(5).normal(size=len(rows))))
    assert "do not rule out" in report()
    run(rows)
    assert "do not rule out" not in report()


@pytest.mark.parametrize("logit", [0.0, 800.0, -800.0])
def test_a_constant_model_is_reported(logit: float) -> None:
    rows = predictions()
    found = run(scored(rows, np.full(len(rows), logit)))["test"]["auroc"]
    assert found["value"] == 0.5
    assert found["low"] < 0.4 < 0.6 < found["high"]


def test_the_smallest_study() -> None:
    rows = predictions(patients=4, images=1, truth=[0.0, 0.0, 1.0, 1.0])
    metrics = run(rows)
    assert metrics["headline"]["high"] - metrics["headline"]["low"] > 0.9
    assert "Test holds 1 positive patient and 1 negative patient only" in report()


@pytest.mark.parametrize(("unit", "units"), [("image", 120), ("study", 60), ("patient", 30)])
def test_scores_are_aggregated_to_the_unit(unit: str, units: int) -> None:
    rows = predictions(patients=60, images=4)
    rows["study"] = rows["patient"] + (np.arange(len(rows)) % 2).astype(str)
    metrics = run(rows, unit=unit)
    assert metrics["counts"]["test"]["units"] == units
    assert metrics["counts"]["test"]["images"] == 120
    assert metrics["counts"]["test"]["patients"] == 30


def test_mean_and_maximum_of_a_patient() -> None:
    from sklearn.metrics import roc_auc_score

    rows = predictions(patients=60, images=4)
    groups = rows[rows["part"] == "test"].groupby("patient")
    for how in ("mean", "max"):
        found = run(rows, Evaluate(aggregate=how), unit="patient")["test"]["auroc"]["value"]
        assert found == pytest.approx(roc_auc_score(groups["truth"].max(), groups["probability"].agg(how)), abs=1e-6)


def test_patients_whose_images_disagree_are_counted() -> None:
    rows = predictions(images=2)
    first = rows.index[(rows["part"] == "test") & (rows["truth"] > 0)][0]
    rows.loc[first, "truth"] = 0.0
    run(rows, unit="patient")
    assert "1 of 40 patients in test hold images with different truths." in report()


@pytest.mark.parametrize("part", ["validation", "test"])
def test_an_empty_part_is_an_error(part: str) -> None:
    rows = predictions()
    with pytest.raises(DataError, match=f"The {part} part .* is empty"):
        run(rows[rows["part"] != part])


def test_no_predictions_are_an_error() -> None:
    with pytest.raises(DataError, match="dvc repro"):
        again()


def test_the_checklists_say_what_divided_the_patients_and_chose_the_epoch() -> None:
    def told(**blocks: object) -> str:
        evaluate(Params.model_validate({"study": study(), **blocks}))
        return (EVALUATION / "report.html").read_text()

    prepare(predictions())
    plain = told()
    assert "By patient: train 33%, validation 33%, test 33%; all drawn once." in plain
    assert "The epoch with the best AUROC on validation, number 2." in plain
    ruled = told(split={"test": 0, "test_sites": ["S1", "S2"]}, train={"monitor": "loss"})
    assert "; all of S1, S2 are test; the others drawn once." in ruled
    assert "The epoch with the least loss on validation, number 2." in ruled
    assert "number 2 of 5 folds is test;" in told(split={"test": 0, "folds": 5, "fold": 2})
    assert "number 2 of 5 folds is validation;" in told(split={"test": 0.2, "folds": 5, "fold": 2})


def test_samples_that_could_not_be_preprocessed_are_counted_and_any_other_that_is_missing_is_an_error() -> None:
    rows = predictions()
    prepare(rows)
    store(rows.iloc[2:])
    task = task_of(study())
    with pytest.raises(DataError, match="2 samples differ between"):
        read(task)
    held = {sample: sample for sample in rows["sample"].iloc[2:]}
    with rebuild(STORE, held, np.dtype("uint8")) as images:
        for sample in held:
            images.put(sample, Row(np.zeros((1, 8, 8), np.uint8), Geometry((8, 8))))
    sources = read(task)
    assert sources.unprocessed == rows["part"].iloc[:2].value_counts().to_dict()
    assert (sources.parts["part"] == "excluded").sum() == 2


def test_what_was_lost_and_what_the_preview_warns_of_stand_in_the_report_and_in_the_result(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = predictions()
    prepare(rows)
    put(PREVIEW_FINDINGS, {"warnings": []})
    again()
    assert "preview warns" not in report() and "could not be preprocessed" not in report()
    store(rows.iloc[4:])
    held = {sample: sample for sample in rows["sample"].iloc[4:]}
    with rebuild(STORE, held, np.dtype("uint8")) as images:
        for sample in held:
            images.put(sample, Row(np.zeros((1, 8, 8), np.uint8), Geometry((8, 8))))
    put(PREVIEW_FINDINGS, {"warnings": ["12 % of the images have another aspect once preprocessed."]})
    again()
    assert "12 % of the images have another aspect" in report()
    assert "preprocess.max_quarantined allows 5\u00a0%" in report()
    shutil.copy(ROOT / "params.yaml", ".")
    result()
    said = capsys.readouterr().out
    assert "warning: 4 of 160 samples (2.5\u00a0%) could not be preprocessed and count nowhere" in said
    assert "warning: The preview warns of the pictures" in said
    titles = [caution["title"] for caution in json.loads((EVALUATION / "cautions.json").read_text())]
    assert [html.escape(title) in report() for title in titles] == [True] * said.count("warning: ")


@pytest.mark.parametrize(
    "path",
    [INDEX, INGEST, PARTS, SPLIT, TRAINING / "history.csv", TRAINING / "workers.json", WEIGHTS / "model.yaml"],
    ids=lambda path: path.name,
)
def test_a_missing_file_is_a_sentence(path: Path) -> None:
    prepare(predictions())
    path.unlink()
    with pytest.raises(DataError, match=f"There is no {path}. Run dvc repro"):
        again()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows.assign(patient="P1"), "more than one part"),
        (lambda rows: rows.assign(sample="s"), "more than once"),
        (lambda rows: rows.assign(truth=2.0), "truths that this task does not have"),
        (lambda rows: rows.assign(probability=np.nan), "no finite numbers"),
        (lambda rows: rows.assign(weights=[str(n) for n in range(len(rows))]), "weights"),
    ],
)
def test_predictions_that_cannot_be_are_refused(spoil: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        run(spoil(predictions()))  # type: ignore[operator]
    assert not EVALUATION.exists()


def test_predictions_of_other_weights_or_another_split_are_refused() -> None:
    rows = predictions()
    prepare(rows)
    change(WEIGHTS / "model.yaml", weights_sha256="other")
    with pytest.raises(DataError, match="other weights"):
        again()
    prepare(rows)
    write_table(PARTS, rows[["sample", "patient", "part"]].iloc[1:].assign(reason=None, fold=None), PARTS_SCHEMA)
    with pytest.raises(DataError, match="1 samples differ"):
        again()


class Page(HTMLParser):
    """What a page fetches, and its figures without words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.silent = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        self.silent += tag == "img" and not values.get("alt")


def test_the_report_fetches_nothing_and_describes_its_figures() -> None:
    run(predictions())
    page = Page(report())
    assert page.tags.count("img") == 7
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.fetched)
    assert not {"link", "iframe", "object"} & set(page.tags)
    assert page.tags.count("script") == 1
    assert "@import" not in report() and "url(" not in report()
    assert page.silent == 0
    assert '<html lang="en">' in report()


def test_text_from_outside_is_escaped() -> None:
    evil = "<script>alert('x')</script>"
    prepare(predictions())
    change(INGEST, quarantined=3, by_code={evil: 3})
    change(SPLIT, excluded={evil: 2})
    change(WEIGHTS / "model.yaml", name=evil)
    put(TRAINING / "workers.json", [{"rank": 0, "node": evil, "pid": 1, "device": evil, "samples": 1}])
    again(question=evil, intended_use=evil, label=evil, positive=evil)
    assert report().count("<script") == 1
    assert report().count("&lt;script&gt;") >= 8


def test_the_report_tells_where_the_images_went_and_how_it_was_trained() -> None:
    run(predictions())
    plain = report()
    for words in ("1,234", "11,170,753", "node-a", "12345", "Learning curves over 3 epochs", "<dd>from scratch</dd>"):
        assert words in plain, words
    assert "Starting weights" not in plain
    change(
        INGEST,
        refused_at_import={"not-2d": 9},
        not_an_image=7,
        quarantined=40,
        by_code={"burned-in": 40},
        sites={"a": 1, "b": 2},
        unverified=12,
    )
    change(SPLIT, excluded={"no label": 5}, each_image_is_a_patient=9)
    again()
    full = report()
    for words in (
        *("12 files did not come through an import", "9 images have no patient id and count as a patient each"),
        *("Quarantined: 40 of 200 images", "burned-in", "no label", "7 are no images", "<dt>sites</dt><dd>2</dd>"),
    ):
        assert words in full, words
        assert words not in plain, words
    change(INGEST, unverified=1)
    change(SPLIT, each_image_is_a_patient=1)
    again()
    assert "1 file did not come" in report() and "1 image has no patient id and counts as a patient" in report()


def test_patients_without_an_id_are_counted() -> None:
    prepare(predictions())
    change(INGEST, patients=0)  # whom a header or labels.csv names
    again()
    assert "<dt>patients</dt><dd>80</dd>" in report()


def test_epochs_count_from_1_as_in_the_training_log() -> None:
    run(predictions())
    assert "<dt>Best epoch</dt><dd>2</dd>" in report()
    assert "The weights kept are those of epoch 2, with a validation score of 0.800" in report()
    history = pd.read_csv(TRAINING / "history.csv")
    assert ticks_of_epochs(history, [1]) == ["1", "2", "3"]
    assert ticks_of_epochs(history.iloc[:1], [0]) == ["1"]


def ticks_of_epochs(history: pd.DataFrame, kept: list[int]) -> list[str]:
    """The numbers along the first axis of the learning curves."""
    svg = base64.b64decode(learning_curves(history, kept).uri.partition(",")[2]).decode()
    words = re.findall(r">([^<>]+)</text>", svg)
    return words[: words.index("0.0")]


def test_transfer_says_how_much_of_the_network_it_brought() -> None:
    prepare(predictions())
    transferred = {"source_sha256": "cd" * 32, "loaded": ["a", "b", "c"], "adapted": ["d"], "skipped": ["e", "f"]}
    change(WEIGHTS / "model.yaml", weights="transfer", transferred=transferred)
    again()
    for words in ("6 tensors in all: 3 loaded", "1 adapted from colour to grey", "2 skipped", "cd" * 32):
        assert words in report(), words
    assert "<dd>from scratch</dd>" not in report()


def test_the_report_shows_the_parameters_that_were_checked_and_reads_no_undeclared_file() -> None:
    run(predictions())
    before = written()
    Path("params.yaml").write_text("study: {seed: 99}  # a comment\n")
    Path("data.dvc").write_text("outs:\n- md5: d41d8.dir\n  nfiles: 160\n  path: data\n")
    again()
    assert written() == before
    shown = yaml.safe_load(html.unescape(report().rpartition('<pre tabindex="0">')[2].partition("</pre>")[0]))
    assert shown == Params(study=study()).model_dump(mode="json", exclude=set(NO_RESULT))


def test_the_report_names_the_index_that_it_rests_on() -> None:
    run(predictions())
    assert f"<dt>Index sha256</dt><dd><code>{hashlib.sha256(INDEX.read_bytes()).hexdigest()}</code>" in report()


def test_the_report_promises_the_numbers_and_not_the_bytes() -> None:
    run(predictions())
    assert "make the same numbers again where packages and hardware are the same" in report()
    assert "byte for byte" not in report()


def test_any_sentence_may_be_the_intended_use() -> None:
    run(predictions(), intended_use="None. A demonstration.")
    assert "treatment of a patient. The numbers and their intervals hold" in report()
    assert "Intended use: None. A demonstration. The report" in report()


def test_damaged_files_are_a_sentence() -> None:
    prepare(predictions())
    INGEST.write_text("{")
    with pytest.raises(DataError, match=r"ingest.json is damaged"):
        again()


def test_a_target_out_of_reach_is_said() -> None:
    rows = predictions()
    logit = rows["logit"].to_numpy().copy()
    logit[(rows["part"] == "validation") & (rows["truth"] == 0)] = 9.0  # every negative above every positive
    run(scored(rows, logit), Evaluate(threshold=Threshold(rule="specificity", target=0.9)))
    assert operating()["reached"] is False
    assert operating()["note"]
    assert "Not reached" in report()


@pytest.mark.parametrize("far", [0.0, -60.0])
def test_a_threshold_at_the_end_of_the_scale_or_that_decides_nothing_is_said(far: float) -> None:
    rows = predictions()
    logit = rows["logit"].to_numpy() / 5 + 18
    logit[rows["part"] == "test"] += far
    run(scored(rows, logit))
    assert 1 - 1e-6 < operating()["threshold"] < 1
    assert "The threshold lies at the end of the scale: 1 − " in report() and "1.000000" not in report()
    told = "units of test are called negative" in report()
    assert told == bool(far) == ("it tells none apart" in report())


def test_nothing_needs_torch() -> None:
    code = "import medimg.evaluation, medimg.evaluation.report, sys; assert not {'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


@pytest.mark.slow
def test_the_resamples_of_a_hundred_thousand_units_are_never_held_at_once() -> None:
    prepare(predictions(patients=100_000, images=2))
    tracemalloc.start()
    try:
        again()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < DRAWS * 100_000  # bytes: less than one for each unit in each resample


@pytest.mark.parametrize(
    ("low", "value", "high", "text"),
    [
        (0.9, 0.93, 0.96, "AUROC 0.93 (95 % interval 0.90–0.96) on 9 test patients"),
        (0.9884, 0.9931, 0.9961, "AUROC 0.993 (95 % interval 0.988–0.996) on 9 test patients"),
        (0.99, 0.9996, 0.9999, "AUROC 0.9996 (95 % interval 0.9900–0.9999) on 9 test patients"),
        (0.97, 1.0, 1.0, "AUROC 1.00 (95 % interval 0.97–1.00) on 9 test patients"),
    ],
)
def test_a_value_and_its_interval_have_as_many_digits_as_tell_them_apart(low, value, high, text):
    headline = {"name": "auroc", "value": value, "low": low, "high": high, "confidence": 0.95}
    assert summary({"headline": headline, "counts": {"test": {"patients": 9}}}) == text


@pytest.mark.parametrize(
    ("patients", "shift", "warned"),
    [(120, 0.0, False), (120, 1.5, True), (16, 0.0, False), (16, -3.0, True), (1000, 1.5, False)],
)
def test_a_study_where_intervals_cover_too_little_is_told(patients: int, shift: float, warned: bool) -> None:
    rows = predictions(patients=patients, images=1)
    run(scored(rows, rows["logit"] + shift * (rows["truth"] - 0.5)))
    assert ("The interval of the AUROC may be too narrow" in report()) == warned


def test_calling_all_positive_has_no_certain_likelihood_ratio() -> None:
    rows = predictions()
    same = run(scored(rows, np.where(rows["part"] == "test", 9.0, rows["logit"])))["test"]
    assert same["lr_positive"]["value"] == 1 and same["lr_positive"]["low"] is None and same["lr_positive"]["reason"]
    assert (
        same["lr_negative"]["value"] is None and "no unit of test is called negative" in same["lr_negative"]["reason"]
    )


def test_the_model_card_says_who_taught_it_and_no_patient_of_test_is_among_them() -> None:
    run(predictions())
    (learned,) = re.findall("<dt>Trained on</dt><dd>(.*?)</dd>", report(), re.DOTALL)
    assert "of train;" in learned and "validation chose" in learned and "test" not in learned.lower()


def test_the_groups_can_be_read_on_paper() -> None:
    run(predictions())
    page = report()
    assert re.search(r'<div class="forest">\s*<figure>', page)
    paper = page.partition("@media print")[2].partition("</style>")[0]
    (width,) = re.findall(r"\.forest figure { max-width: (\d+)cm; }", paper)
    assert int(width) / 2.54 > 0.9 * 5.6  # inches that the figure is drawn for


def test_at_a_low_prevalence_nothing_of_the_decision_curve_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    real, checked = curves.drawing, []

    def measured(figure: Figure, *words: str) -> Drawing:
        if words[0].startswith("Decision curve"):
            box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())  # inches, in the style of the report
            FigureCanvasSVG(figure)
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.get_figwidth() and box.y1 <= figure.get_figheight()
            checked.append(words[0])
        return real(figure, *words)

    monkeypatch.setattr(curves, "drawing", measured)
    run(predictions(), prevalence=0.02)
    assert len(checked) == 2
