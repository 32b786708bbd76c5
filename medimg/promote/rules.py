"""The decision: rules that were written into params.yaml before the challenger was known, each answered with numbers.

Every rule looks at the ``promotion`` part alone. Test is reported beside it and never decided on: a year of nights that
looked at test would have chosen for it. All rules are asked, and all must hold.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from medimg.errors import DataError
from medimg.evaluation.compare import LOWER_IS_BETTER, Comparison, Model, compare
from medimg.evaluation.estimate import Estimate
from medimg.evaluation.subgroups import MISSING, OTHERS, values_of
from medimg.evaluation.units import cases_of, counts_of
from medimg.params import Params
from medimg.records import Predictions
from medimg.tasks import task_of


@dataclass(frozen=True)
class Rule:
    """One rule and its answer."""

    name: str
    held: bool
    said: str
    """what was found, with the numbers and the limit"""

    def as_json(self) -> dict[str, Any]:
        """Plain values for the history."""
        return asdict(self)


@dataclass(frozen=True)
class Evidence:
    """What the rules look at: all of promotion."""

    challenger: Model
    champion: Model | None
    """None: there is none yet, and absolute rules hold"""
    anchor: Model | None
    """the best ever promoted; None where that is the champion itself"""
    newcomers: frozenset[str]
    """patients whom the champion's training did not know of yet"""
    index: pd.DataFrame
    metrics: dict[str, Any]
    """of the challenger on promotion, as metrics.json has them"""
    shortcuts: dict[str, Any] | None
    """its shortcut audit on promotion, as shortcuts.json has it"""


def decide(evidence: Evidence, params: Params) -> list[Rule]:
    """Ask every rule; the challenger is to be promoted when all of them hold."""
    enough = _enough(evidence.challenger.predictions, params)
    if not enough.held:
        return [enough]
    rules = [enough, *_floor(evidence, params)]
    if evidence.champion is not None:
        rules.append(_nothing_left_out(evidence.challenger, evidence.champion))
        rules += _against("champion", evidence.champion, params.promote.margin, evidence, params)
        if evidence.anchor is not None:
            rules += _against("anchor", evidence.anchor, params.promote.anchor_margin, evidence, params)
        rules += _taught_otherwise(evidence, params)
        rules += _groups(evidence.champion, evidence, params)
    rules += _calibration(evidence, params)
    return [*rules, _shortcuts(evidence.shortcuts, params)]


def fewest(predictions: Predictions, params: Params) -> int:
    """Patients of the rarest class; of a regression, patients. 0 where there is nobody."""
    if not len(predictions):
        return 0
    cases = cases_of(predictions, task_of(params.study), params.study.unit, params.evaluate.aggregate, "promotion")
    counts = counts_of(cases)
    each = list(counts.get("questions", {"": counts}).values())
    if "positive_patients" not in each[0]:
        return int(counts["patients"])
    return int(min(min(one["positive_patients"], one["negative_patients"]) for one in each))


def _enough(predictions: Predictions, params: Params) -> Rule:
    found, needed = fewest(predictions, params), params.promote.patients
    said = f"promotion has {found} patients of its rarest class; promote.patients asks for {needed}"
    return Rule("patients", found >= needed, said)


def _floor(evidence: Evidence, params: Params) -> Iterator[Rule]:
    """What every model has to reach, whatever the one before it did; the first model's rule must have a limit."""
    headline, limit = evidence.metrics["headline"], params.promote.floor
    name = headline["name"]
    if limit is None and name == "auroc":
        limit = 0.6
    if limit is None:
        if evidence.champion is None:
            said = f"there is no champion to compare with: say in promote.floor what {name} to reach"
            yield Rule("floor", False, said)
        return
    lower = name in LOWER_IS_BETTER
    end = headline["high" if lower else "low"]
    if end is None:
        yield Rule("floor", False, f"{name} has no interval: {headline.get('reason', 'too few patients')}")
        return
    held = end <= limit if lower else end >= limit
    side = "below" if lower else "above"
    yield Rule("floor", held, f"{name} is surely {side} {end:.3f}; promote.floor: {limit:g}")


