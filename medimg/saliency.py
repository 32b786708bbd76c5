"""Where the network looked: Grad-CAM (Selvaraju et al. 2017, MONAI's) of its surest right and surest wrong answers.

A map is a picture of the network, and may be a picture of the image alone. So each map is made again with all weights
drawn anew (Adebayo et al. 2018, Sanity Checks for Saliency Maps): maps that stay the same explain nothing, and the
number that says so stands beside them.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medimg.files import publish_folder, write_json
from medimg.records import SALIENCY
from medimg.regions import rim_of
from medimg.tasks import Task
from medimg.training.data import Part, scale

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

LEAST_CELLS = 6  # a map needs as many cells a side to point at anything
_CONTRAST = 0.25  # of the slice with most of it
DRAWS = 5  # networks with random weights that each map is compared with


@dataclass(frozen=True)
class Case:
    """An image whose answer is shown."""

    position: int
    """in the part"""
    about: str
    """the question, as ``Task.names`` has it"""
    truth: str
    answer: str
    probability: float
    """of the truth; of a regression, the value given"""
    right: bool
    output: int
    """of the network's outputs, that which the map explains"""
    sign: int
    """-1 where the map explains why an output is low"""
    number: bool = False
    """whether the answer is a number, as in a regression"""


def explain(network: "Module", task: Task, part: Part, probabilities: np.ndarray, count: int, rim: float) -> None:
    """Write the maps of the chosen cases of ``part`` to ``artifacts/saliency``.

    Args:
        network: trained; of several that answer together, the mean of their maps is shown.
        task: what its outputs mean.
        part: test.
        probabilities: ``(N, K)`` of the part's images.
        count: cases of each kind, ``saliency.cases``.
        rim: width of the rim, ``evaluate.shortcuts.rim``.
    """
    from medimg.models.network import Network

    cases = list(chosen(task, part.truth, probabilities, count))
    with publish_folder(SALIENCY) as folder:
        images = np.array(part.images[part.rows[[case.position for case in cases]]])
        views: list[Any] = network.alone() if isinstance(network, Network) else [network]
        layer = target(views[0], images[:1]) if cases else None
        summary: dict[str, Any] = {"layer": layer, "cells": None, "similarity_to_random": None, "rim_area": None}
        maps = np.zeros((len(cases), *images.shape[2:]))
        if layer:
            found = [cams(view, layer, images, cases) for view in views]
            maps = np.mean([whole for _, whole in found], axis=0)
            summary["cells"] = list(found[0][0].shape[1:])
            summary["similarity_to_random"] = _similarity_to_random(views[0], layer, images, cases, found[0][0])
        mask = rim_of(images.shape[-2], images.shape[-1], rim) if cases else np.zeros((1, 1), bool)
        summary["rim_area"] = round(float(mask.mean()), 4)
        summary["cases"] = [
            _written(folder, number, case, part, images[number], maps[number], mask)
            for number, case in enumerate(cases)
        ]
        write_json(folder / "saliency.json", summary)


def chosen(task: Task, truth: np.ndarray, probabilities: np.ndarray, count: int) -> Iterator[Case]:
    """The surest right and the surest wrong answers of each class; of a regression, the least and largest errors.

    Of a yes-or-no question those that a right answer and a wrong one would be surest of: which of them the threshold
    calls so, the evaluation knows, and shows those alone (``gallery.section``).
    """
    questions = task.questions(truth)
    if not questions.shape[1]:
        yield from _by_error(task, truth[:, 0], probabilities[:, 0], count)
        return
    exclusive = questions.shape[1] > truth.shape[1]  # one truth, several classes
    for k, name in enumerate(task.names):
        for value in (1, 0) if not exclusive else (1,):
            rows = np.flatnonzero(questions[:, k] == value)
            sure = probabilities[rows, k] if value else 1 - probabilities[rows, k]
            order = np.argsort(-sure, kind="stable")
            right, wrong = order, order[::-1]
            if exclusive:
                best = probabilities[rows].argmax(axis=1) == k
                right, wrong = right[best[right]], wrong[~best[wrong]]
            for at, correct in [*((at, True) for at in right[:count]), *((at, False) for at in wrong[:count])]:
                row = int(rows[at])
                given = int(probabilities[row].argmax()) if exclusive else k
                yes = exclusive or (value == 1) == correct
                yield Case(
                    position=row,
                    about=name,
                    truth=name if exclusive else ("positive" if value else "negative"),
                    answer=task.names[given] if exclusive else ("positive" if yes else "negative"),
                    probability=float(sure[at]),
                    right=correct,
                    output=given,
                    sign=1 if yes else -1,
                )


