"""Transfer learning: start from weights that another training left, and say what of them was used."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medimg.errors import TrainingError
from medimg.files import sha256_file

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

WRAPPERS = ("state_dict", "model", "model_state_dict")
PREFIXES = ("module.", "network.", "model.", "backbone.")


@dataclass(frozen=True)
class Transferred:
    """Which tensors of a weights file went into the network."""

    source_sha256: str
    loaded: tuple[str, ...]
    adapted: tuple[str, ...]
    """the first convolution, summed over colours to fit a grey image"""
    skipped: tuple[str, ...]
    """tensors of the network that keep their fresh values: not in the file, or of another shape"""


def transfer(network: "Module", source: str) -> Transferred:
    """Load into ``network`` what fits of a weights file.

    Args:
        network: built; its last layer usually does not fit and stays fresh.
        source: a ``.safetensors`` file, a ``.pt`` file (read with ``weights_only``), or a medimg weights folder.

    Raises:
        TrainingError: there is no such file, it cannot be read safely, or less than half of the network fits.
    """
    path = weights_file(source)
    given = _unwrap(read_weights(path))
    state = network.state_dict()
    loaded, adapted, skipped = [], [], []
    for name, fresh in state.items():
        tensor = given.get(name)
        if tensor is not None and tensor.shape == fresh.shape:
            loaded.append(name)
        elif tensor is not None and _is_colour_of(tensor, fresh):
            tensor = tensor.sum(1, keepdim=True)  # a grey image is the same in every colour
            adapted.append(name)
        else:
            skipped.append(name)
            continue
        state[name] = tensor.to(fresh.dtype)
    share = len(loaded) / len(state)
    if share < 0.5:
        raise TrainingError(
            f"The weights {path.name} that model.weights names do not belong to this network: {len(loaded)} of its "
            f"{len(state)} tensors fit. Set model.name to the architecture that they were trained with."
        )
    network.load_state_dict(state)
    return Transferred(sha256_file(path), tuple(loaded), tuple(adapted), tuple(skipped))


def weights_file(source: str) -> Path:
    """The file that ``model.weights`` names: itself, or the one in a medimg weights folder.

    Raises:
        TrainingError: there is no such file.
    """
    path = Path(source) / "weights.safetensors" if Path(source).is_dir() else Path(source)
    if not path.is_file():
        raise TrainingError(
            f"There is no weights file {path}, which model.weights names. Paths are relative to the study's folder; "
            "none means from scratch."
        )
    return path


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
    for prefix in PREFIXES:
        if weights and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def _is_colour_of(tensor: "Tensor", fresh: "Tensor") -> bool:
    return tensor.ndim == 4 and tensor.shape[1] == 3 and tensor[:, :1].shape == fresh.shape
