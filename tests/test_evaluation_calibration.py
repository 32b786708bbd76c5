"""Calibration of models whose calibration is known."""

import numpy as np
import pytest
from scipy.special import expit

from medimg.evaluation.calibration import bins_of, calibrate
from medimg.evaluation.units import Units


def drawn(count: int, factor: float = 1.0, shift: float = 0.0, seed: int = 0, images: int = 1) -> Units:
    """Truths drawn from a logit; the model says ``factor`` times that logit, plus ``shift``."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(count), images)
    real = random.normal(0, 1.5, count)
    truth = (random.random(count) < expit(real)).astype(float)[patient]
    said = factor * real[patient] + shift
    return Units(patient, truth, expit(said), said, len(patient), 0)


def test_a_calibrated_model() -> None:
    found = calibrate(drawn(20_000), 0.95, 0)
    assert found.slope.low < 1 < found.slope.high
    assert found.intercept.low < 0 < found.intercept.high
    assert found.ece == pytest.approx(found.ece_by_chance, abs=0.006)
    assert len(found.bins) == 10
    assert {entry.n for entry in found.bins} == {2000}


def test_sure_and_shifted_models_are_found_out() -> None:
    sure, low = calibrate(drawn(20_000, factor=2), 0.95, 0), calibrate(drawn(20_000, shift=-1), 0.95, 0)
    assert sure.slope.value == pytest.approx(0.5, abs=0.03)
    assert low.intercept.value == pytest.approx(1, abs=0.06)
    assert sure.ece > 5 * sure.ece_by_chance


def test_ece_by_chance_falls_with_the_square_root_of_the_units() -> None:
    few, many = calibrate(drawn(1000), 0.95, 0), calibrate(drawn(16_000), 0.95, 0)
    assert few.ece_by_chance / many.ece_by_chance == pytest.approx(4, rel=0.1)


def test_images_of_one_patient_widen_intervals() -> None:
    one, four = calibrate(drawn(500), 0.95, 0), calibrate(drawn(500, images=4), 0.95, 0)
    assert four.slope.value == pytest.approx(one.slope.value)
    assert four.slope.high - four.slope.low == pytest.approx(one.slope.high - one.slope.low)
    assert four.ece_by_chance == pytest.approx(one.ece_by_chance, rel=0.1)


def test_slope_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    units = drawn(500, factor=0.7)
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(units.logit[:, None], units.truth)
    assert calibrate(units, 0.95, 0).slope.value == pytest.approx(float(reference.coef_[0, 0]), abs=1e-4)


def test_one_patient_leaves_no_interval_and_two_none_of_the_slope() -> None:
    said = np.array([0.2, 0.6, 0.4, 0.8])
    for patients in (1, 2):
        units = Units(np.arange(4) % patients, np.array([0, 1.0, 1, 0]), said, np.log(said / (1 - said)), 4, 0)
        found = calibrate(units, 0.95, 0)
        assert found.slope.low is None and f"{patients} patient" in found.slope.reason
        assert (found.intercept.low is None) == (patients == 1)


def test_equal_scores_share_a_bin() -> None:
    probability = np.array([0.1] * 70 + [0.9] * 30)
    assert len(set(bins_of(probability)[:70])) == 1
    assert bins_of(probability).max() == 1
    assert bins_of(np.linspace(0, 1, 10)).max() == 0
