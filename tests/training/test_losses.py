import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from medimg.errors import TrainingError
from medimg.params import Train
from medimg.tasks.binary import Binary
from medimg.tasks.multiclass import Multiclass
from medimg.tasks.multilabel import Multilabel
from medimg.tasks.regression import Regression
from medimg.training.losses import Loss, balanced

BINARY, THREE, LABELS = Binary("a", "1"), Multiclass("a", ("x", "y", "z")), Multilabel(("a", "b"), "1")
YES_NO = np.array([[0.0], [1.0], [0.0], [0.0]])
CLASSES = np.array([[0.0], [1.0], [2.0], [2.0]])
SOME = np.array([[0.0, 1.0], [1.0, np.nan], [np.nan, np.nan], [0.0, 0.0]])


def losses(task, truth, **settings):
    torch.manual_seed(0)
    logits = torch.randn(len(truth), task.outputs)
    loss = Loss.of(task, Train(**settings), truth)
    return loss(logits, torch.from_numpy(truth).float()), logits, torch.from_numpy(truth).float()


@pytest.mark.parametrize(("task", "truth"), [(BINARY, YES_NO), (THREE, CLASSES), (LABELS, SOME)])
def test_focal_without_focus_is_cross_entropy_and_with_it_minds_less_what_is_right(task, truth):
    plain, logits, target = losses(task, truth)
    assert torch.allclose(plain, task.loss(logits, target))
    assert torch.allclose(losses(task, truth, loss="focal", focal_gamma=0)[0], plain)
    focal = losses(task, truth, loss="focal")[0]
    assert (focal <= plain).all()
    assert torch.isfinite(focal).all()


def test_the_focal_loss_is_the_papers_formula():
    focal, logits, truth = losses(BINARY, YES_NO, loss="focal", focal_gamma=2)
    p = torch.where(truth > 0, logits.sigmoid(), 1 - logits.sigmoid())[:, 0]
    assert torch.allclose(focal, -((1 - p) ** 2) * p.log(), atol=1e-6)


def test_smoothing_is_that_of_pytorch():
    smoothed, logits, truth = losses(THREE, CLASSES, label_smoothing=0.3)
    expected = cross_entropy(logits, truth[:, 0].long(), label_smoothing=0.3, reduction="none")
    assert torch.allclose(smoothed, expected, atol=1e-6)
    smoothed, logits, truth = losses(BINARY, YES_NO, label_smoothing=0.3)
    expected = binary_cross_entropy_with_logits(logits, truth * 0.7 + 0.15, reduction="none")[:, 0]
    assert torch.allclose(smoothed, expected, atol=1e-6)


def test_weights_of_classes_are_those_of_pytorch_and_their_mean_is_one():
    weighted, logits, truth = losses(THREE, CLASSES, class_weights="balanced")
    weights = torch.tensor([4 / 3, 4 / 3, 2 / 3])
    expected = cross_entropy(logits, truth[:, 0].long(), weight=weights, reduction="none")
    assert torch.allclose(weighted, expected)
    assert np.mean([balanced(CLASSES[:, 0])[value] for value in CLASSES[:, 0]]) == pytest.approx(1)


@pytest.mark.parametrize("settings", [{"loss": "focal"}, {"loss": "squared"}, {"class_weights": "balanced"}])
def test_a_label_that_is_not_known_has_no_say(settings):
    values, logits, _ = losses(LABELS, SOME, **settings)
    assert values[2] == 0
    other = logits.clone()
    other[1, 1] += 5
    loss = Loss.of(LABELS, Train(**settings), SOME)
    assert torch.equal(loss(other, torch.from_numpy(SOME).float())[1], values[1])


def test_squared_is_half_the_square_of_the_error_of_the_probability():
    values, logits, truth = losses(BINARY, YES_NO, loss="squared")
    assert torch.allclose(values, (logits.sigmoid() - truth)[:, 0] ** 2 / 2)


@pytest.mark.parametrize("settings", [{"loss": "focal"}, {"sampling": "balanced"}, {"label_smoothing": 0.1}])
def test_what_is_about_classes_is_refused_where_there_are_none(settings):
    with pytest.raises(TrainingError, match="is about classes"):
        losses(Regression("a", 0.0, 10.0), YES_NO, **settings)
