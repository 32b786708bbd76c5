"""Where the network looked: for every architecture, grey and colour, with a number that says whether it means it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from medimg.evaluation import gallery
from medimg.params import Study
from medimg.records import SALIENCY
from medimg.saliency import LEAST_CELLS, cams, chosen, explain, overlay, randomised, target
from medimg.tasks import task_of
from medimg.training.data import Part

BINARY = task_of(Study(question="?", label="finding", positive="1"))
CLASSES = task_of(Study(question="?", task="multiclass", label="view", classes=("a", "b", "c")))
LABELS = task_of(Study(question="?", task="multilabel", label=("x", "y"), positive="1"))
NUMBER = task_of(Study(question="?", task="regression", label="age", range=(0, 100)))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Bright(nn.Module):
    """Sees bright spots: the map must point at them."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, 4, 3, padding=1)
        self.head = nn.Linear(4, 1)
        with torch.no_grad():
            self.layer.weight.fill_(1 / (9 * channels))
            self.layer.bias.fill_(-0.6)
            self.head.weight.fill_(1.0)

    def forward(self, image):
        return self.head(torch.relu(self.layer(image)).mean(dim=(2, 3)))


def part(images: np.ndarray, truth: np.ndarray) -> Part:
    about = pd.DataFrame({"sample": [f"{number:016x}" for number in range(len(images))]})
    return Part(images, np.arange(len(images)), truth, np.arange(len(images), dtype=np.uint64), about)


def spots(count: int, channels: int = 1) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 60, (count, channels, 48, 48)).astype(np.uint8)
    for number in range(count):
        at = 6 + 4 * (number % 8)
        images[number, :, at : at + 6, 30:36] = 250
    return images


@pytest.mark.parametrize("channels", [1, 3])
def test_the_map_points_at_what_was_seen(channels):
    images, truth = spots(8, channels), np.ones((8, 1))
    cases = [case for case in chosen(BINARY, truth, np.linspace(0.6, 0.9, 8)[:, None], 8) if case.right]
    network = Bright(channels)
    cells, maps = cams(network, target(network, images[:1]), images[[case.position for case in cases]], cases)
    assert cells.shape == maps.shape == (8, 48, 48)
    for case, heat in zip(cases, maps, strict=True):
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        at = 6 + 4 * (case.position % 8)
        assert at - 1 <= row < at + 7 and 29 <= column < 37


@pytest.mark.parametrize("name", ["resnet10", "densenet121", "seresnet50", "efficientnet-b0", "efficientnet-lite0",
                                  "lenet5", "alexnet"])  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_every_architecture_has_maps_fine_enough(name, channels):
    from medimg.models.architecture import Architecture

    network = Architecture(name, (channels, 64, 64), 1).network(seed=0).eval()
    images = np.random.default_rng(0).integers(0, 255, (2, channels, 64, 64)).astype(np.uint8)
    layer = target(network, images[:1])
    assert layer is not None
    cases = [case for case in chosen(BINARY, np.array([[1.0], [0.0]]), np.array([[0.9], [0.2]]), 1) if case.right]
    cells, maps = cams(network, layer, images, cases)
    assert min(cells.shape[1:]) >= LEAST_CELLS and maps.shape == (2, 64, 64)
    assert np.isfinite(maps).all() and maps.min() >= 0 and maps.max() <= 1


def test_a_network_without_maps_says_so():
    from medimg.models.architecture import Architecture

    network = Architecture("perceptron", (1, 48, 48), 1).network(seed=0).eval()
    assert target(network, spots(1)) is None
    explain(network, BINARY, part(spots(4), np.arange(4)[:, None] % 2.0), np.full((4, 1), 0.7), 1, 1 / 16)
    assert json.loads((SALIENCY / "saliency.json").read_text())["similarity_to_random"] is None
    assert "no maps" in gallery.section().content["sanity"]


def test_the_surest_right_and_wrong_of_each_class():
    truth = np.array([1, 1, 1, 0, 0, 0])[:, None].astype(float)
    given = np.array([0.9, 0.8, 0.1, 0.2, 0.95, 0.4])[:, None]
    cases = list(chosen(BINARY, truth, given, 1))
    assert [(case.position, case.truth, case.answer, case.right, case.sign) for case in cases] == [
        (0, "positive", "positive", True, 1),
        (2, "positive", "negative", False, -1),
        (3, "negative", "negative", True, -1),
        (4, "negative", "positive", False, 1),
    ]
    assert not list(chosen(BINARY, truth, given, 0))


