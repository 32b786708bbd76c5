"""What the workers of a finished fit bring back."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medimg.files import publish_folder, write_json

SAID = "said.txt"
"""In a network's folder: what one of several workers said for which trying again is no use."""


@dataclass(frozen=True)
class Outcome:
    """One trained network, and how that went."""

    weights: bytes
    """safetensors"""
    history: list[dict[str, Any]]
    """rows of history.csv"""
    workers: list[dict[str, Any]]
    """rank, node, pid, device and samples of each"""
    best: dict[str, float]
    """epoch and score"""
    stopped: str | None
    """why the fit ended early, when losses were no numbers any more"""
    warnings: list[str]
    architecture: dict[str, Any]
    transferred: dict[str, Any] | None

    @property
    def validated(self) -> float:
        """The score of the epoch that was kept."""
        return float(next(row["validation_score"] for row in self.history if row["epoch"] == self.best["epoch"]))

    def write(self, folder: Path) -> None:
        """Publish it as a folder, whole or not at all."""
        with publish_folder(folder) as partial:
            (partial / "weights.safetensors").write_bytes(self.weights)
            write_json(partial / "outcome.json", {name: of for name, of in asdict(self).items() if name != "weights"})

    @classmethod
    def read(cls, folder: Path) -> "Outcome":
        """What ``write`` wrote."""
        about = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
        return cls(weights=(folder / "weights.safetensors").read_bytes(), **about)
