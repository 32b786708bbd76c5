"""What a reader must know before believing a number: the report's warnings."""

from collections.abc import Iterator
from typing import NamedTuple

from medimg.evaluation.flow import few as few_elsewhere
from medimg.evaluation.intervals import DELONG
from medimg.evaluation.result import Question, Result
from medimg.evaluation.summary import END, cut
from medimg.evaluation.words import UNITS

UNDERCOVERED = ((5, 0.0), (15, 0.85), (60, 0.95))
"""(patients of the rarer class fewer than, AUROC at least): where simulated 95 % intervals of the AUROC held the true
value in less than 93 % of the studies (docs/intervals.md, ``python -m benchmarks.coverage``)."""
FEW = 30  # patients of a class in test below which every interval here is wide and its coverage approximate


class Caution(NamedTuple):
    """A warning: what, and why it matters."""

    title: str
    text: str


def cautions(result: Result) -> list[Caution]:
    """Every warning that applies, most serious first."""
    return [
        *_about_origin(result),
        *_about_data(result),
        *_about_patients(result),
        *_about_threshold(result),
        *_about_classes(result),
        *_about_loss(result),
    ]


def _about_origin(result: Result) -> list[Caution]:
    if result.external is None:
        return []
    return [
        Caution(
            "Whether the model knows some of these patients can be told in part only.",
            "Left out are images with the pixels of one that it learned from or was tuned on, and patients of such a "
            "pseudonym. Another site's key gives other pseudonyms, and an altered copy has other pixels: who stands in "
            "both data sets must be known from elsewhere.",
        )
    ]


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
    if lost := result.sources.unprocessed:
        count = sum(lost.values())
        total = count + int(result.sources.parts["part"].ne("excluded").sum())
        found.append(
            Caution(
                f"{_share(count, total, 'samples')} could not be preprocessed and count nowhere: "
                + ", ".join(f"{some} of {part}" for part, some in lost.items())
                + ".",
                f"preprocess.max_quarantined allows {100 * result.params.preprocess.max_quarantined:g}\u00a0%. "
                "artifacts/unprocessed.csv names each with its reason. If they are harder than the rest, "
                "the results are too good. The patient flow counts them where the split put them.",
            )
        )
    if warnings := result.sources.preview:
        found.append(
            Caution(
                "The preview warns of the pictures that the network learned from.",
                f"{' '.join(warnings)} Look at artifacts/preview.png.",
            )
        )
    if result.sources.ingest["nobody"]:
        found.append(
            Caution(
                f"{result.sources.ingest['nobody']} images came through an import that was told to take each image "
                "that names nobody for a patient (--each-image-is-a-patient).",
                "Images of one person may stand in train and in test, which makes results too good, and the intervals "
                "may be too narrow.",
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
    if result.sources.split["redraw"]:
        found.append(
            Caution(
                "Patients may have changed parts: split.redraw is set.",
                "Who is in test now may have trained an earlier model, so results before and after cannot be compared. "
                "Set it back to false for the next run.",
            )
        )
    return found


def _about_patients(result: Result) -> list[Caution]:
    test, unit = result.test, UNITS[result.study.unit]
    few = list(_few(result))
    found = [
        Caution(
            f"Test holds {' and '.join(few) if len(few) < 3 else ', '.join(few)} only.",
            f"With fewer than {FEW}, intervals are wide and hold only approximately. Take the result for a first look.",
        )
    ] * bool(few)
    narrow = [question.name for question in result.questions if undercovered(question)]
    if narrow:
        about = f" of {', '.join(narrow)}" if len(result.questions) > 1 else ""
        found.append(
            Caution(
                f"The interval of the AUROC{about} may be too narrow.",
                "In simulated studies with as few patients of the rarer class and as high an AUROC, 95 % intervals "
                "held the true value in 86 to 92 % of them.",
            )
        )
    found.extend(_few_elsewhere(result))
    if test.mixed:
        found.append(
            Caution(
                f"{test.mixed} of {len(test)} {unit[1]} in test hold images with different truths.",
                f"Such a {unit[0]} is positive where any image is; of several classes the last counts, else the mean.",
            )
        )
    if result.study.unit == "study":
        rows = result.sources.predictions.rows
        nameless = int(rows.loc[rows["part"] == "test", "study"].isna().sum())
        if nameless:
            found.append(
                Caution(
                    f"Images of test that name no study: {nameless}.",
                    "All such images of a patient count as one study.",
                )
            )
    return found


def _few_elsewhere(result: Result) -> Iterator[Caution]:
    """Parts beside test that have too few patients of a class for an interval."""
    for part, name, patients in few_elsewhere(result.sources.split):
        yield Caution(
            f"Part {part} holds {patients} patient{'' if patients == 1 else 's'} of {name} only.",
            f"With fewer than {FEW}, what is chosen or compared there rests on chance: another draw of patients would "
            "have given something else.",
        )


def undercovered(question: Question) -> bool:
    """Whether test lies where simulation found the interval of the AUROC too narrow."""
    area = question.scores.estimates["auroc"]
    rarer = min(question.test.patients_with(truth) for truth in (0, 1))
    return area.method == DELONG and any(rarer < few and (area.value or 0) >= least for few, least in UNDERCOVERED)


def _few(result: Result) -> Iterator[str]:
    """Each class with too few patients in test: how many, of which."""
    if not result.questions and result.test.patients < FEW:
        yield f"{result.test.patients} patients"
    several = len(result.questions) > 1
    for question in result.questions:
        for truth, name in ((1, "positive"), (0, "negative")):
            patients = question.test.patients_with(truth)
            if patients < FEW and (truth or not several):
                about = f" for {question.name}" if several else ""
                yield f"{patients} {name} patient{'' if patients == 1 else 's'}{about}"


def _about_threshold(result: Result) -> list[Caution]:
    found = []
    for question in result.questions:
        if question.point is None:
            continue
        about = f" of {question.name}" if len(result.questions) > 1 else ""
        if not question.point.reached:
            sentence = question.point.note[:1].upper() + question.point.note[1:] + "."
            found.append(Caution(f"The threshold{about} is not what was asked for.", sentence))
        found += _about_decisions(question, about)
        few = result.validation.rarer(question.name)
        if 0 < few < 10:
            found.append(
                Caution(
                    f"The threshold{about} rests on {few} validation patient{'' if few == 1 else 's'} of one class.",
                    "Another draw of patients would have moved it.",
                )
            )
    return found


def _about_classes(result: Result) -> Iterator[Caution]:
    """Of several classes, those that are never the most probable one."""
    units = UNITS[result.study.unit][1]
    for question in result.questions:
        positive = int(question.test.truth.sum())
        if question.point is None and positive and not question.called.any():
            yield Caution(
                f"None of the {len(question.test):,} {units} of test is called {question.name}; {positive:,} are.",
                "The most probable class is the answer, and this one never is. Its AUROC does not show that: it may "
                "still be ranked well. With train.class_weights or train.sampling: balanced, rare classes weigh more.",
            )


def _about_decisions(question: Question, about: str) -> list[Caution]:
    """Where a threshold decides nothing, or rests on the last digits of a probability."""
    assert question.point is not None
    found, limit = [], question.point.threshold
    called = int((question.test.probability >= limit).sum())
    if called in (0, len(question.test)):
        word = "positive" if called else "negative"
        title = f"At the threshold{about}, {cut(limit)}, all {len(question.test):,} units of test are called {word}."
        found.append(Caution(title, "Chosen on validation, it tells none of them apart; the AUROC does not show that."))
    if min(limit, 1 - limit) < END:
        found.append(
            Caution(
                f"The threshold{about} lies at the end of the scale: {cut(limit)}.",
                "Probabilities there are as good as 0 or 1, and whoever reads them cannot tell which side a unit is "
                "on: go by the decision. evaluate.recalibrate may bring them back onto the scale.",
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
        found.append(
            Caution(
                f"Quarantined: {_share(refused, refused + images, 'images')}.",
                "They are in no part. If the finding is more or less common among them, the result is skewed.",
            )
        )
    if excluded:
        listed = ", ".join(f"{reason} ({count})" for reason, count in excluded.items())
        found.append(
            Caution(f"In no part: {sum(excluded.values())} of the images read.", f"The split left them out: {listed}.")
        )
    return found


def _share(some: int, of: int, what: str) -> str:
    return f"{some} of {of} {what} ({100 * some / of:.1f}\u00a0%)"
