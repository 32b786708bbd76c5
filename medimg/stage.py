"""What every stage shares: one run at a time, no orphan, a sentence instead of a traceback."""

import ctypes
import errno
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import psutil

from medimg import __version__
from medimg.errors import MedimgError, ParamsError
from medimg.files import code_sha256, lock

LOCK = Path("requirements.lock")
HELD = Path(".dvc/tmp/rwlock")  # where DVC writes which of its processes hold a stage's files
WORK = Path(".medimg")  # locks, logs and checkpoints of runs; ignored by Git and DVC


def run(name: str, main: Callable[[], None]) -> None:
    """Run one stage: ``main`` under the stage's lock; exit 2 with a sentence on an error that a person can mend."""
    die_with_parent()
    _die_with_dvc()
    try:
        check_code()
        with lock(WORK / f"{name}.lock", f"Stage {name}"):
            main()
    except MedimgError as error:
        print(f"\n{name}: {error}\n", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(
            f"\n{name}: the disk is full. Make room and run dvc repro again: it goes on from what is whole.\n",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{name}: stopped. dvc repro goes on from what is whole.\n", file=sys.stderr)
        sys.exit(130)


def lock_head() -> str:
    """The first line of a study's ``requirements.lock``: which medimg it is about."""
    return f"# medimg {__version__}, code {code_sha256()[:16]}; written by: medimg lock"


def check_code(study: Path = Path()) -> None:
    """A study's stages depend on the medimg that its ``requirements.lock`` names: no other may run them.

    Raises:
        ParamsError: it is another one.
    """
    named = (study / LOCK).read_text(encoding="utf-8").partition("\n")[0] if (study / LOCK).is_file() else ""
    if named.startswith("# medimg ") and named != lock_head():
        raise ParamsError(
            f"This medimg is not the one that {LOCK} names, so old results and new code would mix. To go on with this "
            "one: medimg lock, then dvc repro. To go back, install the one that is named there."
        )


def die_with_parent() -> None:
    """End this process when the one that started it ends, even by kill -9. Only Linux can do so."""
    parent = os.getppid()
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1  # linux/prctl.h  # noqa: N806
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            sys.exit(1)


def _die_with_dvc() -> None:
    """End this process when the DVC that began the stage ends, and at once if it ended while Python was starting.

    ``kill -9`` of dvc would otherwise leave the stage writing while the next repro runs beside it. DVC starts a stage
    through a shell, which may stand between the two as long as the stage runs (dash, as cron and systemd have it) and
    lives on without DVC.
    """
    if "DVC_STAGE" not in os.environ or not HELD.is_file():
        return
    holders = {int(pid) for pid in re.findall(r'"pid": (\d+)', HELD.read_text(encoding="utf-8"))}
    dvc = next((process for process in psutil.Process().parents() if process.pid in holders), None)
    if dvc:
        Thread(target=_follow, args=(dvc,), daemon=True).start()
    elif holders:
        sys.exit(1)


def _follow(process: psutil.Process) -> None:
    """Wait for the end of ``process``, then end this one as it would have been ended by kill -9."""
    process.wait()
    os.kill(os.getpid(), signal.SIGKILL)
