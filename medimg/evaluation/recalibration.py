"""A correction of probabilities, fitted on validation: what training has shifted is shifted back.

Each logit is multiplied by a slope and added to an intercept. A yes-or-no question has its own two numbers (Platt 1999;
Cox 1958): class weights and balanced sampling shift the intercept, which a slope alone cannot undo. Classes share the
slope, 1 over the temperature (Guo et al. 2017, ICML), and have an intercept each, their bias.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from medimg.evaluation.calibration import logistic, no_slope, with_constant
from medimg.evaluation.units import Cases


@dataclass(frozen=True)
class Recalibration:
    """What every logit goes through."""

    method: str
    slope: tuple[float, ...]
    """one for each output"""
    intercept: tuple[float, ...]
    """one for each output"""
    notes: dict[str, str]
    """output → why its logits are left as they are"""

    def apply(self, cases: Cases) -> Cases:
        """The same units with corrected logits and probabilities."""
        logit = cases.logit * np.array(self.slope) + np.array(self.intercept)
        return replace(cases, logit=logit, probability=cases.task.probabilities(logit))


def each(validation: Cases) -> Recalibration:
    """Slope and intercept of every yes-or-no question."""
    found: list[tuple[float, float]] = []
    notes = {}
    for k, name in enumerate(validation.task.names):
        units = validation.question(k)
        reason = no_slope(units)
        slope, intercept = 1.0, 0.0
        if not reason:
            slope, intercept = logistic(units.truth, with_constant(units.logit), np.zeros(len(units)))[0].tolist()
            if not (np.isfinite([slope, intercept]).all() and slope > 0):
                slope, intercept, reason = 1.0, 0.0, "the slope that fits best would turn the ranking round"
        if reason:
            notes[name] = reason
        found.append((slope, intercept))
    slopes, intercepts = zip(*found, strict=True)
    return Recalibration("intercept and slope", slopes, intercepts, notes)


def together(validation: Cases) -> Recalibration:
    """One slope (1 over the temperature) for all classes and a bias for each, by maximum likelihood."""
    names = validation.task.names
    truth, logit = validation.truth[:, 0].astype(int), validation.logit
    empty = [name for k, name in enumerate(names) if not (truth == k).any()]
    reason = f"validation has no unit of {empty[0]}" if empty else ""
    slope, bias = 1.0, np.zeros(len(names))
    if not reason:
        wanted = np.eye(len(names))[truth]

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            scores = logit * weights[0] + weights[1:]
            error = (softmax(scores, axis=1) - wanted) / len(truth)
            down = np.append((error * logit).sum(), error.sum(axis=0))
            return -float(log_softmax(scores, axis=1)[np.arange(len(truth)), truth].mean()), down

        fit = minimize(loss, np.append(1.0, bias), jac=True, method="L-BFGS-B", options={"maxiter": 1000})
        if not (fit.success and 1e-3 < fit.x[0] < 1e3):
            reason = "no finite temperature fits best"
        elif ((logit * fit.x[0] + fit.x[1:]).argmax(axis=1) == truth).all():
            reason = "the scores separate the classes completely: no finite temperature fits best"
        else:
            slope, bias = float(fit.x[0]), fit.x[1:] - fit.x[1:].mean()
    count = len(names)
    return Recalibration(
        "temperature and bias", (slope,) * count, tuple(bias.tolist()), dict.fromkeys(names, reason) if reason else {}
    )
