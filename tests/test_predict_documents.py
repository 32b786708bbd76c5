"""DICOM documents about images whose headers are as hospitals have them: odd, and about one person each."""

import logging
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydicom import Dataset, FileMetaDataset, config, dcmread, dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medimg.errors import DataError
from medimg.images import quiet
from medimg.predict.documents import write_reports
from medimg.predict.evidence import Evidence, evidence
from medimg.predict.heatmaps import write_heatmap
from medimg.predict.written import check_places

CANARY = "ZAPHODIA"
PICTURE = np.zeros((8, 16, 3), np.uint8)


def header(**other: object) -> bytes:
    """A CT slice of a made-up person, its header changed; None: without that element."""
    file = Dataset()
    file.SOPClassUID, file.Modality = CTImageStorage, "CT"
    file.StudyInstanceUID, file.SeriesInstanceUID, file.SOPInstanceUID = "2.25.1", "2.25.2", "2.25.3"
    file.PatientID, file.PatientName, file.PatientBirthDate, file.PatientSex = CANARY, CANARY, "19700101", "F"
    file.StudyDate, file.StudyTime, file.Rows, file.Columns = "20200101", "101010", 16, 16
    for name, value in other.items():
        setattr(file, name, value)
        if value is None:
            delattr(file, name)
    file.preamble, file.file_meta = bytes(128), FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    dcmwrite(buffer, file)
    return buffer.getvalue()


def written(headers: dict[str, Evidence], folder: Path) -> tuple[int, int]:
    rows = [
        {"sample": sample, "frame": pd.NA, "probability": 0.5, "decision": "positive", "flags": ""}
        for sample in headers
    ]
    return write_reports(pd.DataFrame(rows), headers, "b" * 64, "research", folder)


@pytest.mark.parametrize(
    "odd",
    [
        {"PatientSex": "U"},
        {"PatientBirthDate": "00000000"},
        {"PatientBirthDate": CANARY},
        {"StudyDate": "20201399"},
        {"StudyTime": "10:10:10"},
        {"StudyTime": "99"},
        {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
        {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg"},
        {"SpecificCharacterSet": "NONE"},
    ],
)
def test_a_value_that_the_standard_does_not_allow_costs_no_document_and_is_quoted_nowhere(
    odd: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(config.settings, "writing_validation_mode", config.IGNORE)
    with quiet():
        data = header(**odd)
    monkeypatch.undo()
    with warnings.catch_warnings(record=True) as said, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        found = evidence(data)
        assert found is not None
        assert written({"a" * 16: found}, tmp_path / "sr") == (1, 0)
        assert write_heatmap(PICTURE, "a" * 16, found, "b" * 64, tmp_path / "heatmaps")
    assert not said and not caplog.records
    for path in (*tmp_path.glob("sr/*.dcm"), tmp_path / f"heatmaps/{'a' * 16}.dcm"):
        document = dcmread(path)
        assert str(document.PatientName) == odd.get("PatientName", CANARY)
        assert (document.PatientSex or "") == ("" if "PatientSex" in odd else "F")


def test_two_people_under_one_study_uid_have_a_report_each(tmp_path: Path) -> None:
    headers = {
        sample: evidence(header(PatientID=patient, PatientName=patient, SOPInstanceUID=instance))
        for sample, patient, instance in [
            ("a" * 16, "one", "2.25.4"),
            ("b" * 16, "two", "2.25.5"),
            ("c" * 16, "two", "2.25.6"),
        ]
    }
    assert written({sample: one for sample, one in headers.items() if one}, tmp_path) == (2, 0)
    about = {}
    for path in tmp_path.glob("*.dcm"):
        report = dcmread(path)
        (study,) = report.CurrentRequestedProcedureEvidenceSequence
        about[report.PatientID] = sorted(
            one.ReferencedSOPInstanceUID
            for series in study.ReferencedSeriesSequence
            for one in series.ReferencedSOPSequence
        )
    assert about == {"one": ["2.25.4"], "two": ["2.25.5", "2.25.6"]}


def test_what_cannot_be_named_or_written_is_left_out_and_counted(tmp_path: Path) -> None:
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        assert evidence(header(**{name: None})) is None
    good, private = evidence(header()), evidence(header(SOPClassUID="1.3.46.670589.5.0.1", StudyInstanceUID="2.25.9"))
    assert good and private
    assert written({"a" * 16: good, "b" * 16: private}, tmp_path / "sr") == (1, 1)
    assert len(list((tmp_path / "sr").iterdir())) == 1


def test_no_folder_of_names_lies_in_a_study_wherever_the_command_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "study/artifacts").mkdir(parents=True)
    (tmp_path / "study/params.yaml").touch()
    for here in (tmp_path, tmp_path / "study", tmp_path / "study/artifacts"):
        monkeypatch.chdir(here)
        for place in (tmp_path / "study/named", tmp_path / "study/artifacts/named", tmp_path / "out/named"):
            with pytest.raises(DataError, match="names of patients"):
                check_places(tmp_path / "out", place)
        check_places(tmp_path / "out", tmp_path / "named")


def test_each_question_of_several_has_a_code_of_its_own(tmp_path: Path) -> None:
    scores = {"probability_mass": 0.2, "probability_fluid": 0.7, "calibrated_mass": 0.1, "calibrated_fluid": 0.8}
    decided = {"decision_mass": "negative", "decision_fluid": "positive"}
    rows = pd.DataFrame([{"sample": "a" * 16, "frame": pd.NA} | scores | decided | {"flags": ""}])
    assert write_reports(rows, {"a" * 16: evidence(header())}, "b" * 64, "research", tmp_path) == (1, 0)
    named: dict[str, set[str]] = {}

    def walk(items: list[Dataset]) -> None:
        for item in items:
            for code in item.get("ConceptNameCodeSequence", []):
                if code.CodingSchemeDesignator == "99MEDIMG":
                    named.setdefault(code.CodeValue, set()).add(code.CodeMeaning)
            walk(item.get("ContentSequence", []))

    walk(dcmread(next(tmp_path.glob("*.dcm"))).ContentSequence)
    assert all(len(meanings) == 1 for meanings in named.values())
    assert named["PROBABILITY 1"] == {"Probability of mass"}
    assert named["CALIBRATED 2"] == {"Calibrated of fluid"}
    assert named["DECISION 2"] == {"Decision of fluid"}


def test_without_a_dicom_image_there_is_no_report_and_no_folder_for_one(tmp_path: Path) -> None:
    rows = pd.DataFrame([{"sample": "a" * 16, "patient": "P1", "frame": None, "probability": 0.5, "flags": ""}])
    assert write_reports(rows, {}, "b" * 64, "research", tmp_path / "sr") == (0, 0)
    assert not (tmp_path / "sr").exists()
