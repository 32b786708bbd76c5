"""The network within each site and scanner, and whether its score tells the site when the label is known."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medimg.evaluation.answers import Answers
from medimg.evaluation.estimate import Estimate, rounded, undefined
from medimg.evaluation.influence import Influence, auroc, holm
from medimg.evaluation.shortcuts import CHANCE, Ranking
from medimg.evaluation.subgroups import MISSING, values_of

COLUMNS = ("site", "manufacturer", "model")
SMALLEST = 10  # patients of a value, and not of it, that the question needs within each label


@dataclass(frozen=True)
class Place:
    """One site or scanner."""

    column: str
    name: str
    patients: int
    share: float | None
    """of its yes-or-no truths that are yes; None of several questions"""
    within: Estimate
    """the network's AUROC among its units"""
    told: Estimate
    """chance that, of two units with the same truth, the one from here gets the higher score; 0.5: nothing told"""
    question: str
    """of several, the one whose score tells most; empty of one"""
    p: float
    """of the hypothesis that nothing is told, corrected for all questions and places"""

    def as_json(self) -> dict[str, object]:
        """Plain values for shortcuts.json."""
        return vars(self) | {"within": self.within.as_json(), "told": self.told.as_json(), "p": rounded(self.p),
                             "share": rounded(self.share)}  # fmt: skip


def places(answers: Answers, network: Ranking, confidence: float) -> list[Place]:
    """Every value of site, manufacturer and model that differs between units of test."""
    found: list[Place] = []
    one = network.truth.shape[1] == 1
    raw: list[float] = []
    for column in COLUMNS:
        if column not in answers.about or answers.about[column].nunique() < 2:
            continue
        value, names = values_of(answers.about[column])
        for name in names:
            inside = value == name
            if name == MISSING:
                continue
            k, told, p = _most_told(inside, network)
            raw.append(p)
            found.append(
                Place(
                    column=column,
                    name=name,
                    patients=len(np.unique(answers.patient[inside])),
                    share=float(np.nanmean(network.truth[inside])) if one else None,
                    within=network.where(inside).estimate(confidence),
                    told=told.estimate(confidence)
                    if told
                    else undefined("too few patients of one truth here or elsewhere"),
                    question="" if one or told is None else answers.names[k],
                    p=1.0,
                )
            )
    corrected = holm(raw)
    return [Place(**(vars(place) | {"p": p})) for place, p in zip(found, corrected, strict=True)]


def _most_told(inside: np.ndarray, network: Ranking) -> tuple[int, Influence | None, float]:
    """The question whose score tells most, what it tells, and its p corrected for having looked at all of them.

    Not their mean: what raises the score of one class lowers that of the others.
    """
    each = [_one_question(inside, network, k) for k in range(network.truth.shape[1])]
    p = [found.shifted(-CHANCE).differs() if found else 2.0 for found in each]
    k = int(np.argmin(p))
    return k, each[k], min(1.0, p[k] * len(each))


def given_truth(inside: np.ndarray, network: Ranking) -> Influence | None:
    """Chance that a unit ``inside`` outscores another one of the same truth, over all such pairs.

    ``inside`` is ``(N,)`` bool, or ``(N, K)`` where each question has its own.

    Summed over truths, so that a place where the network is merely less sure, higher on negatives and lower on
    positives, tells nothing; and averaged over the questions. None where no truth has enough patients on both sides.
    """
    sides = inside if inside.ndim == 2 else np.repeat(inside[:, None], network.truth.shape[1], axis=1)
    questions = [found for k, side in enumerate(sides.T) if (found := _one_question(side, network, k))]
    if not questions:
        return None
    return Influence(
        float(np.mean([found.value for found in questions])), np.mean([found.of_patient for found in questions], axis=0)
    )


def _one_question(inside: np.ndarray, network: Ranking, k: int) -> Influence | None:
    patients = int(network.patient.max()) + 1
    parts = list(_by_truth(inside, network, k, patients))
    total = sum(weight for weight, _ in parts)
    if not total:
        return None
    return Influence(
        sum(weight * found.value for weight, found in parts) / total,
        np.sum([weight * found.of_patient for weight, found in parts], axis=0) / total,
    )


def _by_truth(inside: np.ndarray, network: Ranking, k: int, patients: int) -> Iterator[tuple[float, Influence]]:
    for truth in (0, 1):
        same = network.truth[:, k] == truth
        sides = [len(np.unique(network.patient[same & side])) for side in (inside, ~inside)]
        if min(sides) < SMALLEST:
            continue
        found = auroc(inside[same].astype(np.float64), network.score[same, k], network.patient[same], patients)
        if found is not None:
            yield float((same & inside).sum()) * float((same & ~inside).sum()), found
