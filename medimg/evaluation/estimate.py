"""A number with its interval, or the reason why there is none."""

from dataclasses import dataclass, replace
from typing import Any

DIGITS = 6  # decimals in metrics.json: far below any interval's width, far above a float's noise


@dataclass(frozen=True)
class Estimate:
    """A metric: its value and interval. What is undefined is None with a reason, never 0."""

    value: float | None
    low: float | None = None
    high: float | None = None
    method: str = ""
    """How the interval was made, as the report prints it."""
    reason: str = ""
    """Why value or interval is missing; empty where nothing is."""

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise ValueError("an undefined metric needs a reason")
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has both ends or none")

    def as_json(self) -> dict[str, Any]:
        """The plain mapping that stands in metrics.json: floats of six decimals, ``reason`` only where there is one."""
        plain: dict[str, Any] = {name: rounded(getattr(self, name)) for name in ("value", "low", "high")}
        return plain | ({"reason": self.reason} if self.reason else {})

    def mapped(self, **changes: Any) -> "Estimate":
        """The same estimate with some fields changed."""
        return replace(self, **changes)


def undefined(reason: str) -> Estimate:
    """An estimate that has no value, and why."""
    return Estimate(None, reason=reason)


def rounded(value: float | None) -> float | None:
    """Six decimals; ``None`` stays ``None`` and minus zero becomes zero."""
    return None if value is None else round(float(value), DIGITS) + 0.0
