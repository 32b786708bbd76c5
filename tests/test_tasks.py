"""Each task: labels to truth and back, the loss by hand, probabilities, and what the study block must say."""

import json
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics

from medimg.errors import LabelsError, ParamsError
from medimg.params import Study, Train, check
from medimg.params.learning import MONITORS
from medimg.params.study import HEADLINES
from medimg.tasks import task_of

STUDIES = {
    "binary": {"label": "finding", "positive": "1"},
    "multiclass": {"label": "organ", "classes": ["liver", "lung", "heart"]},
    "multilabel": {"label": ["mass", "fluid"], "positive": "1"},
    "regression": {"label": "age", "range": [0, 100]},
}
LABELS = {
    "binary": ["0", "1", "1", "0"],
    "multiclass": ["lung", "heart", "liver", "lung"],
    "multilabel": [json.dumps({"mass": a, "fluid": b}) for a, b in (("1", "0"), ("0", None), (None, "1"), ("1", "1"))],
    "regression": ["0", "25", "50", "100"],
}
TRUTH = {
    "binary": [[0], [1], [1], [0]],
    "multiclass": [[1], [2], [0], [1]],
    "multilabel": [[1, 0], [0, np.nan], [np.nan, 1], [1, 1]],
    "regression": [[0], [25], [50], [100]],
}
KINDS = list(STUDIES)


def study(kind: str, **changes: object) -> Study:
    return Study.model_validate({"question": "q", "task": kind} | STUDIES[kind] | changes)


def labels(kind: str) -> pd.Series:
    return pd.Series(LABELS[kind])


def message(**values: object) -> str:
    with pytest.raises(ParamsError) as caught:
        check({"study": {"question": "q", "label": "l"} | values})
    return str(caught.value)


def test_what_may_decide_the_best_epoch_is_what_scikit_learn_says():
    generator = np.random.default_rng(0)
    for kind in KINDS:
        task = task_of(study(kind))
        drawn = {
            "binary": generator.integers(0, 2, (60, 1)),
            "multiclass": generator.integers(0, 3, (60, 1)),
            "multilabel": generator.choice([0, 1, np.nan], (60, 2)),
            "regression": generator.uniform(0, 100, (60, 1)),
        }
        truth, logits = drawn[kind].astype(float), generator.normal(0, 1, (60, task.outputs))
        probability, found = task.probabilities(logits), {n: task.measure(n, logits, truth) for n in MONITORS[kind]}
        if kind == "regression":
            assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, probability))
            assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, probability))
            assert found["r2"] == pytest.approx(metrics.r2_score(truth, probability))
            continue
        if kind == "multiclass":
            chosen, flat = probability.argmax(1), truth[:, 0]
            assert found["accuracy"] == pytest.approx(metrics.accuracy_score(flat, chosen))
            assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(flat, chosen))
            assert found["f1"] == pytest.approx(metrics.f1_score(flat, chosen, average="macro"))
            assert found["auroc"] == pytest.approx(metrics.roc_auc_score(flat, probability, multi_class="ovr"))
            assert found["brier"] == pytest.approx(((probability - np.eye(3)[flat.astype(int)]) ** 2).sum(1).mean())
            continue
        columns = [np.isfinite(column) for column in truth.T]
        peers = {
            "auroc": metrics.roc_auc_score,
            "auprc": metrics.average_precision_score,
            "brier": metrics.brier_score_loss,
            "balanced_accuracy": lambda t, p: metrics.balanced_accuracy_score(t, p >= 0.5),
            "f1": lambda t, p: metrics.f1_score(t, p >= 0.5),
        }
        for name, peer in peers.items():
            each = [peer(truth[known, k], probability[known, k]) for k, known in enumerate(columns)]
            assert found[name] == pytest.approx(np.mean(each)), (kind, name)
        one = np.ones_like(truth)
        assert all(np.isnan(task.measure(name, logits, one)) for name in MONITORS[kind])
        assert all(np.isnan(task.measure(name, logits * np.nan, truth)) for name in MONITORS[kind])


