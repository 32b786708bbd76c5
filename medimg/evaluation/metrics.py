"""Point estimates of one part, from arrays; NaN where a metric is undefined."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Confusion:
    """Units by truth and decision, at one threshold."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def sensitivity(self) -> float:
        """Share of the positive units that are called positive."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """Share of the negative units that are called negative."""
        return ratio(self.tn, self.tn + self.fp)

    @property
    def f1(self) -> float:
        """Harmonic mean of sensitivity and positive predictive value."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


def ratio(part: float, whole: float) -> float:
    """``part / whole``, NaN where ``whole`` is 0."""
    return part / whole if whole else float("nan")


def net_benefit(truth: np.ndarray, probability: np.ndarray, limits: np.ndarray, prevalence: float | None) -> np.ndarray:
    """Net benefit of calling positive what has at least the probability ``limits`` ``(L,)``, ``(L,)``.

    True positives less false positives, a false one weighing limit / (1 - limit), for each unit (Vickers and Elkin
    2006, Med Decis Making 26:565); with ``prevalence``, where that share is positive. NaN where a class is missing.
    """
    found = [np.sort(probability[truth == value]) for value in (1, 0)]
    if not all(map(len, found)):
        return np.full(len(limits), np.nan)
    hit, alarm = (1 - np.searchsorted(scores, limits, side="left") / len(scores) for scores in found)
    share = float(truth.mean()) if prevalence is None else prevalence
    return np.asarray(hit * share - alarm * (1 - share) * limits / (1 - limits))


def decide(probability: np.ndarray, threshold: float | np.ndarray) -> np.ndarray:
    """Probabilities → bool of their shape: positive at the threshold, or each column's own, or above it."""
    return np.asarray(probability >= threshold)


def confusion(truth: np.ndarray, called: np.ndarray) -> Confusion:
    """Count ``(N,)`` truths of 0 and 1 against ``(N,)`` decisions."""
    positive = truth > 0
    return Confusion(
        tp=int((positive & called).sum()),
        fp=int((~positive & called).sum()),
        fn=int((positive & ~called).sum()),
        tn=int((~positive & ~called).sum()),
    )


def squared_errors(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """``(N,)`` terms whose mean is the Brier score (Brier 1950, Mon Weather Rev 78:1)."""
    return np.asarray((probability - truth) ** 2)


def log_losses(truth: np.ndarray, logit: np.ndarray) -> np.ndarray:
    """``(N,)`` terms whose mean is the log loss, from logits, so that a sure error stays finite."""
    return np.asarray(np.logaddexp(0, np.where(truth > 0, -logit, logit)))


def average_precision(truth: np.ndarray, probability: np.ndarray) -> float:
    """Area under the precision-recall curve as average precision; equal scores are one step. NaN with no positive."""
    order = np.argsort(-probability, kind="stable")
    ends = ends_of_ties(probability[order])
    hits = np.cumsum(truth[order])[ends]
    return ratio(float((np.diff(hits, prepend=0) * hits / (ends + 1)).sum()), float(truth.sum()))


def ends_of_ties(descending: np.ndarray) -> np.ndarray:
    """Indices of the last of each run of equal scores, of ``(N,)`` scores in descending order."""
    return np.append(np.flatnonzero(np.diff(descending)), len(descending) - 1)


def precision_recall(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The precision-recall curve: recall, precision, threshold, each ``(K,)``, from few called positive to all.

    Empty where one class is missing.
    """
    if not 0 < truth.sum() < len(truth):
        return np.empty(0), np.empty(0), np.empty(0)
    order = np.argsort(-probability, kind="stable")
    ends = ends_of_ties(probability[order])
    hits = np.cumsum(truth[order])[ends]
    return hits / hits[-1], hits / (ends + 1), probability[order][ends]


def roc(truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ROC curve: false positive rate, true positive rate, threshold, each ``(K,)``.

    It begins at (0, 0), where nothing is called positive and the threshold is NaN, and has a point for each corner:
    points in the middle of a straight stretch are left out. Empty where one class is missing.
    """
    if not 0 < truth.sum() < len(truth):
        return np.empty(0), np.empty(0), np.empty(0)
    order = np.argsort(-probability, kind="stable")
    ends = ends_of_ties(probability[order])
    tp = np.append(0, np.cumsum(truth[order])[ends])
    fp = np.append(0, (1 + ends) - tp[1:])
    turns = np.flatnonzero(np.diff(fp[:-1]) * np.diff(tp[1:]) != np.diff(fp[1:]) * np.diff(tp[:-1])) + 1
    keep = np.concatenate([[0], turns, [len(tp) - 1]])
    threshold = np.append(np.nan, probability[order][ends])
    return fp[keep] / fp[-1], tp[keep] / tp[-1], threshold[keep]
