"""Scratch against transfer on the chest radiographs of Kermany et al. 2018, in ../shared/data/kermany_chest_xray.

    python -m benchmarks.studies.kermany run --question virus --arm transfer --images 500 --seed 0 --out /tmp/kermany
    python -m benchmarks.studies.kermany run --folds 3 --epochs 5 --out /tmp/kermany    # an ensemble of three networks
    python -m benchmarks.studies.kermany all --out /tmp/kermany        # both arms, 100, 500 and all images, three seeds
    python -m benchmarks.studies.kermany figure --out /tmp/kermany

Test is one fold of five of the patients (StratifiedGroupKFold, seed 0), the same in every run, scored by the study's
own evaluation; validation is a fold of the rest, whole however few images train. ``virus`` asks bacterial or viral
pneumonia, ``pneumonia`` normal or not. Each run is a study of its own: import, then ``dvc repro``.
"""

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn.model_selection import StratifiedGroupKFold

DATA = Path("../shared/data/kermany_chest_xray")
ALL = 10**6
IMAGES = {100: 5, 500: 2, ALL: 1}
"""images of train, and how many times the epochs: few images make few steps an epoch"""
SEEDS = 0, 1, 2
ARMS: dict[str, dict[str, Any]] = {
    "scratch": {"model": {"weights": "none"}, "train": {"learning_rate": 0.001}},
    "transfer": {"model": {"weights": "imagenet"}, "train": {"learning_rate": 0.0005, "depth_decay": 0.1}},
}


@dataclass(frozen=True)
class How:
    """What all runs of a comparison share."""

    epochs: int
    """of a training with all images"""
    size: int
    """pixels a side"""
    folds: int | None = None
    """networks that answer together, each trained without one fold of the four fifths that are not test"""


def table(question: str, images: int, seed: int) -> pd.DataFrame:
    """path, patient, answer and part of each image that the run may see; ``images`` of train, drawn by ``seed``."""
    rows = pd.read_csv(DATA / "manifest.csv")
    if question == "virus":
        rows = rows[rows["subtype"] != "normal"]
    answer = rows["subtype"].eq("virus") if question == "virus" else rows["subtype"].ne("normal")
    rows = rows.assign(answer=np.where(answer, "yes", "no"), part="train").reset_index(drop=True)
    outer = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    rest, test = next(outer.split(rows, rows["answer"], rows["patient_id"]))
    rows.loc[test, "part"] = "test"
    inner = rows.loc[rest]
    _, validation = next(outer.split(inner, inner["answer"], inner["patient_id"]))
    rows.loc[inner.index[validation], "part"] = "validation"
    train = rows.index[rows["part"] == "train"].to_numpy()
    spared = np.random.default_rng(seed).permutation(train)[images:]
    return rows.drop(index=spared).rename(columns={"patient_id": "patient"})[["path", "patient", "answer", "part"]]


def run(question: str, arm: str, images: int, seed: int, out: Path, how: How) -> dict[str, Any]:
    """One study, from import to the evaluation; its result is added to ``results.jsonl`` in ``out``."""
    name = f"{question}-{arm}-{'all' if images == ALL else images}-{seed}"
    for known in _results(out):
        if known["name"] == name and known["how"] == asdict(how):
            return known
    source, study = out / f"{name}-source", out / name
    for folder in (source, study):
        shutil.rmtree(folder, ignore_errors=True)
    rows = table(question, images, seed)
    for path in rows["path"]:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DATA / path, source / path)
    rows.to_csv(out / f"{name}.csv", index=False)
    medimg = [sys.executable, "-m", "medimg"]
    subprocess.run([*medimg, "new", str(study)], check=True)
    labels = str((out / f"{name}.csv").resolve())
    imported = [*medimg, "import", str(source.resolve()), "--labels", labels, "--keep", "answer", "--keep", "part"]
    subprocess.run(imported, cwd=study, check=True)
    _settings(study, question, arm, seed, how, how.epochs * IMAGES.get(images, 1))
    subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=study, check=True)
    metrics = json.loads((study / "artifacts/evaluation/metrics.json").read_text())
    training = json.loads((study / "artifacts/training/training.json").read_text())
    result = {
        "name": name,
        "how": asdict(how),
        "question": question,
        "arm": arm,
        "images": int((rows["part"] == "train").sum()),
        "seed": seed,
        "auroc": metrics["test"]["auroc"],
        "epochs": training["epochs"],
        "seconds": training["seconds"],
    }
    with (out / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    shutil.rmtree(source)
    return result


def _results(out: Path) -> list[dict[str, Any]]:
    path = out / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _settings(study: Path, question: str, arm: str, seed: int, how: How, epochs: int) -> None:
    path = study / "params.yaml"
    values = yaml.safe_load(path.read_text())
    asked = "Is the pneumonia viral?" if question == "virus" else "Does this radiograph show pneumonia?"
    chosen: dict[str, dict[str, Any]] = {
        "study": {"question": asked, "label": "answer", "positive": "yes", "unit": "image", "seed": seed},
        "split": {"column": "part", "validation": 0, "test": 0},
        "preprocess": {"size": how.size},
        "augment": {
            "flip": {"width": 0.5},
            "affine": {"probability": 0.7},
            "gamma": {"probability": 0.3},
            "noise": {"probability": 0},
        },
        "model": {"name": "efficientnet-lite0"},
        "train": {
            "max_epochs": epochs,
            "patience": epochs,
            "folds": how.folds,
            "batch_size": 32,
            "ema": 0.99,
        },
    }
    for changes in (chosen, ARMS[arm]):
        for block, keys in changes.items():
            values[block] |= keys
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def figure(out: Path) -> None:
    """AUROC on test by training images, both arms, with each run's interval: ``scratch-transfer.png`` in ``out``."""
    from matplotlib.figure import Figure

    rows = _results(out)
    drawn = Figure(figsize=(6, 4), layout="constrained")
    axes = drawn.subplots()
    for at, arm in enumerate(ARMS):
        mine = [row for row in rows if row["arm"] == arm]
        x = [row["images"] * (0.97 + 0.06 * at) * (1 + 0.01 * row["seed"]) for row in mine]
        value = np.array([row["auroc"]["value"] for row in mine])
        ends = np.array([[row["auroc"]["low"], row["auroc"]["high"]] for row in mine]).T
        axes.errorbar(x, value, abs(ends - value), fmt="o", capsize=2, label=arm)
    axes.set(xscale="log", xlabel="training images", ylabel="AUROC on the held-out patients")
    axes.legend(frameon=False)
    drawn.savefig(out / "scratch-transfer.png", dpi=120)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("what", choices=["run", "all", "figure"])
    parser.add_argument("--question", choices=["virus", "pneumonia"], default="virus")
    parser.add_argument("--arm", choices=list(ARMS), default="transfer")
    parser.add_argument("--images", type=int, default=ALL)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--folds", type=int)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    how = How(asked.epochs, asked.size, asked.folds)
    if asked.what == "figure":
        figure(asked.out)
    elif asked.what == "run":
        print(run(asked.question, asked.arm, asked.images, asked.seed, asked.out, how))
    else:
        for images in IMAGES:
            for seed in SEEDS:
                for arm in ARMS:
                    print(run(asked.question, arm, images, seed, asked.out, how), flush=True)


if __name__ == "__main__":
    main()
