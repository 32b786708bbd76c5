"""What the images were like that a model learned from, and whether another image is like them.

Kept in the bundle: ``familiar.json`` (how often each modality, view, … occurred; the range of spacing, size and
intensity) and ``features.safetensors`` (mean and main directions of what the network's last layer is given). Neither
holds an image or anything of one patient.

A number is unlike when it lies so far outside of what was seen that at most ``TAIL`` of such images are expected
there. Features are unlike when their distance is above a limit that, with ``CONFIDENCE``, no more than ``FAR`` of the
patients exceed who are like those of validation, from whom the network did not learn: the Mahalanobis distance (Lee et
al. 2018, NeurIPS) under probabilistic principal components (Tipping and Bishop 1999). How many images of the test part,
which had no say in any of this, are flagged is counted and stands in ``familiar.json``.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from medimg.files import write_json
from medimg.inference import load_network, logits
from medimg.params import Params
from medimg.records import INDEX, INDEX_SCHEMA, INGEST, WEIGHTS, read_table
from medimg.tasks import task_of
from medimg.tolerance import fences, upper_limit
from medimg.training.data import Part, read_fold, read_parts

if TYPE_CHECKING:
    from torch.nn import Module

    from medimg.models.network import Network

FILE, FEATURES = "familiar.json", "features.safetensors"
KINDS = ("modality", "body_part", "view", "laterality", "photometric", "manufacturer", "model")
"""Facts that are terms; a flag names the fact, never its value."""
DEVICE = ("manufacturer", "model")
"""Those that an import removes without ``retain_device``."""
COLOURS = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
SIZES = ("spacing_slice", "spacing_row", "spacing_column", "depth", "height", "width")
INTENSITIES = ("mean", "std", "p5", "p50", "p95", "sharpness")
FAR, CONFIDENCE = 0.02, 0.9
"""At most this share of the patients like those of validation are flagged for features, with that confidence."""
TAIL = 0.01
"""Share of images like the training data that is expected to be flagged for intensities."""
MOST = 2000
"""Images of each part that are looked at: the first in the order of their names, which are hashes."""
_DIRECTIONS = 64
_STEP = 0.01  # of full brightness: what is seldom other than 0 is not unlike for being a little more
_SLACK = 1.25  # beyond the smallest and largest spacing or size that was seen


def describe(params: Params, folder: Path) -> None:
    """Write ``familiar.json`` and ``features.safetensors`` of the current study's training and validation images."""
    from safetensors.numpy import save_file

    task = task_of(params.study)
    parts = read_parts(task, "train", "validation", "test")
    test = first(parts.pop("test"))
    index = read_table(INDEX, INDEX_SCHEMA).set_index("sample")
    rows = index.loc[[name for part in parts.values() for name in part.about["sample"]]]
    values = pd.DataFrame([intensities(image) for part in parts.values() for image in _images(part)])
    patients = len({name for part in parts.values() for name in part.about["patient"]})
    about: dict[str, Any] = {
        "images": len(rows),
        "kinds": {name: _counts(rows[name]) for name in KINDS},
        "ranges": {name: [None if not len(found) else found.min() / _SLACK, found.max() * _SLACK]
                   for name in SIZES if len(found := rows[name].dropna().astype(float))},
        "policies": json.loads(INGEST.read_text(encoding="utf-8")).get("policies", []),
        "unknown": {name: int(rows[name].isna().sum()) for name in SIZES},
        "intensities": {name: fences(values[name].to_numpy(), patients, TAIL / (2 * len(INTENSITIES)), _STEP)
                        for name in INTENSITIES},
    }  # fmt: skip
    network, _ = load_network(WEIGHTS)
    if len(network.alone()) > 1:
        parts = read_fold(task, 0)  # the other networks learned from this fold
    size = params.predict.batch_size
    space, about["distance"] = _features(network, parts["train"], parts["validation"], size)
    save_file(vars(space) if space else {}, folder / FEATURES)
    about["test"] = _on_test(Familiar(about, space), network, test, index.loc[test.about["sample"]], size)
    write_json(folder / FILE, about)