def test_a_monitor_that_is_not_the_tasks_is_refused_by_name():
    for kind, wrong in (("regression", "auroc"), ("binary", "accuracy"), ("multilabel", "mae")):
        with pytest.raises(ParamsError) as caught:
            check({"study": {"question": "q", "task": kind} | STUDIES[kind], "train": {"monitor": wrong}})
        said = str(caught.value)
        assert f"train.monitor: task {kind} has no {wrong}; it has score, loss, {MONITORS[kind][0]}" in said
    allowed = get_args(Train.model_fields["monitor"].annotation)
    assert set(allowed) == {"score", "loss"}.union(*MONITORS.values())


def test_rare_classes_are_not_weighed_twice():
    twice = {"sampling": "balanced", "class_weights": "balanced"}
    with pytest.raises(ParamsError, match="train: sampling: balanced and class_weights: balanced both"):
        check({"study": {"question": "q"} | STUDIES["binary"], "train": twice})


@pytest.mark.parametrize(
    ("kind", "one", "other", "at_odds"),
    [
        ("binary", [1], [1], False),
        ("binary", [1], [0], True),
        ("multiclass", [2], [2], False),
        ("multiclass", [2], [1], True),
        ("multilabel", [1, 0], [1, 0], False),
        ("multilabel", [1, np.nan], [np.nan, 0], False),  # each reader looked for something else
        ("multilabel", [1, 0], [np.nan, 1], True),
        ("regression", [24.0], [27.0], False),  # two readers, on either side of a quarter of the values
        ("regression", [24.0], [31.0], True),
    ],
)
def test_labels_of_one_picture_contradict_each_other(kind: str, one: list[float], other: list[float], at_odds: bool):
    task = task_of(study(kind))
    assert task.at_odds(np.array([one, other], float)) is at_odds
    assert task.at_odds(np.array([other, one, other], float)) is at_odds


