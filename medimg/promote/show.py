"""The champion and the history in words, and the champion's bundle as a folder of one's own."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medimg.errors import RegistryError
from medimg.files import publish_folder
from medimg.promote.champion import CHAMPION, champion_bundle, read_champion
from medimg.promote.history import read_history


def about_champion(study: Path = Path()) -> str:
    """Which model is in use, since when and why.

    Raises:
        RegistryError: there is none, or the registry was changed.
    """
    champion = read_champion(study)
    if champion is None:
        raise RegistryError(f"There is no champion here: {CHAMPION} is not there. medimg retrain makes the first.")
    decision = champion.decision
    said = [
        f"champion   {champion.bundle.seal[:16]}, weights {champion.bundle.weights[:16]}",
        f"since      {decision['at']}, {decision['event']} (line {decision['line']} of the history)",
        f"learned    imports up to {champion.batch}, from commit {champion.commit[:12]}",
        *(f"{part:10} {measured(champion.metrics[part])}" for part in ("promotion", "test")),
        f"anchor     {'itself' if champion.anchor == champion.bundle else champion.anchor.seal[:16]}",
    ]
    if "reason" in decision:
        said.append(f"by         {decision['by']}: {decision['reason']}")
    said += [f"{'holds' if rule['held'] else 'BROKEN':10} {rule['name']}: {rule['said']}"
             for rule in decision.get("rules", [])]  # fmt: skip
    return "\n".join(said)


def measured(found: dict[str, Any]) -> str:
    """A headline with its interval."""
    if found["value"] is None or found["low"] is None:
        return f"{found['name']} has no interval on {found['patients']} patients"
    ends = f"{found['low']:.3f} to {found['high']:.3f}"
    return f"{found['name']} {found['value']:.3f} ({ends}) on {found['patients']} patients"


def export_champion(out: Path, study: Path = Path()) -> Path:
    """Copy the champion's bundle, whole and checked, to the new folder ``out``.

    Raises:
        RegistryError: there is no champion, or ``out`` holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RegistryError(f"{out} holds something already. Name a folder that is empty or does not exist.")
    bundle = champion_bundle(study)
    with publish_folder(out) as folder:
        shutil.copytree(bundle, folder, dirs_exist_ok=True)
    return out


def lines(study: Path = Path()) -> Iterator[str]:
    """The history, a line a decision, oldest first; the chain is checked before the first is given.

    Raises:
        RegistryError: the chain is broken, or the champion is not in it.
    """
    history = read_history(study)
    champion = read_champion(study)
    for line in history:
        bundle = line.get("challenger") or line.get("bundle") or {}
        broken = ", ".join(rule["name"] for rule in line.get("rules", []) if not rule["held"])
        why = line.get("reason") or (f"broken: {broken}" if broken else "")
        metrics = line.get("metrics", {}).get("promotion")
        yield "  ".join(
            [f"{line['line']:4}", line["at"], f"{line['event']:11}", bundle.get("seal", "")[:16].ljust(16),
             measured(metrics) if metrics else "", why]
        ).rstrip()  # fmt: skip
    made = f"the champion is {champion.bundle.seal[:16]}" if champion else "there is no champion"
    yield f"{len(history)} lines, each following the one before; {made}."
