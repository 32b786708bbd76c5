"""The shortcut audit: could something other than the finding explain the result?

Each check asks one thing whose answer is an AUROC of 0.5 where there is no shortcut, whatever the images look like:

* *acquisition* and *size*: a small model that sees no pixel ranks the labels. If it can, the label hangs on how images
  were made, and no test on these images can tell a network that reads the finding from one that reads the scanner.
* *rim*: a small model that sees the rim of the picture alone ranks the labels, and better than one that sees the rest.
* *transplant*: each test image gets the rim of another patient's, drawn by lot, and the network scores it. Its score
  cannot know the donor's label but through the rim. That is an experiment on the network and not on the data.

A disease that shows all over the picture shows in the rim as well. Therefore rim and transplant need to tell more than
the rest does, or than their share of the area. A thumbnail that ranks well is no check: it says that low resolution
suffices.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from medimg.evaluation import intervals
from medimg.evaluation.estimate import Estimate, rounded, undefined
from medimg.evaluation.influence import Influence, askable, mean_auroc
from medimg.params import Shortcuts

Verdict = Literal["pass", "suspect", "too few patients to tell"]
CHANCE = 0.5


@dataclass(frozen=True)
class Ranking:
    """Scores of N units against K yes-or-no truths."""

    truth: np.ndarray
    """``(N, K)``: 0, 1 or NaN"""
    score: np.ndarray
    """``(N, K)``"""
    patient: np.ndarray
    """``(N,)`` int64, 0 … patients - 1"""

    def where(self, inside: np.ndarray) -> "Ranking":
        """The units ``inside`` ``(N,)`` bool."""
        return Ranking(self.truth[inside], self.score[inside], self.patient[inside])

    @property
    def influence(self) -> Influence | None:
        """Mean AUROC over the questions."""
        return mean_auroc(self.truth, self.score, self.patient, int(self.patient.max()) + 1)

    def estimate(self, confidence: float) -> Estimate:
        """Mean AUROC over the questions with its interval."""
        if self.truth.shape[1] == 1:
            known = np.isfinite(self.truth[:, 0])
            return intervals.auroc(self.truth[known, 0], self.score[known, 0], self.patient[known], confidence)
        asked = list(askable(self.truth, self.score, self.patient).values())
        if not asked:
            return undefined("no question has two patients of each class in test")
        return intervals.mean_auroc(asked, confidence)


@dataclass(frozen=True)
class Check:
    """One question of the audit and its answer."""

    name: str
    title: str
    auroc: Estimate
    """what the small model, or the donor's rim, ranks"""
    low: float | None
    high: float | None
    """limits of ``auroc`` at the level that all checks together need (Bonferroni)"""
    excess: Estimate | None = None
    """how much more the rim tells than the rest; None where nothing is compared"""
    excess_low: float | None = None
    excess_high: float | None = None
    note: str = ""
    """why there is nothing to check, or what was compared"""

    def fires(self, settings: Shortcuts) -> bool:
        """Whether chance is excluded and the size matters."""
        more = self.excess is None or (self.excess_low is not None and self.excess_low > 0)
        return more and self.low is not None and self.low > settings.tolerated

    def open(self, settings: Shortcuts) -> bool:
        """Whether these patients cannot rule a strong shortcut out."""
        if self.auroc.value is None:
            return True
        less = self.excess_high is not None and self.excess_high <= 0
        return not less and self.high is not None and self.high > settings.excluded

    def as_json(self) -> dict[str, Any]:
        """Plain values for shortcuts.json."""
        limits = {name: rounded(getattr(self, name)) for name in ("low", "high", "excess_low", "excess_high")}
        return {
            "title": self.title,
            "auroc": self.auroc.as_json(),
            "limits": limits,
            "excess": self.excess.as_json() if self.excess else None,
            "note": self.note or None,
        }


@dataclass(frozen=True)
class Judgement:
    """The verdict, what it rests on, and whether low resolution suffices."""

    verdict: Verdict
    fired: list[Check]
    unresolved: list[Check]
    checks: list[Check] = field(default_factory=list)
    low_resolution_suffices: bool = False


def judge(checks: list[Check], network: Estimate, thumbnail: Estimate | None, gain: Estimate | None,
          settings: Shortcuts) -> Judgement:  # fmt: skip
    """The rule: one check that fires makes it suspect; else one that is open leaves too few patients to tell.

    Args:
        checks: all of them.
        network: its AUROC.
        thumbnail: AUROC of the better small model on thumbnails.
        gain: AUROC of the network less that of the thumbnail, paired.
        settings: the block ``evaluate.shortcuts``.
    """
    fired = [check for check in checks if check.fires(settings)]
    unresolved = [check for check in checks if check.open(settings) and check not in fired]
    verdict: Verdict = (
        "suspect" if fired else "too few patients to tell" if unresolved or network.low is None else "pass"
    )
    suffices = (
        thumbnail is not None
        and gain is not None
        and thumbnail.low is not None
        and gain.high is not None
        and thumbnail.low > settings.tolerated
        and gain.high < settings.margin
    )
    return Judgement(verdict, fired, unresolved, checks, suffices)


def alone(name: str, title: str, ranking: Ranking, level: float, confidence: float) -> Check:
    """A check whose AUROC stands alone; ``level`` is the confidence that all checks together need."""
    strict = ranking.estimate(level)
    return Check(name, title, ranking.estimate(confidence), strict.low, strict.high)


def nothing(name: str, title: str, note: str) -> Check:
    """A check with nothing to look at: what does not differ between images cannot tell labels apart."""
    return Check(name, title, Estimate(CHANCE, reason=note), None, None, note=note)


def against(
    name: str, title: str, ranking: Ranking, excess: Influence | None, note: str, level: float, confidence: float
) -> Check:
    """A check whose AUROC must also exceed what it is compared with."""
    strict = ranking.estimate(level)
    if excess is None:
        return Check(name, title, ranking.estimate(confidence), strict.low, strict.high, note=note)
    limits = excess.estimate(level)
    return Check(
        name=name,
        title=title,
        auroc=ranking.estimate(confidence),
        low=strict.low,
        high=strict.high,
        excess=excess.estimate(confidence),
        excess_low=excess.value if limits.low is None else limits.low,
        excess_high=excess.value if limits.high is None else limits.high,
        note=note,
    )


def corrected(confidence: float, checks: int) -> float:
    """The level of an interval of which one end must hold in all ``checks`` together (Bonferroni).

    A verdict asks of each check whether it is surely above one bound or surely below another: one end at a time.
    """
    return 1 - 2 * (1 - confidence) / checks


def strongest(checks: list[Check], settings: Shortcuts) -> Check:
    """Of the same check by several models, the one that tells most, with the upper limit of whichever is highest."""
    best = max(checks, key=lambda check: (check.fires(settings), check.low or 0.0))
    highest = max(checks, key=lambda check: (check.open(settings), check.high or 0.0))
    if best.fires(settings) or highest is best:
        return best
    return highest


def above_share(rim: Influence, rest: Influence, area: float) -> Influence:
    """How far the rim's part of what both tell exceeds its part of the area.

    With r and c the AUROC less 0.5 of the rim and the rest: (1 - area) · r - area · c, above 0 exactly when
    r / (r + c) > area.
    """
    return (rim.shifted(-CHANCE)).times(1 - area) - (rest.shifted(-CHANCE)).times(area)
