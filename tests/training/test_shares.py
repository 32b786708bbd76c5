"""Two real processes, and one that takes both shares in turn, end with the same bits."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from studies import free_port, set_params

from medimg.params import Train, load
from medimg.tasks import task_of
from medimg.training import Job
from medimg.training.statistics import Statistics

FIT = """
import os, sys, torch
from pathlib import Path
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from safetensors.torch import save_file
sys.path[:0] = {paths!r}
from test_shares import job
from medimg.training.fit import Place, fit
torch.set_num_threads(1)  # sums in one order
rank, world, out = int(os.environ["NODE_RANK"]), int(sys.argv[1]), Path(sys.argv[2])
strategy = DDPStrategy(process_group_backend="gloo", broadcast_buffers=False) if world > 1 else "auto"
module = fit(job(), Place(rank=rank, world=world, strategy=strategy, nodes=world)).module
save_file(module.network.body.state_dict(), out / f"{{world}}-{{rank}}.safetensors")
"""


def job():
    params = load()
    return Job(task_of(params.study), params.study.seed, params.model, params.train, params.augment)


def processes(world, out):
    """Fit with so many processes of this machine, each as if on a node of its own; their weights."""
    port = str(free_port())
    code = FIT.format(paths=[str(Path(__file__).parent), str(Path(__file__).parent.parent)])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(world), str(out)],
            env=os.environ | common | {"NODE_RANK": str(rank), "LOCAL_RANK": "0"},
        )
        for rank in range(world)
    ]
    assert [run.wait(1200) for run in runs] == [0] * world
    return [load_file(out / f"{world}-{rank}.safetensors") for rank in range(world)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("resnet10", 32), ("alexnet", 64)])  # batch norm; dropout
def test_one_worker_that_takes_two_shares_ends_with_the_bits_of_two_workers(ready, tmp_path, name, size):
    if size != 32:
        from medimg.preprocess import preprocess

        set_params(ready, preprocess={"size": size})
        preprocess(load().preprocess)
    set_params(ready, model={"name": name}, train={"workers": 2, "least_workers": 1, "ema": 0.9})
    out = tmp_path / "out"
    out.mkdir()
    (alone,) = processes(1, out)
    first, second = processes(2, out)
    for state in (first, second):
        assert state.keys() == alone.keys()
        assert [key for key in alone if not torch.equal(state[key], alone[key])] == []


def test_the_shares_of_absent_workers_are_taken_in_turn_where_that_is_even():
    settings = Train(workers=4, least_workers=1, accumulate=2)
    assert [settings.pieces(world) for world in (1, 2, 3, 4)] == [8, 4, 2, 2]
    assert Train(workers=3, accumulate=2).pieces(3) == 2


def test_running_statistics_move_by_the_mean_of_the_shares_once_a_step():
    batch = torch.randn(12, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 + 1
    norm = torch.nn.BatchNorm2d(3)
    statistics = Statistics(torch.nn.Sequential(norm), shares=3, sum_over_workers=lambda values: values)
    for share in batch.chunk(3):
        statistics.begin()
        norm(share)
    statistics.end()
    assert torch.allclose(norm.running_mean, 0.1 * batch.mean((0, 2, 3)), atol=1e-6)
    variance = torch.stack([share.var((0, 2, 3)) for share in batch.chunk(3)]).mean(0)
    assert torch.allclose(norm.running_var, 0.9 + 0.1 * variance, atol=1e-6)
    assert int(norm.num_batches_tracked) == 1
    frozen = norm.eval().running_var.clone()
    for share in batch.chunk(3):
        statistics.begin()
        norm(share)
    statistics.end()
    assert torch.equal(norm.running_var, frozen)


def test_what_a_network_draws_belongs_to_the_share_not_to_the_worker(ready, monkeypatch):
    from medimg.training import module as rooms

    def keys(workers, rank):
        seen = []
        monkeypatch.setattr(rooms, "_key", lambda *numbers: seen.append(numbers) or 0)
        from medimg.training.fit import fit

        settings = load().train.model_copy(update={"max_epochs": 1, "workers": workers, "least_workers": 1})
        model = load().model.model_copy(update={"name": "perceptron"})
        fit(replace(job(), train=settings, model=model))
        return seen

    assert len(set(keys(2, 0))) == len(keys(2, 0)) == 2 * len(keys(1, 0))
