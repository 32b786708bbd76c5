"""From predictions to an answer: files only, no torch.

``evaluate`` is what the stage runs; ``summary`` says its result in one line. What it writes under
``artifacts/evaluation`` is a pure function of the files and parameters it reads: equal inputs, equal bytes.
"""

from typing import TYPE_CHECKING

from medimg.evaluation.summary import summary

if TYPE_CHECKING:
    from pathlib import Path

    from medimg.evaluation.result import Result
    from medimg.params import Params

__all__ = ["evaluate", "evaluate_frozen", "summary"]


def evaluate(params: "Params") -> None:
    """Decide on validation, score test, write metrics, curves and report to ``artifacts/evaluation``.

    Raises:
        DataError: a file is missing, or predictions do not fit the split or the weights, or leave validation or test
            empty.
    """
    from medimg.evaluation.files import write
    from medimg.evaluation.frozen import freeze
    from medimg.evaluation.result import Validation, judged
    from medimg.evaluation.sources import read
    from medimg.evaluation.tasks import judge_of
    from medimg.evaluation.units import cases_of, counts_of
    from medimg.tasks import task_of

    study, settings = params.study, params.evaluate
    task = task_of(study)
    sources = read(task)
    validation, test = (
        cases_of(sources.predictions.part(part), task, study.unit, settings.aggregate, part)
        for part in ("validation", "test")
    )
    frozen = freeze(validation, study, settings)
    chosen = frozen.corrected(validation)
    known = Validation(judge_of(study).own(chosen, settings.confidence), counts_of(chosen))
    write(_with_sections(judged(params, sources, frozen, known, test)))


def evaluate_frozen(params: "Params", bundle: "Path") -> None:
    """Score test with what a bundle decided, and write ``artifacts/evaluation``; nothing is fitted or chosen.

    Args:
        params: of the bundle.
        bundle: its folder, checked; the current folder holds its weights and their predictions of other data.

    Raises:
        DataError: as ``evaluate``.
    """
    import json
    from dataclasses import replace

    from medimg.evaluation.estimate import Estimate
    from medimg.evaluation.files import write
    from medimg.evaluation.frozen import read as read_frozen
    from medimg.evaluation.result import External, Validation, judged
    from medimg.evaluation.sources import read
    from medimg.evaluation.units import cases_of
    from medimg.files import sha256_file
    from medimg.tasks import task_of

    study, settings = params.study, params.evaluate
    task = task_of(study)
    sources = read(task, elsewhere=True)
    test = cases_of(sources.predictions.part("test"), task, study.unit, settings.aggregate, "test")
    there = json.loads((bundle / "metrics.json").read_text(encoding="utf-8"))
    (own,) = there["validation"].values()
    known = Validation(Estimate(**own), there["counts"]["validation"])
    result = judged(params, sources, read_frozen(bundle / "operating.yaml"), known, test)
    external = External(sha256_file(bundle / "bundle.yaml"), summary(there))
    write(_with_sections(replace(result, external=external)))


def _with_sections(result: "Result") -> "Result":
    """The result with the parts of the report that stand for themselves."""
    from dataclasses import replace

    from medimg.evaluation import auditpage, crossvalidation, forest, gallery
    from medimg.evaluation.answers import answers_of
    from medimg.evaluation.audit import audit_of
    from medimg.params.study import HEADLINES

    study, settings, sources = result.study, result.settings, result.sources
    threshold = result.point.threshold if result.point else None
    rows = sources.predictions.part("test").rows
    answers = answers_of(result.test, rows, sources.index, study.unit, threshold)
    whole = result.estimates[HEADLINES[study.task][0]]
    found = audit_of(result, answers)
    sections = (
        crossvalidation.section(result),
        auditpage.section(found, settings.shortcuts),
        forest.section(answers, whole, settings),
        gallery.section(gallery.decided(result)),
    )
    return replace(result, sections=tuple(section for section in sections if section))
