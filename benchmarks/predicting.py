"""Images a second of medimg predict, against decoding the same files alone in as many processes."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks.paired import ROOT, Row, ratio
from medimg import demo, images
from medimg.predict import predict
from medimg.predict.look import NEEDED
from medimg.work import over

PAIRS = 3
STAGES = ("ingest", "split", "preprocess", "train", "predict", "evaluate", "bundle")
NOT_MEASURED = "a GPU; a network drive; several nodes; other programs that predict"


def _pixels(path: Path) -> int:
    return images.read(path).pixels.size


def _decode(paths: list[Path]) -> int:
    """Decode every file; how many could be."""
    return sum(isinstance(found, int) for _, found in over(_pixels, paths, preload=NEEDED))


def _bundle(folder: Path) -> Path:
    """The demo study's, after one epoch."""
    shutil.copytree(ROOT / "pipelines", folder / "pipelines")
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["train"] |= {"max_epochs": 1}
    values["saliency"]["cases"] = 0
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    demo.write(folder / "data")
    for stage in STAGES:
        command = [sys.executable, f"pipelines/{stage}.py"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder / "artifacts/bundle"


def measure() -> list[Row]:
    """Files that no import has said anything of, as from a hospital; with and without Grad-CAM pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "study").mkdir()
        bundle = _bundle(folder / "study")
        hospital = folder / "hospital"
        shutil.copytree(folder / "study/data/images", hospital)
        paths = sorted(path for path in hospital.rglob("*") if path.is_file())
        rows = []
        for what, pictures in (("predict", False), ("predict --heatmap", True)):

            def run(pictures: bool = pictures) -> None:
                predict([str(hospital)], bundle, folder / "out", pictures=pictures)
                shutil.rmtree(folder / "out")

            slower = ratio(lambda: _decode(paths), run, PAIRS)
            rows.append(Row(f"{what} of {len(paths)} files of 512 pixels and less, resnet10 at 96", *slower))
        return rows
