"""How the answers of a task are judged: one file a task, under the name that it has in ``medimg/tasks/``."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from medimg.evaluation.bootstrap import Statistic
from medimg.evaluation.estimate import Estimate
from medimg.evaluation.operating import OperatingPoint
from medimg.evaluation.recalibration import Recalibration
from medimg.evaluation.units import Cases
from medimg.params import Evaluate, Study


class Judge(Protocol):
    """What evaluation asks of a task. N units, K yes-or-no questions."""

    @property
    def decision(self) -> str:
        """How a probability becomes an answer, for operating.yaml."""
        ...

    def recalibration(self, validation: Cases) -> Recalibration | None:
        """The correction of logits that fits validation best; None where there are no probabilities."""
        ...

    def points(self, validation: Cases, study: Study, settings: Evaluate) -> dict[str, OperatingPoint]:
        """Question → its threshold, chosen on validation; empty where nothing is decided by thresholds."""
        ...

    def called(self, cases: Cases, points: dict[str, OperatingPoint]) -> np.ndarray:
        """``(N, K)`` bool: which questions are answered with yes."""
        ...

    def overall(self, cases: Cases, called: np.ndarray, study: Study, confidence: float) -> dict[str, Estimate]:
        """Metrics of all questions together, or of the number; empty where there is one question only."""
        ...

    def own(self, cases: Cases, confidence: float) -> Estimate:
        """The metric that leads where params.yaml names none; needs no threshold."""
        ...

    def losses(self, cases: Cases) -> Statistic:
        """How far probabilities, or numbers, are from the truth, as ``overall`` reckons it; needs no threshold."""
        ...

    def plain(self, cases: Cases, called: np.ndarray, points: dict[str, OperatingPoint], unit: tuple[str, str]) -> str:
        """What a reader would see in use, in a sentence with counts; ``unit`` is its singular and plural."""
        ...


def judge_of(study: Study) -> Judge:
    """The judge of ``study.task``."""
    from medimg.evaluation.tasks.binary import BinaryJudge
    from medimg.evaluation.tasks.multiclass import MulticlassJudge
    from medimg.evaluation.tasks.multilabel import MultilabelJudge
    from medimg.evaluation.tasks.regression import RegressionJudge

    makers: dict[str, Callable[[], Judge]] = {
        "binary": BinaryJudge,
        "multiclass": MulticlassJudge,
        "multilabel": MultilabelJudge,
        "regression": RegressionJudge,
    }
    return makers[study.task]()
