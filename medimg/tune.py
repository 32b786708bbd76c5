"""Searching settings with Ray Tune, on train and validation alone: the test part is never read."""

import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel

from medimg.errors import MedimgError, ParamsError, TrainingError
from medimg.files import publish, write_text
from medimg.params import PARAMS, Params, Range, check, load
from medimg.params.edit import edited
from medimg.records import TUNED
from medimg.stage import WORK
from medimg.tasks import task_of
from medimg.training import Job
from medimg.training.checks import check_judge, check_shares
from medimg.training.data import read_parts
from medimg.training.launch import connected
from medimg.work import cores
from medimg.work.room import cluster_threads, workers_on_cluster

BLOCKS = ("model", "train", "augment")
FIXED = ("train.monitor", "train.folds", "train.workers", "train.least_workers")
"""What would make scores of trials incomparable, or is not the trial's to choose."""
GRACE = 3  # a third of the epochs, and a third of that, is when trials that are behind end


@dataclass(frozen=True)
class Tuned:
    """What a search found."""

    before: dict[str, Any]
    best: dict[str, Any]
    score_before: float
    score: float
    trials: int


def tune(trials: int | None = None, minutes: float | None = None) -> Tuned:
    """Try what ``tune.search`` names and write the best into params.yaml; ``artifacts/tune.csv`` holds every trial.

    Args:
        trials: in the place of ``tune.trials``.
        minutes: in the place of ``tune.minutes``.

    Raises:
        ParamsError: the search names nothing, or what cannot be searched, or a value that is not allowed.
        DataError: the store or the split is not there.
        TrainingError: no trial finished an epoch.
    """
    params = load()
    changes = {name: given for name, given in (("trials", trials), ("minutes", minutes)) if given is not None}
    params = params.model_copy(update={"tune": params.tune.model_copy(update=changes)})
    drawn = draws(params)
    task = task_of(params.study)
    jobs = [Job(task, params.study.seed, one.model, one.train, one.augment) for one in (applied(d) for d in drawn)]
    parts = read_parts(task, "train", "validation")
    for job in jobs:  # what cannot work is said before any trial starts
        check_shares(parts["train"], job, 1)
        check_judge(job, parts["validation"], "validation")
    found = _search(params, drawn, jobs)
    rows = [_row(number, values, found[number]) for number, values in enumerate(drawn) if number in found]
    if not rows:
        raise TrainingError("No trial finished an epoch. Raise tune.minutes, or look into .medimg/tune.log.")
    table = pd.DataFrame(rows)
    with publish(TUNED) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")
    at = int(table["score"].to_numpy().argmax())  # the first of equals, so that nothing changes for nothing
    best = drawn[int(table["trial"].iloc[at])]
    if best != drawn[0]:
        write_text(PARAMS, edited(PARAMS.read_text(encoding="utf-8"), best))
    first = table.loc[table["trial"] == 0, "score"]
    before = float(first.iloc[0]) if len(first) else float("nan")
    return Tuned(drawn[0], best, before, float(table["score"].iloc[at]), len(table))


def draws(params: Params) -> list[dict[str, Any]]:
    """The settings to try, parameter → value; the first are those of params.yaml, the others keyed by ``study.seed``.

    Raises:
        ParamsError: the search names nothing, or what cannot be searched.
    """
    search = params.tune.search
    if not search:
        raise ParamsError("tune.search names no parameter. Name some, such as train.learning_rate: [0.0003, 0.001].")
    for name in search:
        if (
            name.partition(".")[0] not in BLOCKS
            or isinstance(_now(params, name), _Nothing | BaseModel)
            or name in FIXED
        ):
            raise ParamsError(
                f"tune.search: {name} cannot be searched. Allowed are the parameters of {', '.join(BLOCKS)} but "
                f"{', '.join(FIXED)}; they stand in docs/parameters.md."
            )
    now = {name: _now(params, name) for name in search}
    tried = [now]
    generator = np.random.default_rng([params.study.seed, 0x7475])
    for _ in range(100 * params.tune.trials):  # a small search space has no more than it has
        one = {name: _drawn(choice, now[name], generator) for name, choice in search.items()}
        if one not in tried:
            tried.append(one)
        if len(tried) == params.tune.trials:
            break
    return tried


class _Nothing:
    """The value of what is no parameter; None is the value of some."""


def _now(params: Params, name: str) -> Any:
    """The value of a parameter, such as ``train.clip`` or ``augment.affine.rotate``."""
    at: Any = params
    for key in name.split("."):
        at = getattr(at, key) if isinstance(at, BaseModel) and key in type(at).model_fields else _Nothing()
    return at


