import pytest
import pytorch_lightning as pl
import torch

from medimg.errors import TrainingError
from medimg.params import load
from medimg.tasks import task_of
from medimg.training import Job
from medimg.training.data import EvaluationBatches, Part, loader, read_parts
from medimg.training.fit import Place, fit, precision


def job_of(**train):
    params = load()
    settings = params.train.model_copy(update=train)
    return Job(task_of(params.study), params.study.seed, params.model, settings, params.augment)


class Keep(pl.callbacks.Checkpoint):
    """Keeps the checkpoint of each epoch; raises after ``stop`` epochs."""

    def __init__(self, folder, stop=None):
        self.folder, self.stop = folder, stop

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}.ckpt")
        if self.stop == trainer.current_epoch:
            raise KeyboardInterrupt


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(ready):
    one, same = fit(job_of()).module, fit(job_of()).module
    assert equal(one.network.state_dict(), same.network.state_dict())
    timeless = [[{name: row[name] for name in row if name != "seconds"} for row in fit.history] for fit in (one, same)]
    assert timeless[0] == timeless[1]
    assert [row["epoch"] for row in one.history] == [0, 1]
    assert one.seen == sum(row["samples"] for row in one.history) == 2 * 196  # 201 images in 7 equal batches


def test_a_fit_resumed_from_a_checkpoint_ends_where_the_undisturbed_one_does(ready, tmp_path):
    whole = fit(job_of(max_epochs=3)).module
    with pytest.raises(SystemExit):
        fit(job_of(max_epochs=3), Place(callbacks=[Keep(tmp_path, stop=0)]))
    resumed = fit(job_of(max_epochs=3), resume=tmp_path / "0.ckpt").module
    assert [row["epoch"] for row in resumed.history] == [0, 1, 2]
    assert equal(whole.network.state_dict(), resumed.network.state_dict())
    assert equal(whole.best["weights"], resumed.best["weights"])


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


def test_without_any_score_no_weights_are_called_the_best(ready):
    with pytest.raises(TrainingError, match="No epoch had a validation score"):
        fit(job_of(learning_rate=1e30, warmup_epochs=0, max_epochs=1, batch_size=256))


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
        fitted.log_dict = lambda *_, **__: None
        fitted.all_gather = lambda values: values
        fitted.on_validation_epoch_end()
        return fitted._validation

    with torch.inference_mode():
        fitted.eval()
        assert validate(2) == pytest.approx(validate(1))


def test_precision_is_the_cpus_best_unless_asked():
    assert precision("32") == "32-true"
    assert precision("bf16") == "bf16-mixed"
    assert precision("auto") == ("bf16-mixed" if torch.cuda.is_available() else "32-true")
