"""The embedded demo study: synthetic radiographs, byte for byte the same on every machine.

No patient stands behind these images. Half of the patients have a lesion: a nodule with fine lines that run across the
image. The others have the same nodule with lines that run down: same brightness, same histogram, same blur. What tells
the classes apart is fine structure, which a network must learn to see. One reading in 25 is wrong, as in a hospital.

The folder has what a hospital's has: two sites, DICOM (native and RLE, MONOCHROME1 and 2, 12 and 16 bits) and 16-bit
PNG, patients with several images, one exact duplicate, and one file cut off in its pixels. These two have rows in
labels.csv as well. Integers make the pixels and hashes the random numbers: no library or processor has a say.
"""

import itertools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from medimg.border.statement import write_batch
from medimg.errors import DataError, MedimgError
from medimg.files import publish_folder, sha256, sha256_file, sha256_json, write_text

HASH = "28ede27744de64377d0b7b4726a2e99f339437b887f491a55edd33b6c1689691"
"""SHA-256 of every path and every file below the folder, as ``fingerprint`` computes it."""

COLUMNS = ["path", "patient", "sex", "age", "site", "lesion"]

_SEED = "medimg demo 2"
_PATIENTS, _IMAGES = 150, 225  # of each class
_SCANNERS = {"north": ("Aurelia Imaging", "Lumen 2"), "south": ("Borealis Medical", "Clarus DX")}
_DICOM_KINDS = itertools.product(("native", "rle"), ("MONOCHROME1", "MONOCHROME2"), (12, 16))
_KINDS = [("png", "MONOCHROME2", 16), *_DICOM_KINDS]
Pixels = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """One image before it is drawn: what header and labels.csv say of it, and how it is stored."""

    key: str  # what every random number of this image is drawn from
    patient: str
    sex: str
    age: int  # years
    site: str
    lesion: int
    shape: tuple[int, int]  # rows, columns
    container: str  # png, native (DICOM, Explicit VR Little Endian) or rle (DICOM, RLE Lossless)
    photometric: str
    bits: int  # stored bits of a pixel

    @property
    def path(self) -> str:
        """Where the image stands, below the data folder."""
        return f"images/{self.patient}/{_digest(self.key)[:16]}.{'png' if self.container == 'png' else 'dcm'}"


def write(out: Path) -> bool:
    """Write the demo study's data folder; False: it is there already, and nothing was touched.

    Raises:
        DataError: ``out`` holds something else.
        MedimgError: what was written is not what ``HASH`` promises: a defect of medimg or of this machine.
    """
    if out.is_dir() and fingerprint(out) == HASH:
        return False
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise DataError(
            f"{out} holds something that is not the demo study, and the demo replaces nothing. "
            "Move it away, or make the demo in an empty folder."
        )
    with publish_folder(out) as folder:
        _fill(folder)
        if (found := fingerprint(folder)) != HASH:
            raise MedimgError(
                f"The demo study came out with hash {found} instead of {HASH}; nothing was written to {out}. "
                "This is a defect of medimg or of this machine: please report it with your Python, numpy and pydicom."
            )
    return True


def fingerprint(folder: Path) -> str:
    """SHA-256 over the sorted (path below ``folder``, SHA-256) of every file, in hex."""
    files = (path for path in folder.rglob("*") if not path.is_dir())
    return sha256_json(sorted((path.relative_to(folder).as_posix(), sha256_file(path)) for path in files))


def samples() -> list[Sample]:
    """The 450 images of 300 patients, without the duplicate and the corrupt one, in the order of their paths."""
    return sorted((sample for lesion in (0, 1) for sample in _class(lesion)), key=lambda sample: sample.path)


def pixels(sample: Sample) -> NDArray[np.uint16]:
    """Draw an image: ``(rows, columns)``, uint16, as stored: inverted for MONOCHROME1, in ``sample.bits`` bits."""
    drawn = _anatomy(sample) + _clouds(sample) + _nodule(sample) + _noise(sample)
    gain, offset = _draw(f"{sample.key}/exposure", (850, 1100), (-3000, 3000))
    stored: Pixels = np.clip((drawn * gain >> 10) + offset, 0, 0xFFFF) >> (16 - sample.bits)
    if sample.photometric == "MONOCHROME1":
        stored = (1 << sample.bits) - 1 - stored
    return stored.astype(np.uint16)


# Who has which images: each class is dealt the same hand of each attribute, so that none predicts the label.
def _class(lesion: int) -> Iterator[Sample]:
    key, ages, counts = f"class {lesion}", list(range(20, 91)), [1] * 6 + [2] * 3 + [3]
    who = (("sex", ["F", "M"]), ("age", ages), ("site", list(_SCANNERS)), ("images", counts))
    patients = zip(*(_deal(f"{key}/{name}", values, _PATIENTS) for name, values in who), strict=True)
    how = (("shape", [(96, 96)] * 14 + [(128, 112)]), ("kind", _KINDS))
    stored = zip(*(_deal(f"{key}/{name}", values, _IMAGES) for name, values in how), strict=True)
    for number, (sex, age, site, images) in enumerate(patients):
        patient = f"P{_digest(f'{key}/{number}')[:12]}"
        for image, (shape, kind) in enumerate(itertools.islice(stored, images)):
            yield Sample(f"{key}/{number}/{image}", patient, sex, age, site, lesion, shape, *kind)


