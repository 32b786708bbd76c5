"""What room a Ray cluster has for the pieces of a stage, and what each of them takes, as ``params.yaml`` says."""

import os
import time
from concurrent.futures import Future
from threading import Thread
from typing import Any

from medimg.errors import ClusterError
from medimg.params import Resources, load
from medimg.work.supervised import GIB

AHEAD = 2  # pieces handed out for each that has room
LOOK, LOST = 5.0, 120.0
"""Seconds between two looks at what room the cluster has, and for how long it may have none"""


def room_for(ray: Any, stage: str, count: int = 1) -> tuple[dict[str, Any], int]:
    """What ``params.yaml`` sets aside for a piece of ``stage``, and how many such pieces the cluster can run at once.

    Waits ``cluster.wait`` seconds for nodes to come while there are fewer than ``count`` places, and asks for them: a
    cluster that scales itself starts none that nobody asks for.

    Returns:
        ``num_cpus``, ``num_gpus``, ``memory`` (bytes) as Ray takes them; places, at least ``count``.

    Raises:
        ClusterError: the cluster can never run ``count`` of them; the message says what it has.
    """
    settings = load().cluster
    asked: Resources = getattr(settings, stage)
    end = time.monotonic() + settings.wait
    request = None  # of Ray it is a placement group, which ends with us, however we end
    while True:
        nodes = _nodes(ray)
        gpus = asked.gpus
        if gpus is None:
            gpus = float(stage in ("train", "predict") and any(node.get("GPU") for node in nodes))
        need = {"CPU": asked.cpus, "GPU": gpus, "memory": (asked.memory or 0) * GIB}
        wanted = {name: amount for name, amount in need.items() if amount}
        places = _places(nodes, wanted)
        if places >= count:
            if request:
                ray.util.remove_placement_group(request)
            return {"num_cpus": asked.cpus, "num_gpus": gpus, "memory": int(need["memory"]) or None}, places
        if time.monotonic() > end:
            raise ClusterError(_never(stage, wanted, count, nodes, places, settings.wait))
        if request is None or request.bundle_specs[0] != wanted:  # with the first GPU it becomes known that there are
            if request:
                ray.util.remove_placement_group(request)
            request = ray.util.placement_group([dict(wanted) for _ in range(count)])
        time.sleep(0.5)


def _nodes(ray: Any) -> list[dict[str, float]]:
    """What each living node has. Ray is asked in a thread: of a head that died it awaits an answer until it ends the
    process, and ``head.Watch`` could not interrupt that."""
    answer: Future[list[dict[str, Any]]] = Future()

    def ask() -> None:
        try:
            answer.set_result(ray.nodes())
        except Exception as error:
            answer.set_exception(error)

    Thread(target=ask, daemon=True).start()
    while not answer.done():
        time.sleep(0.01)
    return [node["Resources"] for node in answer.result() if node["Alive"]]


def _places(nodes: list[dict[str, float]], wanted: dict[str, float]) -> int:
    """How many pieces that take ``wanted`` the nodes can run at once."""
    return sum(min(int(node.get(name, 0) / amount) for name, amount in wanted.items()) for node in nodes)


class Room:
    """How many pieces of a stage the cluster can run at once: it grows, shrinks and loses nodes meanwhile."""

    def __init__(self, ray: Any, stage: str) -> None:
        self.each, self.places = room_for(ray, stage)
        """what is set aside for a piece, as Ray takes it; how many have room"""
        self._ray, self._stage = ray, stage
        self._looked = self._had = time.monotonic()

    def ahead(self) -> int:
        """How many pieces are to be handed out: more than have room, so that a cluster that scales itself grows."""
        if time.monotonic() - self._looked > LOOK:
            self.check()
        return AHEAD * max(1, self.places)

    def check(self) -> None:
        """Look again.

        Raises:
            ClusterError: there has been no room for a piece for too long; what was handed out would wait for ever.
        """
        self._looked = time.monotonic()
        each = {"CPU": self.each["num_cpus"], "GPU": self.each["num_gpus"], "memory": self.each["memory"]}
        self.places = _places(_nodes(self._ray), {name: amount for name, amount in each.items() if amount})
        waits = max(LOST, load().cluster.wait)
        if self.places:
            self._had = self._looked
        elif self._looked - self._had > waits:
            raise ClusterError(
                f"The Ray cluster has had no room for a single piece of stage {self._stage} for {waits:g} s: its nodes "
                "have died. Start them again, and dvc repro or medimg submit goes on."
            )


def workers_on_cluster(gpus: bool) -> dict[str, Any]:
    """How Ray Train is to place the workers, as ``params.yaml`` says: ``resources_per_worker``, ``placement_strategy``.

    Where a node is lost and no other comes within ``cluster.wait`` (two minutes at least), Ray shall say so.
    """
    settings = load().cluster
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = f"{max(120.0, settings.wait):g}"
    each = {"CPU": settings.train.cpus}
    if gpus:
        each["GPU"] = settings.train.gpus or 1
    if settings.train.memory:
        each["memory"] = settings.train.memory * GIB
    return {"resources_per_worker": each, "placement_strategy": settings.placement.upper()}


def cluster_threads() -> int:
    """Threads of a worker of training on the cluster: those that it sets aside, whatever its node has beside them.

    Sums of another number of threads differ in their last bits, so the weights would depend on the machine.
    """
    return max(1, int(load().cluster.train.cpus))


def _never(
    stage: str, wanted: dict[str, float], count: int, nodes: list[dict[str, float]], places: int, waited: float
) -> str:
    def told(amounts: dict[str, float]) -> str:
        units = {"CPU": 1, "GPU": 1, "memory": GIB}
        names = {"CPU": "CPU", "GPU": "GPU", "memory": "GiB"}
        return ", ".join(f"{amounts.get(name, 0) / unit:.3g} {names[name]}" for name, unit in units.items())

    pieces = f"{count} pieces of {told(wanted)} each" if count > 1 else f"one node with {told(wanted)}"
    return (
        f"The Ray cluster can never run stage {stage}: it takes {pieces}, and there is room for {places} on its "
        f"{len(nodes)} nodes ({'; '.join(sorted({told(node) for node in nodes}))}), {waited:g} s later still. Lower "
        f"cluster.{stage} in params.yaml, add nodes, or raise cluster.wait where they take longer to come."
    )
