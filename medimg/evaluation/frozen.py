"""operating.yaml: what was decided on validation and is only applied ever after, to test and elsewhere."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from medimg.errors import DataError
from medimg.evaluation.estimate import rounded
from medimg.evaluation.operating import OperatingPoint
from medimg.evaluation.recalibration import Recalibration
from medimg.evaluation.tasks import judge_of
from medimg.evaluation.units import Cases
from medimg.params import Evaluate, Study

ABOUT = ("task", "label", "positive", "classes", "range", "unit")


@dataclass(frozen=True)
class Frozen:
    """Decisions that the test part had no say in."""

    recalibration: Recalibration | None
    applied: bool
    """whether probabilities are corrected before thresholds and metrics"""
    points: dict[str, OperatingPoint]
    """question → threshold; empty where the task decides without"""

    def corrected(self, cases: Cases) -> Cases:
        """The units with the probabilities that thresholds and metrics are about."""
        return self.recalibration.apply(cases) if self.applied and self.recalibration else cases


def freeze(validation: Cases, study: Study, settings: Evaluate) -> Frozen:
    """Fit the recalibration on validation, then choose the thresholds there."""
    judge = judge_of(study)
    found = judge.recalibration(validation)
    frozen = Frozen(found, settings.recalibrate and found is not None, {})
    return Frozen(found, frozen.applied, judge.points(frozen.corrected(validation), study, settings))


def as_yaml(frozen: Frozen, study: Study, settings: Evaluate, validation: dict[str, Any]) -> dict[str, Any]:
    """The content of operating.yaml; ``validation`` of ``units.counts_of``.

    What decides is not rounded: it must decide as it did here.
    """
    about = study.model_dump(mode="json")
    correction = frozen.recalibration
    return {
        **{name: about[name] for name in ABOUT},
        "aggregate": settings.aggregate,
        "recalibration": None
        if correction is None
        else {
            "applied": frozen.applied,
            "method": correction.method,
            "slope": [float(value) for value in correction.slope],
            "intercept": [float(value) for value in correction.intercept],
            "notes": correction.notes,
        },
        "decision": judge_of(study).decision,
        "thresholds": {name: _point(point) for name, point in frozen.points.items()},
        "validation": {name: validation[name] for name in ("patients", "units")},
        "confidence": settings.confidence,
    }


def _point(point: OperatingPoint) -> dict[str, Any]:
    return {
        **asdict(point),
        "threshold": float(point.threshold),
        "sensitivity": rounded(point.sensitivity),
        "specificity": rounded(point.specificity),
    }


def read(path: Path) -> Frozen:
    """What ``as_yaml`` wrote.

    Raises:
        DataError: the file is missing or is no operating.yaml.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        correction, names = values["recalibration"], {field.name for field in fields(OperatingPoint)}
        points = {name: OperatingPoint(**point) for name, point in values["thresholds"].items() if set(point) == names}
        recalibration = correction and Recalibration(
            correction["method"], tuple(correction["slope"]), tuple(correction["intercept"]), correction["notes"]
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{path} is missing or is no operating.yaml of this medimg. Run dvc repro to make it."
        ) from None
    return Frozen(recalibration, bool(correction and correction["applied"]), points)
