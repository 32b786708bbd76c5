"""Studies with a shortcut planted, or none: 300 patients of two hospitals, learned by a small network in seconds.

The finding is fine structure in a nodule anywhere in the lungs: lines across (yes) or down (no), as in the demo study.
The small network learns it; a thumbnail does not show it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import nn

from medimg.evaluation.answers import answers_of
from medimg.evaluation.audit import Audit, audit
from medimg.evaluation.material import material_of
from medimg.evaluation.units import cases_of
from medimg.params import Shortcuts, Study
from medimg.records import INDEX_SCHEMA, STORE, Predictions
from medimg.store import Geometry, Row, Store, rebuild
from medimg.tasks import task_of
from medimg.transplant import transplant

Kind = Literal["none", "style", "metadata", "marker", "diffuse", "both"]
SIDE = 64  # pixels
PATIENTS = 300
ASSOCIATION = 0.85  # of the shortcut with the label, where one is planted


@dataclass(frozen=True)
class Drawn:
    """A study as its stages would leave it."""

    index: pd.DataFrame
    parts: pd.DataFrame
    images: np.ndarray
    """``(N, 64, 64)`` uint8"""


def draw(kind: Kind, seed: int) -> Drawn:
    """Draw a study; the same for the same kind and seed."""
    random = np.random.default_rng([seed, *kind.encode()])
    label = random.permutation(np.arange(PATIENTS) % 2)
    agrees = random.random(PATIENTS) < ASSOCIATION
    south = (
        np.where(agrees, label, 1 - label) if kind == "metadata" else random.permutation(np.arange(PATIENTS) // 2 % 2)
    )
    part = random.permutation(np.repeat(["train", "validation", "test"], [135, 60, 105]))
    rows, images = [], []
    for patient in range(PATIENTS):
        for image in range(1 + int(random.random() < 0.4)):
            marked = label[patient] if random.random() < ASSOCIATION else 1 - label[patient]
            picture = _scene(random, int(label[patient]), diffuse=kind in ("diffuse", "both"))
            if kind in ("style", "metadata") and south[patient]:
                picture = _style(picture, random)
            if kind in ("marker", "both") and marked:
                _mark(picture, random)
            images.append(np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8))
            rows.append(_row(random, patient, image, int(label[patient]), bool(south[patient])))
    index = pd.DataFrame(rows).reindex(columns=INDEX_SCHEMA.names)
    parts = index[["sample", "patient"]].assign(part=part[[int(name[1:]) for name in index["patient"]]])
    return Drawn(index, parts, np.stack(images))


def _row(random: np.random.Generator, patient: int, image: int, label: int, south: bool) -> dict[str, object]:
    return {
        "sample": f"{patient * 8 + image:016x}",
        "path": f"{patient}-{image}.dcm",
        "patient": f"P{patient}",
        "files": 1,
        "format": "dicom",
        "frames": 1,
        "channels": 1,
        "depth": 1,
        "height": int(random.choice([SIDE, SIDE + 16])),
        "width": SIDE,
        "bits": int(random.choice([12, 16])),
        "photometric": str(random.choice(["MONOCHROME1", "MONOCHROME2"])),
        "site": "south" if south else "north",
        "manufacturer": "Borealis Medical" if south else "Aurelia Imaging",
        "age": float(random.integers(20, 90)),
        "sex": str(random.choice(["F", "M"])),
        "file_sha256": f"{patient}-{image}",
        "pixel_sha256": f"{patient}-{image}",
        "label": str(label),
    }


def _scene(random: np.random.Generator, label: int, diffuse: bool) -> np.ndarray:
    """``(64, 64)`` in 0…1: soft tissue, two lungs, a nodule with lines, noise."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    picture = 0.55 + 0.12 * _smooth(random, 5)
    for centre in (0.28, 0.72):
        picture -= 0.25 * np.clip(1.4 - ((y - 0.48) / 0.4) ** 2 - ((x - centre) / 0.19) ** 2, 0, 0.7)
    at_y, at_x = 0.48 + random.uniform(-0.18, 0.18), random.choice([0.28, 0.72]) + random.uniform(-0.05, 0.05)
    hill = np.clip(1 - ((y - at_y) / 0.15) ** 2 - ((x - at_x) / 0.15) ** 2, 0, 1)
    if diffuse:
        picture += hill * (0.04 + 0.14 * label)
    else:
        lines = np.sin(2 * np.pi * ((y if label else x) * SIDE / 4 + random.random()))
        picture += hill * (0.06 + 0.12 * lines)
    return np.asarray(picture + random.normal(0, 0.03, picture.shape))


