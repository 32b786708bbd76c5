"""Launching a fit on Ray Train: where the workers run, what they bring back, and how a run that died goes on.

The run's folder is named by its inputs. A run that was cut off leaves the folder, and the next one with the same inputs
goes on from its last whole checkpoint; a run that ended removes it, so that nothing old is ever taken for new. Ray
replaces dead workers and resizes their group; what they go on from are files of ours, so that nothing of Ray's own
state, which a kill can leave half-written, is ever read back.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

from medimg.errors import TrainingError
from medimg.params import Train, load
from medimg.stage import WORK
from medimg.training import Job
from medimg.training.afar import Afar
from medimg.training.outcome import SAID, Outcome
from medimg.training.progress import follow, writer
from medimg.work import cores
from medimg.work.cluster import attach, reports_aside
from medimg.work.gate import hide_token
from medimg.work.head import head_watched, lost_head
from medimg.work.room import cluster_threads, room_for, workers_on_cluster

RUNS = WORK / "train"
PROGRESS = "progress.log"
LOGS = WORK / "logs"
RESIZE = 30  # s between two looks at whether the cluster has room for more workers
NOTICED = 30.0  # s in which Ray notices a node whose connections break; one that falls silent takes it twice as long


def launch(job: Job, inputs: str) -> list[Outcome]:
    """Fit ``job`` on the Ray cluster that RAY_ADDRESS names, or on a local one; with folds, one network after another.

    Args:
        job: what to fit.
        inputs: hash of all that determines the result; it names the run.

    Returns:
        One outcome, or one a fold in the order of folds.

    Raises:
        TrainingError: the cluster is too small, the workers kept dying, or the fit itself said so.
    """
    run = RUNS / inputs
    for other in RUNS.glob("*"):
        if other != run:
            shutil.rmtree(other)
    run.mkdir(parents=True, exist_ok=True)
    for old in LOGS.glob("train-[0-9]*.log"):
        old.unlink()
    folds = [None] if job.train.folds is None else list(range(job.train.folds))
    print(f"starting Ray with train.workers: {job.train.workers}; all logs in {LOGS}/", file=sys.stderr, flush=True)
    with connected(job.train) as gpus, follow(run / PROGRESS), reports_aside():
        return [_outcome(replace(job, fold=fold), run, gpus) for fold in folds]


def forget(inputs: str) -> None:
    """Remove a run's folder, once its outcome is published: the next run with the same inputs starts anew."""
    shutil.rmtree(RUNS / inputs)
    if afar := _afar(inputs):
        afar.forget(lambda line: print(line, file=sys.stderr))


def _afar(*of: str) -> Afar | None:
    """Where the checkpoints of a run, or of one of its networks, are kept beside the study's folder."""
    url = load().cluster.checkpoints
    return Afar("/".join([url.rstrip("/"), *of])) if url else None


def _outcome(job: Job, run: Path, gpus: bool) -> Outcome:
    """Of one network: of an earlier run that was cut off in a later fold, or trained now."""
    folder = run / ("network" if job.fold is None else f"fold-{job.fold}")
    if (folder / "done").is_dir():
        return Outcome.read(folder / "done")
    folder.mkdir(exist_ok=True)
    if job.fold is not None:
        writer(run / PROGRESS)(f"fold {job.fold + 1} of {job.train.folds}")
    found = _run(job, folder, run / PROGRESS, gpus)
    if isinstance(found, str):
        raise TrainingError(found)
    if job.fold is not None:  # one alone is published at once
        found.write(folder / "done")
    return found


def _run(job: Job, folder: Path, progress: Path, gpus: bool) -> Outcome | str:
    """The outcome, or what the fit itself says is wrong."""
    from ray.exceptions import RayError
    from ray.train import TrainingFailedError

    said = folder / SAID  # of an earlier run: what it lacked, memory say, may be there now
    said.unlink(missing_ok=True)
    say, afar = writer(progress), _afar(folder.parent.name, folder.name)
    if afar:
        afar.fetch(folder, say)
    left = job.train.max_failures
    while True:
        try:
            return _fit(job, folder, progress, gpus, afar)
        except SystemExit:  # how Ray ends on Ctrl-C
            raise KeyboardInterrupt from None
        except (TrainingFailedError, RayError) as error:
            if said.is_file():
                raise TrainingError(said.read_text(encoding="utf-8")) from None
            if not left or not _silent(error):
                raise TrainingError(_why(error, job.train)) from None
        left -= 1
        say(f"a node of the cluster does not answer; going on from the last checkpoint in {NOTICED:g} s")
        time.sleep(NOTICED)


def _silent(error: Exception) -> bool:
    """Whether training ended on nodes that no longer answer, and that the cluster has not yet given up.

    Ray starts the workers again at once, on the same nodes: one that lost power can use up all its tries in a second.
    """
    from ray.exceptions import ActorUnavailableError

    failures = getattr(error, "worker_failures", {}).values()
    causes = [getattr(failure, "health_check_failure", failure) for failure in failures]
    return any(isinstance(cause, ActorUnavailableError) for cause in causes)


