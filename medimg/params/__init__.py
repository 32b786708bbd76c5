"""params.yaml as checked, frozen models: a ``study`` block, and one block for each thing that a stage does."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError, model_validator

from medimg.errors import ParamsError
from medimg.params.augment import Augment, idle_preset
from medimg.params.block import Block
from medimg.params.cluster import Cluster, Resources
from medimg.params.data import Ingest, Preview
from medimg.params.evaluate import Evaluate, Saliency, Shortcuts, Subgroups, Threshold
from medimg.params.learning import MONITORS, Model, Predict, Train
from medimg.params.night import Drift, Promote, Retrain
from medimg.params.preprocess import Preprocess
from medimg.params.split import Split
from medimg.params.study import Study
from medimg.params.tuning import Range, Tune

__all__ = [
    "NO_RESULT",
    "Augment",
    "Block",
    "Cluster",
    "Drift",
    "Evaluate",
    "Ingest",
    "Model",
    "Params",
    "Predict",
    "Preprocess",
    "Preview",
    "Promote",
    "Range",
    "Resources",
    "Retrain",
    "Saliency",
    "Shortcuts",
    "Split",
    "Study",
    "Subgroups",
    "Threshold",
    "Train",
    "Tune",
    "check",
    "load",
]

PARAMS = Path("params.yaml")


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
    saliency: Saliency = Saliency()
    evaluate: Evaluate = Evaluate()
    retrain: Retrain = Retrain()
    promote: Promote = Promote()
    cluster: Cluster = Cluster()
    tune: Tune = Tune()

    @model_validator(mode="after")
    def _folds_beside_a_test_part(self) -> "Params":
        if self.train.folds is None:
            return self
        if self.split.fold_is_test:
            raise ValueError(
                "train.folds needs a test part that no network has seen: set split.test, such as 0.2. To make each "
                "fold the test part in turn, set train.folds to null and run with each split.fold"
            )
        if self.split.folds not in (None, self.train.folds):
            raise ValueError(
                f"train.folds is {self.train.folds}, and split.folds deals {self.split.folds}: let them be the same, "
                "or set split.folds to null"
            )
        return self

    @model_validator(mode="after")
    def _a_monitor_of_the_task(self) -> "Params":
        known = ("score", "loss", *MONITORS[self.study.task])
        if self.train.monitor not in known:
            raise ValueError(
                f"train.monitor: task {self.study.task} has no {self.train.monitor}; it has {', '.join(known)}"
            )
        return self


NO_RESULT = frozenset({"preview", "retrain", "promote", "tune", "cluster"})
"""Blocks that decide nothing about a model or its evaluation."""


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
    idle = idle_preset(values.get("augment") or {})
    if idle:
        raise ParamsError(
            f"{path}: augment.preset: {idle} decides nothing, since all its keys are given below it. Take out those "
            "that it is to decide, or set augment.preset: none."
        )
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
            return f"  {key}: {problem['ctx']['error']}." if key else f"  {problem['ctx']['error']}."
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
