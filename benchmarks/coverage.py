"""How often 95 % intervals hold the true value, by simulation.

    python -m benchmarks.coverage [REPEATS]                      # intervals by formula
    python -m benchmarks.coverage resampled [REPEATS] [DRAWS]    # by resampling, and percentiles beside them

Each repeat is a study: patients with 1 to 5 images, each patient positive or negative, binormal scores of which half of
the variance is the patient's own. Repeats without a positive or without a negative patient have no interval to judge.
"""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from medimg.evaluation import bootstrap
from medimg.evaluation.estimate import Estimate
from medimg.evaluation.intervals import auroc, proportion

REPEATS = 2000
PATIENTS, AREAS, PREVALENCES = (50, 200, 1000), (0.7, 0.9, 0.98), (0.05, 0.3)
CONFIDENCE, WITHIN = 0.95, 0.5


@dataclass(frozen=True)
class Cell:
    """One kind of study, and how often each interval held the truth."""

    patients: int
    area: float
    prevalence: float
    judged: int
    """repeats that have both classes"""
    covered: dict[str, float]
    """metric → share of them whose interval holds the true value"""
    width: float
    """mean width of the interval of the AUROC"""


def simulate(patients: int, area: float, prevalence: float, repeats: int) -> Cell:
    """Many studies of one kind; sensitivity and specificity at the threshold where they are equal."""
    random = np.random.default_rng([patients, round(100 * area), round(100 * prevalence)])
    shift = float(norm.ppf(area)) * 2**0.5
    true = {"auroc": area, "sensitivity": float(norm.cdf(shift / 2)), "specificity": float(norm.cdf(shift / 2))}
    held, judged, widths = dict.fromkeys(true, 0), 0, 0.0
    for _ in range(repeats):
        owner = np.repeat(np.arange(patients), random.integers(1, 6, patients))
        truth = (random.random(patients) < prevalence).astype(float)[owner]
        own, noise = random.normal(size=patients)[owner], random.normal(size=len(owner))
        score = shift * truth + (1 - WITHIN) ** 0.5 * own + WITHIN**0.5 * noise
        if not 0 < truth.sum() < len(truth):
            continue
        judged += 1
        for name, estimate in _estimates(truth, score, owner, shift / 2):
            assert estimate.low is not None and estimate.high is not None
            held[name] += estimate.low <= true[name] <= estimate.high
            widths += (estimate.high - estimate.low) * (name == "auroc")
    return Cell(patients, area, prevalence, judged, {n: count / judged for n, count in held.items()}, widths / judged)


def _estimates(
    truth: np.ndarray, score: np.ndarray, owner: np.ndarray, threshold: float
) -> Iterator[tuple[str, Estimate]]:
    called = (score >= threshold).astype(float)
    yield "auroc", auroc(truth, score, owner, CONFIDENCE)
    yield "sensitivity", proportion(called[truth > 0], owner[truth > 0], CONFIDENCE, "")
    yield "specificity", proportion(1 - called[truth == 0], owner[truth == 0], CONFIDENCE, "")


def main(repeats: int) -> None:
    """Print the table as Markdown; a star marks what covers less than 93 %."""
    print(f"| patients | AUROC | positive | studies | {' | '.join(['AUROC', 'sensitivity', 'specificity'])} | width |")
    print("|---" * 8 + "|")
    for kind in itertools.product(PATIENTS, AREAS, PREVALENCES):
        cell = simulate(*kind, repeats)
        shares = [f"{100 * share:.1f}{' *' if share < 0.93 else ''}" for share in cell.covered.values()]
        print(
            f"| {cell.patients} | {cell.area:g} | {100 * cell.prevalence:g} % | {cell.judged} | {' | '.join(shares)} | "
            f"{cell.width:.2f} |",
            flush=True,
        )


def resampled(repeats: int, draws: int) -> None:
    """Print how often intervals by resampling hold the true value; the true value is that of 400,000 images."""
    print("| patients | AUROC | positive | AUPRC | percentiles | F1 | percentiles | Brier | percentiles |")
    print("|---" * 9 + "|")
    for patients, area, prevalence in itertools.product(PATIENTS[:2], AREAS, PREVALENCES):
        random = np.random.default_rng([patients, round(100 * area), round(100 * prevalence)])
        large = _drawn(random, 400_000 // 3, area, prevalence)
        true = {
            name: values[0] for one in _resampled(*large) for name, values in one(np.ones((1, 400_000 // 3))).items()
        }
        held, judged = {name: [0, 0] for name in true}, 0
        for _ in range(repeats):
            truth, score, owner, probability = _drawn(random, patients, area, prevalence)
            if not 0 < truth.sum() < len(truth):
                continue
            judged += 1
            statistics = _resampled(truth, score, owner, probability)
            freedom = bootstrap.freedom([min(len(np.unique(owner[truth == value])) for value in (0, 1))])
            once = {name: v[0] for one in statistics for name, v in one(np.ones((1, patients))).items()}
            for name, values in bootstrap.replicates(patients, len(truth), statistics, judged, draws).items():
                found = bootstrap.interval(name, once[name], values, CONFIDENCE, freedom)
                ends = np.nanquantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
                held[name][0] += found.low is not None and found.low <= true[name] <= (found.high or 0)
                held[name][1] += ends[0] <= true[name] <= ends[1]
        shares = [100 * count / judged for name in ("auprc", "f1", "brier") for count in held[name]]
        cells = " | ".join(
            f"{share:.1f}{' *' if at % 2 == 0 and share < 93 else ''}" for at, share in enumerate(shares)
        )
        print(f"| {patients} | {area:g} | {100 * prevalence:g} % | {cells} |", flush=True)


def _drawn(random: np.random.Generator, patients: int, area: float, prevalence: float) -> tuple[np.ndarray, ...]:
    """Truth, score, patient and a calibrated probability of each image of one study."""
    shift = float(norm.ppf(area)) * 2**0.5
    owner = np.repeat(np.arange(patients), random.integers(1, 6, patients))
    truth = (random.random(patients) < prevalence).astype(float)[owner]
    own, noise = random.normal(size=patients)[owner], random.normal(size=len(owner))
    score = shift * truth + (1 - WITHIN) ** 0.5 * own + WITHIN**0.5 * noise
    return truth, score - shift / 2, owner, expit(shift * score - shift**2 / 2 + logit(prevalence))


def _resampled(
    truth: np.ndarray, score: np.ndarray, owner: np.ndarray, probability: np.ndarray
) -> list[bootstrap.Statistic]:
    called = score >= 0
    terms = np.stack([np.ones(len(truth)), (probability - truth) ** 2, called & (truth > 0), called, truth], axis=1)

    def metrics(count: np.ndarray, squared: np.ndarray, right: np.ndarray, said: np.ndarray, positive: np.ndarray):
        return {"brier": squared / count, "f1": 2 * right / (said + positive)}

    patients = int(owner.max()) + 1
    return [
        bootstrap.of_totals(owner, patients, terms, metrics),
        bootstrap.of_precision("auprc", [(truth, score, owner)]),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["resampled"]:
        resampled(*(int(word) for word in [*sys.argv[2:], "300", "500"][:2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS)
