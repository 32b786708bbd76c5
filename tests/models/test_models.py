import pytest
import torch
from safetensors.torch import save_file

from medimg.errors import TrainingError
from medimg.models.cnn import build
from medimg.models.transfer import read_weights, transfer


@pytest.mark.parametrize("name", ["resnet10", "resnet18", "resnet50", "densenet121"])
@pytest.mark.parametrize(("channels", "outputs"), [(1, 1), (3, 4)])
def test_any_channels_and_outputs(name, channels, outputs):
    network = build(name, channels, outputs, seed=0).eval()
    assert network(torch.zeros(2, channels, 64, 64)).shape == (2, outputs)


def test_the_seed_decides_the_fresh_weights_and_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (build("resnet10", 1, 1, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.fixture
def given(tmp_path):
    network = build("resnet10", 3, 1000, seed=7)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    return network.state_dict(), tmp_path


def test_what_fits_is_loaded_colour_is_summed_and_the_head_stays_fresh(given):
    weights, folder = given
    network = build("resnet10", 1, 1, seed=0)
    head = network.state_dict()["fc.weight"].clone()
    report = transfer(network, str(folder))
    state = network.state_dict()
    assert report.adapted == ("conv1.weight",)
    assert report.skipped == ("fc.weight", "fc.bias")
    assert torch.equal(state["layer1.0.conv1.weight"], weights["layer1.0.conv1.weight"])
    assert torch.allclose(state["conv1.weight"], weights["conv1.weight"].sum(1, keepdim=True))
    assert torch.equal(state["fc.weight"], head)
    grey = torch.randn(1, 1, 32, 32)
    colour = build("resnet10", 3, 1000, seed=7).conv1(grey.repeat(1, 3, 1, 1))
    assert torch.allclose(network.conv1(grey), colour, atol=1e-4)  # a grey image means the same to both


def test_wrapped_and_prefixed_state_dicts_are_understood(given):
    weights, folder = given
    torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, folder / "w.pt")
    network = build("resnet10", 3, 1000, seed=0)
    assert transfer(network, str(folder / "w.pt")).skipped == ()


def test_weights_of_another_network_are_refused_with_the_arithmetic(given):
    with pytest.raises(TrainingError, match=r"do not belong to this network: \d+ of its \d+ tensors fit"):
        transfer(build("densenet121", 1, 1, seed=0), str(given[1]))


class Trap:
    def __reduce__(self):
        return (open, ("trapped", "w"))


def test_a_file_that_would_run_code_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Trap()}, tmp_path / "w.pt")
    with pytest.raises(TrainingError, match="could run foreign code: refused"):
        read_weights(tmp_path / "w.pt")
    assert not (tmp_path / "trapped").exists()


def test_a_missing_or_unreadable_file_is_named(tmp_path):
    with pytest.raises(TrainingError, match=r"no weights file .*none\.pt"):
        transfer(build("resnet10", 1, 1, seed=0), str(tmp_path / "none.pt"))
    (tmp_path / "w.safetensors").write_bytes(b"\0" * 50)
    torch.save(torch.zeros(3), tmp_path / "bare.pt")
    for name in ("w.safetensors", "bare.pt"):
        with pytest.raises(TrainingError, match="not a readable weights file"):
            read_weights(tmp_path / name)
