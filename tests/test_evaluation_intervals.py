"""Intervals against published values, hand-made references and simulation."""

import itertools

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm
from scipy.stats.contingency import relative_risk

from benchmarks import coverage
from medimg.evaluation import bootstrap
from medimg.evaluation.intervals import (
    DELONG,
    PAIRS,
    auroc,
    clustered_delong,
    effective_size,
    likelihood_ratio,
    mean_auroc,
    proportion,
    wilson,
)


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
    # by hand: logit 0.8932 = 2.1237; 0.03072² has 93 degrees of freedom (Satterthwaite, 51 and 58 patients)
    half = 1.986 * 0.03072 / (0.8932 * 0.1068)
    assert (found.low, found.high) == pytest.approx((expit(2.1237 - half), expit(2.1237 + half)), abs=2e-4)
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


def test_likelihood_ratios_of_a_published_example() -> None:
    """Low ferritin in 731 of 809 with iron deficiency, in 270 of 1770 without (Sackett, Evidence-Based Medicine)."""
    ratio, low, high = likelihood_ratio((731 / 809, 270 / 1770), (809, 1770), 0.95)
    assert ratio == pytest.approx(5.92, abs=0.01)
    reference = relative_risk(731, 809, 270, 1770).confidence_interval(0.95)  # a likelihood ratio is a risk ratio
    assert (low, high) == pytest.approx((reference.low, reference.high))


def test_the_mean_of_one_question_asked_twice_is_that_question() -> None:
    truth, score = hanley()
    once = mean_auroc([(truth, score, np.arange(109))], 0.95)
    twice = mean_auroc([(truth, score, np.arange(109))] * 2, 0.95)
    assert once == auroc(truth, score, np.arange(109), 0.95)
    assert (twice.value, twice.low, twice.high) == pytest.approx((once.value, once.low, once.high), abs=2e-3)


def test_independent_questions_narrow_the_mean() -> None:
    random = np.random.default_rng(0)
    asked = []
    for _ in range(4):
        truth = (random.random(300) < 0.4).astype(float)
        asked.append((truth, truth + random.normal(size=300), np.arange(300)))
    one, mean = mean_auroc(asked[:1], 0.95), mean_auroc(asked, 0.95)
    assert mean.value == pytest.approx(np.mean([mean_auroc([one_of], 0.95).value for one_of in asked]))
    assert 0.4 < (mean.high - mean.low) / (one.high - one.low) < 0.6


@pytest.mark.parametrize(
    ("scale", "value"),
    [
        (bootstrap.SHARE, 0.97),
        (bootstrap.AMOUNT, 0.2),
        (bootstrap.EXPLAINED, 0.9),
        (bootstrap.EXPLAINED, -0.4),
        (bootstrap.CORRELATION, -0.95),
        (bootstrap.PLAIN, 3.0),
    ],
)
def test_an_interval_by_resampling_stays_in_the_metric_s_range_and_has_the_standard_error_s_width(scale, value):
    drawn = value + 0.001 * np.random.default_rng(0).normal(size=2000)
    found = bootstrap.interval("it", value, drawn, 0.95, 1e9, scale)
    assert found.low == pytest.approx(value - 1.96 * 0.001, abs=1e-4)
    assert found.high == pytest.approx(value + 1.96 * 0.001, abs=1e-4)
    wild = bootstrap.interval("it", value, value + np.random.default_rng(0).normal(size=2000), 0.95, 2, scale)
    assert scale.low <= wild.low < value < wild.high <= scale.high
    few = bootstrap.interval("it", value, drawn, 0.95, 2, scale)
    assert few.high - few.low > 2 * (found.high - found.low)  # Student's t of two degrees is 4.3


def test_the_degrees_of_freedom_are_those_of_the_rarer_class_and_grow_with_the_questions():
    assert bootstrap.freedom([8]) == 7
    assert bootstrap.freedom([8, 8]) == pytest.approx(14)
    assert bootstrap.freedom([8, 2]) < 4
    assert bootstrap.freedom([1]) == bootstrap.freedom([0]) == 1


def test_a_metric_at_the_end_of_its_scale_has_no_interval_but_a_reason():
    drawn = np.r_[np.ones(1500), np.linspace(0.5, 1, 500)]
    assert "at the end of its scale" in bootstrap.interval("F1", 1.0, drawn, 0.95, 5).reason


@pytest.mark.slow
def test_intervals_by_resampling_hold_the_true_value_where_percentiles_do_not():
    random = np.random.default_rng(3)
    held, by_percentiles = 0, 0
    for _ in range(300):
        truth, score, owner, probability = coverage._drawn(random, 50, 0.9, 0.1)
        if not 0 < truth.sum() < len(truth):
            continue
        statistics = coverage._resampled(truth, score, owner, probability)[:1]
        once = statistics[0](np.ones((1, 50)))["brier"][0]
        drawn = bootstrap.replicates(50, len(truth), statistics, 0, 400)["brier"]
        rarer = min(len(np.unique(owner[truth == value])) for value in (0, 1))
        found = bootstrap.interval("it", once, drawn, 0.95, bootstrap.freedom([rarer]))
        low, high = np.quantile(drawn, [0.025, 0.975])
        true = 0.0589  # the mean over 300,000 patients
        held, by_percentiles = held + (found.low <= true <= found.high), by_percentiles + (low <= true <= high)
    assert held >= 0.93 * 300 > by_percentiles
