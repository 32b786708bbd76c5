"""Two models on the same patients: known answers, coverage, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import norm

from medimg.errors import DataError
from medimg.evaluation.compare import Comparison, Model, compare, lines, load_model
from medimg.evaluation.estimate import Estimate
from medimg.evaluation.influence import auroc
from medimg.params import Params
from medimg.records import Predictions, write_predictions

STUDY = {"question": "q", "label": "finding", "positive": "1"}
PARAMS = Params.model_validate({"study": STUDY})


def model(truth, logit, patient, sample=None):
    truth, logit = np.asarray(truth, float), np.asarray(logit, float)
    rows = pd.DataFrame(
        {
            "sample": [f"{number:06d}" for number in (range(len(truth)) if sample is None else sample)],
            "patient": [f"P{number:05d}" for number in patient],
            "study": None,
            "part": "test",
            "fold": pd.array([None] * len(truth), "Int32"),
            "weights": "w",
        }
    )
    return Model(Predictions(rows, truth[:, None], logit[:, None], expit(logit)[:, None]), None)


def drawn(random, patients, gap):
    """Two models of which the first separates by ``gap`` more; images of a patient resemble each other."""
    patient = np.repeat(np.arange(patients), random.integers(1, 5, patients))
    truth = (random.random(patients) < 0.4)[patient].astype(float)
    shared = random.normal(size=patients)[patient] + random.normal(size=len(patient))
    first, second = ((1.5 + more) * truth + shared + 0.7 * random.normal(size=patients)[patient] for more in (gap, 0))
    return truth, first, second, patient


def test_the_difference_in_auroc_is_that_of_delong_1988_written_out_with_one_image_a_patient():
    random = np.random.default_rng(0)
    truth = np.repeat([1.0, 0.0], [30, 50])
    scores = random.normal(size=(2, 80)) + truth
    placed = [np.array([[(p > n) + (p == n) / 2 for n in s[30:]] for p in s[:30]]) for s in scores]  # psi
    areas = [psi.mean() for psi in placed]
    v10, v01 = np.cov([psi.mean(axis=1) for psi in placed]), np.cov([psi.mean(axis=0) for psi in placed])
    covariance = v10 / 30 + v01 / 50
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    found = compare(model(truth, scores[0], range(80)), model(truth, scores[1], range(80)), PARAMS)
    gap = found.differences["auroc"]
    assert gap.value == pytest.approx(areas[0] - areas[1])
    # scaled once by the smaller class, so the error differs from DeLong's by a part in the number of patients
    assert (gap.high - gap.low) / 2 == pytest.approx(norm.ppf(0.975) * error, rel=0.02)


def test_a_model_against_itself_differs_in_nothing_and_the_reverse_has_the_opposite_sign():
    truth, first, second, patient = drawn(np.random.default_rng(1), 100, 0.5)
    itself = compare(model(truth, first, patient), model(truth, first, patient), PARAMS)
    assert all(gap.value == 0 and gap.low is None for gap in itself.differences.values())
    there = compare(model(truth, first, patient), model(truth, second, patient), PARAMS)
    back = compare(model(truth, second, patient), model(truth, first, patient), PARAMS)
    assert there.differences["auroc"].value > 0
    for name, gap in there.differences.items():
        assert (gap.value, gap.low) == pytest.approx((-back.differences[name].value, -back.differences[name].high))


def test_losses_over_classes_are_those_of_the_report():
    from scipy.special import softmax
    from sklearn.metrics import log_loss

    random = np.random.default_rng(3)
    truth, logits = np.arange(90) % 3, random.normal(size=(2, 90, 3))
    rows = model(truth, truth, range(90)).predictions.rows
    pair = [Model(Predictions(rows, truth[:, None].astype(float), one, softmax(one, axis=1)), None) for one in logits]
    block = {"question": "q", "task": "multiclass", "label": "finding", "classes": ["0", "1", "2"]}
    found = compare(*pair, Params.model_validate({"study": block}))
    for values, one in ((found.first, logits[0]), (found.second, logits[1])):
        p = softmax(one, axis=1)
        assert values["log_loss"] == pytest.approx(log_loss(truth, p))
        assert values["brier"] == pytest.approx(((p - np.eye(3)[truth]) ** 2).sum(axis=1).mean())
    assert found.differences["log_loss"].low < found.differences["log_loss"].high


def test_pairing_makes_the_interval_narrower_than_that_of_two_separate_groups():
    truth, first, second, patient = drawn(np.random.default_rng(2), 150, 0.3)
    from medimg.evaluation.intervals import auroc

    gap = compare(model(truth, first, patient), model(truth, second, patient), PARAMS).differences["auroc"]
    apart = [auroc(truth, score, patient, 0.95) for score in (first, second)]
    assert gap.high - gap.low < 0.8 * np.hypot(*(one.high - one.low for one in apart))


def test_what_only_one_has_seen_is_left_out_and_other_labels_are_refused():
    truth, first, second, patient = drawn(np.random.default_rng(3), 60, 0.3)
    fewer = slice(0, len(truth) - 5)
    some = model(truth[fewer], second[fewer], patient[fewer])
    found = compare(model(truth, first, patient), some, PARAMS)
    assert (found.left_out, found.units) == (5, len(truth) - 5)
    with pytest.raises(DataError, match="disagree about the truth"):
        compare(model(1 - truth, first, patient), some, PARAMS)
    with pytest.raises(DataError, match="no test image in common"):
        compare(model(truth, first, patient), model(truth, second, patient, range(900, 900 + len(truth))), PARAMS)


def test_not_worse_is_shown_only_by_the_whole_interval():
    def of(name, low, high):
        return Comparison({}, {}, {name: Estimate((low + high) / 2, low, high)}, 9, 9, 0)

    assert of("auroc", -0.01, 0.05).not_worse("auroc", 0.02)
    assert not of("auroc", -0.03, 0.05).not_worse("auroc", 0.02)
    assert of("brier", -0.05, 0.01).not_worse("brier", 0.02)
    assert not of("brier", -0.05, 0.03).not_worse("brier", 0.02)
    assert Comparison({}, {}, {"auroc": Estimate(0.0, reason="r")}, 9, 9, 0).not_worse("auroc", 0.02) is None


def test_models_are_found_in_a_study_its_artifacts_or_a_file(tmp_path):
    truth, first, _, patient = drawn(np.random.default_rng(4), 40, 0.3)
    path = tmp_path / "artifacts/predictions.parquet"
    write_predictions(model(truth, first, patient).predictions, path)
    for place in (tmp_path, tmp_path / "artifacts", path):
        assert len(load_model(place).predictions) == len(truth)
    found = compare(load_model(tmp_path), load_model(path), PARAMS)
    assert json.loads(json.dumps(found.as_json()))["counts"]["patients"] == 40
    assert any("cannot be told" in line for line in lines(found, 0.02))
    with pytest.raises(DataError, match="holds no predictions"):
        load_model(tmp_path / "nothing")


@pytest.mark.slow
def test_intervals_of_the_difference_hold_the_true_one_in_19_studies_of_20():
    random = np.random.default_rng(5)
    truth, first, second, patient = drawn(random, 60_000, 0.4)
    true = (auroc(truth, first, patient, 60_000) - auroc(truth, second, patient, 60_000)).value
    held = 0
    for _ in range(1000):
        truth, first, second, patient = drawn(random, 100, 0.4)
        gap = (auroc(truth, first, patient, 100) - auroc(truth, second, patient, 100)).estimate(0.95)
        held += gap.low <= true <= gap.high
    assert 925 <= held <= 975
