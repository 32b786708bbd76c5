"""One yes-or-no question with a threshold: all its metrics are those of the question."""

import numpy as np

from medimg.evaluation import bootstrap, recalibration
from medimg.evaluation.estimate import Estimate
from medimg.evaluation.intervals import mean_auroc
from medimg.evaluation.metrics import confusion, decide, log_losses, squared_errors
from medimg.evaluation.operating import OperatingPoint, choose
from medimg.evaluation.summary import cut
from medimg.evaluation.units import Cases
from medimg.params import Evaluate, Study


class BinaryJudge:
    """Judges a yes-or-no question; of several, each on its own."""

    decision = "yes where probability >= threshold"

    def recalibration(self, validation: Cases) -> recalibration.Recalibration | None:
        """Intercept and slope of each question."""
        return recalibration.each(validation)

    def points(self, validation: Cases, study: Study, settings: Evaluate) -> dict[str, OperatingPoint]:
        """A threshold for each question."""
        return {
            name: choose(validation.question(k), settings.threshold, study.prevalence)
            for k, name in enumerate(validation.task.names)
        }

    def called(self, cases: Cases, points: dict[str, OperatingPoint]) -> np.ndarray:
        """Yes at the threshold or above it."""
        return decide(cases.probability, np.array([points[name].threshold for name in cases.task.names]))

    def overall(self, cases: Cases, called: np.ndarray, study: Study, confidence: float) -> dict[str, Estimate]:
        """None beside those of the one question."""
        return {}

    def own(self, cases: Cases, confidence: float) -> Estimate:
        """AUROC; of several questions the mean."""
        return mean_auroc(cases.ranked(), confidence)

    def losses(self, cases: Cases) -> bootstrap.Statistic:
        """Brier score and log loss; of several questions the mean."""
        truth = cases.task.questions(cases.truth)
        known, yes = np.isfinite(truth), truth > 0
        squared = squared_errors(yes.astype(np.float64), cases.probability)
        surprise = log_losses(yes, cases.task.odds(cases.logit))
        terms = np.concatenate([known, squared * known, surprise * known], axis=1).astype(np.float64)
        return bootstrap.of_totals(cases.patient, cases.patients, terms, _losses)

    def plain(self, cases: Cases, called: np.ndarray, points: dict[str, OperatingPoint], unit: tuple[str, str]) -> str:
        """Findings and false alarms."""
        table, point = confusion(cases.truth[:, 0], called[:, 0]), points[cases.task.names[0]]
        at, positive, every = f"At the threshold {cut(point.threshold)} it", table.tp + table.fp, called.shape[0]
        if positive in (0, every):
            return f"{at} calls all {every:,} {unit[1]} {'positive' if positive else 'negative'}: it tells none apart."
        return (
            f"{at} finds {table.tp:,} of {table.tp + table.fn:,} positive "
            f"{unit[1]} and raises a false alarm on {table.fp:,} of {table.fp + table.tn:,} negative ones."
        )


def _losses(*sums: np.ndarray) -> dict[str, np.ndarray]:
    count, squared, surprise = np.split(np.stack(sums), 3)
    return {"brier": (squared / count).mean(axis=0), "log_loss": (surprise / count).mean(axis=0)}