def _drawn(choice: "list[Any] | Range", now: Any, generator: np.random.Generator) -> Any:
    if isinstance(choice, list):
        return choice[int(generator.integers(len(choice)))]
    low, high = (np.log(choice.low), np.log(choice.high)) if choice.log else (choice.low, choice.high)
    value = float(generator.uniform(low, high))
    value = float(np.exp(value)) if choice.log else value
    return round(value) if isinstance(now, int) and not isinstance(now, bool) else float(f"{value:.3g}")


def applied(values: dict[str, Any]) -> Params:
    """params.yaml with other values.

    Raises:
        ParamsError: a value is not allowed.
    """
    return check(yaml.safe_load(edited(PARAMS.read_text(encoding="utf-8"), values)))


def _search(params: Params, drawn: list[dict[str, Any]], jobs: list[Job]) -> dict[int, dict[str, Any]]:
    """Trial → what it reported last."""
    settings, log = params.tune, WORK / "tune.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("", encoding="utf-8")
    print(
        f"{len(drawn)} trials within {settings.minutes:g} minutes; what they print is in {log}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new one prints a box of settings even when told to be silent
    with connected(params.train.model_copy(update={"workers": 1, "least_workers": None})) as gpus:
        from ray import tune as ray_tune
        from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

        each, threads = _share(settings.at_once, gpus)
        longest = max(job.train.max_epochs for job in jobs)
        asha = ASHAScheduler(
            time_attr="epoch", max_t=longest, grace_period=max(1, longest // GRACE**2), reduction_factor=GRACE
        )
        common = {"study": str(Path.cwd()), "log": str(log.resolve()), "threads": threads, "jobs": jobs}
        with tempfile.TemporaryDirectory(prefix="tune-", dir=WORK, ignore_cleanup_errors=True) as folder:
            tuner = ray_tune.Tuner(
                ray_tune.with_resources(ray_tune.with_parameters(_trial, common=common), each),
                param_space={"trial": ray_tune.grid_search(list(range(len(jobs))))},
                tune_config=ray_tune.TuneConfig(
                    metric="best",
                    mode="max",
                    scheduler=asha if settings.scheduler == "asha" else FIFOScheduler(),
                    max_concurrent_trials=settings.at_once,
                    time_budget_s=60 * settings.minutes,
                ),
                run_config=ray_tune.RunConfig(storage_path=str(Path(folder).resolve()), verbose=0),
            )
            try:
                results = tuner.fit()
            except SystemExit:  # how Ray ends on Ctrl-C
                raise KeyboardInterrupt from None
    found = {int(result.config["trial"]): result.metrics for result in results if "best" in (result.metrics or {})}
    if os.environ.get("RAY_ADDRESS"):
        nodes = Counter(metrics["node_ip"] for metrics in found.values())
        told = ", ".join(f"{count} on {node}" for node, count in sorted(nodes.items()))
        print(f"on the Ray cluster: {told}", file=sys.stderr, flush=True)
    return found


def _share(at_once: int, gpus: bool) -> tuple[dict[str, float], int]:
    """What a trial takes, and its threads: of a cluster what a worker of train takes, of this machine its part."""
    if os.environ.get("RAY_ADDRESS"):
        taken = workers_on_cluster(gpus)["resources_per_worker"]
        return {name.lower(): amount for name, amount in taken.items()}, cluster_threads()
    share = max(1, cores() // at_once)
    return {"cpu": share, "gpu": int(gpus)}, share


def _trial(config: dict[str, Any], common: dict[str, Any]) -> None:
    """One trial, in a process of its own: one worker that takes the shares of all, and reports each epoch."""
    import pytorch_lightning as pl
    import torch
    from ray import tune as ray_tune

    from medimg.training.fit import Place, fit

    os.chdir(common["study"])
    torch.set_num_threads(common["threads"])
    number, began = config["trial"], time.monotonic()

    def say(line: str) -> None:
        with Path(common["log"]).open("a", encoding="utf-8") as log:
            log.write(f"trial {number}: {line}\n")

    class Report(pl.callbacks.Checkpoint):  # type: ignore[misc]  # a Checkpoint runs after the module's own hook
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            if pl_module.history and not pl_module.stopped:
                done, seconds = trainer.current_epoch + 1, round(time.monotonic() - began, 1)
                say(f"epoch {done}, best {pl_module.best['score']:.4f}")
                ray_tune.report({"epoch": done, "best": float(pl_module.best["score"]), "seconds": seconds})

    try:
        fit(common["jobs"][number], Place(callbacks=[Report()], say=say))
    except MedimgError as error:  # of settings that do not work: a trial that is not the best
        say(str(error))
    except Exception as error:  # Ray's own record of it goes with its folder
        say(f"{type(error).__name__}: {error}")
        raise


def _row(number: int, values: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    return {"trial": number, **values, "score": found["best"], "epochs": found["epoch"], "seconds": found["seconds"]}
