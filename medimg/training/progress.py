"""What a person sees while the workers train: a bar on a terminal, a line an epoch in a log.

Worker 0 adds lines to a file; the process that started the workers follows it. A line is either a sentence, or a JSON
object of where the epoch stands.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

EVERY = 0.5  # s between two states of the bar
QUIET = 60.0  # s after which a log gets a line although the epoch goes on
WIDTH = 24  # characters of the bar


def writer(log: Path) -> Callable[[str], None]:
    """A function that adds a line to ``log``."""

    def say(line: str) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    return say


def epoch_line(row: dict[str, Any], epochs: int, best: bool, monitor: str = "score") -> str:
    """One finished epoch, for a person; with what decides the best one, where that is neither loss nor score."""
    judged = "" if monitor in ("loss", "score") else f"{monitor} {row[f'validation_{monitor}']:.4f}  "
    return (
        f"epoch {int(row['epoch']) + 1:>{len(str(epochs))}}/{epochs}  loss {row['train_loss']:.4f}  "
        f"validation {row['validation_loss']:.4f}  score {row['validation_score']:.4f}  {judged}"
        f"{row['samples'] / row['seconds']:.0f} images/s" + (" best so far" if best else "")
    )


class Meter:
    """Where the epoch stands, at most every half second; the loss is read from the device only then."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._last, self._start, self._first = say, 0.0, 0.0, 0

    def step(self, module: Any, step: int, images: int) -> None:
        """After a batch, ``step`` from 0 counted over the fit, of ``images`` images of all workers."""
        now = time.monotonic()
        if not self._start:
            self._start, self._first = now, step
        if now - self._last < EVERY:
            return
        self._last = now
        done, total = step + 1, module.steps * module.pieces
        rate = (step - self._first) / (now - self._start) if step > self._first else 0.0  # steps a second
        score = module.history[-1]["validation_score"] if module.history else None
        state = {
            "epoch": module.current_epoch,
            "epochs": module.settings.max_epochs,
            "share": (done - module.current_epoch * total) / total,
            "loss": module.recent_loss(),
            "score": score,
            "rate": rate * images,
            "left": (module.settings.max_epochs * total - done) / rate if rate else None,
        }
        self._say(json.dumps(state))


@contextmanager
def follow(log: Path, out: TextIO | None = None) -> Iterator[None]:
    """Show the lines that are added to ``log`` while the block runs, on ``out`` (stderr by default)."""
    log.touch()
    out = out or sys.stderr
    done = threading.Event()
    at = log.stat().st_size  # what stands there is of an earlier run

    def show() -> None:
        screen = Screen(out)
        with log.open(encoding="utf-8") as file:
            file.seek(at)
            while True:
                last = done.wait(EVERY / 2)
                for line in file:
                    screen.show(line.rstrip("\n"))
                if last:
                    screen.clear()
                    return

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class Screen:
    """A terminal with a bar under its lines; or a log, with lines alone."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._terminal, self._last = out, out.isatty(), time.monotonic()

    def show(self, line: str) -> None:
        """A sentence, or the JSON of a state."""
        if not line.startswith("{"):
            self.clear()
            self._write(line + "\n")
        elif self._terminal:
            self.clear()
            self._write(bar(json.loads(line)))
        elif time.monotonic() - self._last > QUIET:
            self._write(bar(json.loads(line)) + "\n")

    def clear(self) -> None:
        """Take the bar away."""
        if self._terminal:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
        self._last = time.monotonic()


def bar(state: dict[str, Any]) -> str:
    """One state, as a bar with loss, last score, images a second and time left."""
    full = round(state["share"] * WIDTH)
    score = "" if state["score"] is None else f"  score {state['score']:.4f}"
    rate = f"  {state['rate']:.0f} images/s" if state["rate"] else ""
    left = "" if state["left"] is None else f"  {_clock(state['left'])} left at most"
    head = f"epoch {state['epoch'] + 1}/{state['epochs']} [{'=' * full}{' ' * (WIDTH - full)}]"
    return f"{head}  loss {state['loss']:.4f}{score}{rate}{left}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
