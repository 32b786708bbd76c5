"""A and B in turn, so that a machine whose speed drifts drifts for both."""

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAIRS = 7


@dataclass(frozen=True)
class Row:
    """One figure: a ratio, or whatever ``what`` says, with its range over the pairs."""

    what: str
    median: float
    low: float
    high: float
    goal: str = ""
    """what the figure should reach, in words; empty for none"""


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call, s."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def processor_seconds(work: Callable[[], object]) -> float:
    """Processor time of one call, in this process and those that it starts and waits for, s."""

    def spent() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    before = spent()
    work()
    return spent() - before


def ratio(
    peer: Callable[[], object],
    ours: Callable[[], object],
    pairs: int = PAIRS,
    clock: Callable[[Callable[[], object]], float] = seconds,
) -> tuple[float, float, float]:
    """Median, least and greatest of how many times faster ours is than the peer, after one warm-up of each.

    ``clock`` measures a call: ``seconds``, or ``processor_seconds`` for work of one core on a machine that does more.
    """
    clock(peer), clock(ours)
    ratios = [clock(peer) / clock(ours) for _ in range(pairs)]
    return statistics.median(ratios), min(ratios), max(ratios)
