"""Building the store against MONAI's PersistentDataset, and what a change, a second process and more images cost.

Figures are CPU seconds of all processes together where a line says so. What starting Python and importing costs is
taken out by measuring two numbers of images and dividing their difference.
"""

import contextlib
import ctypes
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
import yaml
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from benchmarks.paired import ROOT, Row
from medimg.files import sha256_file
from medimg.records import DATA, INDEX, INDEX_SCHEMA, write_rows

SIDE, SIZE = 1024, 224
FEW, MANY = 16, int(os.environ.get("MEDIMG_BENCH_IMAGES", "216"))
SMALL = [int(text) for text in os.environ.get("MEDIMG_BENCH_GROWTH", "1000 10000").split()]
CHANGED_OF = int(os.environ.get("MEDIMG_BENCH_CHANGED", "2000"))
SAMPLES = int(os.environ.get("MEDIMG_BENCH_SAMPLES", "20000"))
ROUNDS = 3
NOT_MEASURED = (
    "object storage, several machines; more images than here (MEDIMG_BENCH_GROWTH='1000 100000' and "
    "MEDIMG_BENCH_SAMPLES=100000 do)"
)

OURS = """
import json, os, resource, sys, time
from medimg.params import Preprocess
from medimg.preprocess import preprocess
settings = Preprocess(size=int(sys.argv[1]), kernel=sys.argv[2])
before = time.perf_counter()
preprocess(settings)
seconds = time.perf_counter() - before
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""
CHANGED = """
import json, resource, sys
import psutil
from multiprocessing import forkserver
from medimg.files import sha256_file
from medimg.params import Preprocess
from medimg.preprocess import _NEEDED, preprocess
from medimg.records import DATA, INDEX, INDEX_SCHEMA, read_table, write_table
from medimg.work import over
settings = Preprocess(size=int(sys.argv[1]))
list(over(abs, [1], preload=_NEEDED))  # imports are no part of it
def used():
    server = psutil.Process(forkserver._forkserver._forkserver_pid).cpu_times()
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime + sum(server[:4])
def cost():
    before = used()
    preprocess(settings)
    return used() - before
