"""One function over many items in supervised processes on this machine.

Each worker process sets itself an alarm and a memory limit before every item. A decoder that loops for ever, crashes or
asks for all memory ends its own process; the item becomes a ``Failure``, another process takes its place, and the rest
goes on.
"""

import importlib
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any, Generic, TypeVar, cast

from medimg.errors import ImageError, Refusal

Item = TypeVar("Item")
Value = TypeVar("Value")

GIB = 2**30
ADDRESS = 60
"""Characters that the folder for temporary files may have, for a socket below it to be within the system's limit"""
_KEPT = 128 * 2**20
"""Bytes of freed memory that a worker keeps for its next item: to ask for them anew takes longer than to read a file"""
_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "MALLOC_TRIM_THRESHOLD_": str(_KEPT),  # of the C library, on Linux
    "MALLOC_MMAP_THRESHOLD_": str(2**25),  # the most that it takes
}
"""Of the workers: numerical libraries use one thread, since theirs would wait for each other in a busy loop."""


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
        preload: modules that ``function`` needs. They are imported before the processes are forked, or, where those
            come from a server that another call has started, by each process; never at the cost of an item's time.
    """
    context = multiprocessing.get_context("forkserver")
    inner = getattr(function, "func", function)  # of a functools.partial
    context.set_forkserver_preload([*preload, inner.__module__])
    queue = iter(items)

    def start() -> _Worker[Item]:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, function, limits, preload), daemon=True)
        with _no_main(inner), _environment(), _short_address():
            process.start()
        theirs.close()  # or the end of the worker would never be seen
        return _Worker(process, ours)

    def give(worker: _Worker[Item], item: Item) -> None:
        try:
            worker.connection.send(item)
        except OSError:  # it died while it had nothing to do; not for this item
            worker.process, worker.connection = (fresh := start()).process, fresh.connection
            worker.connection.send(item)
        worker.item = item

    workers: list[_Worker[Item]] = []
    try:
        for item in queue:
            worker = start()
            workers.append(worker)
            give(worker, item)
            if len(workers) == (processes or cores()):
                break
        while busy := {worker.connection: worker for worker in workers if worker.item is not None}:
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                item, worker.item = cast(Item, worker.item), None
                try:
                    value = worker.connection.recv()
                except (EOFError, OSError):
                    value = _obituary(worker.process, limits)
                following = next(queue, None)
                if following is not None:
                    give(worker, following)  # first, so that it works while the caller does
                yield item, value
    finally:
        for worker in workers:
            worker.connection.close()  # a worker that waits for an item ends here
            worker.process.terminate()
            worker.process.join()


@contextmanager
def _no_main(function: Callable[..., Any]) -> Iterator[None]:
    """Keep a new process from running the script that started this one, unless the function stands in it."""
    main: Any = sys.modules["__main__"]
    before = getattr(main, "__file__", None), main.__spec__
    if function.__module__ != "__main__":
        main.__file__ = main.__spec__ = None
    try:
        yield
    finally:
        main.__file__, main.__spec__ = before


@contextmanager
def _short_address() -> Iterator[None]:
    """Let the server's socket be where its address fits: the system allows about a hundred characters for it."""
    before = tempfile.tempdir
    if len(tempfile.gettempdir()) > ADDRESS:
        tempfile.tempdir = "/tmp"  # noqa: S108 - multiprocessing makes a folder there that nobody else can open
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextmanager
def _environment() -> Iterator[None]:
    """Let a new process start with the settings of a worker."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _obituary(process: ForkServerProcess, limits: Limits) -> Failure:
    process.join(10)
    if process.exitcode == -signal.SIGALRM:
        return Failure(Refusal.TIMEOUT, f"took longer than {limits.seconds:g} s")
    return Failure(Refusal.CRASHED, "the process that read it died")


def _serve(
    connection: Connection, function: Callable[[Any], Any], limits: Limits, preload: tuple[str, ...] = ()
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process even inside a native loop
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold a patient's image
    _silence()
    for name in preload:
        with suppress(ImportError):  # who needs it will say so
            importlib.import_module(name)
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


def _silence() -> None:
    """What native decoders print may quote a header: nobody is to read it in a log."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _limit_memory(limits: Limits) -> None:
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123
            held = int(file.read().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]  # a cluster may have set one: to raise it is not ours
        resource.setrlimit(resource.RLIMIT_AS, (held + int(limits.memory * GIB), hard))
    except (OSError, ValueError):  # macOS has no such limit
        pass
