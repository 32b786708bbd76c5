import shutil
import subprocess
import sys
from threading import Event, Timer

import pytest
import torch

from medimg.errors import DataError, TrainingError
from medimg.params import Augment, Model, Train
from medimg.training import Job
from medimg.training.afar import Afar, Sender
from medimg.training.checkpoints import keep, named, newest
from medimg.training.outcome import SAID, Outcome
from medimg.training.worker import SCALARS, Worker, board, out_of_memory


def write(text):
    return lambda path: path.write_text(text)


def test_the_last_two_are_kept_and_the_newest_is_taken(tmp_path):
    assert newest(tmp_path) is None
    for epoch in (0, 9, 10):
        keep(tmp_path, epoch, write(f"epoch {epoch}"))
    assert newest(tmp_path).read_text() == "epoch 10"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(path.read_bytes()[:3]), lambda path: path.write_bytes(b"")]
)
def test_a_half_written_checkpoint_is_refused_and_the_one_before_is_taken(tmp_path, damage):
    keep(tmp_path, 1, write("whole"))
    keep(tmp_path, 2, write("to be cut off"))
    damage(newest(tmp_path))
    said = []
    assert newest(tmp_path, said.append).read_text() == "whole"
    assert "epoch-00002" in said[0]
    assert "damaged" in said[0]


def test_one_that_is_being_written_is_no_checkpoint(tmp_path):
    class Killed(Exception):
        pass

    def half(path):
        path.write_text("half")
        raise Killed

    keep(tmp_path, 0, write("whole"))
    with pytest.raises(Killed):
        keep(tmp_path, 1, half)
    assert newest(tmp_path).read_text() == "whole"


def test_a_url_that_is_slow_keeps_no_training_waiting(tmp_path):
    first, go = keep(tmp_path, 1, write("one")), Event()
    sent, said = [], []

    class Slow:
        def put(self, checkpoint, say):
            go.wait(60)
            sent.append(checkpoint.name)

    sender = Sender(Slow(), 0.1)
    sender.put(first, said.append)
    sender.put(keep(tmp_path, 2, write("two")), said.append)
    assert not sent and "an earlier one is still on its way" in said[0]
    go.set()
    sender._under_way.join(60)
    third = keep(tmp_path, 3, write("three"))
    Sender(Slow(), 60).put(third, said.append)
    assert sent == [first.name, third.name] and len(said) == 1


def test_a_url_holds_the_last_two_and_gives_the_newest_that_is_whole(tmp_path):
    here, gone, said = tmp_path / "here", tmp_path / "gone", []
    afar = Afar((tmp_path / "bucket/run/network").as_uri())
    for folder in (here, gone):
        folder.mkdir()
    afar.fetch(here, said.append)
    assert newest(here) is None
    for epoch in range(3):
        afar.put(keep(gone, epoch, write(f"epoch {epoch}")), said.append)
    there = sorted((tmp_path / "bucket/run/network").iterdir())
    assert [path.name for path in there] == sorted(path.name for path in gone.iterdir())
    afar.fetch(here, said.append)
    assert newest(here).read_text() == "epoch 2"
    assert "going on from epoch-00002" in said.pop()

    newest(here).unlink()
    there[-1].write_text("half")
    afar.fetch(here, said.append)
    assert newest(here).read_text() == "epoch 1"
    assert "damaged" in said[0] and "going on from epoch-00001" in said[1]
    said.clear()
    keep(here, 3, write("epoch 3"))
    afar.fetch(here, said.append)
    assert newest(here).read_text() == "epoch 3" and not said
    Afar((tmp_path / "bucket/run").as_uri()).forget(said.append)
    assert not (tmp_path / "bucket/run").exists() and not said


def test_a_url_that_does_not_answer_stops_a_run_before_it_starts_and_not_later(tmp_path):
    (tmp_path / "file").touch()
    afar, said = Afar((tmp_path / "file/secret").as_uri()), []
    afar.put(keep(tmp_path, 0, write("whole")), said.append)
    assert "is in the study's folder alone: cluster.checkpoints cannot be reached" in said[0]
    assert newest(tmp_path).read_text() == "whole"
    with pytest.raises(TrainingError, match=r"cluster\.checkpoints cannot be reached") as error:
        Afar("nowhere://bucket/secret").fetch(tmp_path, said.append)
    assert "secret" not in str(error.value) + said[0]


def test_an_outcome_comes_back_as_it_was(tmp_path):
    history = [{"epoch": 0, "train_loss": 0.1 + 0.2, "validation_score": 0.75}]
    best = {"epoch": 0, "score": 0.75}
    outcome = Outcome(b"weights", history, [{"rank": 0}], best, None, ["slow"], {"name": "mlp"}, None)
    outcome.write(tmp_path / "done")
    assert Outcome.read(tmp_path / "done") == outcome
    assert outcome.validated == 0.75


HANG = """
import time
from medimg.training.pulse import Pulse
pulse = Pulse(seconds=3)
with pulse.watching():
    time.sleep(4)  # nothing has begun: that is no hang
    for _ in range(5):
        pulse.beat()
        time.sleep(0.1)
    def stuck():
        time.sleep({stuck})
    stuck()
print("went on")
"""