found = [cost(), cost()]
index = read_table(INDEX, INDEX_SCHEMA)
for path in index["path"][: len(index) // 100]:
    with (DATA / path).open("r+b") as file:
        file.seek(-2, 2)
        last = file.read(1)[0]
        file.seek(-2, 2)
        file.write(bytes([last ^ 255]))
    index.loc[index["path"] == path, "file_sha256"] = sha256_file(DATA / path)
write_table(INDEX, index, INDEX_SCHEMA)
found.append(cost())
print(json.dumps(found))
"""
PEER = """
import sys, time, json, torch, monai, numpy as np
from pathlib import Path
from monai.data import PersistentDataset, set_track_meta
from monai.transforms import (Compose, EnsureChannelFirst, LoadImage, Resize, ScaleIntensityRangePercentiles,
                              SpatialPad, Lambda)
torch.set_num_threads(1)
size = int(sys.argv[1])
steps = Compose([
    LoadImage(image_only=True, reader="PydicomReader"), EnsureChannelFirst(channel_dim="no_channel"),
    ScaleIntensityRangePercentiles(0.5, 99.5, 0, 1, clip=True),
    Resize(size, size_mode="longest", mode="bilinear", anti_aliasing=sys.argv[2] == "antialias"),
    SpatialPad((size, size)), Lambda(lambda x: (x * 255).round().to(torch.uint8)),
])
set_track_meta(False)
before = time.perf_counter()
cached = PersistentDataset(sorted(map(str, Path("data").glob("*.dcm"))), steps, "cache")
for item in cached:
    pass
print(json.dumps([time.perf_counter() - before, 0]))
"""


def write_images(count: int, side: int, first: int = 0) -> None:
    """Raw 16-bit DICOM images of ``side`` × ``side``, no two alike, and the index that ingest would write of them."""
    DATA.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    base = (random.normal(2000, 200, (side, side)) + np.linspace(0, 1500, side)).clip(0, 4095).astype(np.uint16)
    for number in range(first, count):
        write_image(DATA / f"{number:06d}.dcm", base, number)
    rows = ({"sample": f"{n:016x}", "path": f"{n:06d}.dcm", "file_sha256": sha256_file(DATA / f"{n:06d}.dcm")}
            for n in range(count))  # fmt: skip
    same = {"files": 1, "format": "dicom", "frames": 1, "channels": 1, "depth": 1, "height": side, "width": side,
            "bits": 16, "photometric": "MONOCHROME2", "pixel_sha256": ""}  # fmt: skip
    write_rows(INDEX, (row | same for row in rows), INDEX_SCHEMA)


def write_image(path: Path, base: np.ndarray, number: int) -> None:
    """One of the images: ``base``, moved along by ``number``."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = base.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelData = np.roll(base, number, axis=number % 2).tobytes()
    dataset.save_as(path, enforce_file_format=True)


def run(code: str, *words: str, cores: int | None = None) -> tuple[float, float, float]:
    """CPU seconds of a program and all that it starts, seconds of its work, and its own greatest memory in MiB."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: helpers that outlive it come to us
    start = _cpu()
    pinned = ["taskset", "-c", ",".join(map(str, sorted(os.sched_getaffinity(0))[:cores]))] if cores else []
    done = subprocess.run(
        [*pinned, sys.executable, "-c", code, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return _cpu() - start, seconds, memory / 1024


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fresh(*names: str) -> None:
    """Remove what a program has written."""
    for name in ("artifacts/store", "cache", *names):
        shutil.rmtree(name, ignore_errors=True)


def row(what: str, values: list[float], goal: str = "") -> Row:
    """The median and range of a figure."""
    return Row(what, statistics.median(values), min(values), max(values), goal)


def against_monai() -> list[Row]:
    """CPU seconds of a build for each image more, alternating; with MONAI's anti-aliasing, and against none."""
    costs: dict[str, list[float]] = {"ours": [], "antialias": [], "plain": []}
    for _ in range(ROUNDS):
        for name in costs:
            used = []
            for count in (FEW, MANY):
                fresh("data")
                write_images(count, SIDE)
                code, last = (OURS, "separable") if name == "ours" else (PEER, name)
                used.append(run(code, str(SIZE), last)[0])
            costs[name].append((used[1] - used[0]) / (MANY - FEW))
    return [
        row("build: CPU seconds an image, same steps, against PersistentDataset",
            [peer / ours for peer, ours in zip(costs["antialias"], costs["ours"], strict=True)], "≥ 5"),
        row("build: the same, PersistentDataset without anti-aliasing",
            [peer / ours for peer, ours in zip(costs["plain"], costs["ours"], strict=True)], "≥ 5"),
        row("build: CPU milliseconds an image of 1024²", [1000 * cost for cost in costs["ours"]]),
    ]  # fmt: skip


def changed() -> list[Row]:
    """What 1 % of the images changed costs, of the full build, in CPU seconds of all processes."""
    shares, idle = [], []
    fresh("data")
    write_images(CHANGED_OF, SIDE)
    for _ in range(ROUNDS):
        fresh()
        done = subprocess.run(
            [sys.executable, "-c", CHANGED, str(SIZE)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        full, nothing, some = json.loads(done.stdout.splitlines()[-1])
        shares.append(some / full)
        idle.append(nothing / full)
    return [
        row(f"1 % of {CHANGED_OF:,} images changed: share of the full build", shares, "≤ 0.03"),
        row("nothing changed: share of the full build", idle),
    ]


def scaling() -> Row:
    """How much faster a build is in two processes on two cores than in one on one."""
    gains = []
    fresh("data")
    write_images(CHANGED_OF, SIDE)  # enough for the start of a process to count little
    for _ in range(ROUNDS):
        seconds = []
        for cores in (1, 2):
            fresh()
            seconds.append(run(OURS, str(SIZE), "separable", cores=cores)[1])
        gains.append(seconds[0] / seconds[1])
    return row(f"two processes against one, wall time of {CHANGED_OF:,} images", gains, "≥ 1.8")


def growth() -> list[Row]:
    """CPU seconds an image more, and memory, of a build of few and of many small images."""
    costs, memory = [], []
    sizes = [FEW, *SMALL]
    for count in sizes:
        fresh("data")
        write_images(count, 64)
        cpu, _, peak = run(OURS, "32", "separable")
        costs.append(cpu)
        memory.append(peak)
    more = np.diff(costs) / np.diff(sizes)
    files = sum(1 for _ in Path("artifacts/store").iterdir())
    few, many = SMALL[0], SMALL[-1]
    return [
        row(f"growth: CPU an image up to {many:,} small images, of that up to {few:,}", [more[-1] / more[0]], "≤ 1"),
        row(f"growth: MiB of memory at {many:,} less at {few:,}", [memory[-1] - memory[1]], "small"),
        row("files of the store", [files], "≤ 50"),
    ]


def nothing_to_do() -> list[Row]:
    """What ``dvc repro`` of the whole pipeline takes more than of one stage over the same ``data/``."""
    study = Path("study")
    for name in ("pipelines", "medimg"):
        shutil.copytree(ROOT / name, study / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, study)
    with contextlib.chdir(study):
        for number in range(SAMPLES):
            path = Path(f"data/images/P{number // 100:05d}/{number:08x}.dcm")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"%032d" % number)
        for stage in yaml.safe_load(Path("dvc.yaml").read_text())["stages"].values():
            for out in [*stage.get("outs", []), *stage.get("metrics", [])]:
                path = Path(out if isinstance(out, str) else next(iter(out)))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch() if path.suffix else path.mkdir()
        Path("plain").mkdir()
        plain = {"stages": {"plain": {"cmd": "true", "deps": ["../data"], "outs": ["out"]}}}
        Path("plain/dvc.yaml").write_text(yaml.safe_dump(plain))
        Path("plain/out").touch()
        for words in (["init", "--no-scm"], ["add", "data"], ["commit", "-f"], ["commit", "-f", "plain/dvc.yaml"]):
            _dvc(*words)
        found = [np.subtract(_dvc("repro"), _dvc("repro", "plain/dvc.yaml")) for _ in range(ROUNDS)]
        what = f"dvc repro with nothing to do, {SAMPLES:,} samples"
        return [
            row(f"{what}: CPU seconds more than plain DVC", [float(more[0]) for more in found], "≤ 1"),
            row(f"{what}: seconds by the clock more than plain DVC", [float(more[1]) for more in found], "≤ 1"),
        ]


def _dvc(*words: str) -> tuple[float, float]:
    """CPU seconds, and seconds by the clock."""
    cpu, start = _cpu(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "dvc", "--quiet", *words], check=True)
    return _cpu() - cpu, time.perf_counter() - start


def measure() -> list[Row]:
    """Everything, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        return [*against_monai(), *changed(), scaling(), *growth(), *nothing_to_do()]
