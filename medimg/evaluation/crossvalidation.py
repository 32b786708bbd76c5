"""The report's section on a cross-validation: who is not test, scored by the network that never saw them."""

import numpy as np

from medimg.evaluation.result import Result
from medimg.evaluation.section import Section
from medimg.evaluation.sections import as_text
from medimg.evaluation.units import cases_of, counts_of
from medimg.evaluation.words import words_of
from medimg.params.study import HEADLINES

FILE = "crossvalidation.json"


def section(result: Result) -> Section | None:
    """The task's own metric out of fold, together and fold by fold, beside that of the ensemble on test."""
    predictions = result.sources.predictions.part("validation")
    if len(result.sources.model["members"]) == 1 or not len(predictions):
        return None
    study, settings = result.study, result.settings
    fold = predictions.rows["fold"].to_numpy(int)
    together = result.validation.own
    folds = []
    for number in np.unique(fold):
        cases = cases_of(predictions.where(fold == number), result.task, study.unit, settings.aggregate, "validation")
        folds.append((int(number), counts_of(cases), result.judge.own(cases, settings.confidence)))
    name = HEADLINES[study.task][0]
    rows = [
        {"name": "all folds together", "patients": result.validation.counts["patients"], **as_text(together)},
        *({"name": f"fold {at}", "patients": counts["patients"], **as_text(own)} for at, counts, own in folds),
        {"name": "test, all networks together", "patients": result.test.patients, **as_text(result.estimates[name])},
    ]
    title = words_of(name, study.task)[0]
    plain = {
        "metric": name,
        "out_of_fold": together.as_json(),
        "folds": [{"fold": at, **counts, **own.as_json()} for at, counts, own in folds],
        "test": result.estimates[name].as_json(),
    }
    shown = as_text(together)
    first = f"{title} {shown['value']} ({shown['interval']}) out of fold, over {len(folds)} folds."
    return Section(
        "crossvalidation.html.j2", {"rows": rows, "title": title, "count": len(folds)}, FILE, plain,
        ("Cross-validation", first),
    )  # fmt: skip
