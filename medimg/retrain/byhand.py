"""What a person does to the registry: roll back, or overrule a refusal. The same clone, lock and push as a night."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medimg.errors import NightError, RegistryError
from medimg.files import lock
from medimg.promote.champion import Bundle, Champion, materialise
from medimg.promote.history import read_history
from medimg.retrain.clone import Clone
from medimg.retrain.journal import now
from medimg.retrain.outcome import Status
from medimg.retrain.register import check_grown, crown, crowned, verify
from medimg.retrain.repository import ROOM, Moved


def rollback(study: Path, reason: str, to: str | None = None) -> Champion:
    """Make an earlier champion the champion again.

    Args:
        study: its folder.
        reason: recorded, with who and when.
        to: first digits of the seal of the one that is meant; by default the champion before this one.

    Raises:
        RegistryError: there is no such champion, or its bundle is not to be had.
        NightError: a remote does not answer.
        BusyError: a night is running.
    """

    def work(clone: Clone, about: dict[str, Any]) -> Champion:
        champion, lines = verify(clone.place), crowned(clone.place)
        if champion is None:
            raise RegistryError("There is no champion to roll back from.")
        line = _earlier(lines, champion, to)
        bundle = Bundle(**line["bundle"])
        materialise(clone.study, bundle)
        about |= {"from": champion.bundle.seal, "batch": line["batch"], "commit": line["commit"]}
        return crown(clone.place, "rolled back", about, bundle, Bundle(**line["anchor"]), line["metrics"])

    return _published(study, reason, work)


def _earlier(lines: list[dict[str, Any]], champion: Champion, to: str | None) -> dict[str, Any]:
    """The line that crowned the one that is meant."""
    at = max(place for place, line in enumerate(lines) if line["champion"] == champion.bundle.seal)
    if lines[at]["event"] == "rolled back":  # back from where this one was promoted, not to what was left behind
        at = min(place for place, line in enumerate(lines) if line["champion"] == champion.bundle.seal)
    meant = [line for line in lines[: len(lines) if to else at] if line["champion"] != champion.bundle.seal]
    if to:
        meant = [line for line in meant if line["champion"].startswith(to)]
    if not meant:
        known = ", ".join(dict.fromkeys(line["champion"][:16] for line in lines))
        raise RegistryError(
            f"There is no {'champion ' + to if to else 'earlier champion'} to go back to. There were: {known}"
        )
    return meant[-1]


def overrule(study: Path, reason: str, challenger: str) -> Champion:
    """Make a challenger champion that the rules refused. Nothing overrules that a bundle must be whole and finite.

    Args:
        study: its folder.
        reason: recorded, with who and when.
        challenger: first digits of the seal of its bundle; ``medimg history`` shows it.

    Raises:
        RegistryError: no refused challenger has this seal, it was never measured, or its bundle is not to be had.
        NightError: a remote does not answer.
        BusyError: a night is running.
    """

    def work(clone: Clone, about: dict[str, Any]) -> Champion:
        champion = verify(clone.place)
        refused = [line for line in read_history(clone.place) if line["event"] == "kept"]
        meant = [line for line in refused if line["challenger"]["seal"].startswith(challenger)]
        if not challenger or len({line["challenger"]["seal"] for line in meant}) != 1:
            known = ", ".join(line["challenger"]["seal"][:16] for line in refused[-5:]) or "none"
            raise RegistryError(f"{len(meant)} refused challengers have the seal {challenger}…. The last: {known}")
        line = meant[-1]
        if line["metrics"]["promotion"]["value"] is None:
            raise RegistryError("This challenger has no measured result on promotion: it cannot become champion.")
        bundle = Bundle(**line["challenger"])
        materialise(clone.study, bundle)
        about |= {"batch": line["batch"], "commit": line["commit"], "rules": line["rules"]}
        anchor = champion.anchor if champion else bundle
        return crown(clone.place, "overridden", about, bundle, anchor, line["metrics"])

    return _published(study, reason, work)


def _published(study: Path, reason: str, work: Callable[[Clone, dict[str, Any]], Champion]) -> Champion:
    """Do ``work`` in the clone, on top of the branch, and push it."""
    if not reason.strip():
        raise RegistryError("Say why: it is recorded.")
    study = study.resolve()
    with lock(study / ROOM / "lock", "A night"):
        clone = Clone.of(study)
        clone.fetch()
        if clone.unpublished():  # what a night decided and could not push comes first, or nobody would know of it
            clone.store()
            clone.publish()
        clone.reset()
        clone.touched()
        check_grown(clone)
        made = work(clone, {"at": now(), "by": clone.person(), "reason": reason.strip()})
        clone.store_champion()
        clone.commit(f"{made.decision['event'].capitalize()}: {reason.strip()}")
        try:
            clone.publish()
        except Moved:
            raise NightError(Status.POSTPONED, "The branch moved meanwhile. Try again.") from None
        if said := clone.follow():
            print(f"It is published, but {said}", file=sys.stderr)
        clone.ended_well()
    return made
