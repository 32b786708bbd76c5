"""``make nights``: ten nights on a small study with a Git remote and a DVC remote, and what may go wrong in them.

After each night the invariants are checked in the remotes; at the end a table says what happened. Exit 1: a night did
not end as it should have.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hospital import corrupt, deliver
from nights import AFTER_TRAINING, BEFORE_TRAINING, MEDIMG, TRAINING, Invariants, kill_in, make, night, say, start
from studies import set_params

from medimg.promote.history import read_history

ENDED = ("promoted", "kept", "nothing new")


class Play:
    """The nights, the table, and what stands between two nights."""

    def __init__(self, folder: Path) -> None:
        self.study, self.hospital = make(folder), folder / "hospital"
        self.invariants, self.rows, self.failed = Invariants(self.study), [], False

    def tell(self, what: str, expected: set[str], found: dict[str, Any], *must_say: str) -> None:
        """Check the invariants, and add a line to the table."""
        told = f"{found['sentence']} {' '.join(found['warnings'])} {found['healed']}"
        try:
            self.invariants.check(ended=found["status"] in ENDED)
            held = "hold"
        except (AssertionError, Exception) as error:
            held = f"BROKEN: {error!r}"[:200]
        good = found["status"] in expected and all(words in told for words in must_say) and held == "hold"
        self.failed |= not good
        row = ["" if good else "!", what, found["status"], f"{found['seconds']:.0f} s", held, told.strip()]
        self.rows.append(row)
        print("  ".join(map(str, row)), flush=True)

    @contextlib.contextmanager
    def bad(self) -> Iterator[None]:
        """A delivery that is wrong: after the night that saw it, a person takes it back from hospital and study."""
        folder, table = self.hospital, self.hospital.with_suffix(".csv")
        before, text = set(folder.iterdir()), table.read_text()
        base = say(self.study, "git", "rev-parse", "HEAD").strip()
        yield
        for path in set(folder.iterdir()) - before:
            path.unlink()
        table.write_text(text)
        say(self.study, "git", "checkout", base, "--", "data.dvc", "dvc.lock")
        if say(self.study, "git", "status", "--porcelain").strip():
            say(self.study, "git", "commit", "-qam", "Take a delivery back")
            say(self.study, "git", "push", "-q")


def main() -> int:
    """Play the nights; 1 if one did not end as it should have."""
    folder = Path(tempfile.mkdtemp(prefix="medimg-nights-"))
    os.environ["MEDIMG_SITE_KEY"] = str(folder / "site.key")
    try:
        play = Play(folder)
        for part in (quiet, wrong, killed, hindered, back):
            part(play)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    width = max(len(row[1]) for row in play.rows)
    print("\n" + "\n".join(f"{row[0]:1} {row[1]:{width}}  {row[2]:12} {row[3]:>6}  {row[4]}" for row in play.rows))
    return int(play.failed)


def quiet(play: Play) -> None:
    """Nights on which all goes well."""
    play.tell("first night", {"promoted"}, night(play.study))
    play.tell("nothing new", {"nothing new"}, night(play.study))
    deliver(play.hospital, range(200, 204))
    play.tell("too few are kept", {"nothing new"}, night(play.study), "kept until there are enough")
    deliver(play.hospital, range(204, 250))
    play.tell("new good data", {"promoted"}, night(play.study))


def wrong(play: Play) -> None:
    """Deliveries that are wrong."""
    with play.bad():
        deliver(play.hospital, range(300, 420), flipped=True)
        play.tell("labels flipped", {"kept"}, night(play.study), "new patients: auroc")
    with play.bad():
        deliver(play.hospital, range(500, 700), maker="Borealis Medical", inverted=True)
        play.tell("a new scanner", {"kept"}, night(play.study), "drift: maker", "subgroups: ")
    with play.bad(), _settings(play.study, drift={"warn": 0.2, "stop": 0.5, "chance": 0.01}):
        deliver(play.hospital, range(1500, 1700), maker="Borealis Medical", inverted=True)
        play.tell("drift may stop", {"drifted"}, night(play.study), "too far", "maker")
        play.tell("the same again", {"drifted"}, night(play.study), "too far")
        assert [line["event"] for line in read_history(play.study)[-2:]] == ["kept", "stopped"]
    with play.bad():
        corrupt(play.hospital, range(800, 806))
        play.tell("corrupt files only", {"refused data"}, night(play.study), "6 of 6")


@contextlib.contextmanager
def _settings(study: Path, **retrain: object) -> Iterator[None]:
    """Other keys of the block ``retrain`` for some nights."""
    text = (study / "params.yaml").read_text()
    set_params(study, retrain=retrain)
    say(study, "git", "commit", "-qam", "Let drift stop a night")
    say(study, "git", "push", "-q")
    yield
    (study / "params.yaml").write_text(text)
    say(study, "git", "commit", "-qam", "Let drift warn alone")
    say(study, "git", "push", "-q")


def killed(play: Play) -> None:
    """kill -9 in each step in turn, and the night after, which finishes or undoes what the last one left."""
    deliver(play.hospital, range(900, 904))
    for step in BEFORE_TRAINING:
        _kill(play, step)
    deliver(play.hospital, range(904, 940))
    for step in TRAINING:
        _kill(play, step)
    for number, step in enumerate(AFTER_TRAINING):  # the night before is published by this one, which has news as well
        deliver(play.hospital, range(940 + 20 * number, 960 + 20 * number))
        _kill(play, step)
    play.tell("the night after", {"promoted", "kept", "nothing new"}, night(play.study), "cut off in step tidy")


def _kill(play: Play, step: str) -> None:
    began = time.monotonic()
    alive = kill_in(play.study, step, 0.0 if step == "begin" else 0.05)
    found = {"status": "killed" if alive else "over", "seconds": time.monotonic() - began, "sentence": ""}
    play.tell(f"kill -9 in {step}", {"killed"}, found | {"warnings": [], "healed": ""})


def hindered(play: Play) -> None:
    """A full disk, remotes that do not answer, and two nights at once."""
    deliver(play.hospital, range(1000, 1030))
    with small_disk(play.study / ".medimg/retrain/clone/.medimg") as mounted:
        if mounted:
            play.tell("the disk is full", {"postponed"}, night(play.study), "disk is full")
        else:
            print("  the disk is full: not played, for only an administrator may mount a small one", flush=True)
    git, store = (play.study.parent / name for name in ("study.git", "store"))
    with away(git):
        found = night(play.study)
    play.tell("Git's remote is down", {"postponed"}, found, "does not answer")
    with away(store):
        found = night(play.study)
    play.tell("DVC's remote is down", {"postponed"}, found, "did not take")
    other = start(play.study)
    while not (play.study / ".medimg/retrain/lock").read_text().startswith(str(other.pid)):
        time.sleep(0.01)
    play.tell("two at once", {"busy"}, night(play.study), f"process {other.pid}")
    other.wait()
    play.tell("the night after", {"nothing new"}, night(play.study))


def back(play: Play) -> None:
    """A person goes back to the champion before."""
    before = play.invariants.check()
    began = time.monotonic()
    said = say(play.study, *MEDIMG, "rollback", "--because", "The readers do not trust it")
    after = play.invariants.check()
    found = {"status": "rolled back" if after != before else "same", "seconds": time.monotonic() - began}
    play.tell("rollback", {"rolled back"}, found | {"sentence": said.strip(), "warnings": [], "healed": ""})
    play.tell("the night after", {"nothing new"}, night(play.study))


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of 64 KiB over ``folder``; False where only an administrator may mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    mounted = (
        shutil.which("mount") is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def away(folder: Path) -> Iterator[None]:
    """A remote that is not there: a file stands in its place."""
    moved = folder.with_suffix(".away")
    folder.rename(moved)
    folder.write_text("")
    try:
        yield
    finally:
        folder.unlink()
        moved.rename(folder)


if __name__ == "__main__":
    sys.exit(main())