def test_a_worker_that_gets_nowhere_ends_and_says_where_it_stood():
    hung = subprocess.run([sys.executable, "-c", HANG.format(stuck=60)], capture_output=True, text=True, check=False)
    assert hung.returncode == 75
    assert "train.hang_seconds" in hung.stdout
    assert "in stuck" in hung.stderr
    fine = subprocess.run([sys.executable, "-c", HANG.format(stuck=0)], capture_output=True, text=True, check=False)
    assert fine.stdout == "went on\n"


def test_memory_that_is_not_there_is_told_from_other_failures():
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 55)
    assert out_of_memory(error.value)
    with pytest.raises(RuntimeError) as error:
        torch.ones(2) @ torch.ones(3)
    assert not out_of_memory(error.value)


def test_memory_that_one_of_several_workers_lacks_ends_the_run_with_its_sentence(tmp_path, monkeypatch):
    """The others wait for it: it fails, all are started again, and say what it left."""

    def short(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 2**55 bytes.")

    def worker(rank, world):
        job = Job(None, 0, Model(), Train(), Augment())
        return Worker(job, tmp_path, tmp_path / "progress.log", rank, world, "node", "auto", ())

    monkeypatch.setattr("medimg.training.worker.fit", short)
    assert "Raise train.accumulate (now 1)" in worker(0, 1).fit()
    with pytest.raises(RuntimeError, match="can't allocate"):
        worker(1, 2).fit()
    assert "Raise train.accumulate (now 1)" in worker(0, 2).fit()


def test_what_no_second_try_mends_ends_the_run_with_its_sentence_whichever_worker_says_it(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise DataError("There is no whole store here. Run dvc repro.")

    job = Job(None, 0, Model(), Train(), Augment())
    monkeypatch.setattr("medimg.training.worker.fit", fails)
    for rank in (1, 0):  # both: the file is whole whoever is last
        with pytest.raises(DataError):
            Worker(job, tmp_path, tmp_path / "progress.log", rank, 2, "node", "auto", ()).fit()
        (kept,) = tmp_path.glob("*.txt")
        assert kept.read_text() == "There is no whole store here. Run dvc repro."
        kept.rename(tmp_path / "before")
    (tmp_path / "before").rename(kept)
    monkeypatch.setattr("medimg.training.worker.fit", None)  # nobody gets there again
    again = Worker(job, tmp_path, tmp_path / "progress.log", 0, 2, "node", "auto", ())
    assert again.fit() == "There is no whole store here. Run dvc repro."
    assert not list(tmp_path.glob(".partial-*"))


def test_all_workers_go_on_from_the_checkpoint_that_rank_0_names(tmp_path, monkeypatch):
    """Each has a disk of its own here, as a network disk may seem: that of rank 1 shows the newest one late."""
    kept = []

    def goes_on(job, place, resume):
        kept.append(resume)
        raise DataError("enough")

    def worker(rank, disk, agree):
        job = Job(None, 0, Model(), Train(), Augment())
        return Worker(job, disk, tmp_path / "progress.log", rank, 2, "node", "auto", (), agree=agree)

    monkeypatch.setattr("medimg.training.worker.fit", goes_on)
    one, other = tmp_path / "one", tmp_path / "other"
    for disk in (one, other):
        disk.mkdir()
        keep(disk, 3, write("old"))
    last, named_ = keep(one, 4, write("new")), []
    with pytest.raises(DataError):
        worker(0, one, lambda name: named_.append(name) or name).fit()
    late = Timer(0.5, lambda: shutil.copy(last, other / last.name))
    late.start()
    with pytest.raises(DataError):
        worker(1, other, lambda name: named_.pop(0)).fit()
    late.join()
    assert [path.name for path in kept] == [last.name] * 2
    assert named_ == []  # both asked as often
    with pytest.raises(RuntimeError, match="not to be seen here"):
        named(other, "epoch-00009-0000.ckpt", seconds=0.3)


@pytest.mark.parametrize(("rank", "answer"), [(0, "Too small."), (1, "")])
def test_what_an_earlier_worker_said_ends_all_also_where_its_file_is_not_seen_yet(tmp_path, monkeypatch, rank, answer):
    monkeypatch.setattr("medimg.training.worker.fit", None)  # nobody gets there
    job, said = Job(None, 0, Model(), Train(), Augment()), []
    if rank == 0:
        (tmp_path / SAID).write_text("Too small.")
    agree = (lambda name: said.append(name) or name) if rank == 0 else (lambda name: "said")
    assert Worker(job, tmp_path, tmp_path / "log", rank, 2, "node", "auto", (), agree=agree).fit() == answer
    assert rank or said == ["said"]


def test_tensorboard_is_given_each_epoch(tmp_path):
    row = dict.fromkeys(SCALARS, 0.25)
    for epoch in range(2):
        board(tmp_path, row | {"epoch": epoch})
    written = b"".join(path.read_bytes() for path in tmp_path.glob("events*"))
    assert all(written.count(name.encode()) >= 2 for name in SCALARS)
