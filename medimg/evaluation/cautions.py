"""What a reader must know before believing a number: the report's warnings."""

from typing import NamedTuple

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
    unverified, nameless = result.sources.ingest["unverified"], result.sources.split["each_image_is_a_patient"]
    if unverified:
        found.append(
            Caution(
                f"{unverified} file{'' if unverified == 1 else 's'} did not come through an import.",
                "ingest.allow_unverified is set. Nothing vouches that such a file is de-identified, or that it is what "
                "was imported.",
            )
        )
    if nameless:
        found.append(
            Caution(
                "1 image has no patient id and counts as a patient of its own."
                if nameless == 1
                else f"{nameless} images have no patient id and count as a patient each.",
                "Images of one person may stand in train and in test, which makes results too good, and the intervals "
                "may be too narrow.",
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
                    f"Images of test that name no study: {nameless}.",
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
                f"The threshold rests on {few} validation patient{'' if few == 1 else 's'} of one class.",
                "Another draw of patients would have moved it.",
            )
        )
    return found


def _about_loss(result: Result) -> list[Caution]:
    refused, images = result.sources.ingest["quarantined"], result.sources.ingest["indexed_files"]
    excluded, border = result.sources.split["excluded"], result.sources.ingest["refused_at_import"]
    found = []
    if border:
        listed = ", ".join(f"{code} ({count})" for code, count in border.items())
        found.append(
            Caution(
                f"Refused when imported: {sum(border.values())} files, for {images + refused} that came in.",
                f"Reasons: {listed}. If the finding is more or less common among them, the result is skewed.",
            )
        )
    if refused:
        share = f"{100 * refused / (refused + images):.1f}\u00a0%"
        found.append(
            Caution(
                f"Quarantined: {refused} of {refused + images} images ({share}).",
                "They are in no part. If the finding is more or less common among them, the result is skewed.",
            )
        )
    if excluded:
        listed = ", ".join(f"{reason} ({count})" for reason, count in excluded.items())
        found.append(
            Caution(f"In no part: {sum(excluded.values())} of the images read.", f"The split left them out: {listed}.")
        )
    return found
