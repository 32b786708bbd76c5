"""``medimg receive``: what modalities and PACS send becomes one batch, de-identified as it comes in."""

import queue
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from medimg.border import spool
from medimg.border.listener import Peer, listening
from medimg.border.remote import instance_of
from medimg.border.sources import Item
from medimg.errors import BorderError

_TICK = 0.2  # s


@dataclass
class Receiver:
    """What is sent to us until nothing more comes, the time is up, or Ctrl-C, as a source."""

    title: str
    bind: str
    port: int
    peers: list[Peer]
    idle: float
    """end when nothing has come for so long, s"""
    until: float = float("inf")
    """end at this time, s since the epoch"""
    say: Callable[[str], None] = print
    where: str = "the network"
    has_paths: bool = False

    def names(self, labels: Path | None) -> list[str]:
        """Nothing has come yet."""
        return []

    def items(self, room: Path) -> Iterator[Item]:
        """The files as they come, and those that came to an earlier receiver and were not imported."""
        came: queue.Queue[Item] = queue.Queue()
        waiting = sorted(room.iterdir())
        door, closed = threading.Lock(), threading.Event()

        def keep(uid: str, data: bytes) -> None:
            path = room / uuid.uuid4().hex
            with door:
                if closed.is_set():  # a sender that is still at it is told that this file was not taken
                    raise OSError
                spool.keep(path, data)
                came.put(Item(f"received instance {uid}", path))

        with _on_interrupt() as stop:
            with listening(self.title, self.bind, self.port, self.peers, keep) as port:
                self.say(f"{self.title} listens on {self.bind}, port {port}; Ctrl-C ends it and imports what has come")
                if waiting:
                    self.say(f"{len(waiting)} files that were received before and are not imported yet are taken up")
                for path in waiting:
                    came.put(Item(f"received instance {instance_of(path)}", path))
                yield from self._until_the_end(came, stop)
            with door:
                closed.set()
            while not came.empty():
                yield came.get()

    def _until_the_end(self, came: "queue.Queue[Item]", stop: threading.Event) -> Iterator[Item]:
        last = time.monotonic()
        while not stop.is_set() and time.monotonic() - last < self.idle and time.time() < self.until:
            try:
                item = came.get(timeout=_TICK)
            except queue.Empty:
                continue
            yield item
            last = time.monotonic()


def next_time(text: str | None) -> float:
    """When it is ``HH:MM`` next, s since the epoch; never, for None.

    Raises:
        BorderError: it is no time of the day.
    """
    if text is None:
        return float("inf")
    try:
        hour, minute = map(int, text.split(":"))
        now = datetime.now()
        then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    except ValueError:
        raise BorderError(f"--until takes a time of the day, such as 17:30, not {text!r}.") from None
    return (then if then > now else then + timedelta(days=1)).timestamp()


@contextmanager
def _on_interrupt() -> Iterator[threading.Event]:
    """Take the first Ctrl-C for the end of listening; the next one ends the import as ever."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def end(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
