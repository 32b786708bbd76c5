"""A number: how far predictions are from the truth, by resampling patients."""

import numpy as np

from medimg.evaluation import bootstrap
from medimg.evaluation.estimate import Estimate, undefined
from medimg.evaluation.operating import OperatingPoint
from medimg.evaluation.recalibration import Recalibration
from medimg.evaluation.summary import number
from medimg.evaluation.units import Cases
from medimg.params import Evaluate, Study

WORDS = {
    "mae": "the mean absolute error",
    "rmse": "the root mean squared error",
    "r2": "R²",
    "bias": "the mean error",
    "calibration_slope": "the slope",
    "correlation": "the correlation",
}
SCALES = {
    "mae": bootstrap.AMOUNT,
    "rmse": bootstrap.AMOUNT,
    "r2": bootstrap.EXPLAINED,
    "bias": bootstrap.PLAIN,
    "calibration_slope": bootstrap.PLAIN,
    "correlation": bootstrap.CORRELATION,
}
NEED_SPREAD = {
    "r2": "all true values of test are equal",
    "calibration_slope": "all predictions are equal",
    "correlation": "all true values, or all predictions, are equal",
}


class RegressionJudge:
    """Judges a number."""

    decision = "the number itself"

    def recalibration(self, validation: Cases) -> Recalibration | None:
        """None: there are no probabilities."""
        return None

    def points(self, validation: Cases, study: Study, settings: Evaluate) -> dict[str, OperatingPoint]:
        """None: nothing is decided."""
        return {}

    def called(self, cases: Cases, points: dict[str, OperatingPoint]) -> np.ndarray:
        """No question, no answer."""
        return np.zeros((len(cases), 0), bool)

    def overall(self, cases: Cases, called: np.ndarray, study: Study, confidence: float) -> dict[str, Estimate]:
        """Errors in the label's unit, R², and the line through predictions and truth."""
        statistic = self._statistic(cases)
        once = {name: float(v[0]) for name, v in statistic(np.ones((1, cases.patients))).items()}
        drawn = bootstrap.replicates(cases.patients, len(cases), [statistic], study.seed)
        freedom = bootstrap.freedom(cases.rarer())
        return {
            name: undefined(NEED_SPREAD[name])
            if name in NEED_SPREAD and not np.isfinite(once[name])
            else bootstrap.interval(words, once[name], drawn[name], confidence, freedom, SCALES[name])
            for name, words in WORDS.items()
        }

    def own(self, cases: Cases, confidence: float) -> Estimate:
        """The mean absolute error."""
        statistic = self._statistic(cases)
        drawn = bootstrap.replicates(cases.patients, len(cases), [statistic], seed=0)
        once = float(statistic(np.ones((1, cases.patients)))["mae"][0])
        freedom = bootstrap.freedom(cases.rarer())
        return bootstrap.interval(WORDS["mae"], once, drawn["mae"], confidence, freedom, SCALES["mae"])

    def losses(self, cases: Cases) -> bootstrap.Statistic:
        """Mean absolute and mean squared error."""
        error = cases.probability[:, 0] - cases.truth[:, 0]
        terms = np.stack([np.ones(len(error)), np.abs(error), error**2], axis=1)
        return bootstrap.of_totals(
            cases.patient, cases.patients, terms, lambda n, one, two: {"mae": one / n, "mse": two / n}
        )

    def plain(self, cases: Cases, called: np.ndarray, points: dict[str, OperatingPoint], unit: tuple[str, str]) -> str:
        """How far off half and nine tenths of the answers are."""
        half, most = np.quantile(np.abs(cases.probability - cases.truth), [0.5, 0.9])
        return (
            f"Half of the {len(cases):,} {unit[1]} are off by {number(half)} or less, nine in ten by {number(most)} or "
            "less, in the unit of the label."
        )

    def _statistic(self, cases: Cases) -> bootstrap.Statistic:
        truth, said = cases.truth[:, 0], cases.probability[:, 0]
        centre = float(truth.mean())  # sums of squares of centred numbers lose no digits
        y, p = truth - centre, said - centre
        terms = np.stack([np.ones(len(y)), np.abs(p - y), p - y, (p - y) ** 2, y, y * y, p, p * p, p * y], axis=1)
        return bootstrap.of_totals(cases.patient, cases.patients, terms, _metrics)


def _metrics(
    n: np.ndarray,
    absolute: np.ndarray,
    error: np.ndarray,
    squared: np.ndarray,
    y: np.ndarray,
    yy: np.ndarray,
    p: np.ndarray,
    pp: np.ndarray,
    py: np.ndarray,
) -> dict[str, np.ndarray]:
    spread_y, spread_p, together = (
        np.where(a - b < 1e-12 * np.maximum(a, 1e-300), np.nan, a - b) if same else a - b
        for a, b, same in ((yy, y * y / n, True), (pp, p * p / n, True), (py, p * y / n, False))
    )
    return {
        "mae": absolute / n,
        "rmse": np.sqrt(squared / n),
        "r2": 1 - squared / spread_y,
        "bias": error / n,
        "calibration_slope": together / spread_p,
        "correlation": together / np.sqrt(spread_y * spread_p),
    }
