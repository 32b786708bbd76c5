"""The lecture's first models, trained by the same module and the same fit as every network here.

A truth table is a dataset of four images of one row and two pixels. The lecture sums ½ (y - t)² over the rows, medimg
takes the mean: the lecture's learning rate η is 4 η here.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from medimg.files import publish
from medimg.params import Augment, Model, Train
from medimg.tasks.binary import Binary
from medimg.training import Job
from medimg.training.data import Part

if TYPE_CHECKING:
    from medimg.training.fit import Fitted

START = ((1.0, -1.0), -0.5)
"""the lecture's first weights and bias"""


@dataclass(frozen=True)
class Table:
    """Rows of inputs in 0…1, and the answer to each."""

    name: str
    inputs: np.ndarray
    """float32 ``(N, F)``"""
    truth: np.ndarray
    """0 or 1, float64 ``(N,)``"""

    def part(self) -> Part:
        """As a part of a study: ``(N, 1, 1, F)`` images."""
        count = len(self.truth)
        about = pd.DataFrame({"sample": [str(at) for at in range(count)], "patient": "", "study": None, "fold": None})
        images = self.inputs.astype(np.float32)[:, None, None, :]
        return Part(images, np.arange(count), self.truth[:, None], np.arange(count, dtype=np.uint64), about)


def truth_table(name: str) -> Table:
    """OR, AND or XOR."""
    inputs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    answers = {"OR": [0, 1, 1, 1], "AND": [0, 0, 0, 1], "XOR": [0, 1, 1, 0]}
    return Table(name, inputs, np.array(answers[name], np.float64))


PRESSURE, BMI = (100.0, 200.0), (18.0, 43.0)  # mmHg and kg/m² that become 0 and 1
PERSONS = (  # systolic blood pressure in mmHg, body mass index in kg/m², infarction: made up
    *((108, 21, 0), (115, 24, 0), (118, 31, 0), (122, 22, 0), (126, 27, 0), (131, 24, 0), (138, 20, 0), (142, 29, 1)),
    *((128, 36, 0), (149, 23, 0), (151, 33, 1), (158, 28, 1), (165, 25, 0), (168, 37, 1), (176, 30, 1), (188, 26, 1)),
)


def heart_table() -> Table:
    """Sixteen made-up persons: blood pressure and body mass index, and whether they had an infarction."""
    rows = np.array(PERSONS, np.float64)
    return Table("heart attack", scaled(rows[:, 0], rows[:, 1]), rows[:, 2])


def scaled(pressure: Any, bmi: Any) -> np.ndarray:
    """Blood pressure in mmHg and BMI in kg/m² → inputs ``(N, 2)`` in 0…1."""
    columns = ((pressure, PRESSURE), (bmi, BMI))
    return np.stack([(np.asarray(of) - low) / (high - low) for of, (low, high) in columns], -1).astype(np.float32)


