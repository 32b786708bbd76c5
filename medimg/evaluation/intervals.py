"""Intervals that know that images of one patient are not independent.

Sources: DeLong, DeLong, Clarke-Pearson 1988 (Biometrics 44:837) and Obuchowski 1997 (Biometrics 53:567) for AUROC;
Wilson 1927 (JASA 22:209) with the effective sample size of Rao and Scott 1992 (Biometrics 48:577) for proportions;
Newcombe 1998 (Stat Med 17:873) for a mean of two proportions; Clopper and Pearson 1934 (Biometrika 26:404) at the edge.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit, logit
from scipy.stats import beta, norm, rankdata, t

from medimg.evaluation.estimate import Estimate, undefined

DELONG = "clustered DeLong (Obuchowski 1997) on the logit scale, t quantile"
PAIRS = "exact (Clopper–Pearson), counted in pairs of different patients"
WILSON = "Wilson, with the effective sample size of patients"
MOVER = "from the Wilson intervals of sensitivity and specificity (Newcombe 1998)"
SIMEL = "on the log scale (Simel 1991), with the effective sample size of patients"
BAYES = "Bayes, at the Wilson limits of sensitivity and specificity (conservative)"


Ranked = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Truth, score and patient of the units that a question is about, ``(M,)`` each."""


