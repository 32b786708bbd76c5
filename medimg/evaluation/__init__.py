"""From predictions to an answer: files only, no torch.

``evaluate`` is what the stage runs; ``summary`` says its result in one line. What it writes under
``artifacts/evaluation`` is a pure function of the files and parameters it reads: equal inputs, equal bytes.
"""

from typing import TYPE_CHECKING

from medimg.evaluation.summary import summary

if TYPE_CHECKING:
    from medimg.params import Params

__all__ = ["evaluate", "summary"]


def evaluate(params: "Params") -> None:
    """Choose the threshold on validation, score test, write metrics, curves and report to ``artifacts/evaluation``.

    Raises:
        DataError: a file is missing, or predictions do not fit the split or the weights, or leave validation or test
            empty.
    """
    from medimg.evaluation.operating import choose
    from medimg.evaluation.result import Result, write
    from medimg.evaluation.scores import score
    from medimg.evaluation.sources import read
    from medimg.evaluation.units import units_of

    study, settings = params.study, params.evaluate
    sources = read()
    validation, test = (
        units_of(sources.predictions[sources.predictions["part"] == part], study, settings.aggregate, part)
        for part in ("validation", "test")
    )
    point = choose(validation, settings.threshold)
    write(
        Result(
            params=params,
            sources=sources,
            validation=validation,
            test=test,
            point=point,
            scores=score(test, point.threshold, study, settings.confidence),
        )
    )