def _nothing_left_out(challenger: Model, champion: Model) -> Rule:
    """Comparisons are of what both have scored: a model that refuses what is hard would look better for it."""
    answered, by_champion = (set(model.predictions.rows["sample"]) for model in (challenger, champion))
    missing = len(by_champion - answered)
    said = f"{missing} of {len(by_champion)} images of promotion that the champion scores get no answer"
    return Rule("nothing left out", not missing, said)


def _taught_otherwise(evidence: Evidence, params: Params) -> Iterator[Rule]:
    """On newly arrived patients the challenger must not be surely worse than a model that knows nothing.

    Where it is, their labels or images say the opposite of what all others say. Comparing it with the champion, which
    is as wrong about them, would not show that.
    """
    patients = evidence.challenger.predictions.rows["patient"]
    arrived = _only(evidence.challenger, patients.isin(evidence.newcomers).to_numpy())
    if fewest(arrived.predictions, params) < params.promote.new_patients:
        return
    of = arrived.predictions
    nothing = type(of)(of.rows, of.truth, np.zeros_like(of.logits), np.full_like(of.probabilities, 0.5))
    found = compare(arrived, Model(nothing, None), params)
    gap = found.differences.get("auroc")
    if gap is None or gap.value is None:
        return
    best = found.first["auroc"] if gap.high is None else 0.5 + gap.high
    said = f"auroc {found.first['auroc']:.3f} on {found.patients} newly arrived patients, {best:.3f} at best"
    if best < 0.5:
        said += ": their labels or images contradict those of all others"
    yield Rule("new patients", best >= 0.5, f"{said}; 0.5 is to know nothing")


def _against(who: str, other: Model, margin: float, evidence: Evidence, params: Params) -> Iterator[Rule]:
    """Not worse than ``other``: on everybody, on who was there before, and on who came since."""
    settings = params.promote
    patients = evidence.challenger.predictions.rows["patient"]
    new = patients.isin(evidence.newcomers).to_numpy()
    yield _not_worse(f"{who}, all", evidence.challenger, other, margin, params)
    if not new.any() or new.all():
        return
    yield _not_worse(f"{who}, earlier patients", _only(evidence.challenger, ~new), other, margin, params)
    arrived = _only(evidence.challenger, new)
    found = fewest(arrived.predictions, params)
    if found >= settings.new_patients:
        yield _not_worse(f"{who}, new patients", arrived, other, settings.new_margin, params)
    else:
        said = f"not judged apart: {found} of the rarest class, promote.new_patients asks for {settings.new_patients}"
        yield Rule(f"{who}, new patients", True, said)


def _only(model: Model, chosen: np.ndarray) -> Model:
    return Model(model.predictions.where(chosen), model.frozen)


def _not_worse(name: str, challenger: Model, other: Model, margin: float, params: Params) -> Rule:
    try:
        found = compare(challenger, other, params)
    except DataError as error:
        return Rule(name, False, str(error))
    metric = _metric(found, params)
    if metric is None:
        return Rule(name, False, f"{params.promote.metric} cannot be compared in a {params.study.task} study")
    held, gap = found.not_worse(metric, margin), found.differences[metric]
    if held is None and gap.value == 0:  # the two say the same of everybody: nothing can be worse
        return Rule(name, True, f"{metric} does not differ on {found.patients} patients")
    if held is None:
        return Rule(name, False, f"{metric} has no interval on {found.patients} patients: {gap.reason}")
    both = f"{found.first[metric]:.3f} against {found.second[metric]:.3f}"
    ends = f"{gap.value:+.3f}, {100 * params.evaluate.confidence:g} % interval {gap.low:+.3f} to {gap.high:+.3f}"
    return Rule(name, held, f"{metric} {both} on {found.patients} patients ({ends}); margin {margin:g}")


def _metric(found: Comparison, params: Params) -> str | None:
    wanted = params.promote.metric
    if wanted is None:
        return next(name for name in ("auroc", "mae") if name in found.differences)
    return wanted if wanted in found.differences else None


