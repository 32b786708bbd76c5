from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from medimg.errors import TrainingError
from medimg.training.data import EvaluationBatches, Part, TrainBatches, loader, normalise, scale


def epoch_of(count, batch, seed, world, epoch):
    """Positions of each batch of the whole job, put together from its workers."""
    shares = []
    for rank in range(world):
        batches = TrainBatches(count, batch, seed, rank, world)
        batches.set_epoch(epoch)
        shares.append([positions for _, positions, _ in batches])
    return [set(np.concatenate(step).tolist()) for step in zip(*shares, strict=True)]


@pytest.mark.parametrize("world", [2, 4, 8])
def test_any_number_of_workers_sees_the_same_samples_in_each_batch(world):
    assert epoch_of(103, 16, 5, world, epoch=3) == epoch_of(103, 16, 5, 1, epoch=3)


def test_an_epoch_takes_no_sample_twice_and_orders_differ_by_epoch_and_seed():
    batches = epoch_of(103, 16, 5, 2, epoch=0)
    assert [len(batch) for batch in batches] == [14] * 7  # of at most 16: all 103 images but 5
    assert len(set.union(*batches)) == 98
    assert batches != epoch_of(103, 16, 5, 2, epoch=1)
    assert batches != epoch_of(103, 16, 6, 2, epoch=0)


def test_a_batch_that_cannot_be_shared_shows_the_arithmetic():
    with pytest.raises(TrainingError, match=r"batch_size 32 cannot be shared by train.workers 3: 32 / 3 = 10\.6667"):
        TrainBatches(100, 32, 0, 0, 3)
    with pytest.raises(TrainingError, match="1 training images for 2 workers"):
        TrainBatches(1, 32, 0, 0, 2)


@pytest.mark.parametrize(("count", "batch", "steps"), [(7, 7, 1), (54, 27, 2), (64, 32, 2), (65, 21, 3), (201, 28, 7)])
def test_batches_are_equal_at_most_as_asked_and_leave_out_fewer_images_than_there_are_batches(count, batch, steps):
    for rank in range(2):
        batches = TrainBatches(count, 32, 0, rank, 2)
        assert (batches.batch, batches.steps) == (batch, steps)
        assert {size for _, _, size in batches} == {batch}
    assert count - batch * steps < steps


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 7, 8, 64, 65])
def test_every_sample_is_evaluated_exactly_once_and_all_workers_take_as_many_steps(count, world):
    shares = [list(EvaluationBatches(count, 8, rank, world)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    assert len({tuple(len(positions) for _, positions, _ in share) for share in shares}) == 1
    seen = Counter(int(at) for share in shares for _, positions, _ in share for at in positions)
    seen.pop(-1, None)
    assert seen == Counter(range(count))


def test_a_batch_holds_the_rows_of_its_samples_and_padding_weighs_nothing():
    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
    about = pd.DataFrame({"sample": list("abc"), "patient": list("abc"), "study": None})
    part = Part(images, np.array([4, 0, 2]), np.array([1.0, 0.0, 1.0]), np.array([7, 8, 9], np.uint64), about)
    batches = list(loader(part, EvaluationBatches(3, 2, rank=1, world=2)))
    assert [batch["image"].flatten().tolist() for batch in batches] == [[0], [4]]
    assert [batch["weight"].tolist() for batch in batches] == [[1.0], [0.0]]
    assert batches[0]["truth"].tolist() == [0.0]
    assert batches[0]["number"].tolist() == [8]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_the_stores_range_becomes_minus_one_to_one(dtype):
    top = torch.iinfo(dtype).max
    values = normalise(scale(torch.tensor([0, top], dtype=dtype)))
    assert values.tolist() == [-1.0, 1.0]
