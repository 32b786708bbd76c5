"""One function over many samples, in supervised processes: a failure is a value, and nothing kills the run.

Each worker process sets itself an alarm and a memory limit before every item. A decoder that loops for ever, crashes or
asks for all memory ends its own process; the item becomes a ``Failure``, another process takes its place, and the rest
goes on.
"""

import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any, Generic, TypeVar, cast

from medimg.errors import ImageError, Refusal

Item = TypeVar("Item")
Value = TypeVar("Value")

GIB = 2**30


@dataclass(frozen=True)
class Failure:
    """Why one item has no value."""

    code: Refusal
    detail: str


@dataclass(frozen=True)
class Limits:
    """What one item may take."""

    seconds: float = 60.0
    memory: float = 4.0
    """GiB beyond what a worker holds when it starts"""


@dataclass
class _Worker(Generic[Item]):
    process: ForkServerProcess
    connection: Connection
    item: Item | None = None


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def over(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    processes: int | None = None,
    limits: Limits = Limits(),
    preload: tuple[str, ...] = (),
) -> Iterator[tuple[Item, Value | Failure]]:
    """Yield ``(item, function(item))`` for every item, in order of completion.

    Args:
        function: a module-level function; an ``ImageError`` that it raises becomes a ``Failure``.
        items: read lazily, so that memory stays bounded for any number of them.
        processes: how many at once; a core each by default.
        limits: time and memory of one item.
        preload: modules to import once, before the processes are forked.
    """
    context = multiprocessing.get_context("forkserver")
    inner = getattr(function, "func", function)  # of a functools.partial
    context.set_forkserver_preload([*preload, inner.__module__])
    queue = iter(items)

    def start() -> _Worker[Item]:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, function, limits), daemon=True)
        process.start()
        theirs.close()  # or the end of the worker would never be seen
        return _Worker(process, ours)

    workers: list[_Worker[Item]] = []
    try:
        for item in queue:
            worker = start()
            workers.append(worker)
            _give(worker, item)
            if len(workers) == (processes or cores()):
                break
        while busy := {worker.connection: worker for worker in workers if worker.item is not None}:
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                item = cast(Item, worker.item)
                worker.item = None
                try:
                    yield item, worker.connection.recv()
                except (EOFError, ConnectionResetError):
                    yield item, _obituary(worker.process, limits)
                    workers[workers.index(worker)] = worker = start()
                following = next(queue, None)
                if following is not None:
                    _give(worker, following)
    finally:
        for worker in workers:
            worker.connection.close()  # a worker that waits for an item ends here
            worker.process.terminate()
            worker.process.join()


def _give(worker: _Worker[Item], item: Item) -> None:
    worker.item = item
    worker.connection.send(item)


def _obituary(process: ForkServerProcess, limits: Limits) -> Failure:
    process.join(10)
    if process.exitcode == -signal.SIGALRM:
        return Failure(Refusal.TIMEOUT, f"took longer than {limits.seconds:g} s")
    return Failure(Refusal.CRASHED, "the process that read it died")


def _serve(connection: Connection, function: Callable[[Any], Any], limits: Limits) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process even inside a native loop
    _limit_memory(limits)
    while True:
        try:
            item = connection.recv()
        except EOFError:  # the parent is done, or gone
            return
        signal.setitimer(signal.ITIMER_REAL, limits.seconds)
        value = _call(function, item, limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send(value)


def _call(function: Callable[[Any], Any], item: Any, limits: Limits) -> Any:
    try:
        return function(item)
    except ImageError as error:
        return Failure(error.code, error.detail)
    except MemoryError:
        return Failure(Refusal.MEMORY, f"took more than {limits.memory:g} GiB of memory")
    except BaseException as error:  # a panic of a Rust decoder is no Exception; its text may hold header values
        return Failure(Refusal.CRASHED, f"reading it raised {type(error).__name__}")


def _limit_memory(limits: Limits) -> None:
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123
            held = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + int(limits.memory * GIB), resource.RLIM_INFINITY))
    except (OSError, ValueError):  # macOS has no such limit
        pass
