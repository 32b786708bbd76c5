import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load as loaded
from safetensors.torch import save

from medimg.augment import augment
from medimg.errors import TrainingError
from medimg.models.architecture import Architecture
from medimg.models.transfer import start
from medimg.models.weights import find
from medimg.params import Augment, Preprocess, Train, load
from medimg.preprocess import preprocess
from medimg.records import INDEX, INDEX_SCHEMA, PARTS, PARTS_SCHEMA, mark, read_table
from medimg.tasks import task_of
from medimg.training import Job, module
from medimg.training.checks import check_judge, check_shares
from medimg.training.data import EvaluationBatches, Part, loader, read_parts
from medimg.training.fit import Place, fit, precision
from medimg.training.progress import epoch_line
from medimg.training.run import _apart, train
from medimg.training.watch import fresh


def job_of(network=None, **train):
    params = load()
    settings = params.train.model_copy(update=train)
    model = params.model.model_copy(update={"name": network}) if network else params.model
    return Job(task_of(params.study), params.study.seed, model, settings, params.augment)


class Keep(pl.callbacks.Checkpoint):
    """Keeps the checkpoint of each epoch; raises after ``stop`` epochs."""

    def __init__(self, folder, stop=None):
        self.folder, self.stop = folder, stop

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}.ckpt")
        if self.stop == trainer.current_epoch:
            raise KeyboardInterrupt


