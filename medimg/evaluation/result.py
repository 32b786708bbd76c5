"""What an evaluation found: everything that the files and the report are made of."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from medimg.errors import DataError
from medimg.evaluation.calibration import Calibration, calibrate
from medimg.evaluation.estimate import Estimate
from medimg.evaluation.frozen import Frozen
from medimg.evaluation.operating import OperatingPoint
from medimg.evaluation.scores import Scores, score
from medimg.evaluation.section import Section
from medimg.evaluation.sources import Sources
from medimg.evaluation.tasks import Judge, judge_of
from medimg.evaluation.units import Cases, Units
from medimg.params import Evaluate, Params, Study
from medimg.tasks import Task


@dataclass(frozen=True)
class Question:
    """One yes-or-no question, answered on test."""

    name: str
    test: Units
    point: OperatingPoint | None
    """its threshold; None where the task decides without"""
    called: np.ndarray
    """``(N,)`` bool: which units of ``test`` are answered with yes"""
    scores: Scores
    before: Calibration
    """of test as the network left it"""
    after: Calibration | None
    """of test recalibrated; None where that is not possible"""


@dataclass(frozen=True)
class Validation:
    """What the report says of the part that decided: numbers, so that no unit of it has to travel with a model."""

    own: Estimate
    """The task's own metric there: it chose epoch and threshold, so it flatters; shown beside that of test."""
    counts: dict[str, Any]
    """of ``units.counts_of``"""

    def rarer(self, question: str) -> int:
        """Patients of the rarer class of a question."""
        counts = self.counts.get("questions", {}).get(question, self.counts)
        return min(int(counts["positive_patients"]), int(counts["negative_patients"]))


@dataclass(frozen=True)
class External:
    """Where a frozen model comes from that is tested on data of elsewhere."""

    bundle: str
    """SHA-256 of its ``bundle.yaml``, which names the hash of every other file"""
    there: str
    """what it reached on its own test part, in a clause"""


@dataclass(frozen=True)
class Result:
    """One evaluation of one model on one test part."""

    params: Params
    sources: Sources
    frozen: Frozen
    validation: Validation
    test: Cases
    """with the probabilities that thresholds and metrics are about"""
    called: np.ndarray
    """``(N, K)`` bool: which questions are answered with yes for each unit of ``test``"""
    questions: tuple[Question, ...]
    """one for each output that answers a yes-or-no question; none of a regression"""
    estimates: dict[str, Estimate]
    """metric → estimate, of the whole task"""
    sections: tuple[Section, ...] = ()
    """what other modules add to the report, each with a file of its own"""
    external: External | None = None
    """None: test was set aside in the study that made the model"""

    @property
    def study(self) -> Study:
        """The block ``study``."""
        return self.params.study

    @property
    def settings(self) -> Evaluate:
        """The block ``evaluate``."""
        return self.params.evaluate

    @property
    def task(self) -> Task:
        """The task of the study."""
        return self.test.task

    @property
    def judge(self) -> Judge:
        """How the task is judged."""
        return judge_of(self.study)

    @property
    def point(self) -> OperatingPoint | None:
        """The threshold where there is one question with a threshold."""
        return next(iter(self.frozen.points.values())) if len(self.frozen.points) == 1 else None

    @property
    def headline(self) -> Estimate:
        """What the report leads with."""
        return self.estimates[self.study.headline]


def judged(params: Params, sources: Sources, frozen: Frozen, validation: Validation, test: Cases) -> Result:
    """Apply what was frozen to ``test`` and measure.

    Args:
        params: of the study.
        sources: the files that tell how the predictions came about.
        frozen: recalibration and thresholds, from validation.
        validation: what is known of the part that decided.
        test: units with the probabilities that the network gave.

    Raises:
        DataError: a label is not known for any unit of test.
    """
    study, settings, judge = params.study, params.evaluate, judge_of(params.study)
    final = frozen.corrected(test)
    called = judge.called(final, frozen.points)
    questions = tuple(
        _question(k, name, params, frozen, (test, final), called[:, k])
        for k, name in enumerate(test.task.names[: called.shape[1]])
    )
    overall = judge.overall(final, called, study, settings.confidence)
    return Result(
        params=params,
        sources=sources,
        frozen=frozen,
        validation=validation,
        test=final,
        called=called,
        questions=questions,
        estimates=overall or questions[0].scores.estimates,
    )


def _question(
    k: int, name: str, params: Params, frozen: Frozen, parts: tuple[Cases, Cases], called: np.ndarray
) -> Question:
    raw, final = (part.question(k) for part in parts)
    if not len(final):
        raise DataError(
            f"Label {name!r} is not known for any unit of test, so nothing can be said of it. Take it out of "
            "study.label in params.yaml, or add labelled patients, and run dvc repro."
        )
    known = np.isfinite(parts[0].task.questions(parts[0].truth)[:, k])
    confidence, seed = params.evaluate.confidence, params.study.seed
    corrected = frozen.recalibration and frozen.recalibration.apply(parts[0]).question(k)
    before = calibrate(raw, confidence, seed)
    after = calibrate(corrected, confidence, seed) if corrected else None
    return Question(
        name=name,
        test=final,
        point=frozen.points.get(name),
        called=called[known],
        scores=score(final, called[known], after if after and frozen.applied else before, params.study, confidence),
        before=before,
        after=after,
    )
