"""The same metrics in each group of patients, and whether a group differs from all others by more than chance."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from medimg.evaluation.answers import SEVERAL, Answers
from medimg.evaluation.estimate import Estimate, rounded, undefined
from medimg.evaluation.influence import Influence, askable, holm, mean_auroc
from medimg.evaluation.influence import mean as mean_influence
from medimg.evaluation.intervals import auroc, effective_size, proportion
from medimg.evaluation.intervals import mean_auroc as mean_of_questions
from medimg.params import Subgroups

MEAN = "mean over patients, t quantile"
MISSING, OTHERS = "not recorded", "others"
FEW_VALUES = 12  # a column of numbers with more different values than this is cut into thirds
MOST_GROUPS = 20  # rows of one column; rarer values are put together
GAP = (
    "difference from all other groups of the column, on the logit scale for AUROC (DeLong over patients, t quantiles), "
    "with one success and one failure added for shares (Agresti and Caffo 2000); Holm's correction over all gaps"
)


@dataclass(frozen=True)
class Measure:
    """A metric in one group, and how far it lies from the same metric in all others."""

    estimate: Estimate
    gap: float | None = None
    p: float | None = None
    p_corrected: float | None = None

    def as_json(self) -> dict[str, object]:
        """Plain values for subgroups.json."""
        return self.estimate.as_json() | {name: rounded(getattr(self, name)) for name in ("gap", "p", "p_corrected")}


@dataclass(frozen=True)
class Group:
    """The units of test that share a value of a column."""

    column: str
    name: str
    patients: int
    units: int
    positive_patients: int | None
    """None where the task has no yes-or-no question."""
    negative_patients: int | None
    tested: bool
    """False: too few patients or not recorded; shown, and not compared."""
    measures: dict[str, Measure]

    def as_json(self) -> dict[str, object]:
        """Plain values for subgroups.json."""
        return vars(self) | {"measures": {name: measure.as_json() for name, measure in self.measures.items()}}


def subgroups(answers: Answers, settings: Subgroups, confidence: float) -> list[Group]:
    """Every group of every column, the columns in the order of ``settings``, gaps corrected for all looks together."""
    found: list[Group] = []
    for column in settings.columns:
        if column in answers.about and answers.about[column].notna().any():
            found += _of_column(answers, column, settings, confidence)
    return _corrected(found)


def unknown_columns(answers: Answers, settings: Subgroups) -> list[str]:
    """Columns that were asked for and that no unit of test has a value in."""
    return [name for name in settings.columns if name not in answers.about or answers.about[name].isna().all()]


def values_of(column: pd.Series, bands: tuple[int, ...] = ()) -> tuple[np.ndarray, list[str]]:
    """The group of each unit, ``(N,)`` of text, and the groups in the order of the report.

    Text stays as it is; age is cut at ``bands``, other numbers into thirds where they have many values. Rare values
    beyond the first twenty become ``others``.
    """
    if pd.api.types.is_numeric_dtype(column):
        return _banded(column, list(bands)) if bands else _thirds(column)
    text = column.fillna(MISSING).astype(str)
    counts = text.value_counts()
    kept = set(counts.index[:MOST_GROUPS]) | {MISSING, SEVERAL}
    text = text.where(text.isin(kept), OTHERS)
    last = {OTHERS: 1, SEVERAL: 2, MISSING: 3}
    return text.to_numpy(str), sorted(set(text), key=lambda name: (last.get(name, 0), name))


def _banded(column: pd.Series, edges: list[int]) -> tuple[np.ndarray, list[str]]:
    lows = [0, *edges]
    names = [f"{low}–{high - 1}" for low, high in zip(lows, edges, strict=False)] + [f"{lows[-1]} and over"]
    place = np.searchsorted(edges, column.to_numpy(np.float64), side="right")
    text = np.where(column.isna(), MISSING, np.array(names)[np.minimum(place, len(edges))])
    return text, [name for name in (*names, MISSING) if name in set(text)]


def _thirds(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    known = column.dropna()
    if known.nunique() <= FEW_VALUES:
        names = [f"{value:g}" for value in sorted(known.unique())]
        text = np.array([MISSING if pd.isna(value) else f"{value:g}" for value in column])
    else:
        first, second = np.quantile(known, [1 / 3, 2 / 3], method="higher")
        names = [f"below {first:g}", f"{first:g} to below {second:g}", f"{second:g} and over"]
        place = np.digitize(column.to_numpy(np.float64), [first, second])
        text = np.where(column.isna(), MISSING, np.array(names)[np.minimum(place, 2)])
    return text, [name for name in (*names, MISSING) if name in set(text)]


def _of_column(answers: Answers, column: str, settings: Subgroups, confidence: float) -> list[Group]:
    value, names = values_of(answers.about[column], settings.age_bands if column == "age" else ())
    known = value != MISSING
    groups = []
    for name in names:
        inside = value == name
        group = _group(answers, column, name, inside, confidence)
        enough = name not in (MISSING, SEVERAL) and answers.fewest(inside) >= settings.smallest
        others = known & ~inside
        if enough and answers.fewest(others) >= settings.smallest:
            group = replace(group, tested=True, measures=_against(answers, inside, others, group.measures, confidence))
        groups.append(group)
    return groups


def _group(answers: Answers, column: str, name: str, inside: np.ndarray, confidence: float) -> Group:
    positive, negative = answers.patients_by_truth(inside)
    return Group(
        column=column,
        name=name,
        patients=len(np.unique(answers.patient[inside])),
        units=int(inside.sum()),
        positive_patients=positive,
        negative_patients=negative,
        tested=False,
        measures={title: Measure(estimate) for title, estimate in _estimates(answers, inside, confidence)},
    )


def _estimates(answers: Answers, inside: np.ndarray, confidence: float) -> Iterator[tuple[str, Estimate]]:
    patient = answers.patient[inside]
    if answers.error is not None:
        found = mean_influence(answers.error[inside], patient, answers.patients)
        yield (
            "mae",
            _mean_error(found, len(np.unique(patient)), confidence) if found else undefined("fewer than two patients"),
        )
        return
    truth, score = answers.truth[inside], answers.score[inside]
    if truth.shape[1] == 1:
        yield "auroc", auroc(truth[:, 0], score[:, 0], patient, confidence)
    else:
        asked = askable(truth, score, patient)
        missing = [name for k, name in enumerate(answers.names) if k not in asked]
        yield (
            "auroc",
            (  # a mean over other questions than in the next group would be another metric
                undefined(f"{missing[0]} has fewer than two patients of one side in this group")
                if missing
                else mean_of_questions(list(asked.values()), confidence)
            ),
        )
    if answers.called is not None:
        called = answers.called[inside]
        for title, hits, among in _shares(truth[:, 0], called):
            yield title, proportion(hits[among], patient[among], confidence, f"no {_WHO[title]} unit in this group")


def _mean_error(found: Influence, patients: int, confidence: float) -> Estimate:
    """A mean error and its interval by Student's t; an error is not below 0."""
    if found.error <= 1e-9:
        return found.estimate(confidence)
    half = float(t.ppf((1 + confidence) / 2, patients - 1)) * found.error
    return Estimate(found.value, max(0.0, found.value - half), found.value + half, MEAN)


