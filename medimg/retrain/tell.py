"""Who is told how a night ended: addresses of one's choice, and Prometheus. Counts, rules, hashes; no patient, no path.

Telling comes after the night and changes nothing of it. What cannot be delivered is kept and sent with the next.
"""

import json
import logging
import time
from pathlib import Path
from typing import Any

from medimg.files import sha256, write_json
from medimg.params import Retrain
from medimg.retrain.outcome import Outcome, Status
from medimg.retrain.repository import ROOM

TRIES = 3
PAUSE = 2.0  # seconds after the first try; twice as long after each other one
MOST = 20  # messages that wait at most for an address
SAID = {
    Status.PROMOTED: "a new champion",
    Status.USAGE: "the study needs a change",
    Status.KEPT: "the champion stays",
    Status.NOTHING_NEW: "nothing new",
    Status.REFUSED_DATA: "the delivery was refused",
    Status.DRIFTED: "the delivery is too far from what the champion knows",
    Status.BUSY: "another night is running",
    Status.POSTPONED: "postponed to the next night",
    Status.FAILED: "failed",
}


def message(study: Path, outcome: Outcome) -> str:
    """What is told: made of counts and names of rules, not of sentences that an import or a stage said."""
    broken = ", ".join(rule["name"] for rule in outcome.rules if not rule["held"])
    far = ", ".join(one["name"] for one in outcome.drift if one["level"] != "ok")
    return " ".join(
        [
            f"medimg {study.name}: {SAID[outcome.status]} ({int(outcome.status)}).",
            f"{outcome.images} new images of {outcome.patients} patients.",
            *([f"Broken: {broken}."] if broken else []),
            *([f"Drift: {far}."] if far else []),
            f"Last step: {outcome.step}. Champion: {outcome.champion or 'none'}.",
        ]
    )


def tell(study: Path, settings: Retrain, outcome: Outcome) -> str:
    """Send the message, and what waits, to every address of ``retrain.notify``; what went wrong, or nothing.

    Nights on which nothing came are not told of.
    """
    if settings.notify is None:
        return ""
    path = study / Path(settings.notify).expanduser()
    waiting = study / ROOM / "unsent.json"
    known, now = _read(waiting), [] if outcome.status == Status.NOTHING_NEW else [message(study, outcome)]
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return f"retrain.notify names {settings.notify}, which cannot be read: nobody was told."
    addresses = {sha256(line.encode()): line for line in lines if line and not line.startswith("#")}
    if not addresses:
        return f"retrain.notify names {settings.notify}, which holds no address: nobody was told."
    texts = {one: known.get(one, []) + now for one in addresses}
    left = {one: said[-MOST:] for one, said in texts.items() if said and not _sent(addresses[one], "\n".join(said))}
    if not left:
        waiting.unlink(missing_ok=True)
        return ""
    write_json(waiting, left)
    return f"{len(left)} of {len(addresses)} addresses could not be told; they are, with the next night."


def _sent(address: str, text: str) -> bool:
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it would log addresses, which hold secrets
    found = apprise.Apprise()
    if not found.add(address):
        return False
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        if found.notify(body=text, title="medimg"):
            return True
    return False


def _read(path: Path) -> dict[str, list[str]]:
    """What waits for each address, which is named by its hash, for it may hold a secret."""
    try:
        found: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def write_textfile(path: Path, outcome: Outcome) -> None:
    """Publish figures for the textfile collector of Prometheus' node exporter.

    Raises:
        OSError: the folder cannot be written to.
    """
    from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

    registry = CollectorRegistry()

    def gauge(name: str, about: str, value: float, **labels: str) -> None:
        known: dict[str, Any] = gauges
        if name not in known:
            known[name] = Gauge(f"medimg_night_{name}", about, list(labels), registry=registry)
        (known[name].labels(**labels) if labels else known[name]).set(value)

    gauges: dict[str, Any] = {}
    gauge("exit_status", "how the last night ended, as its exit status", int(outcome.status))
    gauge("end_time_seconds", "when it ended, seconds since 1970", time.time())
    gauge("duration_seconds", "how long it took", outcome.seconds)
    gauge("new_patients", "patients with new images since the last training", outcome.patients)
    gauge("broken_rules", "rules that the challenger broke", sum(not rule["held"] for rule in outcome.rules))
    gauge("champion", "the model in use", 1, seal=outcome.champion or "none")
    for one in outcome.drift:
        gauge("drift_distance", "distance of new patients from earlier ones, 0 to 1", one["distance"], of=one["name"])
    write_to_textfile(str(path), registry)
