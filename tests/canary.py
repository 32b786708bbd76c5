"""A made-up name wherever a DICOM file can hold one."""

import io
import warnings
from pathlib import Path

import pydicom
from pictures import CANARY
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.valuerep import PersonName

NEEDLES = [CANARY.lower().encode(code) for code in ("utf-8", "utf-16-le", "utf-16-be")]
TEXTS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UN", "UR", "UT")
BYTES = ("OB", "OW", "UN", "OF", "OD", "OL")
NUMBERS = ("DA", "DS", "DT", "IS", "TM", "UI", "OB", "OW", "OF", "OD", "OL")
# what says how to read the pixels, which would not be pixels any more, and what would have the file refused
SPARED = ("PhotometricInterpretation", "NumberOfFrames", "SOPClassUID", "SpecificCharacterSet", "BurnedInAnnotation")


def poison(dataset: Dataset, depth: int = 0, spared: tuple[str, ...] = ()) -> None:
    """Put the canary wherever a text may stand, in bytes, private and unknown elements, and in nested sequences.

    ``spared``: VRs that stay as they are, so that the file can still be read.
    """
    for element in list(dataset):
        if element.VR == "SQ":
            for item in element.value:
                poison(item, depth + 1, spared)
        elif element.VR in spared:
            continue
        elif element.VR in TEXTS and element.keyword not in SPARED:
            element._value = PersonName(CANARY) if element.VR == "PN" else CANARY  # no check of its form
        elif element.VR in BYTES and element.tag >> 16 != 0x7FE0:
            element._value = CANARY.encode() + b"\0"
    for keyword in ("PatientName", "PatientID", "ImageComments", "RetrieveURL", "Manufacturer", "SoftwareVersions"):
        setattr(dataset, keyword, CANARY)
    dataset.ICCProfile = CANARY.encode() + b"\0"
    dataset.add_new(0x60003000, "OW", CANARY.encode() + b"\0")
    dataset.add_new(0x60004000, "LT", CANARY)
    dataset.add_new(0x50003000, "OW", CANARY.encode() + b"\0")
    dataset.add_new(0x00081111, "SQ", [])
    dataset.add_new(0x22220010, "LO", CANARY)  # in no dictionary
    block = dataset.private_block(0x0099, CANARY, create=True)
    block.add_new(1, "LO", CANARY)
    block.add_new(2, "UN", CANARY.encode() + b"\0")
    if depth < 3:
        for keyword in ("RequestAttributesSequence", "ReferencedSeriesSequence", "AnatomicRegionSequence"):
            item = Dataset()
            poison(item, depth + 1 if depth else 3, spared)
            setattr(dataset, keyword, Sequence([item]))
        inner = Dataset()
        inner.PatientName = CANARY
        block.add_new(3, "SQ", [inner])


def poisoned(path: Path, readable: bool = False) -> bytes | None:
    """A DICOM file full of canaries; None when pydicom cannot write it again. ``readable``: an image all the same."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, force=True)
            poison(dataset, spared=NUMBERS if readable else ())
            dataset.BurnedInAnnotation = "NO"
            dataset.preamble = CANARY.encode().ljust(128, b"\0")
            dataset.file_meta.SourceApplicationEntityTitle = CANARY
            dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
            dataset.file_meta.PrivateInformation = CANARY.encode() + b"\0"
            dataset.add_new(0xFFFCFFFC, "OB", CANARY.encode() + b"\0")
            dataset.save_as(buffer, enforce_file_format=True)
        except Exception:
            return None
    return buffer.getvalue() + CANARY.encode() * 3
