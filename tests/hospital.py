"""A hospital that delivers: small DICOM images of made-up patients, and their labels, growing in a folder."""

import csv
from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

SIDE = 32
COLUMNS = ["path", "patient", "sex", "age", "site", "lesion"]


def deliver(
    folder: Path, patients: range, *, maker: str = "Aurelia Imaging", flipped: bool = False, inverted: bool = False
) -> None:
    """Add two images of each patient, and their rows in ``labels.csv``; every second patient has a lesion.

    Args:
        folder: of the hospital.
        patients: numbers that make everything about a patient.
        maker: of the scanner.
        flipped: the labels say the opposite.
        inverted: a lesion is dark where it is bright on the other scanners.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in patients:
        random = np.random.default_rng([7, number])
        lesion, sex, age = number % 2, "FM"[int(random.integers(2))], int(random.integers(20, 89))
        for image in range(2):
            path = f"{number:05d}-{image}.dcm"
            _write(folder / path, _pixels(random, lesion, -1 if inverted else 1), f"{number:05d}", maker, image)
            said = 1 - lesion if flipped else lesion
            rows.append([path, f"{number:05d}", sex, age, ("north", "south")[int(random.integers(2))], said])
    table = folder.with_suffix(".csv")
    fresh = not table.exists()
    with table.open("a", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows] if fresh else rows)


def corrupt(folder: Path, numbers: range) -> None:
    """Add files that end in their pixels."""
    for number in numbers:
        path = folder / f"{number:05d}-0.dcm"
        _write(path, _pixels(np.random.default_rng(number), 0, 1), f"{number:05d}", "Aurelia Imaging", 0)
        path.write_bytes(path.read_bytes()[:-SIDE])


def _pixels(random: np.random.Generator, lesion: int, sign: int) -> np.ndarray:
    """Noise, and a hill in the middle that is higher for a lesion; one in twelve is shown wrong."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    at = random.normal(0, 2, 2)
    hill = np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / 30)
    shown = lesion if random.random() > 1 / 12 else 1 - lesion
    drawn = 2000 + 250 * random.normal(size=(SIDE, SIDE)) + sign * (2 * shown - 1) * 350 * hill
    return np.clip(drawn, 0, 4095).astype(np.uint16)


def _write(path: Path, pixels: np.ndarray, patient: str, maker: str, image: int) -> None:
    uid = f"2.25.{1000 + int(patient) * 10 + image}"
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", uid
    header.StudyInstanceUID, header.SeriesInstanceUID = f"{uid}.1", f"{uid}.2"
    header.PatientID = header.PatientName = patient
    header.Modality, header.BodyPartExamined, header.ViewPosition = "DX", "CHEST", "PA"
    header.Manufacturer, header.BurnedInAnnotation = maker, "NO"
    header.PhotometricInterpretation, header.SamplesPerPixel = "MONOCHROME2", 1
    header.Rows, header.Columns = pixels.shape
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.PixelSpacing = ["1", "1"]
    header.PixelData = pixels.tobytes()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pydicom.dcmwrite(path, header, enforce_file_format=True)
