"""The clone of the study in which a night works: with DVC, whose cache and remotes are the study's."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from medimg.errors import NightError
from medimg.files import write_text
from medimg.retrain.dvcconfig import cache_of, configure, environment
from medimg.retrain.git import ask
from medimg.retrain.outcome import Status
from medimg.retrain.repository import ROOM, Repository
from medimg.stage import die_with_parent


@dataclass(frozen=True)
class Clone(Repository):
    """Where a night works."""

    def reset(self) -> None:
        """Undo all that is not on the branch; what Git ignores (data, artifacts, checkpoints) stays for now."""
        super().reset()
        configure(self.study, self.place)

    def dvc(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run DVC in the study's clone."""
        command = [sys.executable, "-m", "dvc", *words]
        return subprocess.run(
            command,
            cwd=self.place,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=die_with_parent,
        )

    def take(self) -> None:
        """Let ``data.dvc`` be that of the study's folder, if a person changed it there since the branch was merged.

        A folder that lags behind the branch changed nothing: its older data must not undo what others have published.

        Raises:
            NightError: both changed it.
        """
        source, name = self.study / "data.dvc", f"{self.prefix}data.dvc"
        if not source.exists():
            return
        self.git("fetch", "--quiet", ask(self.study, "rev-parse", "--show-toplevel") or str(self.study), "HEAD")
        shared = self.shown(self.git("merge-base", "HEAD", "FETCH_HEAD"), name)
        own, there = source.read_text(encoding="utf-8"), self.shown("HEAD", name)
        if own in (shared, there):
            return
        if there != shared:
            raise NightError(
                Status.USAGE,
                f"data.dvc was changed both in {self.study} and on the branch {self.branch}. Say which data count: "
                "git pull there.",
            )
        write_text(self.place / "data.dvc", own)

    def checkout(self) -> None:
        """Bring ``data/`` and ``artifacts/`` to what the commit, or what was taken, names.

        Raises:
            NightError: DVC has the data neither in its cache nor in its remote.
        """
        stamp, wanted = self.study / ROOM / "ready", self.state()
        if stamp.exists() and stamp.read_text() == wanted:
            return
        if self.dvc("checkout", "--force", "--quiet").returncode:
            self.dvc("pull", "--force", "--quiet")
        if (self.place / "data.dvc").exists():
            done = self.dvc("checkout", "--force", "--quiet", "data.dvc")
            if done.returncode and self.dvc("pull", "--force", "--quiet", "data.dvc").returncode:
                raise NightError(
                    Status.POSTPONED,
                    "The images that data.dvc names are neither in DVC's cache nor in its remote. Where they are: "
                    "dvc push",
                )
        self.ready(wanted)

    def ready(self, state: str) -> None:
        """Note that ``data/`` and ``artifacts/`` are what ``state`` says."""
        write_text(self.study / ROOM / "ready", state)

    def store(self, *targets: str) -> None:
        """Push data and results to DVC's remote, before Git names them. Without a remote they stay in the cache.

        Args:
            targets: of DVC; none: all.

        Raises:
            NightError: the remote does not take them.
        """
        if not self.has_remote():
            return
        done = self.dvc("push", "--quiet", *targets)
        if done.returncode:
            raise NightError(
                Status.POSTPONED,
                "DVC's remote did not take the night's data. Nothing was published; the next night tries again.",
            )

    def store_champion(self) -> None:
        """Push the champion's bundle alone.

        Raises:
            NightError: the remote does not take it.
        """
        if self.has_remote() and self.dvc("push", "--quiet", "registry/champion.dvc").returncode:
            raise NightError(Status.POSTPONED, "DVC's remote did not take the bundle. Nothing was published.")

    @property
    def cache(self) -> Path:
        """DVC's cache, which study and clone share."""
        return cache_of(self.place)

    def has_remote(self) -> bool:
        """Whether DVC has a remote to push to."""
        return bool(self.dvc("config", "core.remote").stdout.strip())

    def state(self) -> str:
        """What ``data/`` and ``artifacts/`` are to hold."""
        names = [self.place / "data.dvc", self.place / "dvc.lock"]
        return "".join(path.read_text(encoding="utf-8") for path in names if path.exists())