_WHO = {"sensitivity": "positive", "specificity": "negative"}


def _shares(truth: np.ndarray, called: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    yield "sensitivity", called.astype(np.float64), truth > 0
    yield "specificity", (~called).astype(np.float64), truth <= 0


def _against(
    answers: Answers, inside: np.ndarray, others: np.ndarray, measures: dict[str, Measure], confidence: float
) -> dict[str, Measure]:
    """The measures of a group with their gaps to the units in ``others``."""
    gaps = dict(_gaps(answers, inside, others, confidence))
    return {
        name: replace(measure, gap=gaps[name][0], p=gaps[name][1]) if name in gaps else measure
        for name, measure in measures.items()
    }


def _gaps(
    answers: Answers, inside: np.ndarray, others: np.ndarray, confidence: float
) -> Iterator[tuple[str, tuple[float, float]]]:
    freedom = min(answers.fewest(inside), answers.fewest(others)) - 1
    sides = (inside, others)
    if answers.error is not None:
        one, other = (mean_influence(answers.error[side], answers.patient[side], answers.patients) for side in sides)
        if one and other:
            yield "mae", ((one - other).value, _p(one - other, freedom))
        return
    one, other = (mean_auroc(answers.truth[s], answers.score[s], answers.patient[s], answers.patients) for s in sides)
    if one and other and 0 < one.value < 1 and 0 < other.value < 1:
        yield "auroc", ((one - other).value, _p(one.logit() - other.logit(), freedom))
    if answers.called is not None:
        for title, hits, among in _shares(answers.truth[:, 0], answers.called):
            first, second = among & inside, among & others
            yield (
                title,
                _share_gap(hits[first], answers.patient[first], hits[second], answers.patient[second], confidence),
            )


def _p(difference: Influence, freedom: int) -> float:
    return min(1.0, 2 * float(t.sf(abs(difference.value) / difference.error, freedom))) if difference.error > 0 else 1.0


def _share_gap(
    first: np.ndarray, patient: np.ndarray, second: np.ndarray, others: np.ndarray, confidence: float
) -> tuple[float, float]:
    """Gap of two shares and its two-sided p; patients in both groups make it conservative."""
    centre, variance = 0.0, 0.0
    for sign, hits, owner in ((1, first, patient), (-1, second, others)):
        size = effective_size(hits, owner, confidence)
        share = (float(hits.mean()) * size + 1) / (size + 2)
        centre += sign * share
        variance += share * (1 - share) / (size + 2)
    return float(first.mean() - second.mean()), min(1.0, 2 * float(norm.sf(abs(centre) / variance**0.5)))


def _corrected(groups: list[Group]) -> list[Group]:
    """Holm's correction over every gap that was tested; of two groups that are each other's others, one look."""
    looks: dict[tuple[str, str, float, float], float] = {}
    for group in groups:
        for name, measure in group.measures.items():
            if measure.p is not None and measure.gap is not None:
                looks[_look(group, name, measure)] = measure.p
    corrected = dict(zip(looks, holm(list(looks.values())), strict=True))
    return [
        replace(
            group,
            measures={
                name: replace(measure, p_corrected=corrected.get(_look(group, name, measure)))
                for name, measure in group.measures.items()
            },
        )
        for group in groups
    ]


def _look(group: Group, name: str, measure: Measure) -> tuple[str, str, float, float]:
    return group.column, name, round(abs(measure.gap or 0.0), 12), round(measure.p or 0.0, 12)
