"""Small folders of images for the border: pictures with a table, DICOM files, all with a made-up name in them."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo
from pydicom.data.data_manager import DATA_ROOT

CANARY = "Zebrafink"
CT = next(Path(DATA_ROOT).rglob("CT_small.dcm"))


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def png(number: int, size: int = 12) -> bytes:
    info = PngInfo()
    info.add_text("Comment", CANARY)
    buffer = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 255, (size, size), np.uint8)
    Pillow.fromarray(pixels).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def ct(number: int, patient: int = 0, series: int = 0, **elements: object) -> bytes:
    """A CT image full of canaries, which differs by ``number``."""
    dataset = pydicom.dcmread(CT)
    del dataset[0xFFFCFFFC]  # padding at the end, which a PACS may leave out
    dataset.PatientName = f"{CANARY}^{patient}"
    dataset.PatientID = f"{CANARY}{patient}"
    dataset.AccessionNumber = f"{CANARY[:9]}{patient}"
    dataset.StudyDescription = dataset.InstitutionName = CANARY
    dataset.StudyInstanceUID = f"1.2.3.{patient}"
    dataset.SeriesInstanceUID = f"1.2.3.{patient}.{series}"
    dataset.SOPInstanceUID = f"1.2.3.{patient}.{series}.{number}"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.InstanceNumber = number
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    pixels = dataset.pixel_array.copy()
    pixels[0, :3] = number, patient, series
    dataset.PixelData = pixels.tobytes()
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def study_files() -> Iterator[tuple[str, bytes]]:
    """Names and bytes: pictures, DICOM files, one that is no image, one that is broken, and a copy."""
    for number in range(8):
        yield f"{CANARY} {number}/deep/er/{number}.x", png(number)
        yield f"{CANARY}-{number}", ct(number, patient=number % 4)
    yield f"copy of {CANARY}", ct(0)
    yield "notes.txt", CANARY.encode()
    yield f"{CANARY}.png", png(99)[:-20]


def write_folder(folder: Path) -> Path:
    """The study's files below ``folder``, and their table beside it."""
    lines = ["path,patient,label,comment"]
    for number, (name, data) in enumerate(study_files()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        patient = f"{CANARY}{number // 2 % 4}" if name.endswith(".x") else ""
        lines.append(f"{name},{patient},{'ab'[number // 2 % 2]},{CANARY}")
    table = folder.with_suffix(".csv")
    table.write_text("\n".join(lines), encoding="utf-8")
    return table
