"""Several yes-or-no questions, a threshold each: metrics of each, and their means over the labels."""

import numpy as np

from medimg.evaluation import bootstrap
from medimg.evaluation.estimate import Estimate, undefined
from medimg.evaluation.intervals import mean_auroc
from medimg.evaluation.metrics import average_precision, log_losses, squared_errors
from medimg.evaluation.operating import OperatingPoint
from medimg.evaluation.tasks.binary import BinaryJudge
from medimg.evaluation.units import Cases
from medimg.params import Study

WORDS = {
    "auprc": "the AUPRC",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "brier": "the Brier score",
    "log_loss": "the log loss",
}


class MultilabelJudge(BinaryJudge):
    """Judges each label where it is known."""

    def own(self, cases: Cases, confidence: float) -> Estimate:
        """Mean AUROC of the labels."""
        missing = one_sided(cases, "the part")
        return undefined(missing) if missing else mean_auroc(cases.ranked(), confidence)

    def overall(self, cases: Cases, called: np.ndarray, study: Study, confidence: float) -> dict[str, Estimate]:
        """Means over the labels. A mean is undefined where it is for one label, which the reason names."""
        statistics = [
            bootstrap.of_totals(cases.patient, cases.patients, _terms(cases, called), _means),
            bootstrap.of_precision("auprc", cases.ranked()),
        ]
        missing = one_sided(cases, "test")
        found = {"auroc": undefined(missing) if missing else self.own(cases, confidence)}
        once = {name: float(v[0]) for one in statistics for name, v in one(np.ones((1, cases.patients))).items()}
        once["auprc"] = float(np.mean([average_precision(truth, score) for truth, score, _ in cases.ranked()]))
        drawn = bootstrap.replicates(cases.patients, len(cases), statistics, study.seed)
        freedom = bootstrap.freedom(cases.rarer())
        for name, words in WORDS.items():
            scale = bootstrap.AMOUNT if name == "log_loss" else bootstrap.SHARE
            found[name] = (
                undefined(missing)
                if missing and not (name in ("brier", "log_loss") and np.isfinite(once[name]))
                else bootstrap.interval(words, once[name], drawn[name], confidence, freedom, scale)
            )
        return found

    def plain(self, cases: Cases, called: np.ndarray, points: dict[str, OperatingPoint], unit: tuple[str, str]) -> str:
        """How many labels are right in a unit."""
        truth = cases.task.questions(cases.truth)
        known = np.isfinite(truth)
        right = int(((called == (truth > 0)) & known).sum())
        whole = int(((called == (truth > 0)) | ~known).all(axis=1).sum())
        return (
            f"At their thresholds {right:,} of {int(known.sum()):,} known labels are right, and all labels of "
            f"{whole:,} of {len(cases):,} {unit[1]}."
        )


def one_sided(cases: Cases, part: str) -> str:
    """Which question's units are all positive or all negative in ``part``, as a reason; empty for none."""
    for name, (truth, _, _) in zip(cases.task.names, cases.ranked(), strict=True):
        if not 0 < truth.sum() < len(truth):
            return f"{part} holds no {'negative' if truth.any() else 'positive'} unit of {name}"
    return ""


def _terms(cases: Cases, called: np.ndarray) -> np.ndarray:
    """``(N, 7 K)``: what each unit adds to seven sums of each question; nothing where its truth is not known."""
    truth = cases.task.questions(cases.truth)
    columns = []
    for k, odds in enumerate(cases.task.odds(cases.logit).T):
        known, yes, said = np.isfinite(truth[:, k]), truth[:, k] > 0, called[:, k]
        squared, surprise = squared_errors(yes.astype(float), cases.probability[:, k]), log_losses(yes, odds)
        for values in (1, squared, surprise, yes & said, ~yes & said, yes & ~said, ~yes & ~said):
            columns.append(values * known)
    return np.stack(columns, axis=1).astype(np.float64)


def _means(*sums: np.ndarray) -> dict[str, np.ndarray]:
    count, squared, surprise, tp, fp, fn, tn = (np.stack(sums[at::7]) for at in range(7))
    return {
        "brier": (squared / count).mean(axis=0),
        "log_loss": (surprise / count).mean(axis=0),
        "f1": (2 * tp / (2 * tp + fp + fn)).mean(axis=0),
        "balanced_accuracy": ((tp / (tp + fn) + tn / (tn + fp)) / 2).mean(axis=0),
    }
