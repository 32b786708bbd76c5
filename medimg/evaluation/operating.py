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
    """The sensitivity or specificity to reach, or what a missed finding weighs; None for Youden."""
    threshold: float
    reached: bool
    note: str
    """Why the target is not reached; empty where it is."""
    sensitivity: float | None
    """On validation; None where validation has no positive unit."""
    specificity: float | None
    """On validation; None where validation has no negative unit."""


def choose(units: Units, settings: Threshold, prevalence: float | None = None) -> OperatingPoint:
    """The threshold that ``settings`` ask for, on the validation units.

    Args:
        units: of validation.
        settings: the block ``evaluate.threshold``.
        prevalence: share of positives that rule ``cost`` reckons with; None for that of ``units``.

    Rules:

    - ``youden``: the largest sensitivity + specificity - 1 (Youden 1950, Cancer 3:32); of equals the lowest threshold,
      because a missed finding is the worse error.
    - ``sensitivity``: the highest threshold whose sensitivity is at least the target, so the best specificity.
    - ``cost``: the least of false alarms and, weighted by ``settings.miss``, missed findings; of equals the lowest.
    - ``specificity``: the lowest threshold whose specificity is at least the target, so the best sensitivity.

    Calling everything, or nothing, positive reaches any target and is no choice: where only that would do, the useful
    threshold that comes nearest is taken and ``reached`` is False. With one class only, the threshold is 0.5.
    """
    target = {"youden": None, "cost": settings.miss}.get(settings.rule, settings.target)
    if not 0 < units.positive < len(units):
        which = "positive units only" if units.positive else "negative units only" if len(units) else "no unit"
        return _point(units, settings.rule, target, 0.5, f"validation holds {which}, so 0.5 is used")
    scores, sensitivity, specificity = _candidates(units)
    useful = (sensitivity > 0) & (specificity > 0)
    note = ""
    if settings.rule == "youden":
        together = sensitivity + specificity
        index = _last_best(np.where(useful, together, -1)) if useful.any() else len(scores) - 1
        if together[index] <= 1 + 1e-12:
            note = "on validation no threshold separates positive from negative units better than chance would"
    elif settings.rule == "cost":
        share = units.positive / len(units) if prevalence is None else prevalence
        cost = settings.miss * share * (1 - sensitivity) + (1 - share) * (1 - specificity)
        index = _last_best(np.where(useful, -cost, -np.inf)) if useful.any() else len(scores) - 1
        cheapest, which = min((settings.miss * share, "negative"), (1 - share, "positive"))
        if not useful.any() or cost[index] > cheapest + 1e-12:
            note = f"on validation it would cost less to call every unit {which}"
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
