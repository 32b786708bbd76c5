"""The blocks of data: ``ingest``, ``preview``."""

from typing import Literal

from pydantic import Field

from medimg.params.block import Block, Probability
from medimg.params.geometry import Geometry


class Ingest(Block):
    """Which files count as images of this study."""

    sample: Literal["image", "volume"] = Field(
        "image", description="a sample is a file, or a volume: a series, or a NIfTI file of slices"
    )
    frames: Literal["refuse", "samples"] = Field(
        "refuse", description="files of several frames, where a sample is an image: refuse, or each frame is a sample"
    )
    nan: Literal["refuse", "background"] = Field(
        "refuse",
        description="NIfTI files with pixels that are not numbers (NaN), as around a resampled volume: refuse, or let "
        "them be as dark as the darkest number",
    )
    max_quarantined: Probability = Field(0.05, description="fail when a larger share of the images is refused")
    max_unlabelled: Probability = Field(0.05, description="fail when a larger share of the images has no label")
    labels: Literal["table", "folders"] = Field(
        "table", description="labels.csv, or the name of the folder that a file lies in; labels.csv may say the rest"
    )
    labels_key: Literal["auto", "path", "instance", "series", "study", "patient"] = Field(
        "auto", description="column by which rows of labels.csv find their images; auto: the first of these it has"
    )
    contradicting_rows: Literal["refuse", "drop"] = Field(
        "refuse", description="rows of labels.csv with one key that say different things: fail, or use none of them"
    )
    unmatched_rows: Literal["refuse", "warn"] = Field(
        "warn", description="rows of labels.csv that match no image: fail, or count them"
    )
    seconds: float = Field(60, gt=0, description="reading one file or volume may take this long, s")
    memory: float = Field(4, gt=0, description="and this much memory, GiB")
    allow_unverified: bool = Field(False, description="accept data that no import brought in; the report then says so")
    geometry: Geometry = Geometry()


class Preview(Block):
    """The contact sheet of what the network will see."""

    samples: int = Field(6, ge=1, le=64, description="images on the sheet, half of each class")
    draws: int = Field(4, ge=1, le=16, description="augmented versions of each")
