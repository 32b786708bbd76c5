"""Two models on the same test patients: what differs, and whether chance among the patients could have made it.

Both models see the same patients, so their errors go together, and the difference is known better than either. AUROC:
the clustered DeLong variance of a difference (DeLong 1988, Biometrics 44:837; Obuchowski 1997, Biometrics 53:567). All
else: 2,000 resamples of the patients, the same for both models.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medimg.errors import DataError
from medimg.evaluation import bootstrap, frozen
from medimg.evaluation.estimate import Estimate, undefined
from medimg.evaluation.frozen import Frozen
from medimg.evaluation.influence import Influence, mean_auroc
from medimg.evaluation.metrics import average_precision, decide
from medimg.evaluation.tasks import judge_of
from medimg.evaluation.units import Cases, cases_of
from medimg.params import Params
from medimg.records import PREDICTIONS, Predictions, read_predictions
from medimg.tasks import Task, task_of

LOWER_IS_BETTER = ("brier", "log_loss", "mae", "mse")
Terms = dict[str, tuple[np.ndarray, np.ndarray]]
"""metric → ``(N,)`` what each unit adds to numerator and denominator"""


@dataclass(frozen=True)
class Model:
    """What one model said of test, and what was decided on its validation."""

    predictions: Predictions
    frozen: Frozen | None
    """None where there is no operating.yaml: then probabilities are compared as the network gave them"""


@dataclass(frozen=True)
class Comparison:
    """The first model against the second."""

    first: dict[str, float]
    second: dict[str, float]
    """metric → value"""
    differences: dict[str, Estimate]
    """metric → first minus second, with its interval over patients"""
    patients: int
    units: int
    left_out: int
    """test images that one of the two models has not seen"""

    def not_worse(self, metric: str, margin: float) -> bool | None:
        """Whether the interval shuts out that the first is worse than the second by ``margin`` or more.

        None where there is no interval.
        """
        found = self.differences[metric]
        if found.low is None or found.high is None:
            return None
        return found.high < margin if metric in LOWER_IS_BETTER else found.low > -margin

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a file."""
        metrics = {
            name: {"first": self.first.get(name), "second": self.second.get(name), "difference": one.as_json()}
            for name, one in self.differences.items()
        }
        counts = {"patients": self.patients, "units": self.units, "left_out": self.left_out}
        return {"metrics": metrics, "counts": counts}


def load_model(path: Path) -> Model:
    """A model's test results: a study's folder, its ``artifacts``, or a predictions.parquet.

    Raises:
        DataError: there are none.
    """
    folders = [path, path / "artifacts"]
    found = (
        [path] if path.is_file() else [one / PREDICTIONS.name for one in folders if (one / PREDICTIONS.name).exists()]
    )
    if not found:
        raise DataError(
            f"{path} holds no predictions. Name a study's folder in which dvc repro has run, its artifacts folder, or "
            f"a {PREDICTIONS.name}."
        )
    operating = found[0].parent / "evaluation/operating.yaml"
    return Model(read_predictions(found[0]).part("test"), frozen.read(operating) if operating.exists() else None)


def compare(first: Model, second: Model, params: Params) -> Comparison:
    """Compare two models on the test images that both have predicted.

    Args:
        first: for instance the challenger.
        second: for instance the champion.
        params: of the study that asks: task, unit, aggregation, confidence, seed.

    Raises:
        DataError: there is no image in common, or the two disagree about a truth or a patient.
    """
    task, confidence = task_of(params.study), params.evaluate.confidence
    one, other, left_out = _common(first.predictions, second.predictions)
    cases = [_cases(rows, model.frozen, task, params) for rows, model in ((one, first), (other, second))]
    points = [model.frozen.points if model.frozen else {} for model in (first, second)]
    patient, count = cases[0].patient, cases[0].patients
    terms = [dict(_terms(case, point)) for case, point in zip(cases, points, strict=True)]
    values = [{name: _ratio(*pair) for name, pair in of.items()} for of in terms]
    statistics = [_statistic(f"{at}", of, patient, count) for at, of in enumerate(terms) if of]
    for at, case in enumerate(cases):
        losses, ranked = judge_of(params.study).losses(case), case.ranked()
        values[at] |= {name: float(value[0]) for name, value in losses(np.ones((1, count))).items()}
        statistics.append(_renamed(f"{at}", losses))
        if ranked:
            statistics.append(bootstrap.of_precision(f"{at} auprc", ranked))
            values[at]["auprc"] = float(np.mean([average_precision(truth, score) for truth, score, _ in ranked]))
    drawn = bootstrap.replicates(count, len(cases[0]), statistics, params.study.seed)
    freedom, differences = bootstrap.freedom(cases[0].rarer()), {}
    if cases[0].ranked():
        areas = [_area(case, count) for case in cases]
        differences["auroc"] = _difference(areas, confidence)
        for at, area in enumerate(areas):
            values[at] |= {"auroc": area.value} if area else {}
    for name in values[0].keys() & values[1].keys() - {"auroc"}:
        gap = drawn[f"0 {name}"] - drawn[f"1 {name}"]
        value = values[0][name] - values[1][name]
        differences[name] = (
            bootstrap.interval(f"the difference in {name}", value, gap, confidence, freedom, bootstrap.PLAIN)
            if np.isfinite(value)
            else undefined("one of the models leaves it undefined")
        )
    ordered = {name: differences[name] for name in ("auroc", *sorted(differences)) if name in differences}
    return Comparison(values[0], values[1], ordered, count, len(cases[0]), left_out)


def lines(found: Comparison, margin: float | None) -> Iterator[str]:
    """The comparison in words, a line a metric."""
    left_out = f"; {found.left_out} images that only one has seen are left out" if found.left_out else ""
    yield f"{found.patients} test patients, {found.units} units{left_out}. Difference: first minus second."
    for name, gap in found.differences.items():
        ends = "no interval" if gap.low is None else f"{gap.low:+.4f} to {gap.high:+.4f}"
        shown = "undefined" if gap.value is None else f"{gap.value:+.4f}"
        both = " against ".join(f"{one[name]:.4f}" for one in (found.first, found.second) if name in one)
        yield f"{name:12} {both}  difference {shown} ({ends}){'; lower is better' * (name in LOWER_IS_BETTER)}"
    if margin is not None:
        name = next(iter(found.differences))
        answer = {True: "yes", False: "not shown", None: "cannot be told"}[found.not_worse(name, margin)]
        yield f"The first is not worse in {name} by {margin:g} or more: {answer}"


def _common(first: Predictions, second: Predictions) -> tuple[Predictions, Predictions, int]:
    samples = [set(model.rows["sample"]) for model in (first, second)]
    shared = samples[0] & samples[1]
    if not shared:
        raise DataError("The two models have no test image in common: compare models of one study and one split.")
    pair = []
    for model in (first, second):
        order = np.argsort(model.rows["sample"].to_numpy(str))
        model = model.where(order)
        pair.append(model.where(model.rows["sample"].isin(shared).to_numpy()))
    one, other = pair
    same = one.truth.shape == other.truth.shape and np.array_equal(one.truth, other.truth, equal_nan=True)
    if not same or not one.rows["patient"].equals(other.rows["patient"]):
        raise DataError(
            "The two models disagree about the truth or the patient of a test image: the labels changed in between. "
            "Evaluate both on the same labels."
        )
    return one, other, len(samples[0] ^ samples[1])


def _cases(rows: Predictions, decided: Frozen | None, task: Task, params: Params) -> Cases:
    cases = cases_of(rows, task, params.study.unit, params.evaluate.aggregate, "test")
    return decided.corrected(cases) if decided else cases


def _area(case: Cases, patients: int) -> Influence | None:
    return mean_auroc(case.task.questions(case.truth), case.probability, case.patient, patients)


def _difference(areas: list[Influence | None], confidence: float) -> Estimate:
    one, other = areas
    if one is None or other is None:
        return undefined("a class has fewer than two patients")
    return (one - other).estimate(confidence)


def _terms(case: Cases, points: dict[str, Any]) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Shares of the units of one question with a threshold."""
    truth = case.task.questions(case.truth)
    if len(points) == 1 and truth.shape[1] == 1:
        called = decide(case.probability[:, 0], next(iter(points.values())).threshold)
        positive, negative = truth[:, 0] == 1, truth[:, 0] == 0
        yield "sensitivity", ((positive & called).astype(np.float64), positive.astype(np.float64))
        yield "specificity", ((negative & ~called).astype(np.float64), negative.astype(np.float64))


def _renamed(prefix: str, statistic: bootstrap.Statistic) -> bootstrap.Statistic:
    return lambda weight: {f"{prefix} {name}": values for name, values in statistic(weight).items()}


def _ratio(above: np.ndarray, below: np.ndarray) -> float:
    return float(above.sum() / below.sum()) if below.sum() else float("nan")


def _statistic(prefix: str, terms: Terms, patient: np.ndarray, patients: int) -> bootstrap.Statistic:
    stacked = np.stack([term for pair in terms.values() for term in pair], axis=1)

    def metrics(*sums: np.ndarray) -> dict[str, np.ndarray]:
        return {f"{prefix} {name}": sums[2 * at] / sums[2 * at + 1] for at, name in enumerate(terms)}

    return bootstrap.of_totals(patient, patients, stacked, metrics)
