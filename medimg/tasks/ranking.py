"""What several tasks share: the area under the ROC curve as a validation score, and values as text."""

import numpy as np
import pandas as pd

SURE = 1e-12
"""A probability is kept this far from 0 and 1 before its logit is taken."""


def clipped_logit(probability: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), finite, of any shape."""
    from scipy.special import logit

    return np.asarray(logit(np.clip(probability, SURE, 1 - SURE)))


def area(truth: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve, ``(N,)`` both; NaN when one class is missing or a score is not finite."""
    from sklearn.metrics import roc_auc_score

    if len(set(truth.tolist())) < 2 or not np.isfinite(score).all():
        return float("nan")
    return float(roc_auc_score(truth, score))


def mean_area(truth: np.ndarray, score: np.ndarray) -> float:
    """Mean over the columns of the area under the ROC curve, ``(N, K)`` both, NaN truths left out.

    A column that has one class only is left out of the mean; NaN where none is left or a score is not finite.
    """
    if not np.isfinite(score).all():
        return float("nan")
    known = np.isfinite(truth)
    areas = [area(truth[known[:, k], k], score[known[:, k], k]) for k in range(truth.shape[1])]
    defined = [value for value in areas if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def measured(name: str, truth: np.ndarray, probability: np.ndarray, said: np.ndarray, exclusive: bool = False) -> float:
    """A metric of validation as the evaluation defines it, mean over those questions that have both answers.

    Args:
        name: of ``params.learning.MONITORS``.
        truth: of each question, ``(N, K)``; NaN: not known.
        probability: ``(N, K)``.
        said: whether the answer is yes, bool ``(N, K)``.
        exclusive: the questions are the classes of one answer.

    Returns:
        NaN where it is undefined or a probability is none.
    """
    if not np.isfinite(probability).all():
        return float("nan")
    known = np.isfinite(truth)
    yes, no = truth == 1, truth == 0
    both = yes.any(axis=0) & no.any(axis=0)
    if not both.any():
        return float("nan")
    if name in ("auroc", "auprc"):
        from sklearn.metrics import average_precision_score, roc_auc_score

        of = roc_auc_score if name == "auroc" else average_precision_score
        return float(np.mean([of(truth[known[:, k], k], probability[known[:, k], k]) for k in np.flatnonzero(both)]))
    if name == "brier":
        squared = np.where(known, (probability - np.where(known, truth, 0)) ** 2, 0)
        return float(squared.sum() / len(truth)) if exclusive else float((squared.sum(0) / known.sum(0))[both].mean())
    if name == "accuracy":
        return float((yes & said).sum() / known.all(axis=1).sum())
    hits, missed, false, rejected = ((a & b)[:, both].sum(axis=0) for a in (yes, no) for b in (said, ~said))
    with np.errstate(invalid="ignore"):
        if name == "f1":
            return float((2 * hits / (2 * hits + false + missed)).mean())
        found, refused = hits / (hits + missed), rejected / (rejected + false)
    return float(found.mean()) if exclusive else float(((found + refused) / 2).mean())


def shown(labels: pd.Series) -> str:
    """The first ten different values, for a message."""
    found = sorted(set(labels))
    return ", ".join(repr(str(value)) for value in found[:10]) + (", …" if len(found) > 10 else "")
