"""What ten times as many small images cost: seconds and memory of each stage, and files, of 32 × 32 PNGs."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from benchmarks.paired import ROOT, Row

SMALL = int(os.environ.get("MEDIMG_SCALE", "2000"))
"""images of the smaller study; 10000 makes the larger one 100,000"""
TIMES = 10
STAGES = "ingest", "split", "preprocess"
NOT_MEASURED = "a disk slower than the page cache; more than one machine; training, whose cost an image does not grow"


def write(study: Path, images: int) -> None:
    """A study of ``images`` images of noise, four a patient."""
    study.mkdir()
    for name in ("dvc.yaml", "pipelines", "medimg"):
        (study / name).symlink_to(ROOT / name)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["ingest"] |= {"allow_unverified": True}
    params["preprocess"] |= {"size": 32}
    params["split"] |= {"altered_copies": False}
    (study / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    rows = ["path,patient,lesion"]
    for number in range(images):
        path = Path("images", f"P{number // 4:07d}", f"{number}.png")
        (study / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32), dtype=np.uint8)
        Image.fromarray(pixels).save(study / "data" / path)
        rows.append(f"{path},P{number // 4:07d},{number // 4 % 2}")
    (study / "data/labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def run(study: Path, stage: str) -> tuple[float, float]:
    """Seconds of a stage, and the GiB of its largest process."""
    start = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, f"pipelines/{stage}.py"], cwd=study, env=environment, stdout=subprocess.DEVNULL
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{stage} failed")
    return time.perf_counter() - start, used.ru_maxrss / 2**20


def measure() -> list[Row]:
    """Each stage at both sizes: a cost an image that grows not at all is a ratio of 1."""
    found: dict[int, dict[str, tuple[float, float]]] = {}
    rows = []
    folder = Path(tempfile.mkdtemp())
    try:
        for images in (SMALL, TIMES * SMALL):
            study = folder / str(images)
            write(study, images)
            found[images] = {stage: run(study, stage) for stage in STAGES}
            files = sum(path.is_file() for path in (study / "artifacts").rglob("*"))
            size = sum(path.stat().st_size for path in (study / "artifacts").rglob("*") if path.is_file())
            rows.append(_one(f"files under artifacts/, {images} images", files))
            rows.append(_one(f"bytes under artifacts/ an image, {images} images", size / images))
    finally:
        shutil.rmtree(folder)
    for stage in STAGES:
        (few, few_gib), (many, many_gib) = found[SMALL][stage], found[TIMES * SMALL][stage]
        rows.append(_one(f"{stage}: ms an image, {TIMES * SMALL} images", 1000 * many / (TIMES * SMALL)))
        rows.append(_one(f"{stage}: ms for each image beyond the first {SMALL}", 1000 * (many - few) / (9 * SMALL)))
        rows.append(_one(f"{stage}: GiB, {TIMES * SMALL} images", many_gib))
        rows.append(
            _one(f"{stage}: kB for each image beyond the first {SMALL}", 2**20 * (many_gib - few_gib) / (9 * SMALL))
        )
    return rows


def _one(what: str, value: float) -> Row:
    return Row(what, value, value, value)


if __name__ == "__main__":
    for row in measure():
        print(f"{row.what}: {row.median:.4g}")