def test_classes_labels_and_numbers():
    given = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3]])
    cases = list(chosen(CLASSES, np.array([[0.0], [0.0], [1.0]]), given, 3))
    assert [(c.truth, c.answer, c.right, c.output) for c in cases] == [
        ("a", "a", True, 0), ("a", "c", False, 2), ("b", "b", True, 1)]  # fmt: skip
    labels = list(chosen(LABELS, np.array([[1.0, np.nan], [0.0, 1.0]]), np.array([[0.9, 0.9], [0.8, 0.9]]), 3))
    assert [(c.about, c.position, c.truth, c.answer, c.right, c.sign) for c in labels] == [
        ("x", 0, "positive", "positive", True, 1), ("x", 0, "positive", "negative", False, -1),
        ("x", 1, "negative", "negative", True, -1), ("x", 1, "negative", "positive", False, 1),
        ("y", 1, "positive", "positive", True, 1), ("y", 1, "positive", "negative", False, -1)]  # fmt: skip
    numbers = list(chosen(NUMBER, np.array([[10.0], [50.0]]), np.array([[11.0], [90.0]]), 1))
    assert [(c.truth, c.answer, c.right) for c in numbers] == [("10", "11", True), ("50", "90", False)]


def test_maps_change_with_the_weights_and_the_number_says_so():
    from medimg.models.architecture import Architecture

    network = Architecture("resnet10", (1, 48, 48), 1).network(seed=0).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    truth, given = np.arange(8)[:, None] % 2.0, np.linspace(0.1, 0.9, 8)[:, None]
    explain(network, BINARY, part(spots(8), truth), given, 2, 1 / 16)
    summary = json.loads((SALIENCY / "saliency.json").read_text())
    assert -0.6 < summary["similarity_to_random"] < 0.6
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    other = randomised(network, 0)
    assert not torch.equal(next(other.parameters()), next(network.parameters()))
    assert torch.equal(next(other.parameters()), next(randomised(network, 0).parameters()))
    assert len(summary["cases"]) == len(list(SALIENCY.glob("*.png"))) == 8
    first = {path.name: path.read_bytes() for path in SALIENCY.iterdir()}
    explain(network, BINARY, part(spots(8), truth), given, 2, 1 / 16)
    assert first == {path.name: path.read_bytes() for path in SALIENCY.iterdir()}


def test_a_map_that_training_did_not_change_is_called_so():
    assert "do not read anything" in gallery._sanity(0.9, "layer4")
    assert "they depend on what was learned" in gallery._sanity(0.1, "layer4")


def test_maps_that_are_the_same_all_over_are_not_said_to_pass():
    flat = Bright(1)
    torch.nn.init.zeros_(next(flat.parameters()))
    explain(flat, BINARY, part(spots(4), np.array([[1.0], [0], [1], [0]])), np.full((4, 1), 0.5), 1, 1 / 16)
    assert json.loads((SALIENCY / "saliency.json").read_text())["similarity_to_random"] is None
    assert "cannot be told" in gallery.section().content["sanity"]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_gallery_shows_picture_and_map_side_by_side(channels):
    images, truth = spots(6, channels), np.array([1, 1, 1, 0, 0, 0])[:, None].astype(float)
    given = np.array([0.9, 0.3, 0.8, 0.2, 0.9, 0.4])[:, None]
    explain(Bright(channels), BINARY, part(images, truth), given, 3, 1 / 16)
    picture = Image.open(SALIENCY / "000.png")
    assert picture.size == (96, 48) and picture.mode == "RGB"
    left = np.asarray(picture)[:, :48]
    expected = images[0].transpose(1, 2, 0)
    assert np.array_equal(left, expected if channels == 3 else np.repeat(expected, 3, axis=2))
    names = [f"{number:016x}" for number in range(6)]

    def shown(threshold):
        answers = {(n, "finding"): "positive" if p >= threshold else "negative" for n, p in zip(names, given[:, 0])}  # noqa: B905
        content = gallery.section(answers).content
        assert content["cut"]
        return [len(content[kind]) for kind in ("right", "wrong")], [case["text"] for case in content["wrong"]]

    assert shown(0.5) == (
        [4, 2],
        ["finding: truly positive, called negative", "finding: truly negative, called positive"],
    )
    assert shown(0.25)[0] == [4, 2]  # 0.3 and 0.4 are a yes there, rightly and wrongly
    assert shown(0.25)[1] == ["finding: truly negative, called positive"] * 2
    assert shown(0.85)[0] == [3, 3]
    part_of_report = gallery.section()
    assert all(case["alt"] and case["uri"].startswith("data:image/png;base64,")
               for case in part_of_report.content["right"])  # fmt: skip
    assert "0" * 16 not in json.dumps(part_of_report.content)  # the report lists no patient and no sample


def test_of_a_volume_the_slice_is_shown_that_the_map_is_highest_in_and_that_shows_something():
    image = np.zeros((1, 4, 8, 8), np.uint8)
    image[0, 1, 2:6, 2:6], image[0, 2, 1:7, 1:7], image[0, 0, 0, 0] = 100, 200, 1
    heat = np.array([1.0, 0.5, 0.6, 0.9])[:, None, None] * np.ones((4, 8, 8))  # highest where nothing is to be seen
    picture = overlay(image, heat)
    assert picture.shape == (8, 16, 3)
    assert (picture[:, :8, 0] == image[0, 2]).all()
