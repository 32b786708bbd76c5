"""The block ``augment``: random changes to a training image, and presets of them for each modality."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from medimg.params.block import Block, Fraction, Probability


def _ascending(bounds: tuple[Any, Any]) -> tuple[Any, Any]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"{bounds[0]:g} is above {bounds[1]:g}: write the lower bound first")
    return bounds


Ascending = AfterValidator(_ascending)
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Natural = Annotated[int, Field(ge=1, le=16)]


class Flip(Block):
    """Mirroring: a probability for each axis of the picture."""

    width: Probability = Field(0, description="probability of a left-right flip; 0 where laterality matters")
    height: Probability = Field(0, description="probability of an up-down flip")
    depth: Probability = Field(0, description="probability of a flip of the order of slices; of volumes only")


class Crop(Block):
    """A part of the picture, stretched to the whole."""

    probability: Probability = Field(0, description="probability of a crop")
    smallest: Share = Field(0.8, description="each side of the crop is at least this share of the picture's")


class Affine(Block):
    """Rotation, shear, shift and scaling, together."""

    probability: Probability = Field(0, description="probability of rotating, shearing, shifting and scaling together")
    rotate: float = Field(10, ge=0, le=180, description="rotation in the plane of a slice up to ± degrees")
    tilt: float = Field(0, ge=0, le=180, description="rotation out of that plane up to ± degrees; of volumes only")
    scale: Fraction = Field(0.1, description="scaling of each axis up to ± this fraction")
    shear: Fraction = Field(0, description="each shear coefficient up to ± this")
    translate: Fraction = Field(0.05, description="shift along each axis up to ± this fraction of the size")


class Elastic(Block):
    """A smooth random deformation."""

    probability: Probability = Field(0, description="probability of a deformation")
    spacing: Annotated[float, Field(ge=0.02, le=1)] = Field(
        0.125, description="between points that move on their own, as a fraction of the size"
    )
    magnitude: Annotated[tuple[Fraction, Fraction], Ascending] = Field(
        (0.005, 0.015), description="typical displacement of these points, as a fraction of the size"
    )


class LowResolution(Block):
    """As if acquired with fewer pixels."""

    probability: Probability = Field(0, description="probability of a lower resolution")
    zoom: Annotated[tuple[Share, Share], Ascending] = Field((0.5, 1), description="share of the pixels of each side")


class Blur(Block):
    """Gaussian blur."""

    probability: Probability = Field(0, description="probability of blur")
    sigma: Annotated[tuple[Positive, Positive], Ascending] = Field(
        (0.25, 1.5), description="standard deviation along each axis, pixels"
    )


class Gibbs(Block):
    """Ringing at edges, from a truncated k-space."""

    probability: Probability = Field(0, description="probability of ringing")
    alpha: Annotated[tuple[Probability, Probability], Ascending] = Field(
        (0, 0.5), description="how much of k-space is cut off: 0 nothing, 1 everything"
    )


class BiasField(Block):
    """A smooth change of brightness over the picture, as a receive coil makes it."""

    probability: Probability = Field(0, description="probability of a bias field")
    degree: int = Field(3, ge=1, le=5, description="of the polynomials whose exponential the field is")
    coefficient: Annotated[tuple[float, float], Ascending] = Field((0, 0.1), description="their coefficients")


class Brightness(Block):
    """Grey values multiplied, then shifted."""

    probability: Probability = Field(0, description="probability of another brightness")
    factor: Fraction = Field(0.1, description="multiplied by 1 ± up to this")
    offset: Fraction = Field(0, description="then shifted by ± up to this fraction of the full range")


class Contrast(Block):
    """Grey values spread about their mean."""

    probability: Probability = Field(0, description="probability of another contrast")
    factor: Fraction = Field(0.25, description="distances from the mean are multiplied by 1 ± up to this")


class Gamma(Block):
    """Grey values raised to a power, within the picture's own range."""

    probability: Probability = Field(0, description="probability of a gamma change")
    exponent: Annotated[tuple[Positive, Positive], Ascending] = Field((0.77, 1.3), description="the power")


class Noise(Block):
    """Gaussian noise."""

    probability: Probability = Field(0, description="probability of Gaussian noise")
    std: Fraction = Field(0.02, description="its standard deviation up to this fraction of the full range")


class Cutout(Block):
    """Black boxes."""

    probability: Probability = Field(0, description="probability of boxes")
    holes: Annotated[tuple[Natural, Natural], Ascending] = Field((1, 3), description="number of boxes")
    size: Annotated[tuple[Share, Share], Ascending] = Field((0.1, 0.25), description="sides, as fractions of the size")


class Mixup(Block):
    """Two pictures of a batch become their weighted mean, and so do their truths."""

    probability: Probability = Field(0, description="probability that another picture of the batch shines through")
    alpha: Positive = Field(0.4, description="of the Beta distribution of the picture's own share")


class Cutmix(Block):
    """A box of another picture of the batch is pasted in, and the truths are shared by area."""

    probability: Probability = Field(0, description="probability that a box of another picture is pasted in")
    alpha: Positive = Field(1, description="of the Beta distribution of the picture's own share")


