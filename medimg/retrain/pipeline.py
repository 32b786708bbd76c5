"""``dvc repro`` in the clone, watched: what it says goes to a log, and it ends when time or disk run out."""

import contextlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from medimg.errors import NightError
from medimg.retrain.dvcconfig import environment
from medimg.retrain.outcome import DISK_IS_FULL, Status
from medimg.stage import die_with_parent

GIB = 2**30
LOOK = 10.0  # seconds between two looks at clock and disk
DATA_STAGES = ("ingest", "split", "preprocess")
"""A failure of these is about the data, not about the training."""


class Budget:
    """What a night may take."""

    def __init__(self, hours: float, free_gib: float, disk: Path) -> None:
        self._end, self._free, self._disk = time.monotonic() + hours * 3600, free_gib, disk
        self._hours = hours

    def short(self) -> bool:
        """Whether there is too little disk."""
        return shutil.disk_usage(self._disk).free / GIB < self._free

    def check(self) -> None:
        """Raise when there is no time or no disk left.

        Raises:
            NightError: there is not.
        """
        if self.short():
            free = shutil.disk_usage(self._disk).free / GIB
            raise NightError(
                Status.POSTPONED,
                f"{free:.1f} GiB of disk are free, and retrain.free_gib asks for {self._free:g}. Nothing was changed. "
                "Make room: dvc gc --workspace --all-commits removes what no commit names.",
            )
        if time.monotonic() > self._end:
            raise NightError(
                Status.POSTPONED,
                f"The night took longer than retrain.hours {self._hours:g}. Nothing was changed; the next one goes on "
                "from the last checkpoint.",
            )

    @contextlib.contextmanager
    def watched(self, every: float = LOOK) -> Iterator[None]:
        """Check ``every`` so many seconds, whatever the block does: it ends as if by a kill, which is safe anywhere.

        Without effect outside the main thread, where no signal arrives.

        Raises:
            NightError: there is no time or no disk left.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def look(*_: object) -> None:
            signal.setitimer(signal.ITIMER_REAL, 0)  # once: what follows is clearing up
            self.check()
            signal.setitimer(signal.ITIMER_REAL, every)

        before = signal.signal(signal.SIGALRM, look)
        signal.setitimer(signal.ITIMER_REAL, every)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def repro(place: Path, log: Path, budget: Budget, *stages: str) -> None:
    """Bring ``stages``, or the whole pipeline, up to date.

    Raises:
        NightError: a stage fails, or the budget is spent.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "dvc", "repro", *stages]
    with log.open("a", encoding="utf-8") as file:
        start = file.tell()
        process = subprocess.Popen(
            command, cwd=place, env=environment(), stdout=file, stderr=subprocess.STDOUT, preexec_fn=die_with_parent
        )
        try:
            while process.poll() is None:
                budget.check()
                time.sleep(0.2)
        finally:
            process.kill()  # its stages end with it
            process.wait()
    if process.returncode:
        raise failure(log, start)


def failure(log: Path, start: int) -> NightError:
    """What ended a run of the pipeline, from what it said in ``log`` after ``start`` bytes."""
    said = log.read_bytes()[start:].decode(errors="replace")
    found = re.search(r"failed to reproduce '(\w+)'", said)
    stage = found[1] if found else "dvc repro"
    sentence = re.search(rf"^{stage}: (.+)$", said, re.MULTILINE)
    reason = sentence[1] if sentence else f"see {log}"
    if "disk is full" in said or "No space left on device" in said:
        return NightError(Status.POSTPONED, DISK_IS_FULL)
    status = Status.REFUSED_DATA if stage in DATA_STAGES and sentence else Status.FAILED  # without: a defect
    return NightError(status, f"Stage {stage} failed: {reason}")
