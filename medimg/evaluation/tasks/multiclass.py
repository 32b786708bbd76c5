"""One of several classes, the most probable: metrics of each against the rest, and of the choice as a whole."""

import numpy as np

from medimg.evaluation import bootstrap, recalibration
from medimg.evaluation.calibration import calibrate
from medimg.evaluation.estimate import Estimate, undefined
from medimg.evaluation.intervals import mean_auroc, proportion
from medimg.evaluation.metrics import average_precision
from medimg.evaluation.operating import OperatingPoint
from medimg.evaluation.tasks.multilabel import one_sided
from medimg.evaluation.units import Cases, Units
from medimg.params import Evaluate, Study
from medimg.tasks.ranking import clipped_logit


class MulticlassJudge:
    """Judges the choice of one class."""

    decision = "the most probable class; of equals the first"

    def recalibration(self, validation: Cases) -> recalibration.Recalibration | None:
        """Temperature and bias."""
        return recalibration.together(validation)

    def points(self, validation: Cases, study: Study, settings: Evaluate) -> dict[str, OperatingPoint]:
        """None: the most probable class is taken."""
        return {}

    def called(self, cases: Cases, points: dict[str, OperatingPoint]) -> np.ndarray:
        """Yes for the most probable class."""
        return np.asarray(cases.probability.argmax(axis=1)[:, None] == np.arange(cases.task.outputs))

    def own(self, cases: Cases, confidence: float) -> Estimate:
        """Mean AUROC of each class against the rest."""
        missing = one_sided(cases, "the part")
        return undefined(missing) if missing else mean_auroc(cases.ranked(), confidence)

    def overall(self, cases: Cases, called: np.ndarray, study: Study, confidence: float) -> dict[str, Estimate]:
        """Metrics of the choice, and means over the classes; a mean is undefined where test lacks a class."""
        truth = cases.task.questions(cases.truth) > 0
        missing = one_sided(cases, "test")
        right = (truth & called).any(axis=1)
        statistics = [
            bootstrap.of_totals(cases.patient, cases.patients, _terms(cases, truth, called), _metrics),
            bootstrap.of_precision("auprc", cases.ranked()),
        ]
        once = {name: float(v[0]) for one in statistics for name, v in one(np.ones((1, cases.patients))).items()}
        once["auprc"] = float(np.mean([average_precision(t, s) for t, s, _ in cases.ranked()]))
        drawn = bootstrap.replicates(cases.patients, len(cases), statistics, study.seed)

        freedom = bootstrap.freedom(cases.rarer())

        def mean(name: str, words: str, always: bool = False) -> Estimate:
            if missing and not always:
                return undefined(missing)
            scale = bootstrap.AMOUNT if name in ("brier", "log_loss") else bootstrap.SHARE
            return bootstrap.interval(words, once[name], drawn[name], confidence, freedom, scale)

        top = calibrate(top_choice(cases, right), confidence, study.seed)
        return {
            "auroc": undefined(missing) if missing else self.own(cases, confidence),
            "auprc": mean("auprc", "the AUPRC"),
            "accuracy": proportion(right.astype(np.float64), cases.patient, confidence, "test is empty"),
            "balanced_accuracy": mean("balanced_accuracy", "balanced accuracy"),
            "f1": mean("f1", "F1"),
            "brier": mean("brier", "the Brier score", always=True),
            "log_loss": mean("log_loss", "the log loss", always=True),
            "ece": Estimate(top.ece),
            "ece_by_chance": Estimate(top.ece_by_chance),
        }

    def losses(self, cases: Cases) -> bootstrap.Statistic:
        """Brier score over all classes, and log loss of the right one."""
        truth = cases.task.questions(cases.truth) > 0
        terms = _terms(cases, truth, truth)[:, :3]
        return bootstrap.of_totals(cases.patient, cases.patients, terms, _losses)

    def plain(self, cases: Cases, called: np.ndarray, points: dict[str, OperatingPoint], unit: tuple[str, str]) -> str:
        """How often the choice is right."""
        truth = cases.task.questions(cases.truth) > 0
        right, common = int((truth & called).any(axis=1).sum()), int(truth.sum(axis=0).max())
        return (
            f"The most probable class is the right one for {right:,} of {len(cases):,} {unit[1]}; always naming the "
            f"most frequent class would be right for {common:,}."
        )


def top_choice(cases: Cases, right: np.ndarray) -> Units:
    """Whether the most probable class is right, as a question whose answer has that class's probability."""
    probability = cases.probability.max(axis=1)
    return Units(
        cases.patient, right.astype(np.float64), probability, clipped_logit(probability), cases.images, cases.mixed
    )


def _terms(cases: Cases, truth: np.ndarray, called: np.ndarray) -> np.ndarray:
    squared = ((cases.probability - truth) ** 2).sum(axis=1)
    odds = cases.task.odds(cases.logit)[truth]  # of each unit's own class
    columns = [np.ones(len(cases)), squared, np.logaddexp(0, -odds)]
    columns += [*(truth & called).T, *truth.T, *called.T]
    return np.stack(columns, axis=1).astype(np.float64)


def _losses(count: np.ndarray, squared: np.ndarray, surprise: np.ndarray) -> dict[str, np.ndarray]:
    return {"brier": squared / count, "log_loss": surprise / count}


def _metrics(
    count: np.ndarray, squared: np.ndarray, surprise: np.ndarray, *tables: np.ndarray
) -> dict[str, np.ndarray]:
    hits, truly, said = np.split(np.stack(tables), 3)
    return {
        **_losses(count, squared, surprise),
        "balanced_accuracy": (hits / truly).mean(axis=0),
        "f1": (2 * hits / (truly + said)).mean(axis=0),
    }
