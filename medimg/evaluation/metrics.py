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


def decide(probability: np.ndarray, threshold: float) -> np.ndarray:
    """``(N,)`` probabilities → ``(N,)`` bool: positive at the threshold or above it."""
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
    once = np.ones((1, len(order)))
    return float(weighted_precision(truth[order], ends_of_ties(probability[order]), once)[0])


def ends_of_ties(descending: np.ndarray) -> np.ndarray:
    """Indices of the last of each run of equal scores, of ``(N,)`` scores in descending order."""
    return np.append(np.flatnonzero(np.diff(descending)), len(descending) - 1)


def weighted_precision(truth: np.ndarray, ends: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Average precision under each row of weights.

    Args:
        truth: ``(N,)`` of 0 and 1, by descending score.
        ends: of ``ends_of_ties``.
        weight: ``(draws, N)``, how often each unit counts.

    Returns:
        ``(draws,)``; NaN where the weights hold no positive.
    """
    found = np.append(0, np.cumsum(truth)[ends].astype(np.int64))
    steps = np.diff(found) > 0  # only runs with a positive in them add area
    if not steps.any():
        return np.full(len(weight), np.nan)
    called = np.cumsum(weight, axis=1)[:, ends[steps]]
    hits = np.cumsum(weight[:, truth > 0], axis=1)[:, found[1:][steps] - 1]
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    area = (np.diff(hits, axis=1, prepend=0) * precision).sum(axis=1)
    total = hits[:, -1]
    return np.asarray(np.divide(area, total, out=np.full(len(total), np.nan), where=total > 0))


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
