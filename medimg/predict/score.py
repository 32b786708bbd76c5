"""Images through the network, a page at a time, in an order that depends on the inputs alone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import pandas as pd

from medimg.familiar import Familiar, collected
from medimg.inference import logits
from medimg.predict.look import Look
from medimg.training.data import Part

if TYPE_CHECKING:
    from medimg.models.network import Network

PAGE = 2**28
"""Bytes of images that are in memory at once."""

Value = TypeVar("Value")


class Numbered(Protocol):
    """Something in a sequence."""

    @property
    def number(self) -> int:
        """Its place, from 0."""


Work = TypeVar("Work", bound=Numbered)


@dataclass(frozen=True)
class Scores:
    """What the network says of N images."""

    logits: np.ndarray
    """``(N, K)`` float64"""
    distance: np.ndarray
    """``(N,)`` of the features, as a share of the limit; NaN where the bundle cannot say"""
    far: np.ndarray
    """``(N,)`` bool: beyond the limit"""


def in_order(results: Iterable[tuple[Work, Value]]) -> Iterator[tuple[Work, Value]]:
    """The results of jobs, which come as they are done, in the order of the jobs."""
    waiting: list[tuple[int, Work, Value]] = []
    following = 0
    for job, value in results:
        heappush(waiting, (job.number, job, value))
        while waiting and waiting[0][0] == following:
            yield heappop(waiting)[1:]
            following += 1


def pages(looks: Iterable[Look], batch: int) -> Iterator[list[Look]]:
    """Images by the page, whole batches each but for the last; sorted by sample, as the predict stage takes them."""
    stream = iter(looks)
    first = next(stream, None)
    if first is None:
        return
    size = max(1, PAGE // (first.image.nbytes * batch)) * batch
    page = [first, *islice(stream, size - 1)]
    while page:
        yield sorted(page, key=lambda one: one.sample)
        page = list(islice(stream, size))


def score(network: "Network", familiar: Familiar, page: list[Look], batch: int) -> Scores:
    """What the network says of a page, ``batch`` images at a time: the forward path of the predict stage."""
    images = np.stack([one.image for one in page])
    count = len(page)
    part = Part(
        images, np.arange(count), np.zeros((count, 1)), np.zeros(count, np.uint64), pd.DataFrame(index=range(count))
    )
    with collected(network) as features:
        found = np.concatenate(list(logits(network, part, batch))).astype(np.float64)
    distance, far = (
        familiar.far(np.concatenate(features)) if features else (np.full(count, np.nan), np.zeros(count, bool))
    )
    return Scores(found, distance, far)