def _fit(job: Job, folder: Path, progress: Path, gpus: bool, afar: Afar | None) -> Outcome | str:
    """What rank 0 returns.

    Raises:
        TrainingFailedError, RayError: Ray gave up.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    settings = job.train
    least, most = settings.fewest, settings.workers
    state = tempfile.TemporaryDirectory(prefix=".ray-", dir=folder, ignore_cleanup_errors=True)
    with state as place:  # never read by the next run
        trainer = TorchTrainer(
            _work,
            train_loop_config={
                "job": job,
                "study": str(Path.cwd()),
                "folder": str(folder.resolve()),
                "progress": str(progress.resolve()),
                "afar": afar,
                "threads": cluster_threads() if os.environ.get("RAY_ADDRESS") else None,
            },
            scaling_config=ScalingConfig(
                num_workers=most if least == most else (least, most),
                use_gpu=gpus,
                **(workers_on_cluster(gpus) if os.environ.get("RAY_ADDRESS") else {}),
                elastic_resize_monitor_interval_s=float(os.environ.get("MEDIMG_RESIZE_SECONDS", RESIZE)),
            ),
            run_config=RunConfig(
                storage_path=str(Path(place).resolve()),
                failure_config=FailureConfig(
                    max_failures=settings.max_failures, controller_failure_limit=settings.max_failures
                ),
            ),
        )
        found: Outcome | str = trainer.fit().return_value
        return found


def _why(error: Exception, settings: Train) -> str:
    """Why Ray ended a training, and what to do, for a person."""
    from ray.exceptions import RayError

    if lost := lost_head():
        return lost
    log, on = _kept(error), "dvc repro goes on from the last checkpoint"
    if type(getattr(error, "controller_failure", None)).__name__ == "WorkerGroupStartupTimeoutError":
        return (
            f"The Ray cluster has had no room for train.workers: {settings.workers} for a while: nodes have died, or "
            f"others use them ({log}). What was trained is kept: when there is room again, {on}; with "
            "train.least_workers it would have gone on with fewer."
        )
    if isinstance(error, RayError):  # of Ray's own processes
        said = f"Ray itself ended ({type(error).__name__}), as it does when the machine has too little memory."
    else:
        said = (
            f"Training failed on its workers more often than train.max_failures: {settings.max_failures} allows. "
            f"The last error was: {_cause(error)}."
        )
    return f"{said} All of it is in {log}, what each worker printed in {LOGS}/. What was trained is kept: {on}."


def _kept(error: Exception) -> Path:
    """The file in which all that ``error`` says now stands."""
    log = LOGS / "train-error.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text(f"{error}\n", encoding="utf-8")
    return log


def _cause(error: Exception) -> str:
    """The last line of a failure that says something, for a person."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else type(error).__name__


def _work(config: dict[str, Any]) -> Outcome | str:
    """What each worker does; rank 0 returns the outcome, or a sentence where trying again is no use."""
    import ray.train
    import torch
    from ray.train.collective import broadcast_from_rank_zero
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment

    from medimg.training.worker import Worker

    os.chdir(config["study"])
    context = ray.train.get_context()
    torch.set_num_threads(config["threads"] or max(1, cores() // context.get_local_world_size()))
    rank = context.get_world_rank()
    with _own_log(LOGS / f"train-{rank}.log"):
        worker = Worker(
            job=config["job"],
            folder=Path(config["folder"]),
            progress=Path(config["progress"]),
            rank=rank,
            world=context.get_world_size(),
            node=ray.get_runtime_context().get_node_id(),
            strategy=RayDDPStrategy(find_unused_parameters=False, broadcast_buffers=False),
            plugins=(RayLightningEnvironment(),),
            afar=config["afar"],
            agree=broadcast_from_rank_zero,
        )
        return worker.fit()


@contextmanager
def _own_log(path: Path) -> Iterator[None]:
    """All that this process and its libraries print is added to ``path`` while the block runs.

    Added, since the worker before it may have died, and what it said of that stands there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    before = [os.dup(1), os.dup(2)]
    with path.open("a") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for stream, kept in zip((1, 2), before, strict=True):
                os.dup2(kept, stream)
                os.close(kept)


def _start_here(slots: int) -> None:
    """A Ray of our own on loopback, which ends with us.

    Raises:
        TrainingError: it does not start.
    """
    import ray

    before = os.umask(0o077)  # Ray would write its token readable by all
    hide_token()
    try:  # local: or it would join a cluster that somebody has started on this machine
        ray.init(
            "local",
            num_cpus=slots,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"Ray does not start on this machine ({type(error).__name__}); what it says itself is in "
            "session_latest/logs of /tmp/ray."
        ) from None
    finally:
        os.umask(before)


@contextmanager
def connected(settings: Train) -> Iterator[bool]:
    """A connection to Ray for the time of a job; yields whether each worker gets a GPU.

    Raises:
        TrainingError: Ray does not start here, or this machine has fewer cores than workers.
        ClusterError: the cluster does not answer, asks nobody for a token, or can never run as many workers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing about a hospital's work leaves it
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for deterministic products on a GPU
    os.environ["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] = f"{settings.hang_seconds:g}"  # of one that is stopped
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # or Ray takes 127.0.0.1 for the public address
        os.environ.setdefault("RAY_prestart_worker_first_driver", "0")  # Ray Train uses none of those
    import ray

    ahead = Thread(target=import_module, args=("ray.train.torch",), daemon=True)
    ahead.start()  # torch, while Ray's own processes start
    if address:
        attach(address)
    else:
        _start_here(max(cores(), settings.workers))
    ahead.join()
    try:
        if address:
            with head_watched():
                yield room_for(ray, "train", settings.fewest)[0]["num_gpus"] > 0
            return
        have = ray.cluster_resources()
        if have.get("CPU", 0) < settings.fewest:
            asked = "workers" if settings.least_workers is None else "least_workers"
            raise TrainingError(
                f"train.{asked} is {settings.fewest}, and the Ray cluster has {have.get('CPU', 0):g} CPU slots: it can "
                "never start them. Lower it or add nodes."
            )
        yield have.get("GPU", 0) >= settings.fewest
    finally:
        ray.shutdown()
