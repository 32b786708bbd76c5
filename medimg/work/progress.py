"""How far a run is: a line that renews itself in a terminal, a line now and then in a log."""

import sys
import time
from typing import TextIO

_TERMINAL, _LOG = 0.2, 10.0  # s between two lines


class Progress:
    """Count what is done; from time to time print how much, how fast, and how long the rest will take."""

    def __init__(self, what: str, total: int | None, stream: TextIO | None = None) -> None:
        """``total`` of ``what``, such as files, are to be done; None where nobody knows how many there will be."""
        self._what, self._total, self._stream = what, total, stream or sys.stderr
        self._done = 0
        self._start = time.monotonic()
        self._terminal = self._stream.isatty()
        self._due = self._start + (_TERMINAL if self._terminal else _LOG)

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        now = time.monotonic()
        if now >= self._due or (self._terminal and self._done == self._total):
            self._due = now + (_TERMINAL if self._terminal else _LOG)
            end = ("\n" if self._done == self._total else "") if self._terminal else "\n"
            self._stream.write(("\r" if self._terminal else "") + self.line(now - self._start) + end)
            self._stream.flush()

    def end(self) -> None:
        """No more come: leave the line that renews itself, where the total was not known."""
        if self._terminal and self._total is None and self._done:
            self._stream.write("\r" + self.line(time.monotonic() - self._start) + "\n")
            self._stream.flush()

    def line(self, seconds: float) -> str:
        """What is told after so many seconds."""
        rate = self._done / max(seconds, 1e-9)
        if self._total is None:
            return f"{self._done} {self._what}, {rate:.3g}/s".ljust(60)
        left = (self._total - self._done) / max(rate, 1e-9)
        return f"{self._done} of {self._total} {self._what}, {rate:.3g}/s, {_clock(left)} left".ljust(60)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