def wilson(share: float, size: float, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion ``share`` of ``size`` trials; ``size`` need not be whole."""
    z = float(norm.ppf((1 + confidence) / 2))
    centre = (share + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * float(np.sqrt(share * (1 - share) / size + z * z / (4 * size * size)))
    low = 0.0 if share <= 0 else max(0.0, centre - half)  # the arithmetic would leave 1e-17 there
    high = 1.0 if share >= 1 else min(1.0, centre + half)
    return low, high


def effective_size(hits: np.ndarray, patient: np.ndarray, confidence: float) -> float:
    """How many independent units ``hits`` ``(N,)`` of 0 and 1 of ``patient`` ``(N,)`` are worth.

    N over the design effect: the variance of the proportion between patients (ratio estimator) over that of
    independent units. Never more than N. Where all hits agree, the variance says nothing and the number of patients is
    taken, as if images of one patient always agreed. A design effect estimated from few patients is uncertain: as in
    Korn and Graubard 1998 (Survey Methodology 24:193), the size shrinks by the squared ratio of normal to t quantile.
    """
    count = len(hits)
    _, code = np.unique(patient, return_inverse=True)
    patients = int(code.max()) + 1
    if patients == count:
        return float(count)
    share = float(hits.mean())
    if patients == 1 or share in (0.0, 1.0):
        return float(patients)
    deviation = np.bincount(code, weights=hits) - share * np.bincount(code)
    between = patients / (patients - 1) * float(deviation @ deviation) / count**2
    independent = share * (1 - share) / (count - 1)
    tail = (1 + confidence) / 2
    shrink = float((norm.ppf(tail) / t.ppf(tail, patients - 1)) ** 2)
    return max(1.0, count / max(1.0, between / independent) * shrink)


def proportion(hits: np.ndarray, patient: np.ndarray, confidence: float, empty: str) -> Estimate:
    """Share of ones in ``hits`` ``(N,)`` with Wilson's interval over patients; ``empty`` is the reason where N is 0."""
    if not len(hits):
        return undefined(empty)
    share = float(hits.mean())
    low, high = wilson(share, effective_size(hits, patient, confidence), confidence)
    return Estimate(share, low, high, WILSON)


def auroc(truth: np.ndarray, score: np.ndarray, patient: np.ndarray, confidence: float) -> Estimate:
    """Area under the ROC curve with its interval over patients; ``truth``, ``score``, ``patient`` are ``(N,)``.

    A variance estimated from few patients is uncertain itself, so the quantile is Student's t with Satterthwaite's
    degrees of freedom for the patients of both classes: normal where they are many.

    Where the logit or the variance is undefined (area 0 or 1, all scores equal, one patient only in a class), the area
    counts as a proportion of k pairs, each of one positive and one negative patient, no patient in two: the largest
    set of independent comparisons that the data hold. Its exact interval is never a single point.
    """
    positive = truth > 0
    if not positive.any() or positive.all():
        return undefined(f"every unit is {'positive' if positive.any() else 'negative'}: there is nothing to rank")
    area, variance, freedom = _clustered(truth, score, patient)
    if not 0 < area < 1 or not variance > 0:
        low, high = _exact(area, _disjoint_pairs(positive, patient), confidence)
        return Estimate(area, low, high, PAIRS)
    return _on_the_logit_scale(area, variance, freedom, confidence)


def _on_the_logit_scale(area: float, variance: float, freedom: float, confidence: float) -> Estimate:
    half = float(t.ppf((1 + confidence) / 2, freedom)) * variance**0.5 / (area * (1 - area))
    return Estimate(area, float(expit(logit(area) - half)), float(expit(logit(area) + half)), DELONG)


def mean_auroc(questions: Sequence[Ranked], confidence: float) -> Estimate:
    """Mean over ``questions`` of the area under the ROC curve, with its interval over patients.

    DeLong's components of each question are added up for each patient, so that images of one patient and questions
    about one image are both accounted for; the interval is on the logit scale. With one question it is ``auroc``. Where
    the variance is undefined it is as there, on the question with the fewest pairs of patients.

    Args:
        questions: truth, score and patient, ``(M,)`` each; patients have one numbering.
        confidence: level of the interval.
    """
    if len(questions) == 1:
        return auroc(*questions[0], confidence)
    patients = 1 + max(int(patient.max(initial=0)) for _, _, patient in questions)
    areas, influences, pairs, parts_of_variance = [], np.zeros(patients), [], []
    for truth, score, patient in questions:
        positive = truth > 0
        if not positive.any() or positive.all():
            return undefined(f"one of {len(questions)} has {'no negative' if positive.any() else 'no positive'} unit")
        above, below, area = _components(positive, score)
        areas.append(area)
        pairs.append(_disjoint_pairs(positive, patient))
        for inside, parts in ((positive, above), (~positive, below)):
            there = len(np.unique(patient[inside]))
            scale = (there / (there - 1)) ** 0.5 if there > 1 else np.nan
            weights = scale * (parts - area) / len(parts) / len(questions)
            mine = np.bincount(patient[inside], weights=weights, minlength=patients)
            influences += mine
            parts_of_variance.append((float(mine @ mine), there - 1))
    mean, variance = float(np.mean(areas)), float(influences @ influences)
    if not 0 < mean < 1 or not variance > 1e-15:
        return Estimate(mean, *_exact(mean, min(pairs), confidence), PAIRS)
    return _on_the_logit_scale(mean, variance, _freedom(parts_of_variance), confidence)


def _freedom(parts: list[tuple[float, int]]) -> float:
    """Degrees of freedom of a sum of variances, each with its own (Satterthwaite 1946, Biometrics Bull 2:110)."""
    spread = sum(variance**2 / freedom for variance, freedom in parts)
    return float(sum(variance for variance, _ in parts) ** 2 / spread) if spread > 0 else float("inf")


def _components(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """DeLong's V10 of each positive, V01 of each negative, and the area, their mean."""
    m, n = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(score)
    above = (ranks[positive] - rankdata(score[positive])) / n  # share of the negatives that a positive outranks: V10
    below = 1 - (ranks[~positive] - rankdata(score[~positive])) / m  # share of the positives above a negative: V01
    return above, below, float(above.mean())


def clustered_delong(truth: np.ndarray, score: np.ndarray, patient: np.ndarray) -> tuple[float, float]:
    """Area under the ROC curve and its variance by Obuchowski 1997, both classes present, ``(N,)`` each.

    With one unit a patient it is DeLong's variance. NaN where a class has one patient only.
    """
    return _clustered(truth, score, patient)[:2]


def _clustered(truth: np.ndarray, score: np.ndarray, patient: np.ndarray) -> tuple[float, float, float]:
    """Area, variance, and the degrees of freedom that patients leave to the variance."""
    positive = truth > 0
    above, below, area = _components(positive, score)
    m, n = len(above), len(below)
    _, code = np.unique(patient, return_inverse=True)
    patients = int(code.max()) + 1
    of_positive = np.bincount(code[positive], weights=above - area, minlength=patients)
    of_negative = np.bincount(code[~positive], weights=below - area, minlength=patients)
    with_positive, with_negative = len(np.unique(code[positive])), len(np.unique(code[~positive]))
    if with_positive < 2 or with_negative < 2:
        return area, float("nan"), float("nan")
    s10 = with_positive / (with_positive - 1) / m * float(of_positive @ of_positive)
    s01 = with_negative / (with_negative - 1) / n * float(of_negative @ of_negative)
    s11 = patients / (patients - 1) * float(of_positive @ of_negative)
    variance = s10 / m + s01 / n + 2 * s11 / (m * n)
    freedom = _freedom([(s10 / m, with_positive - 1), (s01 / n, with_negative - 1)])
    return area, variance if variance > 1e-15 else 0.0, freedom  # equal scores leave rounding, not variance


def likelihood_ratio(
    share: tuple[float, float], size: tuple[float, float], confidence: float
) -> tuple[float, float, float]:
    """Ratio of two independent proportions of ``size`` trials each, both above 0, and its interval on the log scale.

    Simel, Samsa, Matchar 1991 (J Clin Epidemiol 44:763); sizes may be effective ones, of patients.
    """
    (first, second), (m, n) = share, size
    ratio = first / second
    error = ((1 - first) / (first * m) + (1 - second) / (second * n)) ** 0.5
    factor = float(np.exp(norm.ppf((1 + confidence) / 2) * error))
    return ratio, ratio / factor, ratio * factor


def mean_of_two(first: Estimate, second: Estimate) -> tuple[float, float]:
    """Interval of the mean of two independent estimates, by squaring and adding their distances (Newcombe 1998)."""
    assert first.value is not None and first.low is not None and first.high is not None
    assert second.value is not None and second.low is not None and second.high is not None
    mean = (first.value + second.value) / 2
    down = ((first.value - first.low) ** 2 + (second.value - second.low) ** 2) ** 0.5 / 2
    up = ((first.high - first.value) ** 2 + (second.high - second.value) ** 2) ** 0.5 / 2
    return max(0.0, mean - down), min(1.0, mean + up)


def _disjoint_pairs(positive: np.ndarray, patient: np.ndarray) -> int:
    with_positive, with_negative = np.unique(patient[positive]), np.unique(patient[~positive])
    return min(len(with_positive), len(with_negative), len(np.union1d(with_positive, with_negative)) // 2)


def _exact(share: float, size: int, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    hits, misses = share * size, (1 - share) * size
    low = float(beta.ppf(tail, hits, misses + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, misses)) if misses > 0 else 1.0
    return low, high
