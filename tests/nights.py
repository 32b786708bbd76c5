"""A small study that nights can be played on: made by ``medimg new``, with a Git remote and a DVC remote."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hospital import deliver
from studies import set_params

from medimg.files import sha256_file
from medimg.promote.history import read_history
from medimg.retrain.register import verify

MEDIMG = [sys.executable, "-m", "medimg"]
BEFORE_TRAINING = ("begin", "sync", "data", "import", "keep")
TRAINING = ("prepare", "drift", "train", "judge", "decide", "store")
AFTER_TRAINING = ("publish", "follow", "tidy")
STEPS = (*BEFORE_TRAINING, *TRAINING, *AFTER_TRAINING)
SETTINGS: dict[str, dict[str, Any]] = {
    "study": {"question": "Is there a lesion?", "label": "lesion", "positive": "1"},
    "split": {"validation": 0.2, "test": 0.2, "promotion": 0.25},
    "preprocess": {"size": 32},
    "augment": {"preset": "none"},
    "model": {"name": "perceptron"},
    "train": {"max_epochs": 6, "learning_rate": 0.01, "batch_size": 32},
    "saliency": {"cases": 0},
    "preview": {"samples": 2, "draws": 1},
    "retrain": {"new_patients": 10, "free_gib": 0.05, "hours": 1, "drift": {"warn": 0.2, "stop": None, "chance": 0.01}},
    "promote": {
        "margin": 0.12, "anchor_margin": 0.15, "patients": 10, "new_patients": 4, "new_margin": 0.4,
        "brier_margin": 0.1, "calibration": 0.25,
    },
}  # fmt: skip


def make(folder: Path, patients: int = 160) -> Path:
    """The study, its remotes and its hospital with a first delivery, below ``folder``.

    The site key goes where ``MEDIMG_SITE_KEY`` says. It is always the same, so that patients come into the same parts
    wherever nights are played.
    """
    study, key = folder / "study", Path(os.environ["MEDIMG_SITE_KEY"])
    key.write_text("09" * 32)
    key.chmod(0o600)
    git, dvc = folder / "study.git", folder / "store"
    say(folder, *MEDIMG, "new", "study")
    set_params(
        study,
        **SETTINGS,
    )
    set_params(study, retrain={"source": str(folder / "hospital"), "labels": str(folder / "hospital.csv")})
    for key, value in {"user.name": "A Person", "user.email": "person@example.org"}.items():
        say(study, "git", "config", key, value)
    say(study, sys.executable, "-m", "dvc", "remote", "add", "--default", "store", str(dvc))
    say(study, "git", "add", ".")
    say(study, "git", "commit", "-qm", "A study")
    say(folder, "git", "init", "-q", "--bare", str(git))
    say(study, "git", "remote", "add", "origin", str(git))
    say(study, "git", "push", "-q", "-u", "origin", "HEAD")
    deliver(folder / "hospital", range(patients))
    return study


def say(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def night(study: Path, *words: str, **environment: str) -> dict[str, Any]:
    """Play a night, and return its line of JSON; its exit status is the one that it names."""
    done = subprocess.run(
        [*MEDIMG, "retrain", *words],
        cwd=study,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip(), done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["exit"] == done.returncode, done.stdout + done.stderr
    return found


class Invariants:
    """What must hold after every night, however it ended: looked at in the remotes, where everybody else looks."""

    def __init__(self, study: Path) -> None:
        self._study, self._git, self._store = study, study.parent / "study.git", study.parent / "store"
        self._parts: dict[str, str] = {}
        self._lines: list[dict[str, Any]] = []

    def check(self, *, ended: bool = False) -> str:
        """Check them, and return the champion's seal; empty before the first.

        There is one champion, the history made it, its weights are in DVC's remote and are the ones that it names, its
        metrics are numbers; the history has only grown; no patient has changed part. When the last night ``ended`` by
        itself, the study's own folder stands where the branch does.
        """
        with TemporaryDirectory() as folder:
            say(Path(folder), "git", "clone", "-q", str(self._git), "seen")
            seen = Path(folder) / "seen"
            champion, lines = verify(seen), read_history(seen)
            ledger = seen / "splits.csv"
            rows = [row.split(",") for row in ledger.read_text().splitlines()[1:]] if ledger.exists() else []
        if ended:
            assert say(self._study, "git", "rev-parse", "HEAD") == say(self._git, "git", "rev-parse", "HEAD")
        assert lines[: len(self._lines)] == self._lines
        parts = {patient: part for patient, part, _ in rows}
        assert len(parts) == len(rows)
        assert not [patient for patient, part in self._parts.items() if parts.get(patient) != part]
        self._lines, self._parts = lines, parts
        assert (champion is not None) == any("bundle" in line for line in lines)
        if champion is None:
            return ""
        listed = json.loads(self._object(champion.bundle.md5).read_text())
        weights = next(one["md5"] for one in listed if one["relpath"] == "weights.safetensors")
        assert sha256_file(self._object(weights)) == champion.bundle.weights
        assert all(math.isfinite(champion.metrics[part]["value"]) for part in ("promotion", "test"))
        return champion.bundle.seal

    def _object(self, md5: str) -> Path:
        return self._store / "files/md5" / md5[:2] / md5[2:]


def kill_in(study: Path, step: str, after: float = 0.0, most: float = 900) -> bool:
    """Start a night and kill it as soon as it is in ``step`` (and ``after`` seconds more); whether it was still on."""
    path = study / ".medimg/retrain/night.json"
    process = start(study)
    end = time.monotonic() + most
    while process.poll() is None and time.monotonic() < end:
        try:
            now = json.loads(path.read_text())
            if now["process"] == process.pid and step in ("begin", now["step"]):  # the beginning is over soon
                break
        except (OSError, ValueError):
            pass
        time.sleep(0.01)
    time.sleep(after)
    alive = process.poll() is None
    process.kill()
    process.wait()
    return alive


def start(study: Path) -> subprocess.Popen[bytes]:
    """A night in a process of its own, silent."""
    return subprocess.Popen([*MEDIMG, "retrain"], cwd=study, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
