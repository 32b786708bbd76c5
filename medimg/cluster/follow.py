"""Following a job's log from afar: it may break off and goes on where it was; Ctrl-C asks what is meant."""

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import yaml

from medimg.errors import ClusterError

if TYPE_CHECKING:
    from medimg.submit import Cluster, Submission

SILENCE = 120.0
"""seconds without an answer of the cluster after which it is given up"""
QUIET = 15.0
"""seconds without a word in the log after which the cluster is asked whether it is still there"""


class Summary:
    """Says between a log's lines how far the pipeline is, each time that DVC comes to a stage."""

    def __init__(self, stages: list[str]) -> None:
        self.stages = stages
        self.reached: list[str] = []

    @classmethod
    def here(cls) -> "Summary":
        """Of the pipeline in the current folder."""
        path = Path("dvc.yaml")
        stages = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"] if path.is_file() else {}
        return cls(list(stages))

    def line(self, line: str) -> str | None:
        """What to say before ``line`` of the log, if it is where a stage begins or is passed over."""
        if not (line.startswith(("Running stage '", "Stage '")) and line.count("'") >= 2):
            return None
        stage = line.split("'")[1]
        if stage not in self.stages or stage in self.reached:
            return None
        self.reached.append(stage)
        return f"── {len(self.reached)} of {len(self.stages)}: {stage}"


def follow(cluster: "Cluster", submission: "Submission", out: TextIO = sys.stdout) -> "Submission":
    """Print the log as it grows until the job ends; return how it ended.

    Raises:
        ClusterError: the cluster does not answer for two minutes, or has forgotten the job: its head died.
        KeyboardInterrupt: Ctrl-C; the job goes on.
    """
    import aiohttp

    printer = _Printer(Summary.here(), out)
    while True:
        try:
            asyncio.run(_tail(cluster, submission.attempt, printer))
            now = cluster.attempt(submission.attempt)
            if now.ended:
                printer.end()
                return now
            printer.heard = time.monotonic()
        except (OSError, RuntimeError, aiohttp.ClientError) as error:
            if time.monotonic() - printer.heard > SILENCE:
                raise ClusterError(
                    f"The cluster at {cluster.address} has not answered for {SILENCE:g} s ({type(error).__name__}). If "
                    f"it lives, the job goes on: medimg logs {submission.name}. If its head died, start it again; then "
                    "medimg submit goes on from the last checkpoint."
                ) from None
        time.sleep(1)


class _Printer:
    """Prints a log of which every connection begins anew; what was printed is left out."""

    def __init__(self, summary: Summary, out: TextIO) -> None:
        self.summary, self.out = summary, out
        self.printed = 0
        self.rest = ""
        self.heard = time.monotonic()

    def begin(self) -> None:
        """A connection begins: the log comes from its start."""
        self.skip = self.printed

    def feed(self, text: str) -> None:
        """Take the next piece of this connection's log."""
        self.heard = time.monotonic()
        fresh = text[self.skip :]
        self.skip = max(0, self.skip - len(text))
        self.printed += len(fresh)
        *lines, self.rest = (self.rest + fresh).split("\n")
        for line in lines:
            if told := self.summary.line(line):
                print(told, file=self.out)
            print(line, file=self.out, flush=True)

    def end(self) -> None:
        """The log is over."""
        if self.rest:
            print(self.rest, file=self.out, flush=True)


async def _tail(cluster: "Cluster", attempt: str, printer: _Printer) -> None:
    """Print until the connection ends. A machine without power, or a cut link, ends none: who is quiet is asked.

    Raises:
        OSError, RuntimeError, aiohttp.ClientError: nobody answers any more.
    """
    printer.begin()
    pieces: Any = cluster.jobs.tail_job_logs(attempt)
    while True:
        piece = asyncio.ensure_future(anext(pieces, None))
        while not (await asyncio.wait({piece}, timeout=QUIET))[0]:
            cluster.ask_whether_it_is_there()
            printer.heard = time.monotonic()
        if (text := piece.result()) is None:
            return
        printer.feed(text)
