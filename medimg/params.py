"""params.yaml as checked, frozen models: a ``study`` block, and one block for each thing that a stage does."""

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medimg.errors import ParamsError

PARAMS = Path("params.yaml")

Fraction = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Percentile = Annotated[float, Field(ge=0, le=100)]


class Block(BaseModel):
    """A block of params.yaml: immutable, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Study(Block):
    """What is asked, of which label, about whom."""

    question: str = Field(description="the clinical question, as the report's first line")
    task: Literal["binary"] = Field("binary", description="what kind of answer the network gives")
    label: str = Field(description="the column of labels.csv to learn")
    positive: str = Field(description="the value of that column that counts as positive; every other value is negative")
    unit: Literal["image", "study", "patient"] = Field("image", description="what the headline metric is about")
    headline: Literal["auroc"] = Field("auroc", description="the metric that the report leads with")
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="share of positives where the model would be used, for predictive values; none: that of test"
    )
    intended_use: str = Field("research only", description="who may use the model, for what")
    seed: int = Field(0, ge=0, description="seed of every random draw")

    @model_validator(mode="before")
    @classmethod
    def _positive_is_text(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("positive"), int) and values["positive"] is not True:
            return values | {"positive": str(values["positive"])}  # labels.csv is text: 1 and "1" are the same class
        return values


class Ingest(Block):
    """Which files count as images of this study."""

    max_quarantined: Probability = Field(0.05, description="fail when a larger share of the images is refused")
    max_unlabelled: Probability = Field(0.05, description="fail when a larger share of the images has no label")
    allow_unverified: bool = Field(False, description="accept data that no import brought in; the report then says so")


class Split(Block):
    """How patients are dealt out; what is neither validation nor test is train."""

    validation: Annotated[float, Field(gt=0, lt=1)] = Field(0.2, description="fraction of the patients")
    test: Annotated[float, Field(gt=0, lt=1)] = Field(0.3, description="fraction of the patients")
    each_image_is_a_patient: bool = Field(
        False, description="an image without a patient id counts as a patient; the report then says so"
    )

    @model_validator(mode="after")
    def _something_left_to_train_on(self) -> "Split":
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation + test = {self.validation} + {self.test} = {self.validation + self.test:g} leaves no "
                "patient for train; let them add up to less than 1"
            )
        return self


class Preprocess(Block):
    """What every image goes through once, before training."""

    size: int = Field(224, ge=16, le=4096, description="height and width of the result, pixels")
    fit: Literal["pad", "stretch"] = Field("pad", description="keep the aspect and pad with black, or stretch")
    window: tuple[float, float] | None = Field(
        None, description="(lowest, highest) value shown, in the image's own unit (HU for CT); none: percentiles"
    )
    percentiles: tuple[Percentile, Percentile] = Field(
        (0.5, 99.5),
        description="with no window: these of each image become its darkest and brightest value",
    )
    channels: Literal[1, 3] = Field(1, description="1: grey, colour becomes luminance; 3: colour, grey is repeated")
    dtype: Literal["uint8", "uint16"] = Field("uint8", description="how finely the store keeps the result")

    @model_validator(mode="after")
    def _ascending(self) -> "Preprocess":
        for name in ("window", "percentiles"):
            bounds = getattr(self, name)
            if bounds is not None and not bounds[0] < bounds[1]:
                raise ValueError(f"{name}: {bounds[0]:g} is not below {bounds[1]:g}")
        return self


class Preview(Block):
    """The contact sheet of what the network will see."""

    samples: int = Field(6, ge=1, le=64, description="images on the sheet, half of each class")
    draws: int = Field(4, ge=1, le=16, description="augmented versions of each")


class Augment(Block):
    """Random changes to a training image, drawn anew in each epoch."""

    flip: Probability = Field(0.0, description="probability of a left-right flip; 0 where laterality matters")
    affine: Probability = Field(0.5, description="probability of rotating, scaling and shifting together")
    rotate: float = Field(10, ge=0, le=180, description="rotation up to ± degrees")
    scale: Fraction = Field(0.1, description="scaling up to ± this fraction")
    translate: Fraction = Field(0.05, description="shift up to ± this fraction of the size")
    contrast: Probability = Field(0.3, description="probability of a gamma change")
    gamma: float = Field(1.3, ge=1, description="gamma between 1/gamma and gamma")
    noise: Probability = Field(0.2, description="probability of Gaussian noise")
    noise_std: float = Field(0.02, ge=0, description="its standard deviation up to this fraction of the full range")


class Model(Block):
    """The network."""

    name: Literal["resnet10", "resnet18", "resnet34", "resnet50", "densenet121"] = Field(
        "resnet18", description="architecture, MONAI's in 2D"
    )
    weights: str = Field(
        "none", description="none: from scratch; else a .safetensors or .pt file, or a medimg weights folder"
    )
    weights_sha256: str | None = Field(
        None, description="the SHA-256 that the weights file must have; null: any, and train says which it was"
    )


class Train(Block):
    """How the network is fitted."""

    workers: int = Field(1, ge=1, description="processes that share each batch (DDP); on GPUs, one each")
    batch_size: int = Field(32, ge=2, description="samples in a batch of the whole job")
    max_epochs: int = Field(30, ge=1, description="passes over the training images at most")
    patience: int = Field(10, ge=1, description="stop after this many epochs without a better validation score")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="how gradients become steps")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(1e-2, ge=0, description="decoupled weight decay")
    warmup_epochs: float = Field(1, ge=0, description="epochs of linear warm-up, then a cosine to zero")
    precision: Literal["auto", "32", "bf16"] = Field("auto", description="auto: bf16 on a GPU that is fast at it")
    max_failures: int = Field(2, ge=0, description="how often a dead worker is replaced before the run gives up")


class Predict(Block):
    """One forward pass over validation and test."""

    batch_size: int = Field(64, ge=1, description="samples at a time")


class Threshold(Block):
    """How the operating point is chosen, on validation."""

    rule: Literal["youden", "sensitivity", "specificity"] = Field("youden", description="what the threshold aims at")
    target: Annotated[float, Field(gt=0, lt=1)] = Field(0.9, description="the sensitivity or specificity to reach")


class Evaluate(Block):
    """What is reported and how."""

    aggregate: Literal["mean", "max"] = Field("mean", description="how scores of one unit become one")
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.95, description="level of the intervals")
    threshold: Threshold = Threshold()


class Params(Block):
    """The whole of params.yaml."""

    study: Study
    ingest: Ingest = Ingest()
    split: Split = Split()
    preprocess: Preprocess = Preprocess()
    preview: Preview = Preview()
    augment: Augment = Augment()
    model: Model = Model()
    train: Train = Train()
    predict: Predict = Predict()
    evaluate: Evaluate = Evaluate()


def load(path: Path = PARAMS) -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsError: the file is missing, is not YAML, or holds something that is not allowed; the message names every
            such key and, for an unknown one, the nearest key that there is.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(
            f"There is no {path} in {Path.cwd()}. Run this inside a study folder, or make one: medimg new my-study"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" near line {where.line + 1}" if where is not None else ""
        raise ParamsError(f"{path} is not valid YAML{line}. Check indentation and quotes there.") from None
    if not isinstance(values, dict):
        raise ParamsError(f"{path} is empty or not a mapping. It needs at least a study block (see medimg new).")
    return check(values, path)


def check(values: dict[str, Any], path: Path = PARAMS) -> Params:
    """Check a mapping as if it were params.yaml; ``path`` names it in messages.

    Raises:
        ParamsError: see ``load``.
    """
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        problems = [_sentence(list(problem["loc"]), problem) for problem in error.errors()]
        raise ParamsError("\n".join([f"{path} needs a change:", *problems])) from None


def _sentence(location: list[int | str], problem: Any) -> str:
    key = ".".join(str(part) for part in location)
    match problem["type"]:
        case "extra_forbidden":
            allowed = _keys(location[:-1])
            near = difflib.get_close_matches(str(location[-1]), allowed, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]}?" if near else f" Allowed here: {', '.join(allowed)}."
            return f"  {key}: there is no such key.{hint}"
        case "missing":
            return f"  {key}: missing. It is {_description(location)}."
        case "value_error":
            return f"  {key}: {problem['ctx']['error']}."
        case "bool_type" | "bool_parsing":
            return f"  {key}: {problem['input']!r} is not true or false."
        case _:
            message = problem["msg"].removeprefix("Input ")
            return f"  {key}: {problem['input']!r} is not allowed: it {message}. It is {_description(location)}."


def _model(location: list[int | str]) -> type[BaseModel] | None:
    model: Any = Params
    for part in location:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            return None
        model = field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return None
    return model  # type: ignore[no-any-return]


def _keys(location: list[int | str]) -> list[str]:
    model = _model(location)
    return list(model.model_fields) if model else []


def _description(location: list[int | str]) -> str:
    names = [part for part in location if isinstance(part, str)]
    model = _model(list(names[:-1]))
    field = model.model_fields.get(names[-1]) if model and names else None
    if field is not None and field.description:
        return field.description
    if field is not None and isinstance(field.annotation, type) and field.annotation.__doc__:
        return "a block: " + field.annotation.__doc__.strip().rstrip(".").lower()
    return "described in docs/parameters.md"


def reference() -> str:
    """Every parameter with its meaning, its default and what is allowed, as Markdown."""
    lines = ["# Parameters", "", "Every key of `params.yaml`. `medimg params` prints this page.", ""]
    for name, field in Params.model_fields.items():
        lines += [f"## {name}", "", f"{_block(field.annotation).__doc__}", ""]
        lines += [
            "| key | meaning | default | allowed |",
            "|---|---|---|---|",
            *_rows(_block(field.annotation), ""),
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def _rows(block: type[BaseModel], prefix: str) -> Iterator[str]:
    properties = block.model_json_schema()["properties"]
    for key, field in block.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _rows(field.annotation, f"{prefix}{key}.")
        else:
            default = "required" if field.is_required() else f"`{json.dumps(field.default)}`"
            yield f"| `{prefix}{key}` | {field.description} | {default} | {_allowed(properties[key])} |"


BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _allowed(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return ", or ".join(_allowed(option) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if "prefixItems" in schema:
        return "[" + ", ".join(_allowed(item) for item in schema["prefixItems"]) + "]"
    kind = {"null": "`null`", "boolean": "`true`, `false`", "string": "text"}.get(schema["type"], schema["type"])
    return " ".join([kind, *(f"{sign} {schema[name]:g}" for name, sign in BOUNDS.items() if name in schema)])


def _block(annotation: Any) -> type[BaseModel]:
    assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation
