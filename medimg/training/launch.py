"""Launching a fit on Ray Train: where the workers run, what they report, and how a run that died goes on.

The run's folder is named by its inputs. A run that was cut off leaves the folder, and the next one with the same inputs
goes on from its last checkpoint; a run that ended removes it, so that nothing old is ever taken for new.
"""

import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medimg.errors import TrainingError
from medimg.stage import WORK
from medimg.training import Job
from medimg.work import cores

RUNS = WORK / "train"
PROGRESS = "progress.log"


@dataclass(frozen=True)
class Outcome:
    """What the workers of a finished job brought back."""

    weights: bytes
    """safetensors"""
    history: list[dict[str, float]]
    workers: list[dict[str, Any]]
    """rank, node, pid, device and samples of each"""
    best: dict[str, float]
    """epoch and score"""
    transferred: dict[str, Any] | None


def launch(job: Job, inputs: str) -> Outcome:
    """Fit ``job`` with ``job.train.workers`` processes on the Ray cluster that RAY_ADDRESS names, or on a local one.

    Args:
        job: what to fit.
        inputs: hash of all that determines the result; it names the run.

    Raises:
        TrainingError: the cluster is too small, the workers kept dying, or the fit itself said so.
    """
    run = RUNS / inputs
    for other in RUNS.glob("*"):
        if other != run:
            shutil.rmtree(other)
    run.mkdir(parents=True, exist_ok=True)
    with _ray(job.train.workers) as gpus, _progress(run / PROGRESS):
        outcome = _run(job, run, gpus)
    if "failed" in outcome:
        forget(inputs)
        raise TrainingError(outcome["failed"])
    return Outcome(**outcome)


def forget(inputs: str) -> None:
    """Remove a run's folder, once its outcome is published: the next run with the same inputs starts anew."""
    shutil.rmtree(RUNS / inputs)


def _run(job: Job, run: Path, gpus: bool) -> dict[str, Any]:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        _work,
        train_loop_config={"job": job, "folder": str(Path.cwd()), "progress": str((run / PROGRESS).resolve())},
        scaling_config=ScalingConfig(num_workers=job.train.workers, use_gpu=gpus),
        run_config=RunConfig(
            name=run.name,
            storage_path=str(run.parent.resolve()),
            failure_config=FailureConfig(max_failures=job.train.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    print(f"starting Ray with train.workers: {job.train.workers}; a line an epoch follows", file=sys.stderr, flush=True)
    try:
        outcome: dict[str, Any] = trainer.fit().return_value
    except SystemExit:  # how Ray ends on Ctrl-C
        raise KeyboardInterrupt from None
    except TrainingFailedError as error:
        log = run / "error.log"
        log.write_text(f"{error}\n", encoding="utf-8")
        raise TrainingError(
            f"Training failed on its workers {job.train.max_failures + 1} times. The last error was: {_cause(error)}. "
            f"All of it is in {log}. What was trained is kept: dvc repro goes on from the last checkpoint."
        ) from None
    return outcome


def _cause(error: Exception) -> str:
    """The last line of a failure that says something, for a person."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else type(error).__name__


def _work(config: dict[str, Any]) -> dict[str, Any]:
    """What each worker does; the value that rank 0 returns is the outcome."""
    import ray.train
    import torch
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment

    from medimg.errors import MedimgError
    from medimg.training.fit import Place, fit

    os.chdir(config["folder"])
    job: Job = config["job"]
    context = ray.train.get_context()
    torch.set_num_threads(max(1, cores() // context.get_local_world_size()))
    report = _report_callback(config["progress"])
    place = Place(
        rank=context.get_world_rank(),
        world=context.get_world_size(),
        strategy=RayDDPStrategy(find_unused_parameters=False),
        plugins=[RayLightningEnvironment()],
        callbacks=[report],
    )
    checkpoint = ray.train.get_checkpoint()
    try:
        if checkpoint is None:
            fitted = fit(job, place)
        else:
            with checkpoint.as_directory() as folder:
                fitted = fit(job, place, resume=Path(folder) / "last.ckpt")
    except MedimgError as error:  # no use in trying again
        return {"failed": str(error)}
    from safetensors.torch import save

    module = fitted.module
    return {
        "weights": save(module.best["weights"]) if place.rank == 0 else b"",
        "history": module.history,
        "workers": _all_workers(module.seen, str(module.device)),
        "best": {"epoch": module.best["epoch"], "score": module.best["score"]},
        "transferred": vars(fitted.transferred) if fitted.transferred else None,
    }


def _report_callback(progress: str) -> Any:
    """A Lightning callback that gives Ray a whole checkpoint after each epoch, and the person a line."""
    import pytorch_lightning as pl
    import ray.train

    class Report(pl.callbacks.Checkpoint):  # type: ignore[misc]  # a Checkpoint runs after the module's own hook
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            row = pl_module.history[-1]
            with tempfile.TemporaryDirectory() as folder:
                trainer.save_checkpoint(Path(folder, "last.ckpt"))  # every rank takes part, rank 0 writes
                first = trainer.global_rank == 0
                checkpoint = ray.train.Checkpoint.from_directory(folder) if first else None
                ray.train.report(row, checkpoint=checkpoint)
            if first:
                with Path(progress).open("a", encoding="utf-8") as file:
                    file.write(_line(row, pl_module) + "\n")

    return Report()


def _line(row: dict[str, float], module: Any) -> str:
    epochs = module.settings.max_epochs
    best = " best so far" if module.best["epoch"] == row["epoch"] else ""
    return (
        f"epoch {int(row['epoch']) + 1:>{len(str(epochs))}}/{epochs}  loss {row['train_loss']:.4f}  "
        f"validation {row['validation_loss']:.4f}  score {row['validation_score']:.4f}  "
        f"{row['samples'] / row['seconds']:.0f} images/s{best}"
    )


def _all_workers(seen: int, device: str) -> list[dict[str, Any]]:
    import ray
    import torch.distributed as dist

    rank, world = dist.get_rank(), dist.get_world_size()
    node = ray.get_runtime_context().get_node_id()
    workers: list[Any] = [None] * world
    dist.all_gather_object(workers, {"rank": rank, "node": node, "pid": os.getpid(), "device": device, "samples": seen})
    return workers


@contextmanager
def _ray(workers: int) -> Iterator[bool]:
    """A connection to Ray for the time of a job; yields whether each worker gets a GPU.

    Raises:
        TrainingError: the cluster cannot be reached, or has fewer cores than workers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing about a hospital's work leaves it
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for deterministic products on a GPU
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # or Ray takes 127.0.0.1 for the public address
    import ray

    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    before = os.umask(0o077)  # Ray would write its token readable by all
    _hide_token()
    try:
        if address:
            _knock(address)
            ray.init(address, **quiet)
        else:
            ray.init(num_cpus=max(cores(), workers), include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
    except (OSError, RuntimeError) as error:
        where = f"Ray does not answer at RAY_ADDRESS={address}" if address else "Ray does not start on this machine"
        raise TrainingError(
            f"{where} ({type(error).__name__}). Start the cluster (cluster/start.sh), or unset RAY_ADDRESS to train on "
            "this machine; Ray's own logs are in /tmp/ray/session_latest/logs."
        ) from None
    finally:
        os.umask(before)
    try:
        have = ray.cluster_resources()
        if have.get("CPU", 0) < workers:
            raise TrainingError(
                f"train.workers is {workers}, and the Ray cluster has {have.get('CPU', 0):g} CPU slots: it can never "
                "start them. Lower train.workers or add nodes."
            )
        yield have.get("GPU", 0) >= workers
    finally:
        ray.shutdown()


def _hide_token() -> None:
    """Make Ray's token readable by its owner alone, if another program has left it otherwise."""
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if token.is_file():
        token.chmod(0o600)


def _knock(address: str) -> None:
    """Connect to ``host:port`` and hang up: Ray itself would wait for minutes.

    Raises:
        OSError: nobody listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():  # not the words auto or local
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@contextmanager
def _progress(log: Path) -> Iterator[None]:
    """Print the lines that worker 0 adds to ``log`` while the block runs."""
    log.touch()
    done = threading.Event()

    def follow() -> None:
        with log.open(encoding="utf-8") as file:
            file.seek(0, os.SEEK_END)
            while True:
                last = done.wait(0.5)
                for line in file:
                    print(line, end="", file=sys.stderr, flush=True)
                if last:
                    return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