def timeless(module):
    return [
        {name: row[name] for name in row if name not in ("seconds", "validation_seconds", "waiting")}
        for row in module.history
    ]


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(ready):
    one, same = fit(job_of()).module, fit(job_of()).module
    assert equal(one.network.state_dict(), same.network.state_dict())
    assert timeless(one) == timeless(same)
    assert [row["epoch"] for row in one.history] == [0, 1]
    count = len(read_parts(one.task, "train")["train"])
    assert 32 < count < one.steps * 32
    assert one.seen == sum(row["samples"] for row in one.history) == 2 * one.steps * (count // one.steps)


def test_a_fit_resumed_from_a_checkpoint_ends_where_the_undisturbed_one_does(ready, tmp_path):
    whole = fit(job_of(max_epochs=3)).module
    with pytest.raises(SystemExit):
        fit(job_of(max_epochs=3), Place(callbacks=[Keep(tmp_path, stop=0)]))
    resumed = fit(job_of(max_epochs=3), resume=tmp_path / "0.ckpt").module
    assert [row["epoch"] for row in resumed.history] == [0, 1, 2]
    assert equal(whole.network.state_dict(), resumed.network.state_dict())
    assert equal(whole.best["weights"], resumed.best["weights"])


def test_a_fit_goes_on_in_other_pieces_as_when_workers_join_or_leave(ready, tmp_path):
    """Without batch norm the pieces change nothing but the order of sums."""
    with pytest.raises(SystemExit):
        fit(job_of("perceptron", max_epochs=3), Place(callbacks=[Keep(tmp_path, stop=0)]))
    for pieces in (1, 4):
        job = job_of("perceptron", max_epochs=3, accumulate=pieces)
        whole, resumed = fit(job).module, fit(job, resume=tmp_path / "0.ckpt").module
        assert [row["epoch"] for row in resumed.history] == [0, 1, 2]
        assert resumed.trainer.global_step == whole.trainer.global_step == 3 * whole.steps
        assert torch.allclose(whole.network.body.linear.weight, resumed.network.body.linear.weight, atol=1e-5)


def test_patience_ends_a_fit_and_a_resume_after_that_trains_no_more(ready, tmp_path):
    fitted = fit(job_of(max_epochs=9, patience=1, learning_rate=1e-12), Place(callbacks=[Keep(tmp_path)])).module
    epochs = len(fitted.history)
    assert epochs < 9
    assert fitted.best["epoch"] == epochs - 2
    again = fit(job_of(max_epochs=9, patience=1, learning_rate=1e-12), resume=tmp_path / f"{epochs - 1}.ckpt").module
    assert len(again.history) == epochs


def test_a_loss_that_is_no_number_stops_with_a_sentence(ready):
    with pytest.raises(TrainingError, match=r"not a number in epoch 1. Lower train.learning_rate \(now 1e\+30\)"):
        fit(job_of(learning_rate=1e30, warmup_epochs=0))


def test_losses_that_are_no_numbers_later_stop_the_fit_with_the_last_good_weights(ready):
    """The first epoch is warm-up and good; then the rate is far too high."""

    class Spoil(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                pl_module.network.body.linear.weight.data.fill_(float("nan"))

    fitted = fit(job_of("perceptron", max_epochs=3), Place(callbacks=[Spoil()])).module
    assert [row["epoch"] for row in fitted.history] == [0]
    assert "not a number in epoch 2" in fitted.stopped
    assert "Kept are the weights of epoch 1" in fitted.stopped
    whole = fit(job_of("perceptron", max_epochs=3), Place(callbacks=[Stop()])).module
    assert equal(fitted.best["weights"], whole.best["weights"])


def test_weights_that_are_no_numbers_after_an_epochs_last_step_stop_the_fit_too(ready, monkeypatch):
    """No loss has seen them yet; and a look at the first step of the next epoch would skip all of it."""

    class Spoil(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, at):
            if trainer.current_epoch == 1 and at == pl_module.steps - 1:
                pl_module.network.body.linear.weight.data.fill_(float("nan"))

    monkeypatch.setattr("medimg.training.module.LOOK", 1)
    fitted = fit(job_of("perceptron", max_epochs=3), Place(callbacks=[Spoil()])).module
    assert [row["epoch"] for row in fitted.history] == [0]
    assert "Kept are the weights of epoch 1" in fitted.stopped


class Stop(pl.Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = True


def test_pieces_too_small_for_batch_norm_are_warned_of(ready):
    warned = fit(job_of(max_epochs=1, batch_size=32, accumulate=8)).module.warned
    assert re.search(r"sees 3\.\d+ images at a time", warned["norm"])
    assert "norm" not in fit(job_of("perceptron", max_epochs=1, batch_size=32, accumulate=8)).module.warned


def test_in_a_network_without_batch_norm_pieces_change_nothing_but_the_order_of_sums(ready):
    plain = {"max_epochs": 1, "optimizer": "sgd", "learning_rate": 0.01}
    whole, pieces = (fit(job_of("perceptron", **plain, accumulate=n)).module for n in (1, 4))
    assert pieces.seen == whole.seen
    assert pieces.trainer.global_step == whole.trainer.global_step == 7
    assert torch.allclose(whole.network.body.linear.weight, pieces.network.body.linear.weight, atol=1e-6)
    assert whole.history[0]["train_loss"] == pytest.approx(pieces.history[0]["train_loss"])


def test_imagenet_weights_are_refined_in_the_fastest_order_of_memory_and_kept_in_the_plain_one(ready):
    job = job_of("efficientnet-lite0", max_epochs=1, freeze=1, depth_decay=0.5)
    fitted = fit(replace(job, model=job.model.model_copy(update={"weights": "imagenet"})))
    stem = fitted.module.network.body._conv_stem.weight
    assert stem.is_contiguous(memory_format=torch.channels_last)
    assert fitted.transferred.skipped == ("_fc.weight", "_fc.bias")
    assert torch.equal(loaded(save(fitted.module.best["weights"]))["_conv_stem.weight"], stem)


def test_what_is_frozen_keeps_its_weights_and_its_statistics(ready):
    fresh = start(load().model, (1, 32, 32), 1, 0)[0].body.state_dict()
    fitted = fit(job_of(max_epochs=1, freeze=1)).module.network.body.state_dict()
    assert {name for name in fresh if not torch.equal(fresh[name], fitted[name])} == {"fc.weight", "fc.bias"}


def test_the_average_is_validated_kept_and_goes_on_after_a_resume(ready, tmp_path):
    whole = fit(job_of("perceptron", max_epochs=2, ema=0.5)).module
    assert equal(whole.best["weights"], whole.average.weights) or whole.best["epoch"] == 0
    assert not equal(whole.average.weights, whole.network.body.state_dict())
    with pytest.raises(SystemExit):
        fit(job_of("perceptron", max_epochs=2, ema=0.5), Place(callbacks=[Keep(tmp_path, stop=0)]))
    resumed = fit(job_of("perceptron", max_epochs=2, ema=0.5), resume=tmp_path / "0.ckpt").module
    assert equal(resumed.average.weights, whole.average.weights)


def test_the_monitored_metric_decides_the_best_epoch(ready):
    for monitor, column, best in (("loss", "validation_loss", min), ("score", "validation_score", max)):
        fitted = fit(job_of("perceptron", max_epochs=3, monitor=monitor)).module
        values = [row[column] for row in fitted.history]
        assert fitted.best["epoch"] == values.index(best(values))


def test_a_metric_that_the_monitor_names_decides_the_best_epoch_and_stands_in_the_history(ready):
    for monitor, best in (("auprc", max), ("brier", min)):
        fitted = fit(job_of("perceptron", max_epochs=3, monitor=monitor)).module
        values = [row[f"validation_{monitor}"] for row in fitted.history]
        assert len(set(values)) == 3
        assert fitted.best["epoch"] == values.index(best(values))
        line = epoch_line(fitted.history[-1], 3, True, monitor)
        assert f"  {monitor} {values[-1]:.4f}  " in line


def test_layers_that_start_at_random_and_are_frozen_are_warned_of(ready):
    said = []
    fitted = fit(job_of("lenet5", max_epochs=1, freeze=0.5), Place(say=said.append)).module
    assert ["train.freeze: 0.5: layers never learn that start as drawn at random" in line for line in said] == [True]
    assert "model.weights is none" in fitted.warned["fresh"]
    late = fresh(Train(unfreeze_epochs=3))["fresh"]
    assert late.startswith("train.unfreeze_epochs: 3: layers learn late")
    assert fresh(Train()) == {}


def test_a_share_of_one_image_that_becomes_one_pixel_is_refused_before_training(ready):
    part = read_parts(job_of().task, "train")["train"]
    few = Part(part.images, part.rows[:6], part.truth[:6], part.numbers[:6], part.about[:6])
    with pytest.raises(TrainingError, match="A share of a batch is one image, and at 32 × 32 pixels resnet10 leaves"):
        check_shares(few, job_of(batch_size=4, accumulate=2), 1)  # two batches of three images
    check_shares(few, job_of(batch_size=4, accumulate=2, freeze=1.0), 1)
    check_shares(few, job_of("lenet5", batch_size=4, accumulate=2), 1)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        fit(job_of(batch_size=4, accumulate=2), parts={"train": few, "validation": part})


def test_without_any_score_no_weights_are_called_the_best(ready):
    with pytest.raises(TrainingError, match="No epoch had a validation score"):
        fit(job_of(learning_rate=1e30, warmup_epochs=0, max_epochs=1, batch_size=256))


@pytest.mark.parametrize("rows", [0, 1])
def test_validation_that_can_judge_nothing_is_said_before_training(ready, rows):
    job = job_of()
    part = read_parts(job.task, "validation")["validation"]
    few = Part(part.images, part.rows[:rows], part.truth[:rows], part.numbers[:rows], part.about[:rows])
    with pytest.raises(TrainingError, match=rf"validation \({rows} images\), has no (positive|negative).*Add patients"):
        check_judge(job, few, "validation")
    check_judge(job, part, "validation")
    by_loss = job_of(monitor="loss")
    if rows:
        check_judge(by_loss, few, "validation")


def test_workers_that_would_go_on_from_different_checkpoints_do_not(ready, monkeypatch):
    """One has found that of epoch 2, the other that of epoch 1: together they say 3 and 5."""
    monkeypatch.setattr(module.Module, "_sum_over_workers", lambda self, values: torch.tensor([3.0, 5.0]))
    with pytest.raises(RuntimeError, match="different checkpoints"):
        fit(job_of(max_epochs=1))


def test_weights_that_learned_from_who_is_test_here_are_refused(ready):
    """As with split.fold: what was test in one run is learned from in the next."""
    Path("given").mkdir()
    params = load()
    model = params.model.model_copy(update={"weights": "given"})
    architecture = Architecture(model.name, read_parts(job_of().task, "train")["train"].images.shape[1:], 1)
    weights = save(architecture.network(0).body.state_dict(), architecture.header())
    Path("given/weights.safetensors").write_bytes(weights)
    index, parts = read_table(INDEX, INDEX_SCHEMA), read_table(PARTS, PARTS_SCHEMA)
    given = find(model, 2)
    for part, images, patients, refused in (
        ("train", "pixel_sha256", None, False),
        ("test", "pixel_sha256", None, True),
        ("test", None, "patient", True),
    ):
        one = index[index["sample"].isin(parts.loc[parts["part"] == part, "sample"])].iloc[:1]
        seen = {"images": one[images].map(mark).tolist() if images else []}
        seen |= {"patients": one[patients].map(mark).tolist() if patients else []}
        Path("given/seen.json").write_text(json.dumps(seen))
        if refused:
            with pytest.raises(TrainingError, match=r"\d+ of \d+ images of the parts test.*given learned from"):
                train(job_of().task, 0, model, params.train, params.augment)
        else:
            _apart(given)


def test_padding_counts_in_no_loss_and_no_score(ready):
    """The trap: 7 samples on 2 workers are seen as 8."""
    fitted = fit(job_of(max_epochs=1)).module
    part = read_parts(fitted.task, "validation")["validation"]
    few = Part(part.images, part.rows[:7], part.truth[:7], part.numbers[:7], part.about[:7])

    def validate(world):
        fitted._outputs = []
        for rank in range(world):
            for batch in loader(few, EvaluationBatches(7, 4, rank, world)):
                fitted.validation_step(batch, 0)
        fitted.all_gather = lambda values: values
        fitted.on_validation_epoch_end()
        return fitted._validation

    with torch.inference_mode():
        fitted.eval()
        assert validate(2) == pytest.approx(validate(1), rel=1e-5)  # float32, in batches of other sizes


def test_bf16_is_taken_where_asked_or_where_the_device_is_faster(monkeypatch):
    picture, volume = Architecture("resnet10", (1, 32, 32), 1), Architecture("resnet10", (1, 32, 32, 32), 1)
    lecture = replace(picture, name="lenet5")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for has, chosen in (({}, "32-true"), ({"avx512_bf16": True}, "bf16-mixed"), ({"amx_bf16": True}, "bf16-mixed")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has)
        assert precision("auto", picture) == chosen
        for network in (picture, volume, lecture):
            assert precision("32", network) == "32-true"
            assert precision("bf16", network) == "bf16-mixed"
        assert [precision("auto", network) for network in (volume, lecture)] == ["32-true"] * 2


def test_bf16_trains_weights_of_32_bits_and_rounds_neither_pictures_nor_validation(ready, monkeypatch):
    """Logits of bf16 would be equal when rounded to bf16; those of 32 bits are not."""
    pictures, answers = [], []
    monkeypatch.setattr(module, "augment", lambda *args: pictures.append(augment(*args)) or pictures[-1])
    monkeypatch.setattr(module, "_gather", lambda module, values: answers.append(values) or values)
    fitted = fit(job_of(precision="bf16", max_epochs=1)).module
    assert fitted.trainer.precision == "bf16-mixed"
    assert {tensor.dtype for tensor in fitted.network.state_dict().values() if tensor.is_floating_point()} == {
        torch.float32
    }
    for tensor in (pictures[0], answers[0]):
        assert not torch.equal(tensor, tensor.bfloat16().float())


def test_the_gradient_is_clipped_to_the_norm_of_what_learns_by_now(ready):
    """Layers that wait have gradients too; counted in, they would make those of the others smaller."""
    norms = []

    class Norms(pl.callbacks.Checkpoint):
        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            found = [[v.grad for v in g["params"] if v.grad is not None] for g in optimizer.param_groups if g["lr"]]
            if found[0]:
                norms.append(float(torch.nn.utils.get_total_norm(found[0])))

    fit(job_of("lenet5", max_epochs=1, warmup_epochs=0, unfreeze_epochs=4, clip=1e-3), Place(callbacks=[Norms()]))
    assert len(norms) > 3
    assert norms == pytest.approx([1e-3] * len(norms), rel=1e-2)


def test_what_comes_from_beyond_the_edge_is_the_stores_background(ready, monkeypatch):
    """A store of z-scores keeps a value of 0 in the middle of its range: black there is -5 standard deviations."""
    preprocess(Preprocess(size=32, intensity="zscore", nonzero=True))
    moved = Augment(preset="none", affine={"probability": 1, "translate": 0.9})
    levels, corners = [], []

    def watched(images, draws, level):
        result = augment(images, draws, level)
        levels.append(level)
        corners.append(result[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]])
        return result

    monkeypatch.setattr(module, "augment", watched)
    fit(replace(job_of("mlp", max_epochs=1), augment=moved))
    assert set(levels) == {128 / 255}
    assert (torch.cat(corners).sub(128 / 255).abs() < 1e-6).any(1).float().mean() > 0.7
    known = job_of("mlp", max_epochs=1)
    model = known.model.model_copy(update={"normalisation": "zscore"})
    assert "counts as part of the patient" in fit(replace(known, model=model)).module.warned["lifted"]


def test_the_cohorts_mean_and_deviation_are_those_of_the_training_images_alone(ready):
    job = job_of("mlp", max_epochs=1)
    job = replace(job, model=job.model.model_copy(update={"normalisation": "cohort"}))
    parts = read_parts(job.task, "train", "validation")
    seen = parts["train"].images[parts["train"].rows] / 255
    network = fit(job, parts=parts).module.network
    assert network.architecture.mean == pytest.approx((seen.mean(),))
    assert network.architecture.std == pytest.approx((seen.std(),))


def test_images_of_different_shapes_are_refused_before_anything_starts(ready):
    job = job_of()
    preprocess(Preprocess(size=None))
    with pytest.raises(TrainingError, match=r"Set preprocess\.size"):
        train(job.task, job.seed, job.model, job.train, job.augment)
