"""Intervals against published values, hand-made references and simulation."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm

from medimg.evaluation.intervals import DELONG, PAIRS, auroc, clustered_delong, effective_size, proportion, wilson


def hanley() -> tuple[np.ndarray, np.ndarray]:
    """109 CT images rated 1 to 5 (Hanley and McNeil 1982, Radiology 143:29, table I): truth, score."""
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    score = np.concatenate([np.repeat(np.arange(5.0), normal), np.repeat(np.arange(5.0), abnormal)])
    return np.repeat([0.0, 1.0], [sum(normal), sum(abnormal)]), score


def plain_delong(truth: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """DeLong 1988 pair by pair."""
    x, y = score[truth > 0], score[truth == 0]
    wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    return wins.mean(), wins.mean(axis=1).var(ddof=1) / len(x) + wins.mean(axis=0).var(ddof=1) / len(y)


def obuchowski(truth: np.ndarray, score: np.ndarray, patient: np.ndarray) -> float:
    """Variance of Obuchowski 1997, section 2, as printed: sums over clusters, loops over pairs."""
    x, y = np.flatnonzero(truth > 0), np.flatnonzero(truth == 0)
    wins = {(i, j): (score[i] > score[j]) + 0.5 * (score[i] == score[j]) for i, j in itertools.product(x, y)}
    area = np.mean(list(wins.values()))
    clusters = sorted(set(patient))
    over, under, m, n = [], [], [], []
    for cluster in clusters:
        mine_x, mine_y = [i for i in x if patient[i] == cluster], [j for j in y if patient[j] == cluster]
        over.append(sum(np.mean([wins[i, j] for j in y]) for i in mine_x))
        under.append(sum(np.mean([wins[i, j] for i in x]) for j in mine_y))
        m.append(len(mine_x))
        n.append(len(mine_y))
    over, under = np.array(over) - np.array(m) * area, np.array(under) - np.array(n) * area
    i10, i01, i, big_m, big_n = np.sum(np.array(m) > 0), np.sum(np.array(n) > 0), len(clusters), len(x), len(y)
    s10 = i10 / ((i10 - 1) * big_m) * (over**2).sum()
    s01 = i01 / ((i01 - 1) * big_n) * (under**2).sum()
    s11 = i / (i - 1) * (over * under).sum()
    return s10 / big_m + s01 / big_n + 2 * s11 / (big_m * big_n)


def test_delong_of_a_published_example() -> None:
    truth, score = hanley()
    area, variance = clustered_delong(truth, score, np.arange(109))
    assert area == pytest.approx(0.8932, abs=5e-5)  # Stata's manual, [R] roctab, the same data:
    assert variance**0.5 == pytest.approx(0.0307, abs=5e-5)  # standard error, and 95 % interval
    assert area - 1.959964 * variance**0.5 == pytest.approx(0.83295, abs=5e-6)
    assert area + 1.959964 * variance**0.5 == pytest.approx(0.95339, abs=5e-6)


def test_one_unit_a_patient_is_plain_delong() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        truth = np.append([0.0, 0.0, 1.0, 1.0], (random.random(40) < 0.4).astype(float))
        score = random.normal(size=44).round(1) + truth  # rounded, so that there are ties
        assert clustered_delong(truth, score, random.permutation(44)) == pytest.approx(plain_delong(truth, score))


def test_clusters_follow_the_paper() -> None:
    random = np.random.default_rng(1)
    for _ in range(20):
        patient = random.integers(0, 15, 40)
        truth = (random.random(40) < 0.5).astype(float)
        score = (truth + random.normal(size=15)[patient] + random.normal(size=40)).round(1)
        expected = obuchowski(truth, score, patient)
        assert clustered_delong(truth, score, patient)[1] == pytest.approx(expected)


def test_copies_of_a_patients_image_add_nothing() -> None:
    truth, score = hanley()
    once = clustered_delong(truth, score, np.arange(109))
    thrice = clustered_delong(np.tile(truth, 3), np.tile(score, 3), np.tile(np.arange(109), 3))
    assert thrice == pytest.approx(once)
    naive = clustered_delong(np.tile(truth, 3), np.tile(score, 3), np.arange(327))
    assert naive[1] < 0.4 * once[1]


def test_the_interval_is_on_the_logit_scale() -> None:
    truth, score = hanley()
    found = auroc(truth, score, np.arange(109), 0.95)
    assert found.method == DELONG
    assert (found.low, found.high) == pytest.approx((0.8164, 0.9402), abs=1e-4)
    # by hand: logit 0.8932 = 2.1237, ± 1.96 · 0.03072 / (0.8932 · 0.1068) = 0.6312
    assert found.value - found.low > found.high - found.value


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_at_the_edge_the_interval_is_exact_and_no_point(value: float) -> None:
    truth = np.repeat([0.0, 1.0], [30, 10])
    found = auroc(truth, truth if value else -truth, np.arange(40), 0.95)
    assert found.method == PAIRS
    bound = 0.025 ** (1 / 10)  # ten pairs, all right
    assert (found.low, found.high) == pytest.approx((bound, 1.0) if value else (0.0, 1 - bound))


def test_one_patient_a_class_knows_next_to_nothing() -> None:
    truth = np.array([0.0, 0.0, 0.0, 1.0, 1.0])
    found = auroc(truth, np.arange(5.0), np.array([0, 0, 0, 1, 1]), 0.95)
    assert (found.low, found.high) == pytest.approx((0.025, 1.0))


def test_one_class_is_undefined() -> None:
    found = auroc(np.ones(5), np.arange(5.0), np.arange(5), 0.95)
    assert found.value is None and found.reason


@pytest.mark.parametrize(
    ("hits", "size", "low", "high"),
    # Newcombe 1998 (Stat Med 17:857), table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_of_published_examples(hits: int, size: int, low: float, high: float) -> None:
    assert wilson(hits / size, size, 0.95) == pytest.approx((low, high), abs=5e-5)


def test_effective_size_between_patients_and_units() -> None:
    random = np.random.default_rng(0)
    patient = np.repeat(np.arange(100), 4)
    same = (random.random(100) < 0.7).astype(float)[patient]
    free = (random.random(400) < 0.7).astype(float)
    assert effective_size(free[:100], np.arange(100), 0.95) == 100
    assert effective_size(same, patient, 0.95) == pytest.approx(100, rel=0.05)
    assert 300 < effective_size(free, patient, 0.95) <= 400
    assert effective_size(np.ones(400), patient, 0.95) == 100


def test_no_unit_is_undefined() -> None:
    assert proportion(np.empty(0), np.empty(0), 0.95, "nobody was called").reason == "nobody was called"


@pytest.mark.slow
@pytest.mark.parametrize(("patients", "images"), [(30, 1), (30, 4), (92, 1), (92, 4)])
def test_intervals_cover_as_often_as_they_say(patients: int, images: int) -> None:
    """Binormal scores, AUROC 0.88, 60 % of the variance between patients; 1500 studies each, so ± 1.1 points."""
    random = np.random.default_rng(0)
    shift = float(norm.ppf(0.88)) * 2**0.5
    covered, studies = np.zeros(2), 1500
    for _ in range(studies):
        patient = np.repeat(np.arange(patients), random.integers(1, images + 1, patients))
        truth = (random.random(patients) < 0.4).astype(float)[patient]
        noise = 0.6**0.5 * random.normal(size=patients)[patient] + 0.4**0.5 * random.normal(size=len(patient))
        score = shift * truth + noise
        area = auroc(truth, score, patient, 0.95)
        found = (score >= shift / 2)[truth > 0].astype(float)
        sensitivity = proportion(found, patient[truth > 0], 0.95, "")
        truths = (0.88, float(norm.cdf(shift / 2)))
        covered += [e.low <= value <= e.high for e, value in zip((area, sensitivity), truths, strict=True)]
    assert (np.abs(covered / studies - 0.95) < 0.03).all(), covered / studies