def learn(
    table: Table, updates: int, rate: float, hidden: int = 0, loss: str = "squared", started: bool = True
) -> "Fitted":
    """Train one neuron, or one hidden layer, by plain gradient descent on the whole table.

    Args:
        table: the rows.
        updates: of the weights, each on all rows.
        rate: the lecture's learning rate η.
        hidden: neurons in the hidden layer; 0 for one neuron.
        loss: ``squared``, or ``auto`` for cross-entropy.
        started: from the lecture's weights; otherwise from fresh ones.
    """
    import torch
    from safetensors.torch import save_file

    from medimg.training.fit import Place, fit

    count = len(table.truth)
    settings = Train.model_validate(
        {
            "batch_size": count,
            "max_epochs": updates,
            "patience": updates,
            "monitor": "loss",
            "loss": loss,
            "optimizer": "sgd",
            "momentum": 0,
            "weight_decay": 0,
            "learning_rate": rate * count,
            "warmup_epochs": 0,
            "schedule": "constant",
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        weights = "none"
        if started and not hidden:
            weights = f"{folder}/start.safetensors"
            save_file({"linear.weight": torch.tensor([START[0]]), "linear.bias": torch.tensor([START[1]])}, weights)
        name: Any = "mlp" if hidden else "perceptron"
        model = Model(name=name, hidden=hidden or 1, weights=weights, normalisation="unit")
        job = Job(Binary("answer", "1"), 0, model, settings, Augment(preset="none"))
        both = {"train": table.part(), "validation": table.part()}
        return fit(job, Place(say=lambda _: None), parts=both)


def answers(fitted: "Fitted", inputs: np.ndarray) -> np.ndarray:
    """What the network says of ``(N, F)`` inputs, a probability each."""
    import torch

    with torch.inference_mode():
        logits = fitted.module.network.eval()(torch.from_numpy(np.asarray(inputs, np.float32))[:, None, None, :])
    return np.asarray(fitted.module.task.probabilities(logits.numpy()))[:, 0]


def first_answers() -> np.ndarray:
    """What the neuron says of the four rows before it has learned anything."""
    (one, other), bias = START
    inputs = truth_table("OR").inputs
    return np.asarray(1 / (1 + np.exp(-(inputs @ np.array([one, other]) + bias))))


def errors(fitted: "Fitted") -> list[float]:
    """Mean squared error of each forward pass: twice the mean of ½ (y - t)²."""
    return [2 * row["train_loss"] for row in fitted.module.history]


def lecture(out: Path) -> None:
    """Print the lecture's numbers and draw its figures into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    print("one neuron, w = (1, -1), b = -0.5: " + _listed(first_answers()))
    learned = [("OR", learn(truth_table("OR"), 40, 1.0))]
    curve = errors(learned[0][1])
    print(f"OR, learning rate 1: mean squared error {curve[0]:.4f} at first, {curve[9]:.4f} in the tenth forward pass")
    learned.append(("AND", learn(truth_table("AND"), 150, 1.0)))
    learned.append(("XOR", learn(truth_table("XOR"), 150, 1.0)))
    learned.append(("XOR, two hidden neurons", learn(truth_table("XOR"), 300, 10.0, hidden=2)))
    for title, fitted in learned:
        table = truth_table(title[:3].rstrip(","))
        said = answers(fitted, table.inputs)
        right = int(((said > 0.5) == (table.truth > 0.5)).sum())
        print(f"{title}: {_listed(said)} after {len(fitted.module.history)} updates, {right} of 4 right")
    heart = learn(heart_table(), 60, 0.5, loss="auto", started=False)
    people = [(120, 22), (150, 30), (180, 38)]
    for (pressure, bmi), risk in zip(people, answers(heart, scaled(*np.array(people, float).T)), strict=True):
        print(f"{pressure} mmHg, {bmi} kg/m²: probability of an infarction {risk:.2f}")
    _draw_tables(learned, out / "lecture-neuron.png")
    _draw_heart(heart, out / "lecture-heart.png")
    print(f"figures in {out}/")


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _draw_tables(learned: "list[tuple[str, Fitted]]", path: Path) -> None:
    """The mean squared error by update, and where each network says yes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 3.2), layout="constrained")
    first, *planes = figure.subplots(1, 1 + len(learned))
    for title, fitted in learned:
        first.plot(errors(fitted), label=title)
    first.set(title="mean squared error", xlabel="update")
    first.legend(frameon=False, fontsize="small")
    grid = np.linspace(-0.25, 1.25, 61)
    at = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    for plane, (title, fitted) in zip(planes, learned, strict=True):
        table = truth_table(title[:3].rstrip(","))
        _plane(plane, grid, grid, answers(fitted, at).reshape(61, 61))
        plane.scatter(*table.inputs.T, c=table.truth, cmap="gray", edgecolors="black", s=70, zorder=2)
        plane.set(title=title, xticks=[0, 1], yticks=[0, 1])
    _save(figure, path)


def _draw_heart(fitted: "Fitted", path: Path) -> None:
    """Every person, and the probability of an infarction by blood pressure and body mass index."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.6), layout="constrained")
    plane = figure.subplots()
    pressure, bmi = np.linspace(*PRESSURE, 61), np.linspace(*BMI, 61)
    shown = _plane(plane, pressure, bmi, answers(fitted, scaled(*np.meshgrid(pressure, bmi)).reshape(-1, 2)))
    rows = np.array(PERSONS, float)
    plane.scatter(rows[:, 0], rows[:, 1], c=rows[:, 2], cmap="gray", edgecolors="black", s=50, zorder=2)
    plane.set(xlabel="systolic blood pressure, mmHg", ylabel="body mass index, kg/m²")
    figure.colorbar(shown, label="probability of an infarction")
    _save(figure, path)


def _plane(axes: Any, x: np.ndarray, y: np.ndarray, values: np.ndarray) -> Any:
    values = values.reshape(len(y), len(x))
    shown = axes.pcolormesh(x, y, values, cmap="RdBu_r", vmin=0, vmax=1, shading="gouraud")
    axes.contour(x, y, values, levels=[0.5], colors="black", linewidths=1)
    return shown


def _save(figure: Any, path: Path) -> None:
    with publish(path) as partial:
        figure.savefig(partial, format="png", dpi=110, metadata={"Software": None})
