"""Made-up series of DICOM files."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset

AXIAL = [1.0, 0, 0, 0, 1, 0]
OBLIQUE = [0.8, 0.6, 0, 0, 0, -1]  # rows in the axial plane, columns downwards
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
EXPLICIT = "1.2.840.10008.1.2.1"


def image(pixels: np.ndarray, number: int = 1, **elements: object) -> Dataset:
    """One file of ``(H, W)`` or ``(frames, H, W)`` 16-bit pixels; elements replace those here, None takes one away."""
    target = Dataset()
    target.file_meta = FileMetaDataset()
    target.file_meta.TransferSyntaxUID = EXPLICIT
    target.SOPClassUID, target.SOPInstanceUID = CT, f"1.2.3.{number}"
    target.PatientID, target.StudyInstanceUID, target.SeriesInstanceUID = "p", "1.2", "1.2.3"
    target.Modality, target.InstanceNumber, target.ImageType = "CT", number, ["ORIGINAL", "PRIMARY", "AXIAL"]
    target.Rows, target.Columns = pixels.shape[-2:]
    target.SamplesPerPixel, target.PhotometricInterpretation = 1, "MONOCHROME2"
    target.BitsAllocated, target.BitsStored, target.HighBit = 16, 16, 15
    target.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        target.NumberOfFrames = len(pixels)
    target.ImageOrientationPatient, target.PixelSpacing = AXIAL, [0.5, 0.25]
    target.add_new("PixelData", "OW", pixels.astype("<u2").tobytes())
    for keyword, value in elements.items():
        if value is not None:
            setattr(target, keyword, value)
        elif keyword in target:
            delattr(target, keyword)
    return target


def write(path: Path, target: Dataset) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(buffer, target, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())


def block(depth: int = 6, height: int = 5, width: int = 4) -> np.ndarray:
    """``(D, H, W)`` int16, no two voxels alike."""
    return np.arange(depth * height * width, dtype=np.int16).reshape(depth, height, width)


def write_stack(folder: Path, places: list[tuple[float, float, float]], **elements: object) -> np.ndarray:
    """A file for each place (LPS, mm), in the order given → the pixels, ``(D, H, W)`` in that order."""
    folder.mkdir(exist_ok=True)
    pixels = block(len(places))
    for number, place in enumerate(places):
        target = image(pixels[number], number + 1, **({"ImagePositionPatient": list(place)} | elements))
        write(folder / f"{number:03d}.dcm", target)
    return pixels


def csa(tiles: int, normal: tuple[float, float, float]) -> bytes:
    """A Siemens CSA header of the second version that describes a mosaic."""
    said = {"NumberOfImagesInMosaic": [str(tiles)], "SliceNormalVector": [f"{number:.8f}" for number in normal]}
    data = b"SV10\4\3\2\1" + struct.pack("<2I", len(said), 77)
    for name, values in said.items():
        data += struct.pack("<64si4s3i", name.encode(), len(values), b"IS\0\0", 6, len(values), 77)
        for value in values:
            text = value.encode() + b"\0"
            data += struct.pack("<4i", len(text), len(text), 77, len(text)) + text + bytes(-len(text) % 4)
    return data