def better(found: Comparison, params: Params) -> bool:
    """Whether the first of two models has the better value of what decides."""
    metric = _metric(found, params)
    gap = found.differences[metric].value if metric else None
    return gap is not None and (gap < 0 if metric in LOWER_IS_BETTER else gap > 0)


def _groups(champion: Model, evidence: Evidence, params: Params) -> Iterator[Rule]:
    """One rule: in no group of patients that is large enough is the challenger surely worse, and by too much."""
    settings, limit = params.evaluate.subgroups, params.promote.subgroup_margin
    rows = evidence.challenger.predictions.rows
    about = evidence.index.set_index("sample").loc[rows["sample"]]
    looked, worse = 0, []
    for column in settings.columns:
        if column not in about or about[column].isna().all():
            continue
        value, names = values_of(about[column], settings.age_bands if column == "age" else ())
        for name in names:
            group = _only(evidence.challenger, value == name)
            if name in (MISSING, OTHERS) or fewest(group.predictions, params) < settings.smallest:
                continue
            looked += 1
            found = compare(group, champion, params)
            metric = _metric(found, params)
            gap = found.differences[metric] if metric else None
            if not metric or gap is None or gap.value is None or gap.low is None or gap.high is None:
                continue
            sign = -1 if metric in LOWER_IS_BETTER else 1
            nearest = gap.high if sign > 0 else -gap.low
            if nearest < 0 and sign * gap.value < -limit:
                both = f"{found.first[metric]:.3f} against {found.second[metric]:.3f}"
                worse.append(f"{column} {name} ({metric} {both}, at best {nearest:+.3f})")
    said = f"surely worse by more than {limit:g} in {'; '.join(worse)}" if worse else f"none of {looked} is worse"
    yield Rule("subgroups", not worse, f"{said}; groups of at least {settings.smallest} patients of each class")


def _calibration(evidence: Evidence, params: Params) -> Iterator[Rule]:
    each = evidence.metrics.get("questions", {"": evidence.metrics["test"]}).values()
    beyond = [one["ece"]["value"] - one["ece_by_chance"]["value"] for one in each if "ece" in one]
    if beyond:
        limit = params.promote.calibration
        said = f"calibration error {max(beyond):.3f} beyond chance; promote.calibration: {limit:g}"
        yield Rule("calibration", max(beyond) <= limit, said)
    if evidence.champion is not None:
        gap = compare(evidence.challenger, evidence.champion, params).differences.get("brier")
        if gap is not None:  # of a regression there is none
            yield _brier(gap, params.promote.brier_margin)


def _brier(gap: Estimate, limit: float) -> Rule:
    """As in ``_not_worse``, what has no interval is not shown, unless the two say the same of everybody."""
    if gap.value == 0 and gap.high is None:
        return Rule("brier", True, "the Brier score does not differ")
    if gap.value is None or gap.high is None:
        return Rule("brier", False, f"the Brier score's difference has no interval: {gap.reason}")
    said = f"Brier score {gap.value:+.3f}, at most {gap.high:+.3f}; promote.brier_margin: {limit:g}"
    return Rule("brier", gap.high < limit, said)


def another_model(challenger: str, champion: str | None) -> Iterator[Rule]:
    """Whether there is anything to promote: a night that is forced may make the champion once more; by their seals."""
    if challenger == champion:
        yield Rule("another model", False, "the pipeline made the champion once more")


def _shortcuts(audit: dict[str, Any] | None, params: Params) -> Rule:
    if audit is None:
        return Rule("shortcuts", False, "the shortcut audit is missing")
    suspect = audit["verdict"] == "suspect"
    fired = ", ".join(audit["fired"]) or "nothing fired"
    held = not suspect or params.promote.shortcuts == "warn"
    return Rule("shortcuts", held, f"the audit says {audit['verdict']} ({fired}); promote.shortcuts: "
                f"{params.promote.shortcuts}")  # fmt: skip