def _smooth(random: np.random.Generator, knots: int) -> np.ndarray:
    coarse = random.normal(size=(knots, knots))
    at = np.linspace(0, knots - 1, SIDE)
    rows = np.stack([np.interp(at, np.arange(knots), column) for column in coarse.T], axis=1)
    return np.stack([np.interp(at, np.arange(knots), row) for row in rows], axis=0)


def _style(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Another scanner: darker midtones, less contrast, more noise."""
    changed = 0.1 + 0.8 * np.clip(picture, 0, 1) ** 1.5
    return np.asarray(changed + random.normal(0, 0.03, picture.shape))


def _mark(picture: np.ndarray, random: np.random.Generator) -> None:
    """A letter of lead: 6 × 6 pixels near a corner, where the technician put it."""
    top, left = random.integers(2, 6, size=2)
    if random.random() < 0.5:
        left = SIDE - 6 - left
    picture[top : top + 6, left : left + 6] = 0.98
    picture[top + 2 : top + 4, left + 2 : left + 4] = 0.3


class Small(nn.Module):
    """Three convolutions and the strongest answer anywhere: learns in seconds what a thumbnail does not show."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, stride in ((1, 12, 2), (12, 24, 2), (24, 24, 1)):
            layers += [nn.Conv2d(before, after, 5 if before == 1 else 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(24, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(N, 1, 64, 64)`` in 0…1 → ``(N, 1)``."""
        logits: torch.Tensor = self.head(self.layers(image * 2 - 1).amax(dim=(2, 3)))
        return logits


def learn(images: np.ndarray, truth: np.ndarray, seed: int, epochs: int = 12) -> Small:
    """Train on ``(N, 64, 64)`` uint8 images."""
    torch.manual_seed(seed)
    network = Small()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    data, target = torch.from_numpy(images).float()[:, None] / 255, torch.from_numpy(truth).float()[:, None]
    for _ in range(epochs):
        for chosen in torch.randperm(len(data)).split(16):
            flipped = data[chosen].flip(3) if torch.rand(1) < 0.5 else data[chosen]
            loss = nn.functional.binary_cross_entropy_with_logits(network(flipped), target[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return network.eval()


def audited(kind: Kind, seed: int) -> Audit:
    """Draw, learn, predict, transplant and audit in the current folder, which should be empty."""
    study, settings = draw(kind, seed), Shortcuts()
    _store(study)
    task, store = task_of(Study(question="?", label="finding", positive="1")), Store.open(STORE)
    name = study.parts["part"].to_numpy()
    truth = (study.index["label"] == "1").to_numpy(np.float64)
    network = learn(study.images[name == "train"], truth[name == "train"], seed)

    def score(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits = network(torch.from_numpy(images).float().reshape(-1, 1, SIDE, SIDE) / 255)
        return task.probabilities(logits.numpy().astype(np.float64))

    predictions = {}
    for part in ("validation", "test"):
        inside = name == part
        rows = study.parts[inside].assign(study=None, fold=None, weights="w").reset_index(drop=True)
        probabilities = score(study.images[inside])
        predictions[part] = Predictions(rows, truth[inside][:, None], task.logits(probabilities), probabilities)
    about = predictions["test"].rows
    transplant(about, store.images, store.rows(about["sample"]), lambda batches: np.concatenate([*map(score, batches)]),
               share=settings.rim, batch=256, seed=seed)  # fmt: skip
    cases = cases_of(predictions["test"], task, "image", "mean", "test")
    answers = answers_of(cases, about, study.index, "image", 0.5)
    material = material_of(task, study.index, study.parts, predictions, answers, cases.truth, store,
                           unit="image", aggregate="mean")  # fmt: skip
    return audit(material, settings, 0.95, seed)


def _store(study: Drawn) -> None:
    keys = {sample: sample for sample in study.index["sample"]}
    with rebuild(STORE, keys, np.dtype("uint8")) as store:
        for sample, image in zip(study.index["sample"], study.images, strict=True):
            store.put(sample, Row(image[None], Geometry((SIDE, SIDE))))
