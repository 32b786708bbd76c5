"""The block ``preprocess``: what every image goes through once, before training."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from medimg.params.block import Block, Percentile, Probability

Side = Annotated[int, Field(ge=8, le=4096)]
Millimetres = Annotated[float, Field(gt=0)]
Organ = Literal["abdomen", "bone", "brain", "liver", "lung", "mediastinum", "spine", "stroke", "subdural"]

CT_WINDOWS: dict[str, tuple[float, float]] = {
    "abdomen": (-160, 240),
    "bone": (-500, 1300),
    "brain": (0, 80),
    "liver": (-45, 105),
    "lung": (-1350, 150),
    "mediastinum": (-125, 225),
    "spine": (-75, 175),
    "stroke": (20, 60),
    "subdural": (-25, 175),
}
"""Lowest and highest HU shown: level ∓ half the width that radiologists commonly set for the organ"""


class Preprocess(Block):
    """What every image goes through once, before training."""

    orientation: str | None = Field(
        None,
        pattern=r"^[RLAPIS]{3}$",
        description="volumes: where slices, rows and columns are to increase toward, such as SPL; null: as read",
    )
    foreground: float | None = Field(
        None, description="crop to the box of what is above this value, in the image's own unit; null: no crop"
    )
    margin: int = Field(0, ge=0, description="pixels that the box of the foreground is wider on each side")
    spacing: Millimetres | tuple[Millimetres, Millimetres] | tuple[Millimetres, Millimetres, Millimetres] | None = (
        Field(None, description="mm between pixels to resample to: one number, or one for each axis; null: as read")
    )
    size: Side | tuple[Side, Side] | tuple[Side, Side, Side] | None = Field(
        224,
        description="pixels of the result: one number, or [rows, columns], or [slices, rows, columns]; null: as each "
        "sample comes, of its own shape",
    )
    fit: Literal["pad", "stretch", "crop"] = Field(
        "pad",
        description="how an image comes to its size. pad: scaled to fit, the rest black; stretch: scaled, the aspect "
        "is not kept; crop: not scaled, cut or padded around its middle",
    )
    intensity: Literal["scale", "zscore"] = Field(
        "scale",
        description="scale: window or percentiles become black and white; zscore: mean 0, standard deviation 1",
    )
    window: tuple[float, float] | Literal["header"] | Organ | None = Field(
        None,
        description="(lowest, highest) value shown, in the image's own unit (HU for CT); an organ: its usual window in "
        "CT; header: what the file's VOI table or window shows, where it has one; null: percentiles",
    )
    percentiles: tuple[Percentile, Percentile] = Field(
        (0.5, 99.5),
        description="with no window: these of each image become its darkest and brightest value",
    )
    nonzero: bool = Field(
        False, description="percentiles, mean and deviation are those of the values that are not 0 (MR without skull)"
    )
    deviations: float = Field(5, gt=0, description="zscore: what lies further from the mean, in deviations, is cut off")
    channels: Literal[1, 3] = Field(1, description="1: grey, colour becomes luminance; 3: colour, grey is repeated")
    dtype: Literal["uint8", "uint16"] = Field("uint8", description="how finely the store keeps the result")
    kernel: Literal["separable", "monai"] = Field(
        "separable",
        description="monai: MONAI's own kernels, bit for bit; separable: the same steps as sparse matrices along each "
        "axis, several times as fast, within one level of uint8",
    )
    remote: str | None = Field(
        None,
        pattern=r"^[a-z0-9]+://[^@]*$",
        description="URL, such as s3://bucket/stores or file:///shared/stores, where the store's arrays are kept, not "
        "in artifacts/store; each machine reads them from a copy of its own",
    )
    max_quarantined: Probability = Field(
        0.05, description="fail when a larger share of the samples cannot be preprocessed"
    )
    seconds: float = Field(60, gt=0, description="one sample may take this long, s")
    memory: float = Field(4, gt=0, description="and this much memory, GiB")

    @model_validator(mode="after")
    def _ascending(self) -> "Preprocess":
        for name in ("window", "percentiles"):
            bounds = getattr(self, name)
            if isinstance(bounds, tuple) and not bounds[0] < bounds[1]:
                raise ValueError(f"{name}: {bounds[0]:g} is not below {bounds[1]:g}")
        if self.orientation and len({"RLAPIS".index(letter) // 2 for letter in self.orientation}) < 3:
            raise ValueError(f"orientation: {self.orientation} names an axis twice")
        if self.intensity == "zscore" and self.window is not None:
            raise ValueError("window: intensity: zscore takes none; set window: null")
        return self

    def touching(self) -> dict[str, Any]:
        """The parameters that change a sample, as they stand: those that other ones switch off are left out."""
        values = self.model_dump(mode="json", exclude={"remote", "max_quarantined", "seconds", "memory"})
        idle = {"deviations"} if self.intensity == "scale" else {"window", "percentiles"}
        if isinstance(self.window, str) and self.window in CT_WINDOWS:
            values["window"] = list(CT_WINDOWS[self.window])
        if self.intensity == "scale" and self.window not in (None, "header"):
            idle |= {"percentiles", "nonzero"}
        if self.foreground is None:
            idle |= {"margin"}
        if self.size is None:
            idle |= {"fit"}
        return {name: value for name, value in values.items() if name not in idle}

    def axes(self, rank: int) -> tuple[tuple[int, ...] | None, tuple[float, ...] | None]:
        """Size and spacing along each of ``rank`` axes.

        Raises:
            ValueError: there are as many as another number of axes.
        """
        found = []
        for name in ("size", "spacing"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != rank:
                raise ValueError(f"preprocess.{name} has {len(value)} numbers")
            found.append(value if value is None or isinstance(value, tuple) else (value,) * rank)
        return found[0], found[1]
