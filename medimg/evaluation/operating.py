"""The operating point: a threshold chosen on validation alone.

A unit is called positive when its probability is at the threshold or above it. Candidates are the scores that occur in
validation; the threshold then stands in the middle between the chosen score and the next lower one, which changes no
decision on validation and leaves both neighbours the same margin.
"""

from dataclasses import dataclass

import numpy as np

from medimg.evaluation.metrics import confusion, decide, ends_of_ties
from medimg.evaluation.units import Units
from medimg.params import Threshold


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, what it aims at and what it reaches on validation."""

    rule: str
    target: float | None
    """The sensitivity or specificity to reach; None for Youden."""
    threshold: float
    reached: bool
    note: str
    """Why the target is not reached; empty where it is."""
    sensitivity: float | None
    """On validation; None where validation has no positive unit."""
    specificity: float | None
    """On validation; None where validation has no negative unit."""


def choose(units: Units, settings: Threshold) -> OperatingPoint:
    """The threshold that ``settings`` ask for, on the validation units.

    - ``youden``: the largest sensitivity + specificity - 1 (Youden 1950, Cancer 3:32); of equals the lowest threshold,
      because a missed finding is the worse error.
    - ``sensitivity``: the highest threshold whose sensitivity is at least the target, so the best specificity.
    - ``specificity``: the lowest threshold whose specificity is at least the target, so the best sensitivity.

    Calling everything, or nothing, positive reaches any target and is no choice: where only that would do, the useful
    threshold that comes nearest is taken and ``reached`` is False. With one class only, the threshold is 0.5.
    """
    target = None if settings.rule == "youden" else settings.target
    if not 0 < units.positive < len(units):
        which = "positive" if units.positive else "negative"
        return _point(units, settings.rule, target, 0.5, f"validation holds {which} units only, so 0.5 is used")
    scores, sensitivity, specificity = _candidates(units)
    useful = (sensitivity > 0) & (specificity > 0)
    note = ""
    if settings.rule == "youden":
        index = _last_best(sensitivity + specificity)
    else:
        aim, other = (sensitivity, specificity) if settings.rule == "sensitivity" else (specificity, sensitivity)
        fit = useful & (aim >= settings.target - 1e-12)  # 0.9 of 10 is 9, whatever the float says
        if fit.any():
            index = _last_best(np.where(fit, other, -1))
        elif useful.any():
            index = _last_best(np.where(useful, aim, -1))
            note = f"no useful threshold reaches a {settings.rule} of {settings.target:g} on validation"
        else:
            index = len(scores) - 1
            note = "no threshold separates any positive unit of validation from any negative one"
    return _point(units, settings.rule, target, _between(scores, index), note)


def _candidates(units: Units) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, descending, and sensitivity and specificity at each, ``(K,)``."""
    order = np.argsort(-units.probability, kind="stable")
    ends = ends_of_ties(units.probability[order])
    tp = np.cumsum(units.truth[order])[ends]
    fp = 1 + ends - tp
    return units.probability[order][ends], tp / tp[-1], 1 - fp / fp[-1]


def _last_best(values: np.ndarray) -> int:
    """Index of the largest value; of equal ones the last, which has the lowest threshold."""
    best = values >= values.max() - 1e-12
    return int(np.flatnonzero(best)[-1])


def _between(scores: np.ndarray, index: int) -> float:
    score = float(scores[index])
    lower = float(scores[index + 1]) if index + 1 < len(scores) else score
    middle = (score + lower) / 2
    return middle if lower < middle else score


def _point(units: Units, rule: str, target: float | None, threshold: float, note: str) -> OperatingPoint:
    table = confusion(units.truth, decide(units.probability, threshold))
    return OperatingPoint(
        rule=rule,
        target=target,
        threshold=threshold,
        reached=not note,
        note=note,
        sensitivity=table.sensitivity if units.positive else None,
        specificity=table.specificity if units.positive < len(units) else None,
    )
