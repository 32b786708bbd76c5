"""The journal of a night: what it is doing, on disk, so that the next one knows whether this one ended."""

import contextlib
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medimg.files import write_json
from medimg.retrain.outcome import Outcome


class Journal:
    """``.medimg/retrain/night.json``: when the night began, its step, and whether it ended by itself."""

    def __init__(self, path: Path, outcome: Outcome) -> None:
        self._path, self._outcome = path, outcome
        self._at = time.monotonic()
        self.before = self._read()
        """the journal of the night before; empty where there was none"""

    def step(self, name: str) -> None:
        """Note that a step begins."""
        self._clock()
        self._outcome.step = name
        self._write(ended=False)
        print(f"{datetime.now(UTC):%H:%M:%S} {name}", flush=True)

    def end(self) -> None:
        """Note that the night ended by itself; on a full disk the next one takes it for cut off, which does no harm."""
        self._clock()
        with contextlib.suppress(OSError):
            self._write(ended=True)

    def unfinished(self) -> str:
        """What the night before was doing when it was cut off; empty where it ended."""
        return "" if self.before.get("ended", True) else str(self.before["step"])

    def _clock(self) -> None:
        now = time.monotonic()
        if self._outcome.step:
            known = self._outcome.step_seconds.get(self._outcome.step, 0.0)
            self._outcome.step_seconds[self._outcome.step] = round(known + now - self._at, 2)
        self._at = now

    def _write(self, *, ended: bool) -> None:
        about = {"started": self._outcome.started, "step": self._outcome.step, "process": os.getpid(), "ended": ended}
        write_json(self._path, about)

    def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
            return found
        except (OSError, ValueError):
            return {}


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
