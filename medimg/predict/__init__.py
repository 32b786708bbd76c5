"""A bundle's model on images that nobody has labelled: a probability, a decision and flags for each.

Everything happens in memory and under pseudonyms: what is written names no patient, unless the user asks for that, in
a folder outside of the study.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medimg import __version__
from medimg.border.identity import load_key
from medimg.border.locate import Options
from medimg.border.spool import spool
from medimg.bundle import opened
from medimg.errors import DataError
from medimg.evaluation.frozen import read as read_frozen
from medimg.familiar import Familiar
from medimg.files import sha256_file
from medimg.inference import load_network
from medimg.params import Params
from medimg.predict.account import Account
from medimg.predict.answers import answers, called, thresholds
from medimg.predict.heatmaps import heatmaps
from medimg.predict.inputs import Inputs, Job, locate_inputs
from medimg.predict.look import NEEDED, Look, Rules, look
from medimg.predict.score import Scores, in_order, pages, score
from medimg.predict.volumes import Seen, Stack, kept, read, seen, stacks
from medimg.predict.written import check_places, writing
from medimg.tasks import task_of
from medimg.work import Failure, Limits, Progress, over, spread


@dataclass(frozen=True)
class Done:
    """What a run did."""

    what: str
    """images or volumes"""
    scored: int
    flagged: int
    on_test: tuple[int, int]
    """of how many images of the study's test part how many would be flagged; 0 of 0 where the bundle does not say"""
    refused: dict[str, int]
    not_images: int
    studies: int | None
    """with a structured report; None: none was asked for"""
    seconds: float
    unwritten: int = 0
    """reports and captures that a header does not allow"""
    not_compared: tuple[str, ...] = ()
    """flags that the bundle cannot give"""

    def __str__(self) -> str:
        refused = ", ".join(f"{count} {code}" for code, count in self.refused.items())
        rate = self.scored / max(self.seconds, 1e-9)
        images, flagged = self.on_test
        not_compared = f" (not compared: {', '.join(self.not_compared)})" if self.not_compared else ""
        on_test = f" ({flagged} of the {images} of the study's test part would be)" if images else ""
        return (
            f"{self.scored} {self.what} scored ({rate:.3g}/s), {self.flagged} of them flagged as unlike the training "
            f"data{on_test}{not_compared}; refused: {refused or 'none'}; {self.not_images} files are no images"
            + (f"; {self.studies} studies have a DICOM report" if self.studies is not None else "")
            + (
                f"; {self.unwritten} DICOM documents could not be written: their images' headers hold what "
                "none may repeat"
                if self.unwritten
                else ""
            )
        )


def predict(
    typed: Sequence[str],
    bundle: Path,
    out: Path,
    *,
    options: Options = Options(),  # noqa: B008  # frozen
    identified: Path | None = None,
    score_all: bool = False,
    reports: bool = False,
    pictures: bool = False,
    maps: bool = False,
    processes: int | None = None,
) -> Done:
    """Score every image or volume of the inputs with the model of ``bundle`` into the folder ``out``.

    Args:
        typed: files, folders, zip or tar files, addresses of a PACS.
        bundle: a study's ``artifacts/bundle``, or a copy of it.
        out: a folder that does not exist or is empty: predictions.csv, .parquet, refused.csv, summary.json.
        options: how to ask a PACS.
        identified: a folder outside of the study for the same under the hospital's names; nowhere by default.
        score_all: score also images whose modality or body part the training data do not have; they are flagged.
        reports: write a DICOM Structured Report for each study, below ``sr/``.
        pictures: write a Grad-CAM picture of each image, and of DICOM images a secondary capture, below ``heatmaps/``.
        maps: write the Grad-CAM map of each image on the grid of its file, below ``maps/``.
        processes: how many read at once; one a core by default. The result is the same for any number.

    Raises:
        DataError: the bundle is not whole, an input or output cannot be used, or no image could be scored.
        BorderError: a source cannot be read.
    """
    start = time.monotonic()
    params = opened(bundle)
    if params.preprocess.size is None:
        raise DataError(f"{bundle} keeps images at sizes of their own, which medimg predict does not batch.")
    check_places(out, identified)
    inputs = locate_inputs(typed, out, options)
    network, _ = load_network(bundle)
    task, familiar = task_of(params.study), Familiar.read(bundle)
    rules = _rules(params, familiar, identified is not None, reports or pictures)
    account = Account(familiar, score_all, rules.key)
    reading = _volumes if params.ingest.sample == "volume" else _images
    frozen = read_frozen(bundle / "operating.yaml")
    rows: list[dict[str, Any]] = []
    found: list[Scores] = []
    with spool(out) as room, writing(out, identified, sha256_file(bundle / "bundle.yaml")) as written:
        results = reading(rules, inputs, room, params, processes, account)
        for page in pages(account.looks(in_order(results)), params.predict.batch_size):
            scores = score(network, familiar, page, params.predict.batch_size)
            found.append(scores)
            rows += [_row(one, familiar, bool(far)) for one, far in zip(page, scores.far, strict=True)]
            written.take(page)
            if pictures or maps:
                yes = called(page, scores.logits, task, params, frozen)
                written.heatmaps(page, heatmaps(network, page, scores.logits, yes), pictures, maps)
        if not rows:
            raise DataError(f"No {params.ingest.sample} could be scored. {account}")
        tables = _tables(rows, found, params, bundle)
        studies = written.reports(tables["predictions"], params.study.intended_use) if reports else None
        flagged = int((tables["predictions"]["flags"] != "").sum())
        seconds = time.monotonic() - start
        what = f"{params.ingest.sample}s"
        counts = account.codes, account.not_images, studies
        unsaid = written.unwritten, tuple(familiar.not_compared)
        done = Done(what, len(rows), flagged, familiar.on_test, *counts, seconds, *unsaid)
        written.tables(tables, account, _summary(params, bundle, done, tables))
    return done