Modality = Literal["none", "mild", "cxr", "ct", "mr", "us", "fundus"]

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "none": {},
    "mild": {
        "affine": {"probability": 0.5, "rotate": 10, "scale": 0.1, "translate": 0.05},
        "gamma": {"probability": 0.3, "exponent": (0.77, 1.3)},
        "noise": {"probability": 0.2, "std": 0.02},
    },
    # No flip: the heart is on the left. Exposure, processing and positioning differ.
    "cxr": {
        "crop": {"probability": 0.3, "smallest": 0.85},
        "affine": {"probability": 0.7, "rotate": 7, "scale": 0.1, "translate": 0.05},
        "blur": {"probability": 0.1, "sigma": (0.25, 1)},
        "brightness": {"probability": 0.3, "factor": 0.15},
        "contrast": {"probability": 0.3, "factor": 0.2},
        "gamma": {"probability": 0.3, "exponent": (0.7, 1.5)},
        "noise": {"probability": 0.2, "std": 0.03},
    },
    # No change of grey values: a Hounsfield unit means something. Dose, kernel and slice thickness differ.
    "ct": {
        "affine": {"probability": 0.5, "rotate": 10, "tilt": 5, "scale": 0.1, "translate": 0.05},
        "low_resolution": {"probability": 0.15, "zoom": (0.5, 1)},
        "blur": {"probability": 0.15, "sigma": (0.25, 1)},
        "noise": {"probability": 0.3, "std": 0.04},
    },
    # Grey values have no unit, coils no even field.
    "mr": {
        "affine": {"probability": 0.5, "rotate": 10, "tilt": 10, "scale": 0.1, "translate": 0.05},
        "elastic": {"probability": 0.1, "spacing": 0.2, "magnitude": (0.005, 0.01)},
        "low_resolution": {"probability": 0.1, "zoom": (0.5, 1)},
        "blur": {"probability": 0.1, "sigma": (0.25, 1)},
        "gibbs": {"probability": 0.1, "alpha": (0, 0.4)},
        "bias_field": {"probability": 0.3, "degree": 3, "coefficient": (-0.15, 0.15)},
        "brightness": {"probability": 0.2, "factor": 0.15},
        "contrast": {"probability": 0.2, "factor": 0.25},
        "gamma": {"probability": 0.3, "exponent": (0.7, 1.5)},
        "noise": {"probability": 0.2, "std": 0.03},
    },
    # Gain, depth and the probe differ; boxes stand for shadows. No up-down flip: sound comes from above.
    "us": {
        "crop": {"probability": 0.3, "smallest": 0.8},
        "affine": {"probability": 0.5, "rotate": 10, "scale": 0.1, "translate": 0.05},
        "low_resolution": {"probability": 0.1, "zoom": (0.5, 1)},
        "blur": {"probability": 0.2, "sigma": (0.25, 1.5)},
        "brightness": {"probability": 0.3, "factor": 0.2},
        "contrast": {"probability": 0.3, "factor": 0.25},
        "gamma": {"probability": 0.3, "exponent": (0.7, 1.5)},
        "noise": {"probability": 0.2, "std": 0.04},
        "cutout": {"probability": 0.2, "holes": (1, 2), "size": (0.05, 0.2)},
    },
    # Cameras roll, lamps and focus differ. A mirrored right eye is like a left one: no flip where the side may matter.
    "fundus": {
        "affine": {"probability": 0.7, "rotate": 20, "scale": 0.1, "translate": 0.05},
        "blur": {"probability": 0.2, "sigma": (0.25, 1.5)},
        "bias_field": {"probability": 0.2, "degree": 2, "coefficient": (-0.15, 0.15)},
        "brightness": {"probability": 0.3, "factor": 0.2},
        "contrast": {"probability": 0.3, "factor": 0.2},
        "gamma": {"probability": 0.3, "exponent": (0.77, 1.3)},
        "noise": {"probability": 0.1, "std": 0.02},
    },
}


class Augment(Block):
    """Random changes to a training image, drawn anew in each epoch."""

    preset: Modality = Field(
        "mild", description="where the values come from of the keys below that are not given; none: all is off"
    )
    flip: Flip = Flip()
    crop: Crop = Crop()
    affine: Affine = Affine()
    elastic: Elastic = Elastic()
    low_resolution: LowResolution = LowResolution()
    blur: Blur = Blur()
    gibbs: Gibbs = Gibbs()
    bias_field: BiasField = BiasField()
    brightness: Brightness = Brightness()
    contrast: Contrast = Contrast()
    gamma: Gamma = Gamma()
    noise: Noise = Noise()
    cutout: Cutout = Cutout()
    mixup: Mixup = Mixup()
    cutmix: Cutmix = Cutmix()

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        """Keys that are not given have the preset's values."""
        if not isinstance(values, dict):
            return values
        preset = PRESETS.get(str(values.get("preset", cls.model_fields["preset"].default)), {})
        filled = dict(values)
        for name, block in preset.items():
            given = values.get(name, {})
            filled[name] = block | given if isinstance(given, dict) else given
        return filled

    @model_validator(mode="after")
    def _one_mixture(self) -> "Augment":
        total = self.mixup.probability + self.cutmix.probability
        if total > 1:
            raise ValueError(f"mixup.probability + cutmix.probability = {total:g} is above 1: a sample has one of them")
        return self

    @property
    def mixes(self) -> bool:
        """Whether pictures of a batch are mixed."""
        return self.mixup.probability + self.cutmix.probability > 0

    def active(self) -> dict[str, dict[str, Any]]:
        """The transforms that can happen, with their values."""
        blocks = {name: block for name, block in self.model_dump().items() if isinstance(block, dict)}
        chances = ("probability", "width", "height", "depth")
        return {name: block for name, block in blocks.items() if any(block.get(chance) for chance in chances)}


def idle_preset(values: dict[str, Any]) -> str | None:
    """The preset of a block ``augment`` as written down, if every key that it would fill is given anyway."""
    name = values.get("preset", "none")
    filled = PRESETS.get(str(name), {})
    given = {key: block for key, block in values.items() if isinstance(block, dict)}
    if filled and all(set(block) <= set(given.get(key, {})) for key, block in filled.items()):
        return str(name)
    return None
