"""The blocks ``evaluate`` and ``saliency``: what is reported and how."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from medimg.params.block import Block


class Threshold(Block):
    """How the operating point is chosen, on validation."""

    rule: Literal["youden", "sensitivity", "specificity", "cost"] = Field(
        "youden", description="what the threshold aims at"
    )
    target: Annotated[float, Field(gt=0, lt=1)] = Field(0.9, description="the sensitivity or specificity to reach")
    miss: float = Field(1, gt=0, description="rule cost: one missed finding weighs as many false alarms as this")


class Subgroups(Block):
    """In which groups of patients the metrics are shown, and compared."""

    columns: tuple[str, ...] = Field(
        ("sex", "age", "site", "manufacturer", "view"), description="columns of the index whose values make the groups"
    )
    age_bands: tuple[Annotated[int, Field(ge=1, le=120)], ...] = Field(
        (18, 40, 65, 80), description="ages in years at which a new band begins"
    )
    smallest: int = Field(
        10, ge=2, description="patients of each class that a group needs to be compared; smaller ones are greyed"
    )

    @field_validator("age_bands")
    @classmethod
    def _ascending(cls, bands: tuple[int, ...]) -> tuple[int, ...]:
        if any(low >= high for low, high in pairwise(bands)):
            raise ValueError(f"{', '.join(map(str, bands))} do not ascend")
        return bands


class Shortcuts(Block):
    """The rule of the shortcut audit: limits for AUROCs that would be 0.5 without a shortcut."""

    tolerated: Annotated[float, Field(ge=0.5, lt=1)] = Field(
        0.6, description="suspect when chance is excluded and the AUROC of what is no finding surely exceeds this"
    )
    excluded: Annotated[float, Field(gt=0.5, le=1)] = Field(
        0.7, description="pass only when an AUROC of this or more is ruled out; else too few patients to tell"
    )
    margin: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.05, description="low resolution suffices when the network is surely not better than a thumbnail by this AUROC"
    )
    rim: Annotated[float, Field(gt=0, lt=0.16)] = Field(
        0.0625,
        description="width of the picture's rim as a share of its side; its corners are squares three times as wide",
    )

    @model_validator(mode="after")
    def _in_order(self) -> "Shortcuts":
        if self.tolerated > self.excluded:
            raise ValueError(f"tolerated {self.tolerated:g} is above excluded {self.excluded:g}; let it be the lower")
        return self


class Saliency(Block):
    """Pictures of what the network looked at."""

    cases: int = Field(
        3, ge=0, le=20, description="most confident right and most confident wrong cases of each class; 0: no pictures"
    )


class Evaluate(Block):
    """What is reported and how."""

    aggregate: Literal["mean", "max"] = Field("mean", description="how scores of one unit become one")
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.95, description="level of the intervals")
    recalibrate: bool = Field(
        False, description="correct the probabilities as fitted on validation, before any threshold"
    )
    threshold: Threshold = Threshold()
    subgroups: Subgroups = Subgroups()
    shortcuts: Shortcuts = Shortcuts()
