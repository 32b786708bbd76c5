import functools
import http.server
import threading

import pytest
import torch
from safetensors.torch import load_file, save_file

from medimg.errors import TrainingError
from medimg.files import sha256_file
from medimg.models.architecture import Architecture
from medimg.models.network import Network
from medimg.models.transfer import read_weights, start, unsaid
from medimg.models.weights import find
from medimg.params import Model


def network_of(name, channels, outputs, seed):
    return Architecture(name, (channels, 32, 32), outputs).network(seed)


def started(channels=1, outputs=1, seed=0, name="resnet10", **model):
    return start(Model(name=name, **model), (channels, 32, 32), outputs, seed)


@pytest.fixture
def given(tmp_path):
    network = network_of("resnet10", 3, 1000, seed=7)
    save_file(network.body.state_dict(), tmp_path / "weights.safetensors")
    return network.eval(), tmp_path


def test_what_fits_is_loaded_grey_is_shown_as_colour_and_the_head_stays_fresh(given):
    weights, folder = given
    network, report = started(weights=str(folder))
    state = network.body.state_dict()
    assert network.architecture.colours == 3
    assert report.adapted == ()
    assert report.skipped == ("fc.weight", "fc.bias")
    assert report.source_sha256 == sha256_file(folder / "weights.safetensors")
    assert torch.equal(state["layer1.0.conv1.weight"], weights.body.state_dict()["layer1.0.conv1.weight"])
    assert torch.equal(state["fc.weight"], network_of("resnet10", 3, 1, seed=0).body.fc.weight)
    assert "resnet10" not in report.sentence()
    assert "fresh: fc.weight, fc.bias" in report.sentence()


def test_a_grey_image_means_the_same_as_to_the_network_that_the_weights_come_from(given):
    weights, folder = given
    grey, report = started(outputs=1000, weights=str(folder))
    assert report.skipped == ()
    image = torch.rand(2, 1, 32, 32)
    assert torch.allclose(grey.eval()(image), weights(image.repeat(1, 3, 1, 1)), atol=1e-5)


@pytest.mark.parametrize("channels", [2, 4])
def test_for_other_channels_the_first_convolution_is_adapted_so_that_equal_channels_are_grey(given, channels):
    weights, folder = given
    network, report = started(channels=channels, outputs=1000, weights=str(folder))
    assert report.adapted == ("conv1.weight",)
    image = torch.rand(2, 1, 32, 32)
    expected = weights(image.repeat(1, 3, 1, 1))
    assert torch.allclose(network.eval()(image.repeat(1, channels, 1, 1)), expected, atol=1e-4)


def test_a_weights_file_of_medimg_brings_its_own_normalisation(tmp_path):
    architecture = Architecture("resnet10", (1, 32, 32), 2, mean=(0.25,), std=(0.125,))
    save_file(architecture.network(3).body.state_dict(), tmp_path / "weights.safetensors", architecture.header())
    network, _ = started(outputs=2, weights=str(tmp_path))
    assert (network.architecture.mean, network.architecture.std) == ((0.25,), (0.125,))
    image = torch.rand(2, 1, 32, 32)
    assert torch.equal(network.eval()(image), architecture.network(3).eval()(image))
    other, _ = started(outputs=2, weights=str(tmp_path), normalisation="unit")
    assert other.architecture.mean == (0.0,)


def test_colours_of_their_own_do_not_fit_two_channels_and_the_message_says_what_does():
    with pytest.raises(TrainingError, match="3 colours, and the network's input has 2"):
        started(channels=2, normalisation="imagenet")


def test_wrapped_and_prefixed_state_dicts_are_understood(given):
    weights, folder = given
    state = {f"module.{name}": value for name, value in weights.body.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, folder / "w.pt")
    _, report = started(channels=3, outputs=1000, weights=str(folder / "w.pt"))
    assert (report.skipped, report.unused) == ((), ())


def test_weights_of_another_network_are_refused_with_the_arithmetic(given):
    with pytest.raises(TrainingError, match=r"do not belong to this network: \d+ of its \d+ layers fit"):
        started(name="densenet121", weights=str(given[1]))


def test_a_pictures_weights_are_refused_for_volumes_although_all_their_norms_fit(given):
    with pytest.raises(TrainingError, match=r"0 of its \d+ layers fit.*trained on volumes"):
        start(Model(name="resnet10", weights=str(given[1])), (1, 32, 32, 32), 1, 0)