def _rules(params: Params, familiar: Familiar, identified: bool, documents: bool) -> Rules:
    """How each file is looked at: as the study's import, ingest and preprocess did it."""
    return Rules(
        load_key(),
        params.preprocess,
        frames=params.ingest.frames == "samples",
        identified=identified,
        issuers=familiar.issuers,
        documents=documents,
        numbers=params.ingest.nan == "refuse",
    )


Results = Iterator[tuple[Job | Stack, list[Look] | Failure | None]]


def _images(
    rules: Rules, inputs: Inputs, room: Path, params: Params, processes: int | None, account: Account
) -> Results:
    """Files, one by one."""
    limits = Limits(params.ingest.seconds, params.ingest.memory)
    way = _way(inputs, processes, "ingest", 32)
    each = way(partial(look, rules=rules), inputs.jobs(room), limits=limits, preload=NEEDED)
    progress = Progress("files read", inputs.count)
    for job, found in each:
        job.item.done()
        progress.step()
        yield job, found


def _volumes(
    rules: Rules, inputs: Inputs, room: Path, params: Params, processes: int | None, account: Account
) -> Results:
    """Volumes, each as soon as its files are known."""
    waiting: Counter[int] = Counter()
    progress = Progress("files looked at", inputs.count)

    def looked_at() -> Iterator[tuple[Job, Seen | Failure | None]]:
        limits = Limits(params.ingest.seconds, params.ingest.memory)
        jobs = kept(inputs.jobs(room), room)
        for found in over(partial(seen, rules=rules), jobs, processes=processes, limits=limits, preload=NEEDED):
            progress.step()
            yield found

    volumes = stacks(in_order(looked_at()), params.ingest.geometry, account, waiting)
    limits = Limits(params.preprocess.seconds, params.preprocess.memory)
    way = _way(inputs, processes, "preprocess", 4)  # what a task gives is in memory together
    for stack, found in way(partial(read, rules=rules), volumes, limits=limits, preload=NEEDED):
        for file in stack.files:
            waiting[file.number] -= 1
            if not waiting[file.number]:
                file.item.done()
        yield stack, found


def _way(inputs: Inputs, processes: int | None, stage: str, chunk: int) -> Callable[..., Iterator[Any]]:
    """What is de-identified may go to the nodes of a cluster, as pieces of ``stage``; all else is read here."""
    if processes is None and os.environ.get("RAY_ADDRESS") and inputs.deidentified():
        return partial(spread, stage=stage, chunk=chunk)
    return partial(over, processes=processes)


def _row(one: Look, familiar: Familiar, far: bool) -> dict[str, Any]:
    flags = familiar.strange(one.facts, one.numbers) + (["features"] if far else [])
    about = {"sample": one.sample, "patient": one.patient, "study": one.study, "frame": one.frame}
    return about | {"flags": "; ".join(flags)}


def _tables(rows: list[dict[str, Any]], found: list[Scores], params: Params, bundle: Path) -> dict[str, pd.DataFrame]:
    table = pd.DataFrame(rows)
    table["distance"] = np.concatenate([scores.distance for scores in found])
    table["frame"] = table["frame"].astype("Int32")
    logits = np.concatenate([scores.logits for scores in found])
    order = table["sample"].argsort(kind="stable").to_numpy()
    table = table.iloc[order].reset_index(drop=True)
    return answers(table, logits[order], task_of(params.study), params, read_frozen(bundle / "operating.yaml"))


def _summary(params: Params, bundle: Path, done: Done, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    flags = Counter(flag for flags in tables["predictions"]["flags"] if flags for flag in flags.split("; "))
    return {
        "medimg": __version__,
        "bundle": sha256_file(bundle / "bundle.yaml"),
        "question": params.study.question,
        "intended_use": params.study.intended_use,
        "unit": params.study.unit,
        **thresholds(read_frozen(bundle / "operating.yaml")),
        "scored": done.scored,
        "flagged": done.flagged,
        "flags": dict(sorted(flags.items())),
        "flagged_of_test": dict(zip(("images", "flagged"), done.on_test, strict=True)),
        "not_compared": list(done.not_compared),
        "refused": done.refused,
        "not_images": done.not_images,
    }
