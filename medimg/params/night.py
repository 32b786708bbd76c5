"""The blocks ``retrain`` and ``promote``: what a night does, and when its model takes the place of the one in use."""

from typing import Annotated, Literal

from pydantic import Field

from medimg.params.block import Block

Distance = Annotated[float, Field(gt=0, le=1)]


class Drift(Block):
    """How far new data may lie from what the champion learned from."""

    warn: Distance = Field(0.2, description="warn of a distance as large as this that chance hardly makes; 0 to 1")
    stop: Distance | None = Field(0.8, description="train nothing at a distance as large as this; none: only warn")
    chance: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="a distance counts when chance alone makes it less often than this, all looks together"
    )


class Retrain(Block):
    """What ``medimg retrain`` does in a night."""

    source: str | None = Field(
        None, description="what medimg import takes: folder, archive or address of a PACS; none: data/ as it stands"
    )
    labels: str | None = Field(None, description="the hospital's table of labels, outside the study")
    filters: tuple[str, ...] = Field((), description="of a PACS, as medimg import --filter")
    credentials: str | None = Field(None, description="of DICOMweb: a file, as medimg import --credentials")
    keep: tuple[str, ...] = Field((), description="label columns to keep, as medimg import --keep")
    each_image_is_a_patient: bool = Field(False, description="as medimg import --each-image-is-a-patient")
    max_refused: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="refuse the delivery when the import refuses a larger share of what is new in it"
    )
    new_patients: Annotated[int, Field(ge=1)] = Field(
        10, description="patients with new images that are worth a training; fewer are kept until there are more"
    )
    drift: Drift = Drift()
    submit: str | None = Field(
        None, description="train on the Ray cluster with this address of its dashboard, by medimg submit; none: here"
    )
    ca: str | None = Field(None, description="certificates to trust there, where the cluster's signed itself: a file")
    hours: Annotated[float, Field(gt=0)] = Field(
        8, description="what a night may take; then it ends, and nothing is changed"
    )
    free_gib: Annotated[float, Field(ge=0)] = Field(5, description="disk that must stay free before and during a night")
    attempts: Annotated[int, Field(ge=1, le=5)] = Field(
        2, description="how often a night begins anew because the branch moved while it ran"
    )
    keep_nights: Annotated[int, Field(ge=1)] = Field(30, description="nights whose logs and reports stay here")
    keep_models: Annotated[int, Field(ge=1)] = Field(
        10, description="refused models whose weights stay in DVC's cache here; promoted ones always stay"
    )
    keep_days: Annotated[float, Field(ge=0)] = Field(
        3, description="days for which objects stay in DVC's cache here that no commit and no folder names"
    )
    notify: str | None = Field(
        None, description="a file outside the study with a line for each address that is told (docs/retrain.md)"
    )
    textfile: str | None = Field(None, description="a file for Prometheus' textfile collector, ending in .prom")


class Promote(Block):
    """The rules by which a challenger becomes champion, written before they are needed."""

    metric: Literal["auroc", "auprc", "brier", "log_loss", "mae", "mse"] | None = Field(
        None, description="what decides; none: auroc, or mae of a regression"
    )
    margin: Annotated[float, Field(gt=0)] = Field(
        0.02, description="the challenger must be shown not to be worse than the champion by this much"
    )
    anchor_margin: Annotated[float, Field(gt=0)] = Field(
        0.03, description="the same against the anchor, the best ever promoted, so that margins do not add up"
    )
    patients: Annotated[int, Field(ge=2)] = Field(
        30, description="patients of each class (of a regression: in all) that promotion needs for a decision"
    )
    new_patients: Annotated[int, Field(ge=2)] = Field(
        10, description="the same of newly arrived patients, for them to be judged apart; with fewer, they are not"
    )
    new_margin: Annotated[float, Field(gt=0)] = Field(
        0.1, description="as margin, for newly arrived patients, who are few"
    )
    subgroup_margin: Annotated[float, Field(ge=0)] = Field(
        0.05, description="refuse when a group of patients is surely worse off, and by more than this"
    )
    calibration: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="expected calibration error beyond chance that is still allowed"
    )
    brier_margin: Annotated[float, Field(gt=0)] = Field(
        0.02, description="the challenger's Brier score must be shown not to be worse by this much"
    )
    shortcuts: Literal["refuse", "warn"] = Field(
        "refuse", description="what follows when the shortcut audit of the challenger says suspect"
    )
    floor: float | None = Field(
        None,
        description="what the interval of a model's headline on promotion must reach; none: auroc 0.6; of another "
        "headline nothing, but for the first model it must be stated",
    )
