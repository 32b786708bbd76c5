"""What a night with 1 % new images costs, of what the first night cost: seconds on the clock, and of all processors."""

import ctypes
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.paired import ROOT, Row

STUDIES = {512: 20_000, 2048: 8_000}
"""Side of the images in pixels → how many; a radiograph has 2000 or more"""
NEW = 0.01
PICTURES = 16
HEAD = 33  # bytes to the end of a PNG's first chunk
NOT_MEASURED = "the import, DVC's own look at data/, training, and a night on a cluster"
STAGES = """
from medimg.ingest import ingest
from medimg.params import Ingest, Preprocess
from medimg.preprocess import preprocess
{}
"""
WORK = {
    "ingest": 'ingest("label", Ingest(allow_unverified=True))',
    "preprocess": "preprocess(Preprocess(size=128))",
}
Cost = tuple[float, float]
"""Seconds on the clock, and of all processors together"""


def deliver(folder: Path, numbers: range, side: int) -> None:
    """Smooth images, one a patient, and their rows in labels.csv; no two files are the same."""
    (folder / "data").mkdir(exist_ok=True)
    pictures = [_png(number, side) for number in range(PICTURES)]
    table = folder / "data/labels.csv"
    rows = [] if table.exists() else ["path,patient,label\n"]
    for number in numbers:
        picture = pictures[number % PICTURES]
        head, rest = picture[:HEAD], picture[HEAD:]
        (folder / f"data/{number:06d}.png").write_bytes(head + _remark(f"number\0{number}".encode()) + rest)
        rows.append(f"{number:06d}.png,P{number:06d},{number % 2}\n")
    with table.open("a", encoding="utf-8") as file:
        file.writelines(rows)


def _png(number: int, side: int) -> bytes:
    y, x = np.mgrid[:side, :side] / side
    down, right, size = np.random.default_rng(number).uniform(0.2, 0.8, 3)
    hill = 250 * np.exp(-((y - down) ** 2 + (x - right) ** 2) / size)
    file = io.BytesIO()
    Image.fromarray(hill.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _remark(text: bytes) -> bytes:
    """A PNG's chunk that no decoder minds."""
    return len(text).to_bytes(4, "big") + b"tEXt" + text + zlib.crc32(b"tEXt" + text).to_bytes(4, "big")


def costs(folder: Path) -> dict[str, Cost]:
    """Of each stage, run in a process of its own, with all that it starts."""
    found = {}
    for stage, call in WORK.items():
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{STAGES.format(call)}"
        command = [sys.executable, "-m", "benchmarks.nights", sys.executable, "-c", code]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        said = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout
        wall, processors = map(float, said.splitlines()[-1].split())
        found[stage] = (wall, processors)
    return found


def shares(side: int, images: int) -> Cost:
    """Cost of ingest and preprocess with 1 % new images, of that without anything known."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        deliver(folder, range(images), side)
        first = costs(folder)
        deliver(folder, range(images, images + round(NEW * images)), side)
        second = costs(folder)
    for stage in WORK:
        print(f"{side}: {stage} first {first[stage]}, then {second[stage]} (wall, processors; s)", flush=True)
    one, two = (sum(second[stage][at] for stage in WORK) / sum(first[stage][at] for stage in WORK) for at in (0, 1))
    return one, two


def measure() -> list[Row]:
    """Shares, smaller is better; measured once, for it takes minutes."""
    rows = []
    for side, images in STUDIES.items():
        wall, processors = shares(side, images)
        what = f"ingest and preprocess with 1 % new images beside {images} of {side} × {side}, of the first time's"
        rows.append(Row(f"{what} seconds", wall, wall, wall, "at most 0.05"))
        rows.append(Row(f"{what} processor time", processors, processors, processors, "at most 0.05"))
    return rows


def _watch(command: list[str]) -> None:
    """Run a command, wait for all that it leaves behind too, and print the seconds (Linux)."""
    PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h  # noqa: N806
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)

    start = time.perf_counter()
    status = subprocess.run(command, check=False).returncode
    wall = time.perf_counter() - start
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(wall, used.ru_utime + used.ru_stime)
    sys.exit(status)


if __name__ == "__main__":
    _watch(sys.argv[1:])
