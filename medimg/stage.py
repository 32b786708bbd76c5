"""What every stage shares: one run at a time, no orphan, a sentence instead of a traceback."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from medimg import __version__
from medimg.errors import MedimgError, ParamsError
from medimg.files import code_sha256, lock

LOCK = Path("requirements.lock")
WORK = Path(".medimg")  # locks, logs and checkpoints of runs; ignored by Git and DVC


def run(name: str, main: Callable[[], None]) -> None:
    """Run one stage: ``main`` under the stage's lock; exit 2 with a sentence on an error that a person can mend."""
    die_with_parent()
    try:
        _check_code()
        with lock(WORK / f"{name}.lock", f"Stage {name}"):
            main()
    except MedimgError as error:
        print(f"\n{name}: {error}\n", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{name}: stopped. dvc repro goes on from what is whole.\n", file=sys.stderr)
        sys.exit(130)


def lock_head() -> str:
    """The first line of a study's ``requirements.lock``: which medimg it is about."""
    return f"# medimg {__version__}, code {code_sha256()[:16]}; written by: medimg lock"


def _check_code() -> None:
    """A study's stages depend on the medimg that its ``requirements.lock`` names: no other may run them.

    Raises:
        ParamsError: it is another one.
    """
    named = LOCK.read_text(encoding="utf-8").partition("\n")[0] if LOCK.is_file() else ""
    if named.startswith("# medimg ") and named != lock_head():
        raise ParamsError(
            f"This medimg is not the one that {LOCK} names, so old results and new code would mix. To go on with this "
            "one: medimg lock, then dvc repro. To go back, install the one that is named there."
        )


def die_with_parent() -> None:
    """End this process when the one that started it ends, even by kill -9.

    ``kill -9`` of dvc would otherwise leave the stage writing while the next repro runs beside it. Linux tells us at
    once; elsewhere the stage's lock is what keeps two runs apart.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1  # linux/prctl.h  # noqa: N806
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            sys.exit(1)