@pytest.mark.parametrize("kind", KINDS)
def test_labels_become_truth(kind: str) -> None:
    task = task_of(study(kind))
    task.check(labels(kind))
    np.testing.assert_array_equal(task.truth(labels(kind)), TRUTH[kind])
    assert len(task.names) == task.outputs
    assert not task.lacking(np.array(TRUTH[kind], float))
    assert task.lacking(np.array(TRUTH[kind][:1], float))


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_without_images_is_empty_and_lacks_everything(kind: str) -> None:
    task = task_of(study(kind))
    empty = task.truth(pd.Series([], dtype=object))
    assert empty.shape == (0, np.shape(TRUTH[kind])[1])
    assert task.lacking(empty) and not sum(task.counts(empty).values())


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_and_logits_undo_each_other(kind: str) -> None:
    task = task_of(study(kind))
    logits = np.random.default_rng(0).normal(size=(7, task.outputs))
    there = task.probabilities(logits)
    assert there.shape == (7, task.outputs)
    np.testing.assert_allclose(task.probabilities(task.logits(there)), there)
    assert np.isfinite(task.logits(np.round(there))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_each_sample_is_the_reference(kind: str) -> None:
    task = task_of(study(kind))
    truth = np.array(TRUTH[kind], float)
    logits = np.random.default_rng(1).normal(size=(4, task.outputs))
    p = task.probabilities(logits)
    with np.errstate(invalid="ignore"):
        expected = {
            "binary": lambda: -np.log(np.where(truth == 1, p, 1 - p))[:, 0],
            "multiclass": lambda: -np.log(p[np.arange(4), truth[:, 0].astype(int)]),
            "multilabel": lambda: np.nanmean(np.where(np.isnan(truth), np.nan,
                                                      -np.log(np.where(truth == 1, p, 1 - p))), axis=1),
            "regression": lambda: ((p - truth) / 50)[:, 0] ** 2,
        }[kind]()  # fmt: skip
    found = task.loss(torch.from_numpy(logits), torch.from_numpy(truth))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_labels_that_are_not_known_move_no_weight() -> None:
    task = task_of(study("multilabel"))
    logits = torch.zeros(3, 2, requires_grad=True)
    truth = torch.tensor([[1.0, torch.nan], [torch.nan, torch.nan], [0.0, 1.0]])
    task.loss(logits, truth).sum().backward()
    assert logits.grad is not None
    assert (logits.grad == 0).tolist() == [[False, True], [True, True], [False, False]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_answer_scores_best_and_a_broken_one_is_undefined(kind: str) -> None:
    task = task_of(study(kind))
    truth = np.array(TRUTH[kind], float)
    answers = task.questions(truth)
    perfect = np.nan_to_num(answers) * 6 - 3 if answers.shape[1] else task.logits(truth)
    assert task.score(perfect, truth) == pytest.approx(1)
    assert task.score(-perfect, truth) < 0.01
    assert np.isnan(task.score(perfect * np.nan, truth))


def test_images_of_one_unit_become_one_truth() -> None:
    starts = np.array([0, 3])
    nan = np.nan
    found = task_of(study("multilabel")).pooled(np.array([[0, nan], [1, nan], [nan, nan], [nan, 0]]), starts)
    np.testing.assert_array_equal(found, [[1, nan], [nan, 0]])
    assert task_of(study("multiclass")).pooled(np.array([[1.0], [0], [1], [2]]), starts).tolist() == [[1], [2]]
    assert task_of(study("binary")).pooled(np.array([[1.0], [0], [0], [0]]), starts).tolist() == [[1], [0]]
    assert task_of(study("regression")).pooled(np.array([[1.0], [2], [6], [5]]), starts).tolist() == [[3], [5]]


def test_strata_name_every_class_that_a_sample_has() -> None:
    rows = [{"mass": "1", "fluid": "0"}, {"mass": "1", "fluid": "1"}, {"mass": "0", "fluid": "0"}]
    found = task_of(study("multilabel")).strata(pd.Series([json.dumps(row) for row in rows]))
    assert found.tolist() == ["mass", "mass + fluid", "none"]
    assert task_of(study("multiclass")).strata(labels("multiclass")).tolist() == labels("multiclass").tolist()
    ages = pd.Series([str(age) for age in range(100)])
    assert pd.Series(task_of(study("regression")).strata(ages)).value_counts().tolist() == [25] * 4


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("binary", ["0", "0"], "one class only"),
        ("multiclass", ["lung", "liver", "liver"], "No image has the class 'heart'"),
        ("multiclass", ["lung", "brain"], "Values found: 'brain', 'lung'"),
        ("multilabel", ['{"mass": "0", "fluid": "1"}', '{"mass": "1", "fluid": null}'], "'fluid' .* no negative image"),
        ("multilabel", ['{"other": "0"}'], "another study.label"),
        ("regression", ["12", "old"], "1 of 2 images .* no number"),
        ("regression", ["12", "nan"], "1 of 2 images .* no number"),
        ("regression", ["12", "140"], "outside study.range, 0 to 100"),
        ("regression", ["12", "12"], "same number everywhere"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(kind: str, values: list[str], words: str) -> None:
    with pytest.raises(LabelsError, match=words):
        task_of(study(kind)).check(pd.Series(values))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"task": "multiclass"}, "study.classes: missing. It is the values of that column"),
        ({"task": "regression"}, "study.range: missing"),
        ({"positive": "1", "classes": ["a", "b"]}, "study.classes: task binary has no use for it"),
        ({"task": "multilabel", "positive": "1"}, "study.label: task multilabel needs a list of columns"),
        ({"positive": "1", "label": ["a", "b"]}, "study.label: only multilabel has several"),
        ({"task": "multilabel", "positive": "1", "label": ["a", "a"]}, "a column is named twice"),
        ({"task": "multiclass", "classes": ["a", "b", "a"]}, "a class is named twice"),
        ({"task": "regression", "range": [3, 2]}, "3 is not below 2"),
        ({"task": "regression", "range": [0, 2], "headline": "auroc"}, "no such headline; it has mae, rmse, r2"),
        ({"task": "segmentation"}, "study.task"),
    ],
)
def test_a_study_block_that_does_not_fit_its_task_says_what_is_missing(values: dict[str, object], words: str) -> None:
    assert words in message(**values)


@pytest.mark.parametrize("kind", KINDS)
def test_the_headline_is_the_tasks_own_unless_another_is_named(kind: str) -> None:
    assert study(kind).headline == HEADLINES[kind][0]
    for name in HEADLINES[kind]:
        assert study(kind, headline=name).headline == name


def test_classes_are_text_even_where_yaml_reads_numbers() -> None:
    assert study("multiclass", classes=[1, 2, 3]).classes == ("1", "2", "3")
