import threading
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from medimg.errors import TrainingError
from medimg.store import Ragged
from medimg.training.data import EvaluationBatches, Part, TrainBatches, loader, scale


def epoch_of(count, batch, seed, world, epoch):
    """Positions of each batch of the whole job, put together from its workers."""
    shares = []
    for rank in range(world):
        batches = TrainBatches(count, batch, seed, rank, world)
        batches.set_epoch(epoch)
        shares.append([positions for _, positions, *_ in batches])
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


@pytest.mark.parametrize("world", [1, 2])
def test_the_pieces_of_one_worker_are_the_shares_of_several(world):
    shares = [positions.tolist() for rank in range(4) for _, positions, *_ in TrainBatches(64, 16, 0, rank, 4)]
    pieces = []
    for rank in range(world):
        batches = TrainBatches(64, 16, 0, rank, world, pieces=4 // world)
        assert (len(batches), batches.steps) == (16 // world, 4)
        pieces += [positions.tolist() for _, positions, *_ in batches]
    assert sorted(pieces) == sorted(shares)


def test_balanced_sampling_shows_each_class_equally_often_to_all_workers_together():
    classes = np.array([0.0] * 90 + [1.0] * 10)
    shares = [list(TrainBatches(100, 20, 0, rank, 2, classes=classes)) for rank in range(2)]
    seen = np.concatenate([positions for share in shares for _, positions, *_ in share])
    assert np.bincount(classes[seen].astype(int)).tolist() == [50, 50]
    frequent = seen[classes[seen] == 0]
    assert len(set(frequent.tolist())) == 50  # none twice
    assert set(Counter(seen[classes[seen] == 1].tolist()).values()) == {5}
    alone = [set(positions.tolist()) for _, positions, *_ in TrainBatches(100, 20, 0, 0, 1, classes=classes)]
    together = [set(one.tolist()) | set(other.tolist()) for (_, one, *_), (_, other, *_) in zip(*shares, strict=True)]
    assert together == alone


def test_an_image_that_returns_within_an_epoch_is_another_draw_each_time():
    classes = np.array([0.0] * 90 + [1.0] * 10)
    about = pd.DataFrame({"sample": range(100), "patient": "", "study": None})
    numbers = np.arange(100, dtype=np.uint64) + np.uint64(2**64 - 50)
    part = Part(np.zeros((100, 1, 1, 1), np.uint8), np.arange(100), classes[:, None], numbers, about)

    def drawn(world):
        batches = [loader(part, TrainBatches(100, 20, 0, rank, world, classes=classes)) for rank in range(world)]
        return [[number for batch in one for number in batch["number"].tolist()] for one in batches]

    (alone,) = drawn(1)
    assert len(set(alone)) == 100
    assert sorted(number for share in drawn(2) for number in share) == sorted(alone)
    whole = np.concatenate([batch["number"] for batch in loader(part, TrainBatches(100, 20, 0, 0, 1))])
    assert sorted(whole.tolist()) == sorted(numbers.tolist())  # nobody returns: the samples' own numbers


def test_a_batch_that_cannot_be_shared_shows_the_arithmetic():
    with pytest.raises(TrainingError, match=r"batch_size 32 cannot be shared by train.workers 3: 32 / 3 = 10\.6667"):
        TrainBatches(100, 32, 0, 0, 3)
    with pytest.raises(TrainingError, match="1 training images for 2 shares"):
        TrainBatches(1, 32, 0, 0, 2)


@pytest.mark.parametrize(("count", "batch", "steps"), [(7, 7, 1), (54, 27, 2), (64, 32, 2), (65, 21, 3), (201, 28, 7)])
def test_batches_are_equal_at_most_as_asked_and_leave_out_fewer_images_than_there_are_batches(count, batch, steps):
    for rank in range(2):
        batches = TrainBatches(count, 32, 0, rank, 2)
        assert (batches.batch, batches.steps) == (batch, steps)
        assert {step.size for step in batches} == {batch}
    assert count - batch * steps < steps


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 7, 8, 64, 65])
def test_every_sample_is_evaluated_exactly_once_and_all_workers_take_as_many_steps(count, world):
    shares = [list(EvaluationBatches(count, 8, rank, world)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    assert len({tuple(len(positions) for _, positions, *_ in share) for share in shares}) == 1
    seen = Counter(int(at) for share in shares for _, positions, *_ in share for at in positions)
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
def test_the_stores_range_becomes_zero_to_one(dtype):
    top = torch.iinfo(dtype).max
    values = scale(torch.tensor([0, top], dtype=dtype))
    assert values.tolist() == [0.0, 1.0]


def part_of(count, images=None):
    about = pd.DataFrame({"sample": range(count), "patient": "", "study": None})
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] if images is None else images
    return Part(images, np.arange(count), np.zeros((count, 1)), np.arange(count, dtype=np.uint64), about)


def test_batches_come_in_the_samplers_order_however_far_ahead_they_are_gathered():
    batches = loader(part_of(103), TrainBatches(103, 16, 5, 0, 1))
    for epoch in (0, 1):
        batches.sampler.set_epoch(epoch)
        expected = [step.positions.tolist() for step in batches.sampler]
        assert [batch["image"].flatten().tolist() for batch in batches] == expected
        assert len(batches) == len(expected)


def test_an_epoch_that_is_left_early_leaves_no_thread_behind():
    before = threading.active_count()
    for _ in loader(part_of(64), TrainBatches(64, 8, 0, 0, 1)):
        break
    assert threading.active_count() == before


def test_what_cannot_be_read_is_said_where_the_batch_is_asked_for():
    class Gone:
        shape = (8, 1, 1, 1)

        def __getitem__(self, rows):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        next(iter(loader(part_of(8, Gone()), TrainBatches(8, 8, 0, 0, 1))))


def test_images_of_different_shapes_are_refused_with_what_to_do():
    ragged = Ragged(np.zeros(20, np.uint8), np.array([[1, 2, 2], [1, 4, 4]]))
    with pytest.raises(TrainingError, match=r"Set preprocess\.size"):
        loader(part_of(2, ragged), TrainBatches(2, 2, 0, 0, 1))