def _on_test(familiar: "Familiar", network: "Network", test: Part, rows: pd.DataFrame, size: int) -> dict[str, int]:
    """How many images of test there are, how many are flagged, and for what."""
    known = rows[[*KINDS, *SIZES]].astype(object).where(rows.notna(), None)
    features = features_of(network, test, size) if len(test) else None
    far = np.zeros(len(test), bool) if features is None else familiar.far(features)[1]
    flags = [
        familiar.strange({str(name): value for name, value in one.items()}, intensities(image))
        + (["features"] if off else [])
        for (_, one), image, off in zip(known.iterrows(), _images(test), far, strict=True)
    ]
    each = Counter(flag for one in flags for flag in one)
    return {"images": len(flags), "flagged": sum(map(bool, flags)), **dict(sorted(each.items()))}


def first(part: Part) -> Part:
    """At most ``MOST`` samples of a part."""
    each = {name: getattr(part, name)[:MOST] for name in ("rows", "truth", "numbers", "about")}
    return replace(part, **each)


def _images(part: Part) -> Iterator[np.ndarray]:
    return (part.images[row] for row in part.rows)


def _counts(values: "pd.Series[str]") -> dict[str, int]:
    """How often each value occurs; the empty text: not known."""
    return {str(name): int(count) for name, count in values.fillna("").value_counts().sort_index().items()}


def intensities(image: np.ndarray) -> dict[str, float]:
    """Of one image as the network sees it, ``(C, …)`` in the store's dtype: numbers in 0…1."""
    top = float(np.iinfo(image.dtype).max)
    grey = image.mean(axis=0, dtype=np.float32) / top
    p5, p50, p95 = np.percentile(grey, [5, 50, 95])
    steps = [float(np.abs(np.diff(grey, axis=axis)).mean()) for axis in range(grey.ndim)]
    numbers = float(grey.mean()), float(grey.std()), float(p5), float(p50), float(p95), max(steps)
    return dict(zip(INTENSITIES, numbers, strict=True))


def _features(network: "Network", train: Part, validation: Part, size: int) -> "tuple[Space | None, float | None]":
    """Where the training images lie, and the limit of the distance from there; None where nothing can be said."""
    if len(train) < 2 or not len(validation):
        return None, None
    known, held = features_of(network, first(train), size), features_of(network, first(validation), size)
    if known is None or held is None or not np.isfinite(known).all():
        return None, None
    space = Space.fit(known)
    farthest = pd.Series(space.distance(held)).groupby(first(validation).about["patient"].to_numpy()).max()
    return space, upper_limit(farthest.to_numpy(), FAR, CONFIDENCE)


def features_of(network: "Network", part: Part, batch: int) -> np.ndarray | None:
    """``(N, F)`` float32: what the last layer is given of each sample; None where there is none."""
    alone = network.alone()[0]
    with collected(alone) as found:
        for _ in logits(alone, part, batch):
            pass
    return np.concatenate(found) if found else None


@contextmanager
def collected(network: "Network") -> Iterator[list[np.ndarray]]:
    """Collect what the last linear layer is given, ``(N, F)`` float32 a batch, while the block runs.

    Of several networks that answer together it is the first one's.
    """
    import torch

    found: list[np.ndarray] = []
    layers = [module for module in network.alone()[0].modules() if isinstance(module, torch.nn.Linear)]

    def note(module: "Module", inputs: Any) -> None:
        found.append(inputs[0].detach().float().flatten(1).cpu().numpy())

    handle = layers[-1].register_forward_pre_hook(note) if layers else None
    try:
        yield found
    finally:
        if handle:
            handle.remove()


