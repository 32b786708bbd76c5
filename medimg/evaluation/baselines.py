"""Two small models that know nothing of anatomy: one neuron, and gradient-boosted trees.

One neuron with a logistic output is the perceptron of every first lecture; it is fitted as logistic regression with an
L2 penalty. Both are fitted on train, their settings are chosen on validation, and neither has seen test.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medimg.tasks.ranking import area

RARE = 5  # images of train that a text value needs to count as a value of its own
MOST_ROWS = 20_000  # images of train that a small model is fitted on; more change nothing
ROUNDS = (5, 15, 40, 100)
SMALL = 2_000_000  # numbers in a design that one core works through soonest
NEURON, TREES = "one neuron", "boosted trees"


@dataclass(frozen=True)
class Fitted:
    """One small model, one question: what it says of validation and test."""

    family: str
    settings: str
    validation_auroc: float
    validation: np.ndarray
    """``(V,)`` probability of yes"""
    test: np.ndarray
    """``(N,)`` probability of yes"""


@dataclass(frozen=True)
class Design:
    """Features of the three parts, ``(rows, F)`` float64; NaN where missing."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    categorical: np.ndarray
    """``(F,)`` bool: whole numbers that name a category"""


def design(tables: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]) -> Design:
    """Tables of the three parts → numbers. Text becomes the rank of its frequency in train, rare and new text -1."""
    train = tables[0]
    text = np.array([not pd.api.types.is_numeric_dtype(train[name]) for name in train.columns], bool)
    coded = [np.empty((len(table), len(text))) for table in tables]
    for place, name in enumerate(train.columns):
        counts = train[name].value_counts() if text[place] else None
        for table, into in zip(tables, coded, strict=True):
            into[:, place] = table[name].astype(np.float64) if counts is None else _codes(table[name], counts)
    return Design(coded[0], coded[1], coded[2], text)


def _codes(column: pd.Series, counts: "pd.Series[int]") -> np.ndarray:
    known = sorted(counts.index[counts >= RARE], key=lambda value: (-counts[value], str(value)))[:250]
    code = column.map({value: number for number, value in enumerate(known)})
    return code.where(code.notna(), np.where(column.isna(), np.nan, -1)).to_numpy(np.float64)


def pixels(arrays: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Design:
    """Features that are numbers already."""
    train, validation, test = (array.astype(np.float64) for array in arrays)
    return Design(train, validation, test, np.zeros(train.shape[1], bool))


def fit(data: Design, truth: np.ndarray, validation_truth: np.ndarray, seed: int) -> list[Fitted]:
    """The best of each family on validation, one question; empty where train or validation cannot teach it.

    Args:
        data: features.
        truth: ``(rows of train,)`` 0, 1, or NaN where not known.
        validation_truth: ``(V,)``, likewise.
        seed: which images of a large train are taken.
    """
    from threadpoolctl import threadpool_limits

    known, seen = np.isfinite(truth), np.isfinite(validation_truth)
    if not data.train.shape[1] or len(set(truth[known])) < 2 or len(set(validation_truth[seen])) < 2:
        return []
    rows = np.flatnonzero(known)
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng([seed, *b"audit"]).choice(rows, MOST_ROWS, replace=False))
    features, answers = data.train[rows], truth[rows]
    threads = 1 if features.size < SMALL else None  # more would wait for each other
    with threadpool_limits(threads):
        return list(_families(data, features, answers, validation_truth, seen))


def _families(
    data: Design, features: np.ndarray, answers: np.ndarray, validation_truth: np.ndarray, seen: np.ndarray
) -> Iterator[Fitted]:
    for family, tries in ((NEURON, _neurons), (TREES, _trees)):
        best: Fitted | None = None
        for settings, validation, test in tries(data, features, answers):
            score = area(validation_truth[seen], validation[seen])
            if best is None or score > best.validation_auroc + 1e-9:
                best = Fitted(family, settings, score, validation, test)
        assert best is not None
        yield best


def _neurons(data: Design, features: np.ndarray, truth: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Logistic regression over a range of penalties, strongest first."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    encode = _encoder(features, data.categorical)
    train, validation, test = encode(features), encode(data.validation), encode(data.test)
    model: Any = LogisticRegression(max_iter=200, warm_start=True)
    for strength in (0.0003, 0.003, 0.03, 0.3, 3.0):
        model.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # validation chooses: what stops early may be chosen too
            model.fit(train, truth)
        yield f"C {strength:g}", model.predict_proba(validation)[:, 1], model.predict_proba(test)[:, 1]


def _encoder(train: np.ndarray, categorical: np.ndarray) -> Any:
    """A function from features to columns of zero mean and unit spread on train: a column a category, and one that says
    where a number is missing."""
    middle = np.array([np.median(c[np.isfinite(c)]) if np.isfinite(c).any() else 0.0 for c in train.T])
    codes = [np.unique(column[np.isfinite(column)]) for column in train.T]

    def spread(rows: np.ndarray) -> np.ndarray:
        columns = [np.where(np.isnan(rows), middle, rows)[:, ~categorical], np.isnan(rows)[:, ~categorical]]
        columns += [rows[:, [place]] == codes[place] for place in np.flatnonzero(categorical)]
        return np.concatenate(columns, axis=1).astype(np.float64)

    plain = spread(train)
    mean, deviation = plain.mean(axis=0), plain.std(axis=0)
    useful = deviation > 1e-12
    return lambda rows: (spread(rows)[:, useful] - mean[useful]) / deviation[useful]


def _trees(data: Design, features: np.ndarray, truth: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Gradient-boosted trees: small and larger ones, after several numbers of rounds."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    train, validation, test = (
        np.where(data.categorical & (part < 0), np.nan, part) for part in (features, data.validation, data.test)
    )
    for leaves in (4, 12):
        model = HistGradientBoostingClassifier(
            max_iter=ROUNDS[-1],
            max_leaf_nodes=leaves,
            learning_rate=0.1,
            categorical_features=data.categorical,
            early_stopping=False,
            random_state=0,
        ).fit(train, truth)
        stages = zip(model.staged_predict_proba(validation), model.staged_predict_proba(test), strict=True)
        for number, (first, second) in enumerate(stages, start=1):
            if number in ROUNDS:
                yield f"{number} trees of {leaves} leaves", first[:, 1], second[:, 1]
