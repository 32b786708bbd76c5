"""What the audit looks at: features and truths of the three parts, the network's scores, its transplant experiment."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from medimg.evaluation import baselines
from medimg.evaluation.answers import Answers
from medimg.evaluation.baselines import Design
from medimg.evaluation.shortcuts import Ranking
from medimg.evaluation.units import KEYS
from medimg.records import TRANSPLANTS, TRANSPLANTS_SCHEMA, Predictions, read_table
from medimg.store import Store
from medimg.tasks import Task


@dataclass(frozen=True)
class Transplants:
    """The network's scores of test images with another patient's rim, against both labels."""

    of_donor: Ranking
    of_receiver: Ranking

    def __len__(self) -> int:
        return len(self.of_donor.truth)


@dataclass(frozen=True)
class Material:
    """Rows of the index and K yes-or-no truths of each part; of a regression: above the median of train?"""

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    train_truth: np.ndarray
    """``(rows of train, K)``; NaN where not known"""
    validation_truth: np.ndarray
    network: Ranking
    """of the units of test"""
    answers: Answers
    unit_of: np.ndarray
    """``(rows of test,)`` int64: the unit of each image"""
    aggregate: Literal["mean", "max"]
    store: Store
    transplants: Transplants | None

    @property
    def everything(self) -> pd.DataFrame:
        """The rows of all three parts."""
        return pd.concat([self.train, self.validation, self.test])

    def tables(self, columns: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Some columns of the three parts, with the aspect ratio where it is asked for."""
        parts = (
            part.assign(aspect=part["width"] / part["height"])[columns]
            for part in (self.train, self.validation, self.test)
        )
        train, validation, test = parts
        return train, validation, test

    def pixels(self, reduce: Callable[[list[str]], np.ndarray]) -> Design:
        """What ``reduce`` makes of the images of each part."""
        train, validation, test = (reduce(list(part["sample"])) for part in (self.train, self.validation, self.test))
        return baselines.pixels((train, validation, test))

    def ranked(self, scores: np.ndarray) -> Ranking:
        """Scores of test's images ``(rows, K)`` as a ranking of its units."""
        units = len(self.network.truth)
        if self.aggregate == "max":
            pooled = np.full((units, scores.shape[1]), -np.inf)
            np.maximum.at(pooled, self.unit_of, scores)
        else:
            count = np.bincount(self.unit_of, minlength=units)
            columns = [np.bincount(self.unit_of, weights=column, minlength=units) / count for column in scores.T]
            pooled = np.stack(columns, axis=1)
        return Ranking(self.network.truth, pooled, self.network.patient)


def material_of(
    task: Task,
    index: pd.DataFrame,
    parts: pd.DataFrame,
    predictions: dict[str, Predictions],
    answers: Answers,
    value: np.ndarray,
    store: Store,
    *,
    unit: str,
    aggregate: Literal["mean", "max"],
) -> Material:
    """Join what the stages left; there is a train part.

    Args:
        task: what is asked.
        index: the study's index.
        parts: who is in which part.
        predictions: of validation and test.
        answers: the units of test.
        value: ``(units, T)`` truth of the units, in the task's own form.
        store: the images.
        unit: ``study.unit``.
        aggregate: how scores of a unit become one.
    """
    here = index.set_index("sample", drop=False)
    train = here.loc[sorted(parts.loc[parts["part"] == "train", "sample"])].reset_index(drop=True)
    values = task.truth(train["label"])
    middle = np.nanmedian(values)

    def questions(truth: np.ndarray) -> np.ndarray:
        asked = task.questions(truth)
        return asked if asked.shape[1] else (truth > middle).astype(np.float64)

    test = predictions["test"]
    score = answers.score if answers.score.shape[1] else answers.value
    return Material(
        train=train,
        validation=here.loc[list(predictions["validation"].rows["sample"])].reset_index(drop=True),
        test=here.loc[list(test.rows["sample"])].reset_index(drop=True),
        train_truth=questions(values),
        validation_truth=questions(predictions["validation"].truth),
        network=Ranking(questions(value), score, answers.patient),
        answers=answers,
        unit_of=test.rows.groupby(KEYS[unit], sort=True, dropna=False).ngroup().to_numpy(),
        aggregate=aggregate,
        store=store,
        transplants=_transplants(test, questions(test.truth)),
    )


def _transplants(test: Predictions, truth: np.ndarray) -> Transplants | None:
    if not TRANSPLANTS.exists():
        return None
    table = read_table(TRANSPLANTS, TRANSPLANTS_SCHEMA)
    place = pd.Series(np.arange(len(test)), index=test.rows["sample"])
    if not len(table) or not set(table["sample"]) | set(table["donor"]) <= set(place.index):
        return None
    receiver, donor = place[table["sample"]].to_numpy(), place[table["donor"]].to_numpy()
    score = np.stack(list(table["probabilities"]))
    patient = pd.factorize(test.rows["patient"].iloc[receiver])[0].astype(np.int64)  # one donor a patient: pairs
    return Transplants(Ranking(truth[donor], score, patient), Ranking(truth[receiver], score, patient))
