"""A DICOM Structured Report for each study: TID 1500, a group of measurements an image or volume, research use stated.

Codes of the scheme 99MEDIMG are this project's own. The document is unverified and preliminary: nobody has read it.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from medimg import __version__
from medimg.predict.evidence import Evidence, dataset, instances, saved, sign, uid

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept

RESEARCH = "For research use only. Not for diagnosis, treatment or any decision about a person."
_MOST = 64  # characters of a code's meaning
_SCORES = ("probability", "calibrated", "value")


def _code(value: str, meaning: str) -> "CodedConcept":
    from highdicom.sr import CodedConcept

    return CodedConcept(value[:16], "99MEDIMG", meaning[:_MOST])


def write_reports(
    table: pd.DataFrame, headers: dict[str, Evidence], bundle: str, intended_use: str, folder: Path
) -> tuple[int, int]:
    """Write ``STUDY.dcm`` into ``folder`` for each study that has DICOM images.

    A study is one patient's: of two patients under one study UID each has a report.

    Args:
        table: predictions, a row an image.
        headers: sample → what a document repeats of its header.
        bundle: hash of the bundle, which names the model.
        intended_use: of the study that made the model.
        folder: is made.

    Returns:
        how many were written, and how many could not be.
    """
    rows = table[table["sample"].isin(headers)]
    studies: dict[str, dict[str, list[dict[Any, Any]]]] = {}
    for row in rows.to_dict("records"):
        source = dataset(headers[row["sample"]])
        patients = studies.setdefault(str(source.StudyInstanceUID), {})
        patients.setdefault(str(source.get("PatientID") or ""), []).append(row)
    written = []
    if studies:
        folder.mkdir(parents=True, exist_ok=True)
    for study, patients in studies.items():
        for patient, images in patients.items():
            about = [(row, headers[row["sample"]]) for row in images]
            name = uid(study, bundle, "file", *([patient] if len(patients) > 1 else []))
            written.append(saved(partial(_report, about, bundle, intended_use), folder / f"{name}.dcm"))
    return sum(written), len(written) - sum(written)


def _report(images: list[tuple[dict[Any, Any], Evidence]], bundle: str, intended_use: str) -> Any:
    from highdicom import UID
    from highdicom.sr import (
        AlgorithmIdentification,
        ComprehensiveSR,
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
        RelationshipTypeValues,
        TextContentItem,
    )
    from pydicom.sr.codedict import codes

    sources = [instances(found) for _, found in images]
    unique = list({one.SOPInstanceUID: one for source in sources for one in source}.values())
    device = DeviceObserverIdentifyingAttributes(
        UID(uid(bundle, "device")), name=f"medimg {__version__}", manufacturer_name="medimg", model_name=bundle[:16]
    )
    algorithm = AlgorithmIdentification("medimg", __version__, [f"bundle {bundle}", RESEARCH])
    groups = [_group(row, source, algorithm, bundle) for (row, _), source in zip(images, sources, strict=True)]
    content = MeasurementReport(
        ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device)),
        procedure_reported=_code("INFERENCE", "Inference by a trained model"),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    for said in (RESEARCH, f"Intended use: {intended_use}"):
        content[0].ContentSequence.append(
            TextContentItem(codes.DCM.Comment, said, relationship_type=RelationshipTypeValues.CONTAINS)
        )
    study = unique[0].StudyInstanceUID
    document = ComprehensiveSR(
        unique,
        content,
        series_instance_uid=uid(study, bundle, "sr series"),
        series_number=9001,
        sop_instance_uid=uid(study, bundle, "sr", *(str(row) for row, _ in images)),
        instance_number=1,
        manufacturer="medimg",
        manufacturer_model_name=bundle[:16],
        software_versions=__version__,
        device_serial_number="0",
    )
    sign(document, unique[0])
    return document


def _group(row: dict[Any, Any], sources: list[Any], algorithm: Any, bundle: str) -> Any:
    from highdicom import UID
    from highdicom.sr import (
        Measurement,
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )
    from pydicom.sr.codedict import codes

    frame = None if pd.isna(row["frame"]) else [int(row["frame"]) + 1]
    return MeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(UID(uid(row["sample"], bundle, "tracking")), row["sample"]),
        algorithm_id=algorithm,
        measurements=[
            Measurement(_code(code, meaning), float(row[column]), codes.UCUM.NoUnits)
            for column, code, meaning in _columns(row, _SCORES)
        ],
        qualitative_evaluations=[
            *(
                QualitativeEvaluation(_code(code, meaning), _code(str(row[column]).upper(), str(row[column])))
                for column, code, meaning in _columns(row, ("decision",))
            ),
            *(
                QualitativeEvaluation(_code("UNLIKE", "Unlike the training data"), _code(flag.upper(), flag))
                for flag in row["flags"].split("; ")
                if flag
            ),
        ],
        source_images=[SourceImageForMeasurementGroup(one.SOPClassUID, one.SOPInstanceUID, frame) for one in sources],
    )


def _columns(row: dict[Any, Any], kinds: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Columns of these kinds: name, code, and what it means in words.

    One code means one thing: of several questions each has its number, in the order of the bundle's.
    """
    seen: Counter[str] = Counter()
    for column in row:
        what, _, about = column.partition("_")
        if what in kinds:
            seen[what] += 1
            code = f"{what.upper()} {seen[what]}" if about else what.upper()
            yield column, code, f"{what.capitalize()}{f' of {about}' if about else ''}"
