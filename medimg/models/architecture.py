"""What a network is, in plain values: written to model.yaml and into the weights file, read back to build it again."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from medimg.errors import TrainingError

if TYPE_CHECKING:
    from medimg.models.network import Network

CENTRED = ((0.5,), (0.5,))
NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "centred": CENTRED,
    "unit": ((0.0,), (1.0,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # of its training images
}
LEAST = {"lenet5": 16, "alexnet": 63}  # pixels along each axis, so that every layer has something to see
LEAST_ELSEWHERE = 32  # a network that halves five times
CLASSIC = ("perceptron", "mlp", "lenet5", "alexnet")
"""the lecture's networks"""
ANY_SIZE = ("perceptron", "mlp")
MEMBERS = "members."
"""What the tensors of an ensemble's networks are called by, then the network's number."""


@dataclass(frozen=True)
class Architecture:
    """A network and what it is given."""

    name: str
    """``model.name`` of params.yaml"""
    shape: tuple[int, ...]
    """of an image: ``(C, H, W)`` or ``(C, D, H, W)``"""
    outputs: int
    """width of the last layer"""
    hidden: int = 0
    """units of the mlp's hidden layer"""
    colours: int = 0
    """channels of the first layer: 3 where weights for colour see a grey image as equal colours; 0: as ``shape``"""
    mean: tuple[float, ...] = CENTRED[0]
    """taken from the image, which is in 0…1: one value, or one a channel of the first layer"""
    std: tuple[float, ...] = CENTRED[1]
    """then divided by"""
    zscore: bool = False
    """each image by the mean and deviation of its own values above 0, in the place of ``mean`` and ``std``"""
    members: int = 1
    """networks that answer together, each of this architecture: the mean of their logits is the answer"""

    @property
    def channels(self) -> int:
        """Of the first layer."""
        return self.colours or self.shape[0]

    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return len(self.shape) - 1

    def check(self) -> None:
        """Refuse what cannot be built.

        Raises:
            TrainingError: the images are too small, have a dimension too many, or the channels do not match.
        """
        least = 1 if self.name in ANY_SIZE else LEAST.get(self.name, LEAST_ELSEWHERE)
        if min(self.shape[1:]) < least:
            raise TrainingError(
                f"{self.name} needs images of at least {least} pixels along each axis, and these are "
                f"{' × '.join(map(str, self.shape[1:]))}. Raise preprocess.size or choose another model.name."
            )
        if self.name == "efficientnet-lite0" and self.dimensions != 2:
            raise TrainingError("efficientnet-lite0 is for 2D images; for volumes choose efficientnet-b0 or a resnet.")
        if {len(self.mean), len(self.std)} - {1, self.channels}:
            raise TrainingError(
                f"model.normalisation has {len(self.mean)} colours, and the network's input has {self.channels}. "
                "Choose centred, or set preprocess.channels to 3."
            )

    def network(self, seed: int) -> "Network":
        """Built with fresh weights, the same for the same seed; the global random state is left alone.

        Raises:
            TrainingError: see ``check``.
        """
        from medimg.models.network import build

        self.check()
        return build(self, seed)

    def record(self) -> dict[str, Any]:
        """Plain values for YAML and JSON, the opposite of ``read``."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def read(cls, record: dict[str, Any]) -> "Architecture":
        """From what ``record`` gave."""
        plain: dict[str, Any] = {name: tuple(of) if isinstance(of, list) else of for name, of in record.items()}
        return cls(**plain)

    def header(self) -> dict[str, str]:
        """Metadata of a weights file, so that the file alone says what it belongs to."""
        return {"medimg": json.dumps(self.record(), sort_keys=True)}
