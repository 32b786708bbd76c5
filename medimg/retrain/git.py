"""Running Git: in a clone of ours, where a night works, and in the study's own folder."""

import os
import subprocess
from pathlib import Path

from medimg.stage import WORK, die_with_parent


def run_git(folder: Path, *words: str, said: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run Git. In the clone it ends with the night; in the study's own folder it ends what it began."""
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    ours = WORK.name in folder.parts
    if ours:  # in a damaged clone Git would look above it, find the study's own repository, and reset that
        environment["GIT_CEILING_DIRECTORIES"] = str(folder.parent)
    return subprocess.run(
        ["git", *words],  # noqa: S607
        cwd=folder,
        env=environment,
        input=said,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        preexec_fn=die_with_parent if ours else None,
    )


def ask(folder: Path, *words: str) -> str | None:
    """What Git says, or None where it fails."""
    done = run_git(folder, *words)
    return done.stdout.strip() if done.returncode == 0 else None
