"""Ingest of 2,000 uncompressed 1024 × 1024 16-bit DICOM files, against a bare loop that reads, hashes and decodes."""

import contextlib
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from benchmarks.paired import ROOT, Row, seconds
from medimg.images import pixel_sha256, read_bytes
from medimg.ingest import JOURNAL, ingest
from medimg.params import Ingest
from medimg.work import cores

FILES, SIZE = 2000, 1024
SMALL_FILES, SMALL = 20_000, 64
NEW = 100  # one file in so many is new
PAIRS = 3
SETTINGS = Ingest(allow_unverified=True, max_unlabelled=1)
NOT_MEASURED = "a disk slower than the page cache; starting Python"


def write(folder: Path, number: int, size: int) -> None:
    """One file of noise, ``size`` pixels square: its own SOP instance, its own pixels."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
    dataset.PatientID = f"P{number // 4}"
    dataset.Rows = dataset.Columns = size
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.PixelData = np.random.default_rng(number).bytes(size * size * 2)
    dataset.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)


def bare(folder: Path) -> None:
    """Read, hash and decode each file, in one thread, and keep nothing."""
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        hashlib.sha256(data).hexdigest()
        pixel_sha256(read_bytes(data).pixels)


def whole_and_again(folder: Path) -> tuple[float, float]:
    """Seconds of an ingest without a journal, and of the next one with 1 % of the files changed."""
    JOURNAL.unlink(missing_ok=True)
    whole = seconds(lambda: ingest("label", SETTINGS))
    for path in sorted(folder.iterdir())[::NEW]:
        os.utime(path, (time.time(), time.time()))
    return whole, seconds(lambda: ingest("label", SETTINGS))


def on(count: int, what: str) -> list[float]:
    """What a process of its own, held to so many cores from its start, measures."""
    command = [sys.executable, "-m", "benchmarks.ingest", what, str(count)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    printed = subprocess.check_output(command, text=True, env=environment, stderr=subprocess.DEVNULL)
    return [float(value) for value in printed.splitlines()[-1].split()]


def row(what: str, values: list[float], goal: str) -> Row:
    """Median and range of some ratios."""
    return Row(what, statistics.median(values), min(values), max(values), goal)


@contextlib.contextmanager
def study(files: int, size: int) -> Iterator[None]:
    """A temporary folder of so many files, and no label, as the current one."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        images = Path("data/images")
        images.mkdir(parents=True)
        for number in range(files):
            write(images, number, size)
        Path("data/labels.csv").write_text("path,label\n")
        yield


def measure() -> list[Row]:
    """Write the files into temporary folders, and measure."""
    many = min(2, cores())
    with study(SMALL_FILES, SMALL):
        small = [on(many, "ingest") for _ in range(PAIRS)]
    with study(FILES, SIZE):
        turns = [(on(1, "bare")[0], on(1, "ingest")[0], *on(many, "ingest")) for _ in range(PAIRS)]
    return [
        row("one core: bare loop / ingest", [bare / one for bare, one, _, _ in turns], "≥ 0.6"),
        row(f"{many} cores, each: bare loop / ingest", [bare / two / many for bare, _, two, _ in turns], "≥ 0.6"),
        row(f"ingest on one core / on {many}", [one / two for _, one, two, _ in turns], "≥ 1.8 on two"),
        row("time with 1 % new files / whole (lower is better)", [again / two for _, _, two, again in turns], "≤ 0.03"),
        row(f"the same, {SMALL_FILES} files of {SMALL} × {SMALL}", [again / whole for whole, again in small], "≤ 0.03"),
    ]


if __name__ == "__main__":
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[2])])
    here = Path("data/images")
    print(*([seconds(lambda: bare(here))] if sys.argv[1] == "bare" else whole_and_again(here)))
