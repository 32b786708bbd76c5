"""The block ``ingest.geometry``: which slices make a volume, and what is done with those that do not quite."""

from typing import Literal

from pydantic import Field

from medimg.params.block import Block, Fraction


class Geometry(Block):
    """How series become volumes; by default, what does not fit is refused."""

    time: Literal["volumes", "channels"] = Field(
        "volumes", description="each time point is a volume of its own, or all of them are the channels of one"
    )
    min_slices: int = Field(3, ge=1, description="fewer slices make no volume")
    tolerance: Fraction = Field(
        0.02, description="how far a slice may lie from its even place, as a fraction of the spacing of slices"
    )
    missing: Literal["refuse", "keep", "resample"] = Field(
        "refuse", description="slices missing: keep closes the gap with the mean spacing, resample interpolates them"
    )
    uneven: Literal["refuse", "keep", "resample"] = Field(
        "refuse", description="slices unevenly spaced: keep takes the mean spacing, resample interpolates even ones"
    )
    tilt: Literal["refuse", "keep", "resample"] = Field(
        "refuse", description="slices stacked at a slant (gantry tilt): keep leaves the slant in the affine"
    )
    duplicates: Literal["refuse", "first"] = Field(
        "refuse", description="two slices at one place: refuse, or keep the one with the lowest instance number"
    )
    localizers: Literal["refuse", "keep"] = Field("refuse", description="scout images, as their image type says")