def _deal(key: str, values: list[Any], count: int) -> list[Any]:
    """``count`` values, each as often as its turn comes, in a random order."""
    return [values[place % len(values)] for place in np.argsort(_words(key, count), kind="stable").tolist()]


def _digest(key: str) -> str:
    return sha256(f"{_SEED}/{key}".encode())


def _words(key: str, count: int) -> NDArray[np.uint64]:
    """``(count,)``, uint64: SplitMix64 (https://prng.di.unimi.it/splitmix64.c) modulo 2⁶⁴, seeded by a hash."""
    seed = np.full(count, int(_digest(key)[:16], 16), np.uint64)
    z = seed + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def _draw(key: str, *ranges: tuple[int, int]) -> list[int]:
    """One integer from each range, both ends included."""
    words = _words(key, len(ranges)).tolist()
    return [low + word % (high - low + 1) for word, (low, high) in zip(words, ranges, strict=True)]


# Brightness goes from 0 to 65535, bright where much tissue absorbs; lengths are in 1/1024 of the image's side.
def _grid(sample: Sample) -> tuple[Pixels, Pixels]:
    """Pixel centres, ``(rows, 1)`` and ``(1, columns)``, in 1/1024 of the side."""
    y, x = ((2 * np.arange(side, dtype=np.int64) + 1) * 512 // side for side in sample.shape)
    return y[:, None], x[None, :]


def _ellipse(y: Pixels, x: Pixels, at: tuple[int, int], radii: tuple[int, int]) -> Pixels:
    """A smooth hill: 1024 in the middle, 0 outside."""
    distance = (y - at[0]) ** 2 * 1024 // radii[0] ** 2 + (x - at[1]) ** 2 * 1024 // radii[1] ** 2
    return np.asarray(np.maximum(0, 1024 - distance))


def _anatomy(sample: Sample) -> Pixels:
    """Lung fields, heart and ribs: the patient's own, a little moved in each image."""
    shifts = _draw(f"{sample.key}/shift", (-25, 25), (-25, 25))
    y, x = (axis + shift for axis, shift in zip(_grid(sample), shifts, strict=True))
    key = sample.patient
    width, height, gap, depth = _draw(f"{key}/lungs", (190, 240), (370, 460), (215, 245), (15000, 19000))
    drawn = np.full(sample.shape, 42000, np.int64)
    for side in (-1, 1):
        lung = _ellipse(y, x, (490, 512 + side * gap), (height, width))
        drawn -= np.minimum(lung, 600) * depth // 600
    heart_y, heart_x, heart = _draw(f"{key}/heart", (620, 720), (540, 600), (130, 190))
    drawn += np.minimum(_ellipse(y, x, (heart_y, heart_x), (heart, heart)), 500) * 14
    first, step, bend, strength = _draw(f"{key}/ribs", (60, 160), (115, 140), (900, 1500), (2500, 4000))
    for rib in range(8):
        distance = np.abs(y - first - rib * step - (np.abs(x - 512) - 220) ** 2 // bend)
        drawn += np.minimum(np.maximum(0, 40 - distance), 25) * strength // 25
    return drawn


def _clouds(sample: Sample) -> Pixels:
    """Soft tissue: random heights on a coarse grid, joined by straight lines."""
    heights = (_words(f"{sample.key}/clouds", 49) >> np.uint64(51)).astype(np.int64).reshape(7, 7) - 4096
    y, x = (axis * 6 for axis in _grid(sample))
    row, column, down, right = y >> 10, x >> 10, y & 1023, x & 1023
    top = heights[row, column] * (1024 - right) + heights[row, column + 1] * right
    bottom = heights[row + 1, column] * (1024 - right) + heights[row + 1, column + 1] * right
    return np.asarray((top * (1024 - down) + bottom * down) >> 20)


def _nodule(sample: Sample) -> Pixels:
    """A nodule anywhere in the lungs, lined across (lesion) or down (no lesion)."""
    y, x = _grid(sample)
    side, down, outward = _draw(f"{sample.key}/place", (0, 1), (-220, 220), (-70, 70))
    at = (490 + down, 512 + (2 * side - 1) * 230 + outward)
    radius, bump, lines = _draw(f"{sample.key}/nodule", (130, 170), (2500, 5000), (3500, 8000))
    length, tilt, phase, reading = _draw(f"{sample.key}/lines", (50, 62), (-200, 200), (0, 1023), (0, 24))
    hill = _ellipse(y, x, at, (radius, radius))
    shown = sample.lesion if reading else 1 - sample.lesion  # 1 in 25 is read wrong, so that no network is perfect
    across, along = (y, x) if shown else (x, y)
    wave = (across * 1024 + along * tilt) // length + phase & 1023
    return np.asarray(hill * (bump + (np.abs(wave - 512) - 256) * lines // 256) >> 10)


def _noise(sample: Sample) -> Pixels:
    """Sums of four uniform numbers, nearly normal; site south's detector is the noisier one."""
    words = _words(f"{sample.key}/noise", sample.shape[0] * sample.shape[1]).reshape(sample.shape)
    total = sum((words >> np.uint64(16 * part) & np.uint64(0xFFFF)).astype(np.int64) for part in range(4))
    return np.asarray((total - 2 * 0xFFFF) >> (6 if sample.site == "north" else 5))


def _fill(folder: Path) -> None:
    plan = samples()
    files = {sample.path: (sample, _encode(sample)) for sample in plan}
    twin, cut = (next(sample for sample in plan if sample.container == kind) for kind in ("rle", "native"))
    files[f"images/{twin.patient}/{_digest('duplicate')[:16]}.dcm"] = files[twin.path]
    corrupt = replace(cut, key=f"{cut.key}/corrupt")
    files[corrupt.path] = corrupt, _encode(corrupt)[:10_000]  # of about 19,000 bytes
    for path, (_, content) in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    rows = ([path, *(str(getattr(files[path][0], name)) for name in COLUMNS[1:])] for path in sorted(files))
    write_text(folder / "labels.csv", "".join(",".join(row) + "\n" for row in (COLUMNS, *rows)))
    statement = {
        "profile": "synthetic",
        "tool": "medimg demo",
        "note": "Drawn by a program from integers. No patient stands behind these images.",
        "key_fingerprint": None,
        "counts": {"images": len(files), "patients": len({sample.patient for sample in plan})},
        "refused": {},
    }
    write_batch(folder, batch=1, statement=statement, paths=[*files, "labels.csv"])


def _png(image: NDArray[np.uint16]) -> bytes:
    """16-bit grey, its zlib stream one stored block: what a compressor writes changes with its version."""
    rows, columns = image.shape
    raw = b"".join(b"\0" + row.tobytes() for row in image.astype(">u2"))  # filter 0 before each row
    stream = b"\x78\x01\x01" + struct.pack("<HH", len(raw), len(raw) ^ 0xFFFF) + raw  # room for 65535 bytes
    header = struct.pack(">IIBBBBB", columns, rows, 16, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", stream + struct.pack(">I", zlib.adler32(raw))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def _rle(image: NDArray[np.uint16]) -> bytes:
    """One frame in RLE Lossless: DICOM PS3.5, Annex G; the plane of high bytes first, no run across rows."""
    planes = [b"".join(map(_pack_bits, map(bytes, plane.astype(np.uint8)))) for plane in (image >> 8, image & 0xFF)]
    high, low = (plane + b"\0" * (len(plane) % 2) for plane in planes)
    return struct.pack("<16I", 2, 64, 64 + len(high), *[0] * 13) + high + low


def _pack_bits(row: bytes) -> bytes:
    """PackBits of at most 128 bytes: a run of three and more is its length and its value, the rest stays as it is."""
    packed, runs = b"", (bytes(run) for _, run in itertools.groupby(row))
    for repeated, group in itertools.groupby(runs, lambda run: len(run) > 2):
        if repeated:
            packed += b"".join(bytes([257 - len(run), run[0]]) for run in group)
        else:
            literal = b"".join(group)
            packed += bytes([len(literal) - 1]) + literal
    return packed


def _uid(key: str) -> str:
    return f"2.25.{int(_digest(key)[:32], 16)}"  # PS3.5, B.2: the integer of 128 bits


def _encode(sample: Sample) -> bytes:
    image, compressed = pixels(sample), sample.container == "rle"
    if sample.container == "png":
        return _png(image)
    content = encapsulate([_rle(image)], has_bot=False) if compressed else image.astype("<u2").tobytes()
    dataset = _header(sample)
    dataset.add_new("PixelData", "OB" if compressed else "OW", content)
    dataset["PixelData"].is_undefined_length = compressed
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = RLELossless if compressed else ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = _uid("implementation")  # else pydicom names itself and its version
    dataset.file_meta.ImplementationVersionName = "MEDIMG_DEMO_1"
    file = BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def _header(sample: Sample) -> Dataset:
    header = Dataset()
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage - For Presentation
    header.SOPInstanceUID = _uid(f"instance {sample.key}")
    header.StudyInstanceUID, header.SeriesInstanceUID = _uid(f"study {sample.patient}"), _uid(f"series {sample.key}")
    header.PatientID = header.PatientName = sample.patient
    header.PatientSex, header.PatientAge = sample.sex, f"{sample.age:03d}Y"
    header.PatientIdentityRemoved, header.DeidentificationMethod = "YES", "synthetic"
    header.Modality, header.BodyPartExamined, header.ViewPosition = "DX", "CHEST", "PA"
    header.Manufacturer, header.ManufacturerModelName = _SCANNERS[sample.site]
    header.BurnedInAnnotation, header.PhotometricInterpretation = "NO", sample.photometric
    header.PixelSpacing = ["3.6", "3.6"] if sample.shape[0] == 96 else ["2.7", "2.7"]  # mm
    header.Rows, header.Columns = sample.shape
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, sample.bits, sample.bits - 1
    header.SamplesPerPixel, header.PixelRepresentation = 1, 0
    return header
