"""The block ``tune``: what ``medimg tune`` tries. No stage reads it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medimg.params.block import Block

Scalar = bool | int | float | str | None


class Range(Block):
    """A range of numbers to draw from."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _low_before_high(self) -> "Range":
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError("a range needs low < high, and low > 0 where log is true")
        return self


class Tune(Block):
    """What ``medimg tune`` tries, on train and validation alone; it writes the best into this file."""

    search: dict[str, Annotated[list[Scalar], Field(min_length=1)] | Range] = Field(
        {"train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "train.weight_decay": [0, 0.01, 0.1]},
        validate_default=True,
        description="parameter of model, train or augment → a list of values, or {low, high, log: true for factors}",
    )
    trials: int = Field(12, ge=2, description="settings to try; the first is the one that stands in params.yaml")
    minutes: float = Field(60, gt=0, description="wall time after which no further epoch begins")
    at_once: int = Field(1, ge=1, description="trials that run side by side; on GPUs, one each")
    scheduler: Literal["asha", "none"] = Field(
        "asha", description="asha: trials that are behind at the same epoch end early; none: all run to their end"
    )
