"""One function over many samples, in supervised processes: a failure is a value, and nothing kills the run.

Here (``over``), or spread over the nodes of the Ray cluster that RAY_ADDRESS names (``spread``): in the same processes,
under the same limits.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from medimg.work.progress import Progress
from medimg.work.supervised import Failure, Item, Limits, Value, cores, over

__all__ = ["Failure", "Limits", "Progress", "cores", "elsewhere", "over", "spread"]


def spread(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    limits: Limits = Limits(),  # noqa: B008  # frozen
    preload: tuple[str, ...] = (),
    stage: str = "ingest",
    chunk: int = 32,
) -> Iterator[tuple[Item, Value | Failure]]:
    """As ``over``, on every node of the cluster that RAY_ADDRESS names; without one, on this machine.

    The nodes must see the study's folder at the same path and run the same medimg. What is not de-identified does not
    belong here: ``medimg import`` uses ``over``. ``stage`` names what of the block ``cluster`` in params.yaml holds.

    Args:
        function: see ``over``.
        items: see ``over``.
        limits: see ``over``.
        preload: see ``over``.
        stage: whose resources.
        chunk: items of one task of the cluster: enough to pay for its processes, few enough to keep all nodes busy at
            the end, and to hold the values of all of them in memory.

    Raises:
        ClusterError: the cluster does not answer, or a node cannot do its share.
    """
    if not os.environ.get("RAY_ADDRESS"):
        return over(function, items, limits=limits, preload=preload)
    from medimg.work.cluster import on_nodes

    return on_nodes(function, items, limits=limits, preload=preload, stage=stage, chunk=chunk)


def elsewhere(function: Callable[..., Value], *arguments: Any, stage: str) -> Value:
    """``function(*arguments)`` on a node of the cluster that RAY_ADDRESS names, such as one with a GPU; else here.

    What it returns is small: results go into files, which all nodes see.

    Raises:
        ClusterError: the cluster does not answer, or no node can do it.
    """
    if not os.environ.get("RAY_ADDRESS"):
        return function(*arguments)
    from medimg.work.cluster import on_one_node

    return on_one_node(function, *arguments, stage=stage)
