from typing import get_args

import pytest
import torch

from medimg.errors import TrainingError
from medimg.models.architecture import Architecture
from medimg.params.learning import Name

NAMES = get_args(Name)
ONE_A_FAMILY = ["perceptron", "mlp", "lenet5", "resnet10", "seresnet50", "densenet121", "efficientnet-b0"]


def forward(name, shape, outputs=3, batch=2):
    network = Architecture(name, shape, outputs, hidden=4).network(seed=0).eval()
    with torch.inference_mode():
        return network(torch.rand(batch, *shape))


@pytest.mark.parametrize("name", [*ONE_A_FAMILY, "alexnet", "efficientnet-lite0"])
def test_any_channels_and_any_outputs_in_2d(name):
    assert forward(name, (1, 64, 70)).shape == (2, 3)
    assert torch.isfinite(forward(name, (4, 64, 64), outputs=1)).all()


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_any_channels_and_any_outputs_in_3d(name):
    assert torch.isfinite(forward(name, (2, 32, 36, 32))).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(2, 64, 64), (1, 64, 64, 64)], ids=["2D", "3D"])
def test_every_network_that_params_allow_can_be_built_and_gives_its_outputs(name, shape):
    architecture = Architecture(name, shape, 5, hidden=4)
    if name == "efficientnet-lite0" and len(shape) == 4:
        with pytest.raises(TrainingError, match="for volumes choose efficientnet-b0"):
            architecture.check()
        return
    with torch.device("meta"):  # shapes without numbers
        network = architecture.network(seed=0).eval()
        assert network(torch.zeros(2, *shape)).shape == (2, 5)


def learned(network):
    return sum(values.numel() for values in network.parameters())


def test_lenet5_has_the_60_000_free_parameters_of_the_paper_before_its_last_layer():
    body = Architecture("lenet5", (1, 32, 32), 10).network(0).body
    unused = int((body.sees == 0).sum()) * 25
    assert learned(body) - unused - learned(body.output) == 60_000
    layers = [(body.c1, 156), (body.s2, 12), (body.c3, 1516 + unused), (body.s4, 32), (body.c5, 48_120)]
    assert [learned(layer) for layer, _ in layers] == [count for _, count in layers]


def test_a_map_of_c3_learns_nothing_from_the_maps_that_it_does_not_see():
    body = Architecture("lenet5", (1, 32, 32), 10).network(0).body
    body(torch.rand(1, 1, 32, 32)).sum().backward()
    blind = body.c3.weight.grad.abs().sum((2, 3)) == 0
    assert torch.equal(blind, body.sees[:, :, 0, 0] == 0)


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("alexnet", (3, 224, 224), 60_965_224),  # Krizhevsky et al.: 60 million
        ("resnet18", (3, 224, 224), 11_689_512),
        ("resnet50", (3, 224, 224), 25_557_032),
        ("densenet121", (3, 224, 224), 7_978_856),
        ("efficientnet-b0", (3, 224, 224), 5_288_548),
        ("efficientnet-lite0", (3, 224, 224), 4_652_008),
    ],
)
def test_as_many_parameters_as_published_for_imagenet(name, shape, count):
    with torch.device("meta"):
        assert learned(Architecture(name, shape, 1000).network(0)) == count


def test_the_seed_decides_the_fresh_weights_and_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    architecture = Architecture("resnet10", (1, 32, 32), 1)
    one, same, other = (architecture.network(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["body.conv1.weight"], other["body.conv1.weight"])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("name", "size", "least"), [("alexnet", 62, 63), ("lenet5", 15, 16), ("resnet18", 31, 32)])
def test_images_that_are_too_small_are_refused_with_the_size_that_is_needed(name, size, least):
    with pytest.raises(TrainingError, match=f"{name} needs images of at least {least} pixels.*{size} × {size}"):
        Architecture(name, (1, size, size), 1).check()
    assert forward(name, (1, least, least)).shape == (2, 3)


def test_normalisation_is_the_networks_first_step():
    image = torch.rand(2, 1, 8, 8)
    unit = Architecture("perceptron", (1, 8, 8), 1, mean=(0.0,), std=(1.0,)).network(0)
    other = Architecture("perceptron", (1, 8, 8), 1, mean=(0.25,), std=(0.5,)).network(0)
    assert torch.allclose(other(image), unit((image - 0.25) / 0.5), atol=1e-6)


def test_a_grey_image_is_shown_to_colour_weights_as_three_equal_colours():
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    grey = Architecture("resnet10", (1, 32, 32), 2, colours=3, mean=mean, std=std).network(0).eval()
    colour = Architecture("resnet10", (3, 32, 32), 2, mean=mean, std=std).network(0).eval()
    image = torch.rand(2, 1, 32, 32)
    assert torch.equal(grey(image), colour(image.repeat(1, 3, 1, 1)))


def test_an_architecture_survives_its_record():
    one = Architecture("mlp", (1, 2, 3), 4, hidden=5, mean=(0.1,), std=(0.2,))
    assert Architecture.read(one.record()) == one


def test_zscore_knows_each_image_by_its_own_values_above_0():
    network = Architecture("lenet5", (2, 16, 20, 18), 1, zscore=True).network(seed=0)
    image = torch.rand(3, 2, 16, 20, 18, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.1
    image[:, :, :4] = 0
    seen = []
    network.body.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(image)
    network(image * 2.5)  # another scale of grey values is the same image
    assert torch.allclose(seen[0], seen[1], atol=1e-5)
    inside = seen[0][1, 1, 4:]
    assert inside.mean().abs() < 1e-5
    assert abs(inside.std(correction=0) - 1) < 1e-5
    assert (seen[0][:, :, :4] == 0).all()
    assert network(torch.zeros_like(image)).isfinite().all()