def _by_error(task: Task, truth: np.ndarray, given: np.ndarray, count: int) -> Iterator[Case]:
    order = np.argsort(np.abs(given - truth), kind="stable")
    picked = min(count, len(order) // 2)
    for right, rows in ((True, order[:picked]), (False, order[::-1][:picked])):
        for row in rows:
            sign = 1 if given[row] >= np.median(truth) else -1
            said = f"{truth[row]:g}", f"{given[row]:.3g}", float(given[row])
            yield Case(int(row), task.names[0], *said, right, 0, sign, number=True)


def target(network: "Module", image: np.ndarray) -> str | None:
    """Name of the last layer whose output is a map of at least six cells a side; of the finest one where none is.

    Found by running ``image`` ``(1, C, …)``, so that it holds for every architecture. None: the network has no maps.
    """
    import torch

    seen: dict[str, int] = {}

    def note(name: str) -> Any:
        def hook(module: "Module", inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == image.ndim and output.shape[1] > image.shape[1]:
                seen.pop(name, None)  # of a module that is called again, the last call is what GradCAM sees
                seen[name] = min(output.shape[-2:])
            else:
                seen.pop(name, None)

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name]
    with torch.inference_mode():
        network(ready(network, image))
    for handle in handles:
        handle.remove()
    fine = [name for name, cells in seen.items() if cells >= LEAST_CELLS]
    if fine:
        return fine[-1]
    return max(seen, key=lambda name: seen[name]) if max(seen.values(), default=1) > 1 else None


def ready(network: "Module", images: np.ndarray) -> "Tensor":
    """Images of the store in 0…1, on the network's device."""
    import torch

    device = next(network.parameters()).device
    return scale(torch.from_numpy(np.ascontiguousarray(images)).to(device))


def cams(network: "Module", layer: str, images: np.ndarray, cases: list[Case]) -> tuple[np.ndarray, np.ndarray]:
    """Grad-CAM of each case: as the layer's cells ``(N, …)``, and at the images' size in 0…1."""
    import torch
    from monai.visualize import GradCAM

    class Both(torch.nn.Module):
        """Outputs, and the same with the other sign: what speaks for no."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: "Tensor") -> "Tensor":
            logits: Tensor = self.network(image)
            return torch.cat([logits, -logits], dim=1)

    network = copy.deepcopy(network)  # GradCAM leaves its hooks in it
    for module in network.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010  # what overwrites its input leaves no gradient to read
    both = Both().eval().requires_grad_(True)
    cam = GradCAM(both, target_layers=f"network.{layer}", postprocessing=lambda values: values)
    outputs = int(both(ready(network, images[:1])).shape[1]) // 2
    cells: dict[int, np.ndarray] = {}
    maps: dict[int, np.ndarray] = {}
    for answer in sorted({(case.output, case.sign) for case in cases}):
        members = [number for number, case in enumerate(cases) if (case.output, case.sign) == answer]
        image = ready(network, images[members]).requires_grad_()
        raw = cam.compute_map(image, class_idx=answer[0] + (0 if answer[1] > 0 else outputs))
        whole = cam._upsample_and_post_process(raw, image).detach().cpu().numpy()[:, 0]
        cells |= dict(zip(members, raw.detach().cpu().numpy()[:, 0], strict=True))
        maps |= dict(zip(members, whole, strict=True))
    tops = [max(float(maps[number].max()), 1e-12) for number in range(len(cases))]
    return (
        np.stack([cells[number] for number in range(len(cases))]),
        np.stack([maps[number] / top for number, top in enumerate(tops)]),
    )


def _similarity_to_random(
    network: "Module", layer: str, images: np.ndarray, cases: list[Case], cells: np.ndarray
) -> float | None:
    """Mean rank correlation of each map with that of networks of random weights; 0 is what one hopes for.

    None where every pair has a map that is the same all over.
    """
    from scipy.stats import spearmanr

    found = []
    for seed in range(DRAWS):
        others, _ = cams(randomised(network, seed), layer, images, cases)
        for mine, other in zip(cells, others, strict=True):
            if np.ptp(mine) > 0 and np.ptp(other) > 0:
                found.append(float(spearmanr(mine.ravel(), other.ravel()).statistic))
    return round(float(np.mean(found)), 4) if found else None


def randomised(network: "Module", seed: int) -> "Module":
    """The same network with every weight drawn anew, as each layer draws its own at the start."""
    import torch

    fresh = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in fresh.modules():
            reset: Any = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
    return fresh.eval()


def _written(
    folder: Path, number: int, case: Case, part: Part, image: np.ndarray, heat: np.ndarray, mask: np.ndarray
) -> dict[str, Any]:
    """Write the picture of one case; its row of saliency.json."""
    from PIL import Image

    name = f"{number:03d}.png"
    Image.fromarray(overlay(image, heat)).save(folder / name, format="PNG", optimize=False)
    mass = float(heat[..., mask].sum() / heat.sum()) if heat.sum() > 0 else None
    return {
        "file": name,
        "sample": str(part.about["sample"].iloc[case.position]),
        "about": case.about,
        "truth": case.truth,
        "answer": case.answer,
        "probability": round(case.probability, 4),
        "right": case.right,
        "number": case.number,
        "rim_share": None if mass is None else round(mass, 4),
    }


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The image and, beside it, the same under its map, ``(H, 2 W, 3)`` uint8; of a volume, the slice it is highest in.

    Slices with hardly any contrast, such as padding, are passed over: a map has no edges where the image has none.

    Args:
        image: ``(C, …)`` in the store's dtype.
        heat: ``(…)`` in 0…1.
    """
    while heat.ndim > 2:
        contrast = np.ptp(np.moveaxis(image, 1, 0).reshape(len(heat), -1).astype(np.float32), axis=1)
        seen = contrast >= _CONTRAST * contrast.max()
        at = int((heat.sum(axis=tuple(range(1, heat.ndim))) * seen).argmax())
        heat, image = heat[at], image[:, at]
    grey = image.astype(np.float32) / np.iinfo(image.dtype).max
    plain = np.repeat(grey, 3, axis=0) if len(grey) == 1 else grey[:3]
    weight = 0.65 * heat[None]
    ink = np.array([213, 94, 0], np.float32)[:, None, None] / 255
    both = np.concatenate([plain, plain * (1 - weight) + ink * weight], axis=2)
    pixels = np.rint(np.clip(both, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))
