"""Before a training: how far what came lies from what the champion learned from, patient by patient.

Columns of words: the total variation distance, the share of patients who would have to have another value. Numbers: the
Kolmogorov-Smirnov distance. Both lie between 0 (alike) and 1 (nothing in common). A distance counts when chance hardly
makes it: permutations of the patients, or the Kolmogorov-Smirnov test; corrected for all looks together (Holm 1979,
Scand J Stat 6:65). The champion's scores, errors and calibration are compared between patients it never learned from:
those of promotion and test who were there before, and all who came. Calibration: how far the mean of label minus
probability moved, so that 0.1 is ten patients in a hundred more than it says.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp, ttest_ind

from medimg.evaluation.compare import Model
from medimg.evaluation.influence import holm
from medimg.params import Drift, Params
from medimg.records import INDEX, INDEX_SCHEMA, PARTS, PARTS_SCHEMA, STORE, read_table
from medimg.store import Store
from medimg.tasks import task_of

WORDS = {"modality": "modality", "manufacturer": "maker", "site": "site", "sex": "sex"}
DRAWS = 2000
FEWEST = 5  # patients on either side, for a distance to say anything
MOST = 2000  # images of either side that are looked at: the cost of a night is not to grow with all nights before
ABSENT = "not recorded"


@dataclass(frozen=True)
class Distance:
    """How far new patients lie from earlier ones in one respect."""

    name: str
    distance: float
    p: float
    """corrected for all looks"""
    level: str
    """ok, warn or stop"""
    patients: int
    """new ones"""

    def __str__(self) -> str:
        return f"{self.name} {self.distance:.2f} (p {self.p:.2g}, {self.patients} new patients)"

    def as_json(self) -> dict[str, Any]:
        """Plain values for the history."""
        return asdict(self) | {"distance": round(self.distance, 4), "p": float(f"{self.p:.3g}")}


def to_score(place: Path, batch: int) -> pd.Series:
    """The samples on which the champion is compared with itself: nobody of whom it learned."""
    index, parts = read_table(place / INDEX, INDEX_SCHEMA), read_table(place / PARTS, PARTS_SCHEMA)
    part = parts.set_index("sample")["part"].reindex(index["sample"]).to_numpy()
    new = index["batch"].fillna(0) > batch
    chosen: pd.Series = index.loc[(part != "excluded") & (new | np.isin(part, ["promotion", "test"])), "sample"]
    return chosen


def drift(place: Path, batch: int, champion: Model, params: Params) -> list[Distance]:
    """Compare the images that came after import ``batch`` with those before.

    Args:
        place: the study's folder, with index, split and store.
        batch: the last import that the champion learned from.
        champion: what it says of ``to_score``.
        params: of the study.
    """
    index = read_table(place / INDEX, INDEX_SCHEMA)
    parts = read_table(place / PARTS, PARTS_SCHEMA).set_index("sample")
    index = index.assign(patient=index["sample"].map(parts["patient"]))
    index = index[index["sample"].map(parts["part"]) != "excluded"]
    new = index["batch"].fillna(0) > batch
    found = list(_looks(place, index[~new], index[new], champion, params))
    corrected = holm([p for _, _, p, _ in found])
    return [
        Distance(name, distance, p, level(distance, p, params.retrain.drift), patients)
        for (name, distance, _, patients), p in zip(found, corrected, strict=True)
    ]


def level(distance: float, p: float, limits: Drift) -> str:
    """What a distance is worth."""
    if p >= limits.chance or distance < limits.warn:
        return "ok"
    return "stop" if limits.stop is not None and distance >= limits.stop else "warn"


Look = tuple[str, float, float, int]


def _looks(place: Path, before: pd.DataFrame, after: pd.DataFrame, champion: Model, params: Params) -> Iterator[Look]:
    if min(before["patient"].nunique(), after["patient"].nunique()) < FEWEST:
        return
    for column, name in WORDS.items():
        if before[column].notna().any() or after[column].notna().any():
            yield name, *_of_words(_first(before, column), _first(after, column), params.study.seed)
    task = task_of(params.study)
    strata = [_first(part.assign(stratum=task.strata(part["label"])), "stratum") for part in (before, after)]
    if task.questions(task.truth(before["label"])).shape[1]:
        yield "label", *_of_words(strata[0], strata[1], params.study.seed)
    if before["age"].notna().any() and after["age"].notna().any():
        yield "age", *_of_numbers(before, after, before["age"], after["age"])
    store = Store.open(place / STORE)
    some = [part.iloc[:: 1 + len(part) // MOST] for part in (before, after)]
    pictures = [_pictures(store, part["sample"]) for part in some]
    for name in pictures[0]:
        yield name, *_of_numbers(some[0], some[1], pictures[0][name], pictures[1][name])
    yield from _of_champion(set(after["sample"]), champion, params)


def _first(rows: pd.DataFrame, column: str) -> np.ndarray:
    """One value a patient: that of the first image, in the order of the index."""
    return np.asarray(rows.groupby("patient", sort=True)[column].first().fillna(ABSENT).to_numpy(str))


def _of_words(before: np.ndarray, after: np.ndarray, seed: int) -> tuple[float, float, int]:
    """Total variation distance, and how often permuted patients lie as far apart."""
    names, code = np.unique(np.concatenate([before, after]), return_inverse=True)
    one_hot = np.eye(len(names))[code]
    total, size = one_hot.sum(axis=0), len(after)

    def distance(inside: np.ndarray) -> float:
        share = inside / size
        return 0.5 * float(np.abs(share - (total - inside) / (len(code) - size)).sum())

    found = distance(one_hot[len(before) :].sum(axis=0))
    generator = np.random.default_rng([seed, 9])
    drawn = generator.multivariate_hypergeometric(total.astype(int), size, DRAWS)
    as_far = sum(distance(inside) >= found - 1e-12 for inside in drawn)
    return found, (1 + as_far) / (1 + DRAWS), size


def _of_numbers(
    before: pd.DataFrame, after: pd.DataFrame, first: pd.Series, second: pd.Series
) -> tuple[float, float, int]:
    """Kolmogorov-Smirnov distance between means over the images of each patient."""
    sides = _sides(before, after, first, second)
    if min(map(len, sides)) < FEWEST:
        return 0.0, 1.0, len(sides[1])
    found = ks_2samp(*sides)
    return float(found.statistic), float(found.pvalue), len(sides[1])


def _of_means(
    before: pd.DataFrame, after: pd.DataFrame, first: pd.Series, second: pd.Series
) -> tuple[float, float, int]:
    """How far the means over patients of two sides lie apart, 1 at most, and Welch's test (1947, Biometrika 34:28)."""
    sides = _sides(before, after, first, second)
    if min(map(len, sides)) < FEWEST or not any(side.std() for side in sides):
        return 0.0, 1.0, len(sides[1])
    found = ttest_ind(*sides, equal_var=False)
    return min(1.0, abs(float(sides[1].mean() - sides[0].mean()))), float(found.pvalue), len(sides[1])


def _sides(before: pd.DataFrame, after: pd.DataFrame, first: pd.Series, second: pd.Series) -> list[np.ndarray]:
    """The mean over the images of each patient, before and after."""
    return [
        pd.Series(np.asarray(values, np.float64)).groupby(rows["patient"].to_numpy()).mean().dropna().to_numpy()
        for rows, values in ((before, first), (after, second))
    ]


def _pictures(store: Store, samples: pd.Series) -> dict[str, pd.Series]:
    """Brightness, contrast and sharpness of each image as the network gets it."""
    rows: dict[str, list[float]] = {"brightness": [], "contrast": [], "sharpness": []}
    for row in store.rows(samples):
        image = np.asarray(store.images[row], np.float64)
        rows["brightness"].append(float(image.mean()))
        rows["contrast"].append(float(image.std()))
        rows["sharpness"].append(float(np.abs(np.diff(image, axis=-1)).mean()))
    return {name: pd.Series(values) for name, values in rows.items()}


def _of_champion(new: set[str], champion: Model, params: Params) -> Iterator[Look]:
    """Its scores, and its errors on the labels that came."""
    found, task = champion.predictions, task_of(params.study)
    inside = found.rows["sample"].isin(new).to_numpy()
    if not inside.any() or inside.all():
        return
    asked = task.questions(found.truth)
    truth = asked if asked.shape[1] else found.truth
    error = pd.Series(np.nanmean((found.probabilities - truth) ** 2, axis=1))
    before, after = found.rows[~inside], found.rows[inside]
    for k, name in enumerate(task.names):
        score = pd.Series(found.logits[:, k])
        title = "the champion's scores" + (f" of {name}" if len(task.names) > 1 else "")
        yield title, *_of_numbers(before, after, score[~inside], score[inside])
    yield "the champion's errors", *_of_numbers(before, after, error[~inside], error[inside])
    for k, name in enumerate(task.names if asked.shape[1] else ()):
        gap = pd.Series(asked[:, k] - found.probabilities[:, k])
        title = "the champion's calibration" + (f" of {name}" if len(task.names) > 1 else "")
        yield title, *_of_means(before, after, gap[~inside], gap[inside])
