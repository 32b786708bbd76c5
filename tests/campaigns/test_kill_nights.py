"""kill -9 at random moments of nights: one valid champion always, the history verifies, no patient changes part.

``make campaigns`` kills at 50 moments; elsewhere a seeded sample of one. ``MEDIMG_SEED`` chooses other moments,
``MEDIMG_MOMENTS`` another number of them.
"""

import os
import random
import time

import pytest
from hospital import deliver
from nights import MEDIMG, STEPS, Invariants, kill_in, make, night, say, start

from medimg.bundle import opened
from medimg.files import sha256_file
from medimg.promote import champion_bundle

WHOLE = os.environ.get("MEDIMG_CAMPAIGN") == "all"
SEED = os.environ.get("MEDIMG_SEED", "0")
MOMENTS = int(os.environ.get("MEDIMG_MOMENTS", 50 if WHOLE else 1))
EVERY = 5  # kills, and then a night that is let be
BRIEF, LONG = 1.0, 30.0  # seconds: within a step, and over a night before one was measured


@pytest.mark.slow
@pytest.mark.campaign
def test_nights_killed_at_any_moment_leave_one_valid_champion_and_are_healed(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDIMG_SITE_KEY", str(tmp_path / "site.key"))
    study, length = make(tmp_path), LONG
    invariants = Invariants(study)
    assert invariants.check() == ""
    draw = random.Random(f"{SEED} nights")
    for moment in range(MOMENTS):
        if moment and moment % EVERY == 0:
            deliver(tmp_path / "hospital", range(1000 + 20 * moment, 1020 + 20 * moment))
        print(f"moment {moment}: {killed(study, draw, length)}", flush=True)
        invariants.check()
        if moment % EVERY == EVERY - 1 or moment == MOMENTS - 1:
            healed = night(study)
            assert healed["status"] in ("promoted", "kept", "nothing new"), healed
            length = max(length, healed["seconds"])
            seal = invariants.check(ended=True)
            assert sha256_file(champion_bundle(study) / "bundle.yaml") == seal
    say(study, *MEDIMG, "champion", "--export", "../exported")
    assert opened(tmp_path / "exported").study.label == "lesion"
    assert night(study)["status"] == "nothing new"
    assert say(study, "git", "status", "--porcelain") == ""


def killed(study, draw, length):
    """Start a night and kill it: at a moment of its time, or of one of its steps, so that short ones are met too."""
    if draw.random() < 0.5:
        step, after = draw.choice(STEPS), draw.uniform(0, BRIEF)
        alive = kill_in(study, step, after)
        return f"{after:.2f} s into {step}" if alive else f"over without {step}"
    end = time.monotonic() + draw.uniform(0, length)
    process = start(study)
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    process.wait()
    return f"at most {length:.0f} s after its beginning"
