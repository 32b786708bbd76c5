"""What a reader must know before believing a number: the report's warnings."""

from typing import NamedTuple

import pandas as pd

from medimg.evaluation.result import Result
from medimg.evaluation.words import UNITS

FEW = 30  # patients of a class in test below which every interval here is wide and its coverage approximate


class Caution(NamedTuple):
    """A warning: what, and why it matters."""

    title: str
    text: str


def cautions(result: Result) -> list[Caution]:
    """Every warning that applies, most serious first."""
    return [*_about_data(result), *_about_patients(result), *_about_threshold(result), *_about_loss(result)]


def _about_data(result: Result) -> list[Caution]:
    found = []
    if result.sources.ingest.get("unverified"):
        found.append(
            Caution(
                "The data did not come through the border.",
                "ingest.allow_unverified is set: no import statement vouches that these files are de-identified, or "
                "that they are the files that were imported.",
            )
        )
    if result.sources.split.get("each_image_is_a_patient"):
        found.append(
            Caution(
                "Each image counts as a patient of its own.",
                "There is no patient id. Images of one person may stand in train and in test, which makes results too "
                "good, and the intervals may be too narrow.",
            )
        )
    return found


def _about_patients(result: Result) -> list[Caution]:
    test, unit = result.test, UNITS[result.study.unit]
    found = []
    for truth, name in ((1, "positive"), (0, "negative")):
        patients = test.patients_with(truth)
        if patients < FEW:
            found.append(
                Caution(
                    f"Test holds {patients} {name} patient{'' if patients == 1 else 's'} only.",
                    f"With fewer than {FEW}, intervals are wide and hold only approximately. Take the result for a "
                    "first look.",
                )
            )
    if test.mixed:
        found.append(
            Caution(
                f"{test.mixed} of {len(test)} {unit[1]} in test hold positive and negative images.",
                f"Such a {unit[0]} counts as positive.",
            )
        )
    if result.study.unit == "study":
        rows = result.sources.predictions
        nameless = int(rows.loc[rows["part"] == "test", "study"].isna().sum())
        if nameless:
            found.append(
                Caution(
                    f"{nameless} images of test name no study.",
                    "All such images of a patient count as one study.",
                )
            )
    return found


def _about_threshold(result: Result) -> list[Caution]:
    found = []
    if not result.point.reached:
        sentence = result.point.note[:1].upper() + result.point.note[1:] + "."
        found.append(Caution("The threshold is not what was asked for.", sentence))
    few = min(result.validation.patients_with(truth) for truth in (0, 1))
    if 0 < few < 10:
        found.append(
            Caution(
                f"The threshold rests on {few} validation patients of one class.",
                "Another draw of patients would have moved it.",
            )
        )
    return found


def _about_loss(result: Result) -> list[Caution]:
    ingest, found = result.sources.ingest, []
    refused, images = _count(ingest.get("quarantined")), _count(ingest.get("images"))
    if refused:
        share = f"{100 * refused / (refused + images):.1f}\u00a0%"
        found.append(
            Caution(
                f"Quarantined: {refused} of {refused + images} images ({share}).",
                "They are in no part. If the finding is more or less common among them, the result is skewed.",
            )
        )
    reasons, unlabelled = excluded(result), _count(ingest.get("unlabelled"))
    if unlabelled and not reasons:  # else they are among the excluded
        found.append(Caution(f"Without a label: {unlabelled} of the images read.", "They are in no part."))
    if reasons:
        total = sum(reasons.values())
        listed = ", ".join(f"{reason} ({count})" for reason, count in reasons.items())
        found.append(Caution(f"In no part: {total} of the images read.", f"The split left them out: {listed}."))
    return found


def excluded(result: Result) -> dict[str, int]:
    """Reason → samples that are in no part, from split.json, else from parts.parquet."""
    stated, parts = result.sources.split.get("excluded"), result.sources.parts
    if isinstance(stated, dict):
        return {str(reason): _count(count) for reason, count in sorted(stated.items()) if _count(count)}
    if parts is None:
        return {}
    reasons: pd.Series = parts.loc[parts["part"] == "excluded", "reason"].fillna("no reason given")
    return {str(reason): int(count) for reason, count in reasons.value_counts().sort_index().items()}


def _count(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) else 0
