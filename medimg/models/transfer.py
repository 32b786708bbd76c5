"""Transfer learning: start from weights that another training left, and say what of them was used."""

import json
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medimg.errors import TrainingError
from medimg.models.architecture import CENTRED, MEMBERS, NORMALISATIONS, Architecture
from medimg.models.weights import Given, find
from medimg.params import Model

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from medimg.models.network import Network

WRAPPERS = ("state_dict", "model", "model_state_dict")
PREFIXES = ("module.", "network.", "model.", "body.", "backbone.")
FIRST = f"{MEMBERS}0."


@dataclass(frozen=True)
class Transferred:
    """Which tensors of a weights file went into the network."""

    source: str
    source_sha256: str
    loaded: tuple[str, ...]
    adapted: tuple[str, ...]
    """the first convolution, for another number of channels"""
    skipped: tuple[str, ...]
    """tensors of the network that keep their fresh values: not in the file, or of another shape"""
    unused: tuple[str, ...]
    """tensors of the file that the network has no place for"""

    def sentence(self) -> str:
        """For a person."""
        fresh = f"; fresh: {', '.join(self.skipped)}" if 0 < len(self.skipped) <= 4 else f"; fresh: {len(self.skipped)}"
        adapted = f"; adapted to the channels: {', '.join(self.adapted)}" if self.adapted else ""
        unused = f"; not used of the file: {len(self.unused)}" if self.unused else ""
        total = len(self.loaded) + len(self.adapted) + len(self.skipped)
        return f"starting from {self.source}: {len(self.loaded)} of {total} tensors loaded{adapted}{fresh}{unused}"


