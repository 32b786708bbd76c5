import pytest
import torch

from medimg.models.architecture import Architecture
from medimg.models.stages import stages
from medimg.params import Train
from medimg.training.optimise import Depth, optimizer


def body(name="resnet10"):
    return Architecture(name, (1, 64, 64), 2, hidden=3).network(0).body


@pytest.mark.parametrize(
    ("name", "count", "last"),
    [("perceptron", 1, 2), ("mlp", 2, 2), ("resnet10", 6, 2), ("resnet18", 10, 2), ("efficientnet-lite0", 19, 2)],
)
def test_stages_hold_every_parameter_once_from_the_input_to_the_last_layer(name, count, last):
    network = body(name)
    found = stages(network)
    assert len(found) == count
    held = [id(values) for stage in found for values in stage.parameters()]
    assert sorted(held) == sorted(id(values) for values in network.parameters())
    assert [id(values) for values in found[-1].parameters()] == [id(v) for v in list(network.parameters())[-last:]]


def rates(settings, epoch=0):
    depth = Depth(body(), settings)
    made = optimizer(depth, settings, steps=10)
    for _ in range(epoch * 10):
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    return [group["lr"] for group in made["optimizer"].param_groups]


FLAT = {"warmup_epochs": 0, "schedule": "constant", "learning_rate": 1.0}


def test_the_rate_falls_with_depth_from_the_last_layer_to_the_input():
    found = rates(Train(**FLAT, depth_decay=0.01))
    assert found == pytest.approx([0.01 ** (height / 5) for height in (5, 4, 3, 2, 1, 0)])
    assert len(rates(Train(**FLAT))) == 1


def test_stages_join_from_the_last_layer_on_until_all_learn():
    settings = Train(**FLAT, unfreeze_epochs=5)
    learning = [sum(rate > 0 for rate in rates(settings, epoch)) for epoch in range(6)]
    assert learning == [1, 2, 3, 4, 5, 6]


def test_a_network_of_one_layer_learns_with_that_layer_whatever_is_said_of_those_below():
    settings = Train(**FLAT, depth_decay=0.1, freeze=1, unfreeze_epochs=5)
    depth = Depth(body("perceptron"), settings)
    assert [(rate, epoch) for rate, epoch, _ in depth.groups()] == [(1.0, 0)]


def test_what_does_not_learn_keeps_its_statistics_and_what_is_frozen_has_no_gradient():
    network = body()
    depth = Depth(network, Train(freeze=0.4, unfreeze_epochs=5))
    depth.set_epoch(1)
    modes = [stage[0].training for stage in stages(network)]
    assert modes == [False, False, False, False, True, True]
    assert [all(v.requires_grad for v in stage.parameters()) for stage in stages(network)] == [False] * 2 + [True] * 4
    depth.set_epoch(9)
    assert [stage[0].training for stage in stages(network)] == [False, False, True, True, True, True]


@pytest.mark.parametrize(("settings", "kind"), [({"optimizer": "sgd", "momentum": 0}, torch.optim.SGD)])
def test_plain_gradient_descent_is_sgd_without_momentum(settings, kind):
    made = optimizer(Depth(body(), Train(**settings)), Train(**settings), steps=3)["optimizer"]
    assert isinstance(made, kind)
    assert (made.defaults["momentum"], made.defaults["nesterov"]) == (0, False)
