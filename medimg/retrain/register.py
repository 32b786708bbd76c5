"""What a night decided, in the registry: a line of the history, and another champion where one was promoted."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from medimg.errors import RegistryError
from medimg.promote.champion import Bundle, Champion, read_champion
from medimg.promote.history import HISTORY, RESTORE, append, read_history
from medimg.retrain.clone import Clone


def record(place: Path, event: str, about: dict[str, Any], champion: Champion | None) -> dict[str, Any]:
    """Add a line without changing the champion."""
    return append(place, {"event": event, **about, "champion": champion.bundle.seal if champion else None})


def crown(
    place: Path, event: str, about: dict[str, Any], bundle: Bundle, anchor: Bundle, metrics: dict[str, Any]
) -> Champion:
    """Make ``bundle`` the champion of the study in ``place``: the line first, then ``champion.yaml``, which names it.

    Args:
        place: the study's clone; both files are published by one commit.
        event: ``promoted``, ``overridden`` or ``rolled back``.
        about: what the line says beside: at, commit, batch, rules …
        bundle: the model.
        anchor: the best ever promoted, from now on.
        metrics: of the model.
    """
    names = {"bundle": asdict(bundle), "anchor": asdict(anchor), "metrics": metrics}
    line = append(place, {"event": event, **about, **names, "champion": bundle.seal})
    named = ("line", "event", "at", "rules", "reason", "by")
    decision: dict[str, Any] = {name: line[name] for name in named if name in line}
    made = Champion(about["commit"], about["batch"], bundle, anchor, metrics, decision)
    made.write(place)
    return made


def crowned(study: Path) -> list[dict[str, Any]]:
    """The lines that made a champion, oldest first."""
    return [line for line in read_history(study) if "bundle" in line and line["champion"] == line["bundle"]["seal"]]


def verify(study: Path) -> Champion | None:
    """The champion, after a check of the whole registry.

    Raises:
        RegistryError: the history is broken, or champion and history contradict each other.
    """
    champion, lines = read_champion(study), crowned(study)
    if (champion.bundle.seal if champion else None) != (lines[-1]["champion"] if lines else None):
        raise RegistryError(f"champion.yaml is not the champion that the history made last. {RESTORE}")
    return champion


def check_grown(clone: Clone) -> None:
    """Whether the history has only grown by the last commit that changed it: one without its end holds together too.

    Raises:
        RegistryError: lines are gone from its end, or all of it is.
    """
    path = f"{clone.prefix}{HISTORY.as_posix()}"
    changed = clone.git("log", "-2", "--format=%H", "HEAD", "--", path).split()
    if len(changed) == 2 and not clone.shown("HEAD", path).startswith(clone.shown(changed[1], path)):
        raise RegistryError(
            f"Commit {changed[0][:12]} took lines from {HISTORY}, which may only grow. Undo it: git revert "
            f"{changed[0][:12]}. If it is meant and the next model has none to beat: medimg retrain --anew"
        )
