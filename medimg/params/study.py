"""The block ``study``: the question."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from medimg.params.block import Block

NEEDS = {
    "binary": ("positive",),
    "multiclass": ("classes",),
    "multilabel": ("positive",),
    "regression": ("range",),
}
"""What each task must be told beside its label, and what the others must not."""

HEADLINES = {
    "binary": ("auroc", "auprc", "sensitivity", "specificity", "balanced_accuracy", "f1", "brier", "log_loss"),
    "multiclass": ("auroc", "auprc", "accuracy", "balanced_accuracy", "f1", "brier", "log_loss"),
    "multilabel": ("auroc", "auprc", "balanced_accuracy", "f1", "brier", "log_loss"),
    "regression": ("mae", "rmse", "r2"),
}
"""The metrics that may lead the report of a task, its own one first."""

Column = Annotated[str, Field(min_length=1)]


class Study(Block):
    """What is asked, of which label, about whom."""

    question: str = Field(description="the clinical question, as the report's first line")
    task: Literal["binary", "multiclass", "multilabel", "regression"] = Field(
        "binary", description="what kind of answer the network gives"
    )
    label: Column | Annotated[tuple[Column, ...], Field(min_length=2)] = Field(
        description="the column of labels.csv to learn; multilabel: a list of columns"
    )
    positive: str | None = Field(
        None,
        validate_default=True,
        description="the value of that column that counts as positive; every other value is negative "
        "(binary and multilabel)",
    )
    classes: Annotated[tuple[str, ...], Field(min_length=2)] | None = Field(
        None,
        validate_default=True,
        description="the values of that column, in the order in which they are shown; where images of one unit "
        "differ, the last counts (multiclass)",
    )
    range: tuple[float, float] | None = Field(
        None, validate_default=True, description="the lowest and the highest value that can be (regression)"
    )
    unit: Literal["image", "study", "patient"] = Field("image", description="what the headline metric is about")
    headline: str = Field(
        "auto", validate_default=True, description="the metric that the report leads with; auto: AUROC, or MAE"
    )
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="share of positives where the model would be used, for predictive values; none: that of test"
    )
    intended_use: str = Field("research only", description="who may use the model, for what")
    seed: int = Field(0, ge=0, description="seed of every random draw")

    @property
    def columns(self) -> tuple[str, ...]:
        """The label columns, one or several."""
        return (self.label,) if isinstance(self.label, str) else self.label

    @field_validator("label")
    @classmethod
    def _as_many_columns_as_the_task_has(cls, value: str | tuple[str, ...], info: ValidationInfo) -> Any:
        several = info.data.get("task") == "multilabel"
        if several == isinstance(value, str):
            raise ValueError("task multilabel needs a list of columns" if several else "only multilabel has several")
        if len(set(value)) < len(value) and several:
            raise ValueError("a column is named twice")
        return value

    @field_validator("positive", "classes", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        def text(entry: Any) -> Any:  # labels.csv is text: 1 and "1" are the same class
            return str(entry) if isinstance(entry, int) and not isinstance(entry, bool) else entry

        return [text(entry) for entry in value] if isinstance(value, list | tuple) else text(value)

    @field_validator("positive", "classes", "range")
    @classmethod
    def _what_the_task_needs(cls, value: Any, info: ValidationInfo) -> Any:
        task = info.data.get("task")
        if task is None:  # wrong itself
            return value
        needed = info.field_name in NEEDS[task]
        if needed and value is None:
            raise PydanticCustomError("missing", "missing")
        if not needed and value is not None:
            raise ValueError(f"task {task} has no use for it; leave it null")
        return value

    @field_validator("classes")
    @classmethod
    def _different(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value and len(set(value)) < len(value):
            raise ValueError("a class is named twice")
        return value

    @field_validator("range")
    @classmethod
    def _ascending(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value and not value[0] < value[1]:
            raise ValueError(f"{value[0]:g} is not below {value[1]:g}")
        return value

    @field_validator("headline")
    @classmethod
    def _a_metric_of_the_task(cls, value: str, info: ValidationInfo) -> str:
        known = HEADLINES.get(info.data.get("task", ""), ())
        if known and value == "auto":
            return known[0]
        if known and value not in known:
            raise ValueError(f"task {info.data['task']} has no such headline; it has {', '.join(known)}")
        return value
