"""Is this machine, and the study in the current folder, fit to work? A line a question: ok, warn or fail, what to do.

Nothing is changed, made or sent. A probe is a function that yields ``Check``; one that breaks is a failed check itself.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

Probe = Callable[[], Iterator["Check"]]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    about: str
    status: Literal["ok", "warn", "fail"]
    found: str
    do: str = ""
    """what to do about it; empty where all is well"""

    def __str__(self) -> str:
        return f"{self.status:4}  {self.about}: {self.found}" + (f"\n      → {self.do}" if self.do else "")

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def examine(probes: list[tuple[str, Probe]]) -> Iterator[Check]:
    """Every check of probes, each given with its name, as it is made."""
    for name, probe in probes:
        try:
            yield from probe()
        except Exception as error:  # a doctor who falls ill is a finding, not the end of the examination
            yield Check(name, "fail", f"could not be examined ({type(error).__name__})", "Please report this.")


def all_probes(cluster: str | None = None) -> list[tuple[str, Probe]]:
    """In the order in which they are asked; what is heavy comes last.

    Args:
        cluster: the address of a cluster's dashboard, to be asked as well.
    """
    from medimg.doctor import codecs, machine, study

    asked: list[tuple[str, Probe]] = [("cluster", partial(study.cluster, cluster))] if cluster else []
    return [
        *asked,
        ("Python", machine.python),
        ("packages", machine.packages),
        ("tools", machine.tools),
        ("disk", machine.disk),
        ("memory", machine.memory),
        ("clock", machine.clock),
        ("site key", study.site_key),
        ("study", study.study),
        ("DVC", study.dvc),
        ("Ray", study.ray),
        ("codecs", codecs.codecs),
        ("devices", machine.devices),
    ]
