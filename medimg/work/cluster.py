"""The supervised processes on every node of a Ray cluster: a chunk of items is a task, a failure is still a value."""

import functools
import itertools
import os
import re
import secrets
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, TextIO, cast

from medimg.errors import ClusterError
from medimg.files import code_sha256
from medimg.work.gate import Foreign, admit, hide_token
from medimg.work.head import Watch, head_watched, lost_head
from medimg.work.room import LOOK, Room
from medimg.work.supervised import Failure, Item, Limits, Value, over

REPORTS = Path(".medimg") / "logs" / "ray.log"
"""what Ray says of nodes that died, in pages of its inner state"""
_FOUR_TIMES = "died on the Ray cluster, four times ({}). Is a node out of memory?"
_RETRIES = 3  # of a task whose node died, or that Ray ended for want of memory
_own_code = functools.cache(code_sha256)


def on_nodes(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    limits: Limits,
    preload: tuple[str, ...],
    stage: str,
    chunk: int,
) -> Iterator[tuple[Item, Value | Failure]]:
    """Yield ``(item, function(item))`` for every item, a chunk at a time, in order of completion.

    Raises:
        ClusterError: the cluster does not answer, or a node cannot do its share.
    """
    queue = iter(items)
    head = next(queue, None)
    if head is None:
        return
    chunks = iter(lambda: list(itertools.islice(queue, chunk)), [])
    with _connected() as (ray, watch), _visible() as mark:
        room = Room(ray, stage)
        job = ray.remote(**room.each, max_retries=_RETRIES, scheduling_strategy="SPREAD")(_chunk)
        pending: dict[Any, None] = {}
        shares: Counter[str] = Counter()
        first = [head, *itertools.islice(queue, chunk - 1)]
        for share in itertools.chain([first], chunks, itertools.repeat(None)):
            if share is not None:
                pending[job.remote(function, share, limits, preload, mark, _own_code())] = None
            while pending and (share is None or len(pending) >= room.ahead()):
                for result in _finished(ray, pending, shares, room):
                    with watch.away():  # what is done with it is not ours to interrupt
                        yield result
            if share is None:
                break
        told = ", ".join(f"{count} on {node}" for node, count in sorted(shares.items()))
        print(f"on the Ray cluster: {told}", file=sys.stderr, flush=True)


def on_one_node(function: Callable[..., Value], *arguments: Any, stage: str) -> Value:
    """``function(*arguments)`` on one node of the cluster that has what ``params.yaml`` says of the stage.

    Raises:
        ClusterError: the cluster does not answer, or no node can do it.
    """
    with _connected() as (ray, _), _visible() as mark:
        room = Room(ray, stage)
        job = ray.remote(**room.each, max_retries=_RETRIES)(_there)
        try:
            reference = job.remote(function, arguments, mark, _own_code())
            while not ray.wait([reference], timeout=LOOK)[0]:
                room.check()
            node, problem, printed, value = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise ClusterError(lost_head() or f"Stage {stage} {_FOUR_TIMES.format(type(error).__name__)}") from None
    if problem:
        raise ClusterError(f"Node {node} of the Ray cluster {problem}")
    print(printed, end="")
    print(f"on the Ray cluster: {node}", file=sys.stderr, flush=True)
    return cast(Value, value)


def _there(
    function: Callable[..., Value], arguments: tuple[Any, ...], mark: Path, code: str
) -> tuple[str, str, str, Value | None]:
    """Name of the node, what is wrong with it, what the function printed, its value."""
    node, problem = _unfit(mark, code)
    if problem:
        return node, problem, "", None
    os.chdir(mark.parent.parent)
    with redirect_stdout(StringIO()) as printed:
        value = function(*arguments)
    return node, "", printed.getvalue(), value


def _finished(ray: Any, pending: dict[Any, None], shares: Counter[str], room: Room) -> Iterator[Any]:
    done, _ = ray.wait(list(pending), num_returns=1, timeout=LOOK)
    if not done:
        room.check()
    for reference in done:
        del pending[reference]
        try:
            node, problem, results = ray.get(reference)
        except ray.exceptions.RayError as error:
            raise ClusterError(lost_head() or f"A task {_FOUR_TIMES.format(type(error).__name__)}") from None
        if problem:
            raise ClusterError(f"Node {node} of the Ray cluster {problem}")
        shares[node] += len(results)
        yield from results


