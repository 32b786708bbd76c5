"""The head of the Ray cluster that RAY_ADDRESS names: does it live, and what ends when it dies."""

import _thread
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from medimg.errors import ClusterError
from medimg.work.gate import knock

_KNOCK, _MISSED = 5.0, 3
"""Seconds between two knocks at the head's door, and how many in a row it must miss to be given up"""


def lost_head() -> str | None:
    """What to say when the head of the cluster that RAY_ADDRESS names has died; None: it has not, or none is named."""
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            knock(address)
    except OSError:
        return (
            f"The head of the Ray cluster at {address} does not answer any more. Start it again (cluster/start.sh "
            "head), and the nodes; then dvc repro or medimg submit goes on where this ended."
        )
    return None


class Watch:
    """Whether the head still lives, looked at in a thread; its death interrupts the main one."""

    def __init__(self, interrupt: signal.Signals) -> None:
        self.lost: str | None = None
        """what to say of the head once it is given up"""
        self._interrupt = interrupt
        self._over, self._lock, self._away = threading.Event(), threading.Lock(), False

    def run(self) -> None:
        """Knock until the head is given up or the block has ended."""
        missed, said = 0, None
        while missed < _MISSED and not self._over.wait(_KNOCK):
            said = lost_head()
            missed = missed + 1 if said else 0
        with self._lock:
            if said and missed == _MISSED and not self._over.is_set():  # else the block ended during the last knock
                self.lost = said
                if not self._away:
                    _thread.interrupt_main(self._interrupt)

    @contextmanager
    def away(self) -> Iterator[None]:
        """While the block runs, as of a generator that yields, nothing is interrupted: it is said when it has ended.

        Raises:
            ClusterError: the head died meanwhile.
        """
        with self._lock:
            self._away = True
        yield
        with self._lock:
            self._away = False
        if self.lost:
            raise ClusterError(self.lost)

    def end(self) -> None:
        """Interrupt nothing from here on."""
        with self._lock:
            self._over.set()


@contextmanager
def head_watched() -> Iterator[Watch]:
    """While the block runs, the death of the cluster's head ends it: after a minute Ray would end the whole process.

    Raises:
        ClusterError: the head has died.
    """
    with _interrupt() as interrupt:
        watch = Watch(interrupt)
        threading.Thread(target=watch.run, daemon=True).start()
        try:
            yield watch
            watch.end()
        except KeyboardInterrupt:
            if watch.lost:  # also when it answers again by now: nobody has pressed Ctrl-C
                raise ClusterError(watch.lost) from None
            raise
        finally:
            watch.end()


@contextmanager
def _interrupt() -> Iterator[signal.Signals]:
    """A signal that interrupts the main thread: not that of Ctrl-C where a script's ``&`` has us ignore that."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield signal.SIGINT
        return
    before = signal.signal(signal.SIGUSR2, signal.default_int_handler)
    try:
        yield signal.SIGUSR2
    finally:
        signal.signal(signal.SIGUSR2, before)