def test_weights_that_say_of_which_network_they_are_start_no_other_whose_parts_they_hold(tmp_path):
    larger = Architecture("resnet18", (1, 32, 32), 1)
    state = larger.network(3).body.state_dict()
    save_file(state, tmp_path / "weights.safetensors", larger.header())
    with pytest.raises(TrainingError, match="those of resnet18 for 2D images, and this is resnet10 for 2D"):
        started(weights=str(tmp_path))
    save_file(state, tmp_path / "foreign.safetensors")
    _, report = started(weights=str(tmp_path / "foreign.safetensors"))
    assert report.sentence().endswith(f"; not used of the file: {len(report.unused)}")


def test_weights_for_colour_of_others_are_normalised_as_asked_for_grey_images_too(given):
    weights, folder = given
    network, _ = started(outputs=1000, weights=str(folder), normalisation="imagenet")
    assert len(network.architecture.mean) == network.architecture.channels == 3
    image = torch.rand(2, 1, 32, 32)
    asked = Architecture("resnet10", (3, 32, 32), 1000, mean=network.architecture.mean, std=network.architecture.std)
    wanted = Network(weights.body, asked)
    assert torch.allclose(network.eval()(image), wanted(image.repeat(1, 3, 1, 1)), atol=1e-5)


def test_a_file_that_does_not_say_how_its_images_were_normalised_is_known(given, tmp_path):
    foreign, lite = Model(weights=str(given[1])), Model(name="efficientnet-lite0", weights="imagenet")
    assert unsaid(foreign, find(foreign, 2))
    assert not unsaid(lite, find(lite, 2))
    asked = foreign.model_copy(update={"normalisation": "imagenet"})
    assert not unsaid(asked, find(asked, 2))
    own = Architecture("resnet10", (1, 32, 32), 1)
    save_file(own.network(3).body.state_dict(), tmp_path / "own.safetensors", own.header())
    mine = Model(weights=str(tmp_path / "own.safetensors"))
    assert not unsaid(mine, find(mine, 2))


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
        started(weights=str(tmp_path / "none.pt"))
    (tmp_path / "w.safetensors").write_bytes(b"\0" * 50)
    torch.save(torch.zeros(3), tmp_path / "bare.pt")
    for name in ("w.safetensors", "bare.pt"):
        with pytest.raises(TrainingError, match="not a readable weights file"):
            read_weights(tmp_path / name)