def start(
    model: Model,
    shape: tuple[int, ...],
    outputs: int,
    seed: int,
    cohort: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> "tuple[Network, Transferred | None]":
    """The network to train: fresh, or with what fits of the weights that ``model.weights`` names.

    Grey images are shown to weights for colour as three equal colours, and the image is normalised as the weights know
    it; the layers that fit by name and shape are loaded; the last layer stays fresh when its width differs.

    Args:
        model: the block ``model``.
        shape: of an image, ``(C, H, W)`` or ``(C, D, H, W)``.
        outputs: width of the last layer.
        seed: of the fresh weights.
        cohort: mean and deviation of the training images, one a channel, where these normalise.

    Raises:
        TrainingError: the network cannot be built for such images; the file is missing, cannot be read safely, says
            that it is of another network, or less than half of the network's layers fit.
    """
    mean, std = cohort or NORMALISATIONS.get(model.normalisation, CENTRED)
    alone = model.normalisation == "zscore"
    plain = Architecture(model.name, shape, outputs, model.hidden, zscore=alone)
    plain.check()
    given = find(model, plain.dimensions)
    if given is None:
        return replace(plain, mean=mean, std=std).network(seed), None
    weights = _unwrap(read_weights(given.path))
    _same(given, plain)
    first = _first_convolution(plain.network(seed).body)
    channels = weights[first].shape[1] if first in weights else shape[0]
    colours = channels if shape[0] == 1 and channels == 3 else 0
    alone = plain.zscore
    if model.normalisation == "auto":
        mean, std = _normalisation(given, colours or shape[0])
        header = _header(given.path)
        alone = header.zscore if header else given.zscore
    network = replace(plain, colours=colours, mean=mean, std=std, zscore=alone).network(seed)
    return network, transfer(network.body, weights, given, first)


def transfer(body: "Module", weights: "dict[str, Tensor]", given: Given, first: str = "") -> Transferred:
    """Load into ``body`` what fits of ``weights``.

    Args:
        body: built.
        weights: tensors by name.
        given: where they come from.
        first: name of the first convolution, the only tensor that is adapted.

    Raises:
        TrainingError: less than half of the network's layers fit.
    """
    state = body.state_dict()
    loaded, adapted, skipped = [], [], []
    for name, fresh in state.items():
        tensor = weights.get(name)
        if tensor is not None and tensor.shape == fresh.shape:
            loaded.append(name)
        elif tensor is not None and name == first and tensor.shape[2:] == fresh.shape[2:]:
            tensor = tensor.sum(1, keepdim=True).expand_as(fresh) / fresh.shape[1]  # all channels the same: as grey
            adapted.append(name)
        else:
            skipped.append(name)
            continue
        state[name] = tensor.to(fresh.dtype)
    layers = {name for name, values in state.items() if values.ndim > 1}  # norms fit in 2D as in 3D, and say nothing
    fitting = layers & {*loaded, *adapted}
    if len(fitting) < len(layers) / 2:
        raise TrainingError(
            f"The weights {given.path.name} that model.weights names do not belong to this network: {len(fitting)} of "
            f"its {len(layers)} layers fit. Set model.name to the architecture that they were trained with, and for "
            "volumes choose weights that were trained on volumes."
        )
    body.load_state_dict(state)
    unused = tuple(sorted(set(weights) - set(state)))
    return Transferred(given.source, given.sha256, tuple(loaded), tuple(adapted), tuple(skipped), unused)


def _same(given: Given, network: Architecture) -> None:
    """Refuse what a weights file of medimg says is of another network: parts of it may fit by name and shape."""
    header = _header(given.path)
    if header and (header.name, header.dimensions) != (network.name, network.dimensions):
        raise TrainingError(
            f"The weights {given.path.name} that model.weights names are those of {header.name} for "
            f"{header.dimensions}D images, and this is {network.name} for {network.dimensions}D images. Set model.name "
            "to theirs, or choose other weights."
        )


def unsaid(model: Model, given: Given) -> bool:
    """Whether nothing says how the images were normalised that the weights were trained with."""
    from safetensors import SafetensorError

    try:
        header = _header(given.path)
    except SafetensorError:
        return False  # it cannot be read at all, which is said elsewhere
    return model.normalisation == "auto" and not (header or given.normalisation or given.zscore)


def _first_convolution(body: "Module") -> str:
    return next((name for name, values in body.named_parameters() if values.ndim >= 4), "")


def _normalisation(given: Given, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std that the weights know, one a channel or one for all."""
    header = _header(given.path)
    mean, std = (header.mean, header.std) if header else given.normalisation or CENTRED
    if len(mean) not in (1, channels):  # colours of their own, and other channels here: the mean colour's
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    return mean, std


def _header(path: Path) -> Architecture | None:
    """What a weights file of medimg says of itself."""
    if path.suffix != ".safetensors":
        return None
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        record = (file.metadata() or {}).get("medimg")
    return Architecture.read(json.loads(record)) if record else None


def read_weights(path: Path) -> "dict[str, Tensor]":
    """Read a weights file without running any code that it may hold.

    Raises:
        TrainingError: it cannot be read so.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            weights: dict[str, Tensor] = load_file(path)
        else:
            weights = dict(torch.load(path, map_location="cpu", weights_only=True).items())
    except pickle.UnpicklingError:
        raise TrainingError(
            f"{path.name} holds more than tensors, and loading it could run foreign code: refused. "
            "Save its state_dict as .safetensors and name that in model.weights."
        ) from None
    except (AttributeError, SafetensorError, RuntimeError, EOFError, OSError):
        raise TrainingError(f"{path.name} is not a readable weights file (.safetensors, .pt or .pth).") from None
    return weights


def _unwrap(weights: "dict[str, Tensor]") -> "dict[str, Tensor]":
    for wrapper in WRAPPERS:
        if isinstance(weights.get(wrapper), dict):
            weights = weights[wrapper]  # type: ignore[assignment]
    weights = {name: tensor for name, tensor in weights.items() if hasattr(tensor, "ndim")}
    if weights and all(name.startswith(MEMBERS) for name in weights):  # of an ensemble, the first network
        weights = {name: tensor for name, tensor in weights.items() if name.startswith(FIRST)}
    for prefix in (*PREFIXES, FIRST):
        if weights and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights
