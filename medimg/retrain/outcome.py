"""How a night ended: the exit status, and the one line of JSON that says all of it. Counts and hashes, no patient."""

import json
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any


class Status(IntEnum):
    """What ``medimg retrain`` exits with. docs/retrain.md says what to do about each."""

    PROMOTED = 0
    USAGE = 2  # as of every command: params.yaml or the study needs a change
    KEPT = 10
    NOTHING_NEW = 20
    REFUSED_DATA = 30
    DRIFTED = 31
    BUSY = 40
    POSTPONED = 50  # disk, time, a remote that does not answer, a branch that moves: the next night tries again
    FAILED = 60


DISK_IS_FULL = "The disk is full. Nothing was changed; make room, and the next night goes on."


@dataclass
class Outcome:
    """What a night did; it grows from step to step."""

    status: Status = Status.FAILED
    sentence: str = ""
    started: str = ""
    """UTC, ISO 8601"""
    seconds: float = 0.0
    step: str = ""
    """the last step that began"""
    healed: str = ""
    """what the night before had left behind, and what became of it"""
    images: int = 0
    """new ones since the last training"""
    patients: int = 0
    """with new images"""
    rules: list[dict[str, Any]] = field(default_factory=list)
    drift: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    champion: str = ""
    """first 16 digits of the seal of the model in use"""
    commit: str = ""
    """what was published"""
    step_seconds: dict[str, float] = field(default_factory=dict)

    def line(self) -> str:
        """One line of JSON."""
        about = asdict(self) | {"status": self.status.name.lower().replace("_", " "), "exit": int(self.status)}
        return json.dumps(about, ensure_ascii=False, allow_nan=False)