@pytest.fixture
def served(given, tmp_path, monkeypatch):
    """The given weights at an address; which requests came; an empty cache."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(given[1]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/weights.safetensors", asked
        server.shutdown()


def test_an_address_is_fetched_once_checked_and_kept(served, given):
    address, asked = served
    sha256 = sha256_file(given[1] / "weights.safetensors")
    with pytest.raises(TrainingError, match=r"set model\.weights_sha256"):
        started(weights=address)
    _, report = started(channels=3, outputs=1000, weights=address, weights_sha256=sha256)
    assert (report.source, report.skipped) == (address, ())
    started(weights=address, weights_sha256=sha256)
    assert len(asked) == 1
    kept = find(Model(weights=address, weights_sha256=sha256), 2).path
    kept.write_bytes(b"damaged")
    assert sha256_file(find(Model(weights=address, weights_sha256=sha256), 2).path) == sha256
    assert len(asked) == 2


def test_what_an_address_gives_is_thrown_away_when_its_hash_is_another(served, tmp_path):
    with pytest.raises(TrainingError, match="thrown away"):
        started(weights=served[0], weights_sha256="0" * 64)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_an_address_without_an_answer_is_a_sentence(served):
    address = served[0].replace("weights.safetensors", "none.pt")
    with pytest.raises(TrainingError, match=r"could not be fetched \(File not found\)"):
        started(weights=address, weights_sha256="0" * 64)


def test_the_imagenet_weights_are_loaded_right():
    """The same image through the package that published them and through ours: the same 1000 logits."""
    published = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    given = find(Model(name="efficientnet-lite0", weights="imagenet"), 2)
    published.load_state_dict(read_weights(given.path))
    model = Model(name="efficientnet-lite0", weights="imagenet")
    colour, report = start(model, (3, 224, 224), 1000, seed=0)
    grey, _ = start(model, (1, 224, 224), 1000, seed=0)
    assert (report.skipped, report.adapted, report.unused) == ((), (), ())
    torch.manual_seed(0)
    image = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        expected = published.eval()((image * 255 - 127) / 128)
        assert torch.allclose(colour.eval()(image), expected, atol=1e-4)
        expected = published((image[:, :1].repeat(1, 3, 1, 1) * 255 - 127) / 128)
        assert torch.allclose(grey.eval()(image[:, :1]), expected, atol=1e-4)
        assert expected.std() > 0.5  # it says something


def test_imagenet_weights_of_another_size_of_head_leave_it_fresh():
    network, report = start(Model(name="efficientnet-lite0", weights="imagenet"), (1, 64, 64), 2, seed=0)
    assert report.skipped == ("_fc.weight", "_fc.bias")
    assert network.architecture.mean == (127 / 255,)


@pytest.mark.parametrize(
    ("name", "weights", "dimensions", "said"),
    [
        ("resnet18", "imagenet", 2, "no ImageNet weights for resnet18. With no download: efficientnet-lite0"),
        ("densenet121", "imagenet", 3, "For volumes: model.weights: medicalnet"),
        ("resnet18", "medicalnet", 2, "for a resnet on volumes, and this is resnet18 in 2D"),
    ],
)
def test_weights_that_nobody_published_are_refused_with_those_that_there_are(name, weights, dimensions, said):
    with pytest.raises(TrainingError, match=said):
        find(Model(name=name, weights=weights), dimensions)


@pytest.mark.parametrize(
    ("name", "weights", "dimensions"),
    [("densenet121", "imagenet", 2), ("efficientnet-b0", "imagenet", 2), ("resnet10", "medicalnet", 3)],
)
def test_what_monai_would_fetch_is_a_sentence_where_there_is_no_network(
    name, weights, dimensions, monkeypatch, tmp_path
):
    for variable in ("http_proxy", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with pytest.raises(TrainingError, match=r"could not be fetched through MONAI .*they need a network"):
        find(Model(name=name, weights=weights), dimensions)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_weights_kept_from_an_earlier_fetch_are_used_without_a_network(monkeypatch, tmp_path):
    """What MONAI fetched once stands in the cache as a file of ours, with the names of its own network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from monai.networks.nets import DenseNet121

    kept = tmp_path / "medimg/weights/imagenet-densenet121.safetensors"
    kept.parent.mkdir(parents=True)
    save_file(DenseNet121(spatial_dims=2, in_channels=3, out_channels=1000).state_dict(), kept)
    network, report = started(name="densenet121", weights="imagenet")
    assert report.skipped == ("class_layers.out.weight", "class_layers.out.bias")
    assert network.architecture.mean == (0.485, 0.456, 0.406)
    assert torch.equal(network.body.features.conv0.weight, load_file(kept)["features.conv0.weight"])


def test_medicalnets_weights_are_given_each_volume_by_its_own_values_and_so_are_those_refined_from_them(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = tmp_path / "medimg/weights/medicalnet-resnet10.safetensors"
    kept.parent.mkdir(parents=True)
    save_file(Architecture("resnet10", (1, 32, 32, 32), 4).network(3).body.state_dict(), kept)
    network, _ = start(Model(name="resnet10", weights="medicalnet"), (1, 32, 32, 32), 2, 0)
    assert network.architecture.zscore
    refined = tmp_path / "refined.safetensors"
    save_file(network.body.state_dict(), refined, network.architecture.header())
    again, _ = start(Model(name="resnet10", weights=str(refined)), (1, 32, 32, 32), 2, 0)
    assert again.architecture.zscore
    plain, _ = start(Model(name="resnet10", weights=str(refined), normalisation="centred"), (1, 32, 32, 32), 2, 0)
    assert not plain.architecture.zscore


def test_of_an_ensemble_the_first_network_is_refined(tmp_path):
    together = Architecture("lenet5", (1, 32, 32), 1, members=3).network(5)
    save_file(together.body.state_dict(), tmp_path / "weights.safetensors", together.architecture.header())
    network, report = started(name="lenet5", weights=str(tmp_path))
    assert report.skipped == report.unused == ()
    state = together.alone()[0].body.state_dict()
    assert all(torch.equal(values, state[name]) for name, values in network.body.state_dict().items())
