"""What predict says of a hospital's file is what it says of the same file behind an import."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medimg.border.deidentify import Rules as Crossing
from medimg.border.deidentify import deidentify
from medimg.border.identity import SiteKey, load_key
from medimg.border.options import Policy
from medimg.border.sources import Item
from medimg.border.staging import place
from medimg.files import sha256
from medimg.images import quiet
from medimg.params import Preprocess
from medimg.predict.inputs import Job, Known
from medimg.predict.look import Rules, look
from medimg.predict.volumes import seen


@pytest.fixture
def key(tmp_path: Path) -> SiteKey:
    return load_key(tmp_path / "site.key")


def ct(**header: object) -> bytes:
    """A made-up CT slice."""
    file = Dataset()
    file.SOPClassUID, file.Modality, file.PatientID = CTImageStorage, "CT", "CANARY"
    file.StudyInstanceUID, file.SeriesInstanceUID, file.SOPInstanceUID = "2.25.1", "2.25.2", "2.25.3"
    file.Rows = file.Columns = 16
    file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 12, 11
    file.PixelData = np.arange(256, dtype=np.uint16).tobytes()
    for name, value in header.items():
        setattr(file, name, value)
    file.preamble, file.file_meta = bytes(128), FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    with quiet():
        dcmwrite(buffer, file)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "header",
    [
        {"BodyPartExamined": "CHEST", "ViewPosition": "AP", "ImageLaterality": "L"},
        {"BodyPartExamined": "Chest"},
        {"BodyPartExamined": "THORAX ROUTINE", "ViewPosition": "pa lying"},
        {"Modality": "ct"},
        {"Modality": "XYZZY", "Laterality": "Left"},
        {"Manufacturer": "Maker", "ManufacturerModelName": "Model 7", "PixelSpacing": [0.5, 0.25]},
    ],
)
def test_a_hospital_s_words_are_those_that_training_data_have_behind_an_import(
    header: dict[str, object], key: SiteKey
) -> None:
    with quiet():
        data = ct(**header)
        clean = deidentify(data, "a.dcm", Crossing(key))
    rules = Rules(key, Preprocess(size=16), frames=False, identified=False)
    (raw,) = look(Job(0, Item("a.dcm", data=data)), rules) or []
    path = place(data, clean.patient, clean.extension, key)
    known = Known(path, sha256(clean.data), clean.patient)
    (imported,) = look(Job(0, Item(path, data=clean.data), known), rules) or []
    assert raw.facts == imported.facts
    assert (raw.image == imported.image).all() and raw.numbers == imported.numbers
    bare = {"image": np.empty(0), "facts": {}, "numbers": {}}
    assert repr(vars(replace(raw, **bare))) == repr(vars(replace(imported, **bare)))


@pytest.mark.parametrize("issuers", [False, True])
@pytest.mark.parametrize("burned", ["NO", "YES"])
def test_pseudonyms_are_those_of_the_imports_with_issuers_or_without(key: SiteKey, issuers: bool, burned: str) -> None:
    data = ct(IssuerOfPatientID="HOSPITAL", BurnedInAnnotation=burned)
    rules = Rules(key, Preprocess(size=16), frames=False, identified=False, issuers=issuers, documents=True)
    (one,) = look(Job(0, Item("a.dcm", data=data)), rules) or []
    part = seen(Job(0, Item("a.dcm", data=data)), rules)
    expected = key.patient("CANARY^^^hospital" if issuers else "CANARY")
    assert part is not None and part.patient == one.patient == expected
    if burned == "NO":
        policy = Policy(issuer_of_patient_id=issuers)
        imported = deidentify(data, "a.dcm", Crossing(key, policy=policy))
        assert imported.patient == expected and part.header.path == place(data, expected, ".dcm", key)
        assert one.header is not None and one.header["00100020"]["Value"] == [expected]
