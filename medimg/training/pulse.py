"""A worker that gets nowhere ends itself: then it is a dead worker, and those are replaced.

A process that waits for a dead or stopped peer, or for a disk that does not answer, still runs this thread. One that is
stopped itself does not; Ray notices that it no longer answers, after the same time.
"""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl

HUNG = 75  # exit status: EX_TEMPFAIL, try again


class Pulse(pl.Callback):  # type: ignore[misc]  # Lightning is not typed for us
    """Beats with each batch.

    Args:
        seconds: without a beat, after which this process ends.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, float("inf")

    def beat(self, *_: Any, **__: Any) -> None:
        """Something got done."""
        self._last = time.monotonic()

    on_train_start = on_train_batch_start = on_train_batch_end = beat
    on_validation_start = on_validation_batch_end = on_validation_end = on_train_epoch_end = beat

    @contextmanager
    def watching(self) -> Iterator[None]:
        """End this process, and say in its log where it stood, when no beat comes while the block runs."""
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(min(1.0, self._seconds / 10)):
            if time.monotonic() - self._last > self._seconds:
                print(f"no step for {self._seconds:g} s (train.hang_seconds); this worker ends. It stood here:")
                sys.stdout.flush()
                faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
                os._exit(HUNG)
