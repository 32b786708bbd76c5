"""Thresholds with known answers."""

import numpy as np
import pytest
from scipy.special import logit

from medimg.evaluation.metrics import decide
from medimg.evaluation.operating import choose
from medimg.evaluation.summary import cut
from medimg.evaluation.units import Units
from medimg.params import Threshold


def units(truth: list[int], probability: list[float]) -> Units:
    scores = np.array(probability)
    patient = np.arange(len(truth))
    return Units(patient, np.array(truth, float), scores, logit(np.clip(scores, 1e-9, 1 - 1e-9)), len(truth), 0)


def test_youden_stands_in_the_middle_of_the_gap() -> None:
    point = choose(units([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9]), Threshold())
    assert point.threshold == pytest.approx(0.4)
    assert (point.sensitivity, point.specificity, point.reached, point.target) == (1, 1, True, None)


def test_of_equal_youden_the_lower_threshold() -> None:
    point = choose(units([0, 1, 0, 1], [0.1, 0.3, 0.5, 0.7]), Threshold())
    assert point.threshold == pytest.approx(0.2)
    assert (point.sensitivity, point.specificity) == (1, 0.5)


def test_sensitivity_takes_the_best_specificity() -> None:
    truth, scores = [0] * 10 + [1] * 10, [n / 20 for n in range(10)] + [0.22 + n / 20 for n in range(10)]
    point = choose(units(truth, scores), Threshold(rule="sensitivity", target=0.9))
    assert point.sensitivity == pytest.approx(0.9)
    assert point.specificity == pytest.approx(0.6)
    point = choose(units(truth, scores), Threshold(rule="specificity", target=0.9))
    assert point.specificity >= 0.9
    assert point.sensitivity == pytest.approx(0.6)


def test_a_score_at_the_threshold_is_positive() -> None:
    point = choose(units([0, 1], [0.5, 0.5]), Threshold())
    assert point.threshold == 0.5
    assert decide(np.array([0.5]), point.threshold).all()


def test_neighbours_in_floating_point_stay_apart() -> None:
    low = 0.3
    high = float(np.nextafter(low, 1))
    point = choose(units([0, 1], [low, high]), Threshold())
    assert decide(np.array([low, high]), point.threshold).tolist() == [False, True]


def test_calling_everything_positive_reaches_nothing() -> None:
    worst = units([1, 0, 0, 1], [0.1, 0.2, 0.6, 0.9])
    point = choose(worst, Threshold(rule="sensitivity", target=0.9))
    assert not point.reached
    assert "sensitivity of 0.9" in point.note
    assert point.sensitivity == 0.5


def test_youden_of_a_ranking_no_better_than_chance_is_no_choice() -> None:
    point = choose(units([1, 0, 0, 1, 1, 0], [0.1, 0.2, 0.6, 0.3, 0.4, 0.9]), Threshold())
    assert not point.reached
    assert "better than chance" in point.note
    assert 0 < point.sensitivity < 1


def test_a_question_without_a_known_truth_has_no_class() -> None:
    assert choose(units([], []), Threshold()).note == "validation holds no unit, so 0.5 is used"


def test_equal_scores_separate_nothing() -> None:
    point = choose(units([0, 1, 1], [0.7, 0.7, 0.7]), Threshold(rule="specificity", target=0.5))
    assert not point.reached
    assert point.note


@pytest.mark.parametrize("truth", [0, 1])
def test_one_class_only(truth: int) -> None:
    point = choose(units([truth] * 3, [0.2, 0.4, 0.9]), Threshold())
    assert (point.threshold, point.reached) == (0.5, False)
    assert (point.sensitivity is None) == (truth == 0)


@pytest.mark.parametrize(
    ("threshold", "shown"),
    [(0.5, "0.500"), (0.9994, "0.999"), (1 - 3e-8, "1 − 3 × 10⁻⁸"), (2e-12, "2 × 10⁻¹²"), (1.0, "1"), (0.0, "0")],
)
def test_a_threshold_shows_on_which_side_of_the_end_it_is(threshold: float, shown: str) -> None:
    assert cut(threshold) == shown
