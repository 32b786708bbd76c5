"""What the steps of one night share, and the step by which anything becomes public."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medimg.errors import MedimgError
from medimg.params import Params
from medimg.promote.champion import Champion, read_champion
from medimg.retrain.bring import News, Seen
from medimg.retrain.clone import Clone
from medimg.retrain.journal import Journal
from medimg.retrain.outcome import Outcome
from medimg.retrain.pipeline import Budget
from medimg.retrain.repository import ROOM


@dataclass
class Night:
    """What the steps of one night share."""

    clone: Clone
    params: Params
    budget: Budget
    outcome: Outcome
    journal: Journal
    anew: bool = False
    """whether a champion that there is counts for nothing"""
    champion: Champion | None = None
    """whom the challenger has to meet"""
    base: str = ""
    """the commit that the night stands on"""
    brought: bool = False
    """whether an import wrote something"""
    seen: Seen | None = None
    """the source, as this night found it"""
    came: News = field(default_factory=lambda: News(0, "", 0, 0, 0))

    @property
    def place(self) -> Path:
        """The study's clone."""
        return self.clone.place

    @property
    def room(self) -> Path:
        """Where this night's log and reports go."""
        return self.clone.study / ROOM / "nights" / self.outcome.started.replace(":", "").removesuffix("+0000")


def publish(night: Night) -> None:
    """DVC's remote first, then Git's: once Git names something, it is there."""
    night.journal.step("store")
    night.budget.check()
    night.clone.store()
    night.journal.step("publish")
    night.clone.publish()
    with aftermath(night):
        night.outcome.commit = night.clone.git("rev-parse", "HEAD")
        champion = read_champion(night.place)
        night.outcome.champion = champion.bundle.seal[:16] if champion else ""
        if night.seen:
            night.seen.remember()
        follow(night)


@contextlib.contextmanager
def aftermath(night: Night) -> Iterator[None]:
    """What goes wrong after the push, time and disk included, is a warning: the night counts as it was decided."""
    try:
        yield
    except (MedimgError, OSError) as error:
        said = str(error) if isinstance(error, MedimgError) else error.strerror
        night.outcome.warnings.append(f"After the decision was published, in step {night.outcome.step}: {said}")


def follow(night: Night) -> None:
    """Let the study's own folder follow, if nothing is in the way."""
    night.journal.step("follow")
    if said := night.clone.follow():
        night.outcome.warnings.append(said)
    shutil.rmtree(night.place / ".medimg/assess", ignore_errors=True)
