"""2,000 resamples of the patients, against a loop over scikit-learn; and a million predictions in memory."""

import contextlib
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import expit
from sklearn import metrics as reference

from benchmarks.paired import ROOT, Row, ratio
from medimg.evaluation import bootstrap
from medimg.evaluation.metrics import decide, squared_errors
from medimg.evaluation.scores import _statistics
from medimg.evaluation.units import Units
from medimg.records import PREDICTIONS as PREDICTED

PREDICTIONS, DRAWS, MILLION = 10_000, bootstrap.DRAWS, 1_000_000
PEER: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "auprc": reference.average_precision_score,
    "brier": reference.brier_score_loss,
    "f1": lambda truth, probability: reference.f1_score(truth, probability >= 0.5),
}


def units(predictions: int, seed: int = 0) -> Units:
    """Predictions of patients with one to five images."""
    random = np.random.default_rng(seed)
    patient = np.sort(random.integers(predictions // 3, size=predictions))
    patient = np.unique(patient, return_inverse=True)[1]
    truth = (random.random(patient.max() + 1) < 0.3).astype(float)[patient]
    logit = 2 * truth - 1.5 + random.normal(size=predictions)
    return Units(patient, truth, expit(logit), logit, predictions, 0)


def loop(part: Units, name: str, draws: int) -> np.ndarray:
    """The peer: draw patients, gather their rows, call scikit-learn; as often as there are ``draws``."""
    random = np.random.default_rng(1)
    rows = np.split(np.argsort(part.patient, kind="stable"), np.cumsum(np.bincount(part.patient))[:-1])
    values = []
    for _ in range(draws):
        chosen = np.concatenate([rows[patient] for patient in random.integers(part.patients, size=part.patients)])
        values.append(PEER[name](part.truth[chosen], part.probability[chosen]))
    return np.array(values)


def statistic(part: Units, name: str) -> bootstrap.Statistic:
    """Only what ``name`` needs."""
    if name == "auprc":
        return bootstrap.of_precision(name, [(part.truth, part.probability, part.patient)])
    if name == "brier":
        terms = np.stack([np.ones(len(part)), squared_errors(part.truth, part.probability)], axis=1)
        return bootstrap.of_totals(part.patient, part.patients, terms, lambda n, squared: {name: squared / n})
    return _statistics(part, decide(part.probability, 0.5))[0]


def of_metric(part: Units, name: str) -> list[Row]:
    """How much faster one metric's resamples are, and how far the ends of its interval are from the loop's."""
    ours = lambda: bootstrap.replicates(part.patients, len(part), [statistic(part, name)], seed=0)[name]  # noqa: E731
    few = DRAWS // 10  # the loop takes as long for each draw: a tenth of it is timed
    median, low, high = (10 * value for value in ratio(lambda: loop(part, name, few), ours, pairs=3))
    ends, peer = (np.quantile(values, [0.025, 0.975]) for values in (ours(), loop(part, name, DRAWS)))
    off = float(np.abs(ends - peer).max() / (peer[1] - peer[0]))
    return [
        Row(f"{DRAWS} resamples of {name}, {PREDICTIONS} predictions", median, low, high, goal="≥ 20"),
        Row(f"{name}: ends of the interval, distance as a share of its width", off, off, off, goal="≤ 0.1"),
    ]


def memory() -> Row:
    """Peak resident memory, GB, of evaluating a million predictions in a process of its own, metrics and report."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.evaluation", folder],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    peak = float(done.stdout.split()[-1])
    return Row("evaluate 1,000,000 predictions: peak memory, GB", peak, peak, peak, goal="< 2")


def evaluate_a_million(folder: Path) -> None:
    """Write the files of a large study into ``folder``, evaluate it there, print the peak in GB."""
    sys.path.insert(0, str(ROOT / "tests"))
    import test_evaluation as study  # what earlier stages leave, as the tests write it

    with contextlib.chdir(folder):
        if not PREDICTED.exists():
            study.prepare(study.predictions(patients=MILLION // 2, images=2))
            subprocess.run([sys.executable, "-m", "benchmarks.evaluation", str(folder)], check=True)
            return
        study.again()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)


def measure() -> list[Row]:
    """All rows."""
    part = units(PREDICTIONS)
    return [*(row for name in PEER for row in of_metric(part, name)), memory()]


if __name__ == "__main__":
    evaluate_a_million(Path(sys.argv[1]))