@dataclass(frozen=True)
class Space:
    """Where the features of the training images lie: a Gaussian of few directions and the same noise in all others."""

    mean: np.ndarray
    """``(F,)`` float32"""
    directions: np.ndarray
    """``(K, F)`` float32, orthonormal"""
    spread: np.ndarray
    """``(K,)`` float32: variance along each direction"""
    noise: np.ndarray
    """``(1,)`` float32: variance along any other"""

    @classmethod
    def fit(cls, features: np.ndarray) -> "Space":
        """Of ``(N, F)`` features, N ≥ 2."""
        mean = features.mean(axis=0, dtype=np.float64)
        _, values, directions = np.linalg.svd(features - mean, full_matrices=False)
        variance = values**2 / (len(features) - 1)
        most = max(1, min(_DIRECTIONS, len(features) // 4, len(variance) - 1))
        wanted = int(np.searchsorted(np.cumsum(variance), 0.95 * variance.sum())) + 1
        kept = min(most, wanted)
        rest = features.shape[1] - kept
        noise = variance[kept:].sum() / rest if rest else 0.0
        floor = max(float(variance[0]) * 1e-6, 1e-12)
        return cls(
            mean.astype(np.float32),
            directions[:kept].astype(np.float32),
            np.maximum(variance[:kept], floor).astype(np.float32),
            np.array([max(noise, floor)], np.float32),
        )

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Root of the mean squared deviation of ``(N, F)`` features in standard deviations, float64 ``(N,)``."""
        off = features.astype(np.float64) - self.mean
        along = off @ self.directions.T.astype(np.float64)
        rest = np.maximum((off**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        return np.asarray(np.sqrt(((along**2 / self.spread).sum(axis=1) + rest / self.noise[0]) / features.shape[1]))


@dataclass(frozen=True)
class Familiar:
    """What ``describe`` wrote."""

    about: dict[str, Any]
    space: Space | None

    @classmethod
    def read(cls, bundle: Path) -> "Familiar":
        """Of a bundle that ``bundle.opened`` has found whole."""
        from safetensors.numpy import load_file

        arrays = load_file(bundle / FEATURES)
        return cls(json.loads((bundle / FILE).read_text(encoding="utf-8")), Space(**arrays) if arrays else None)

    @property
    def on_test(self) -> tuple[int, int]:
        """How many images of the test part were looked at, and how many were flagged; none in an older bundle."""
        found = self.about.get("test", {})
        return found.get("images", 0), found.get("flagged", 0)

    @property
    def removed(self) -> tuple[str, ...]:
        """Facts of which the training images' headers said nothing, since every import removed them."""
        policies = self.about.get("policies", [])
        return () if not policies or any(policy.get("retain_device") for policy in policies) else DEVICE

    @property
    def issuers(self) -> bool:
        """Whether the imports told patients apart by who issued their PatientIDs."""
        return any(policy.get("issuer_of_patient_id") for policy in self.about.get("policies", []))

    @property
    def not_compared(self) -> list[str]:
        """What no image is flagged for: facts that imports removed, and features where no limit could be set."""
        limit = self.space is not None and self.about["distance"]
        return [*self.removed, *([] if limit else ["features"])]

    def strange(self, facts: Mapping[str, Any], numbers: Mapping[str, float]) -> list[str]:
        """Names of the facts and intensities of an image that are unlike the training data; no value of its header."""
        kinds = [name for name in KINDS if name not in self.removed and not self._occurred(name, facts[name])]
        sizes = [name for name in SIZES if self._beyond(name, facts[name])]
        flags = [f"{name} unknown" if not facts[name] else name for name in kinds]
        flags += list(dict.fromkeys("spacing" if name.startswith("spacing") else "size" for name in sizes))
        outside = [name for name, (low, high) in self.about["intensities"].items() if not low <= numbers[name] <= high]
        return flags + (["intensity"] if outside else [])

    def _occurred(self, name: str, value: Any) -> bool:
        """Whether the training data have it; an import that masks text in pixels may write colours in another way."""
        known = self.about["kinds"][name]
        masked = any(policy.get("clean_pixels") for policy in self.about.get("policies", []))
        if name == "photometric" and masked and str(value or "") in COLOURS:
            return bool(COLOURS & known.keys())
        return str(value or "") in known

    def _beyond(self, name: str, value: float | None) -> bool:
        known = name in self.about["ranges"]
        if value is None or math.isnan(value):
            return known and not self.about["unknown"][name]
        low, high = self.about["ranges"][name] if known else (-math.inf, math.inf)
        return not low <= value <= high

    def far(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance of ``(N, F)`` features as a share of the limit, float64 ``(N,)``, and whether it is beyond it.

        What is no number is beyond it.
        """
        if self.space is None or not self.about["distance"]:
            return np.full(len(features), np.nan), np.zeros(len(features), bool)
        share = self.space.distance(features) / self.about["distance"]
        return share, ~(share <= 1)