def _chunk(
    function: Callable[[Item], Value],
    chunk: list[Item],
    limits: Limits,
    preload: tuple[str, ...],
    mark: Path,
    code: str,
) -> tuple[str, str, list[tuple[Item, Value | Failure]]]:
    """What each task does on its node: name of the node, what is wrong with it, results."""
    node, problem = _unfit(mark, code)
    if problem:
        return node, problem, []
    os.chdir(mark.parent.parent)
    return node, "", list(over(function, chunk, processes=1, limits=limits, preload=preload))


def _unfit(mark: Path, code: str) -> tuple[str, str]:
    """This node's name, and why it cannot do its share, or nothing."""
    import ray

    node = f"{ray.get_runtime_context().get_node_id()[:8]} ({ray.util.get_node_ip_address()})"
    if not mark.exists():
        return node, f"does not see the study's folder {mark.parent.parent}: it must be on a disk that all share."
    if _own_code() != code:
        return node, "runs another medimg than this machine: install the same one on all."
    return node, ""


@contextmanager
def _visible() -> Iterator[Path]:
    """A file in the study's folder that every node must see."""
    mark = Path.cwd() / ".medimg" / f"cluster-{secrets.token_hex(8)}"
    mark.parent.mkdir(exist_ok=True)
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink()


@contextmanager
def _connected() -> Iterator[tuple[Any, Watch]]:
    ray = attach(os.environ["RAY_ADDRESS"])
    try:
        with head_watched() as watch, reports_aside():
            yield ray, watch
    finally:
        ray.shutdown()


def attach(address: str) -> Any:
    """Join the cluster at ``address``, if strangers cannot: the one way for all that runs on it. The caller leaves it.

    Args:
        address: as ``RAY_ADDRESS`` has it.

    Returns:
        the module ``ray``, connected.

    Raises:
        ClusterError: nobody answers there, or ``gate.admit`` refuses it.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing about a hospital's work leaves it
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_task_oom_retries", f"{_RETRIES}")  # for ever otherwise; read as Ray is loaded
    before = os.umask(0o077)  # Ray would write its token readable by all
    hide_token()
    named = address.rpartition(":")[2].isdigit()  # and not the word auto, of which Ray alone knows what it means
    try:
        if named:
            admit(address)
        import ray

        ray.init(address, log_to_driver=False, logging_level="ERROR")
        try:
            if not named:  # nothing has been sent yet
                admit(ray.get_runtime_context().gcs_address)
        except BaseException:
            ray.shutdown()
            raise
    except Foreign as error:
        raise ClusterError(f"Nothing was sent to the Ray cluster at RAY_ADDRESS={address}: {error}.") from None
    except (OSError, RuntimeError) as error:
        raise ClusterError(
            f"Ray does not answer at RAY_ADDRESS={address} ({type(error).__name__}). Start the cluster "
            "(cluster/start.sh), or unset RAY_ADDRESS to work on this machine."
        ) from None
    finally:
        os.umask(before)
    return ray


@contextmanager
def reports_aside() -> Iterator[None]:
    """While the block runs, what Ray prints of itself here goes into ``REPORTS``, and a line says so."""
    out, sys.stdout = sys.stdout, cast(TextIO, _Aside(sys.stdout))
    try:
        yield
    finally:
        sys.stdout = out


class _Aside:
    """Standard output without what Ray's own thread prints: it does so whatever ``log_to_driver`` says."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        """Pass ``text`` on, or put it aside."""
        if threading.current_thread().name != "ray_listen_error_messages":
            return self._out.write(text)
        plain = re.sub(r"\x1b\[\d*m", "", text)
        REPORTS.parent.mkdir(parents=True, exist_ok=True)
        with REPORTS.open("a", encoding="utf-8") as log:
            log.write(plain)
        if plain.strip():
            said = re.split(r"[.:] |\n", plain.removeprefix("(raylet)").strip())[0][:120]
            print(f"warning: Ray reports: {said}. All of it is in {REPORTS}", file=sys.stderr, flush=True)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)
