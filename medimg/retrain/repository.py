"""The Git side of a night: a clone of the study in which it works, so that the study and its branch stay as they are.

What counts is the branch on the Git remote. A night makes one commit, with data, split, pipeline and registry together,
and pushes it by fast-forward: that push is the moment at which something changes, and it is all or nothing.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from medimg.errors import NightError, ParamsError
from medimg.files import write_text
from medimg.retrain.git import ask, run_git
from medimg.retrain.outcome import Status

ROOM = Path(".medimg/retrain")
COMMITTED = ("data.dvc", "dvc.lock", "splits.csv", "registry", ".gitignore")
TRAILER = "Medimg-Night"
"""The line in a commit's message by which a night knows its own."""


class Moved(Exception):
    """The branch has other commits than those that the night began from."""


@dataclass(frozen=True)
class Repository:
    """The study's repository, and the clone of it."""

    study: Path
    """the folder of the study, absolute"""
    branch: str
    url: str
    """of the Git remote"""
    prefix: str
    """of the study in its repository; empty where the study is the repository"""

    @classmethod
    def of(cls, study: Path) -> Self:
        """The clone of a study; nothing is made yet.

        Raises:
            ParamsError: the study is not on a branch, or has no Git remote named origin.
        """
        study = study.resolve()
        branch = ask(study, "symbolic-ref", "--short", "HEAD")
        url = ask(study, "remote", "get-url", "origin")
        if branch is None or url is None:
            what = "is not on a branch of a Git repository" if branch is None else "has no Git remote named origin"
            raise ParamsError(
                f"{study} {what}, so a night could not publish anything. A bare repository on another disk will do: "
                "git init --bare /path/study.git; git remote add origin /path/study.git; git push -u origin HEAD"
            )
        if not (study / ".dvc").is_dir():
            raise ParamsError(f"{study} is not under DVC. medimg new makes a study that is.")
        top = Path(ask(study, "rev-parse", "--show-toplevel") or study)
        if "://" not in url and (top / url).exists():
            url = str((top / url).resolve())
        return cls(study, branch, url, ask(study, "rev-parse", "--show-prefix") or "")

    @property
    def root(self) -> Path:
        """The clone's repository."""
        return self.study / ROOM / "clone"

    @property
    def place(self) -> Path:
        """The study in the clone."""
        return self.root / self.prefix

    @property
    def upstream(self) -> str:
        """The commit that the remote's branch was seen at last."""
        return self.git("rev-parse", f"origin/{self.branch}")

    def git(self, *words: str) -> str:
        """Run Git in the clone and return what it says.

        Raises:
            NightError: it fails.
        """
        done = run_git(self.root, *words)
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise NightError(Status.FAILED, f"git {words[0]} failed in {self.root}: {said[0]}")
        return done.stdout.strip()

    def fetch(self) -> bool:
        """Make the clone if there is none, or a damaged one anew, and see where the branch is.

        Returns:
            whether there was a damaged one; what it held and had not pushed is undone.

        Raises:
            NightError: the remote does not answer, or has no such branch.
        """
        for lock in (self.root / ".git").rglob("*.lock"):  # of a Git that was killed: the clone is ours alone
            lock.unlink()
        whole = self._whole(thorough=not self._stamp.exists())
        self._stamp.unlink(missing_ok=True)  # until the night has ended well
        if not whole:
            there = self.root.exists()
            self._make()
            return there
        self.git("remote", "set-url", "origin", self.url)
        if run_git(self.root, "fetch", "--quiet", "origin", self.branch).returncode:
            raise self._silent()
        return False

    def ended_well(self) -> None:
        """Let the next ``fetch`` take the history's files for whole: Git worked with them, and nothing failed."""
        with contextlib.suppress(OSError):  # a full disk: the next one looks more closely
            write_text(self._stamp, "")

    @property
    def _stamp(self) -> Path:
        return self.study / ROOM / "sound"

    def _whole(self, *, thorough: bool) -> bool:
        """Whether Git finds its own in the clone; a disk that failed, or a power cut, may have taken some.

        That nothing is missing, and that each file of the commit can be read, takes a fraction of a second. To read
        each file of each commit takes longer with every night (half a minute after 3,000), so that is for clones in
        which something did not end well: then it may be why.
        """
        asked = [
            ("rev-parse", "--verify", "--quiet", "HEAD^{tree}"),
            ("remote", "get-url", "origin"),
            ("status", "--porcelain", "--untracked-files=no"),
            ("fsck", "--connectivity-only", "--no-dangling", "--no-progress"),
            ("archive", "--format=tar", f"--output={os.devnull}", "HEAD"),
        ]
        if thorough:
            asked[-2:] = [("fsck", "--no-dangling", "--no-progress")]
        return (self.root / ".git").is_dir() and not any(run_git(self.root, *words).returncode for words in asked)

    def _make(self) -> None:
        partial = self.root.with_name(".partial-clone")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        words = ("clone", "--quiet", "--origin", "origin", "--branch", self.branch, self.url, str(partial))
        if run_git(partial.parent, *words).returncode:
            raise self._silent()
        self.touched()  # the images go with the old one, which a person may have removed
        shutil.rmtree(self.root, ignore_errors=True)
        partial.rename(self.root)

    def _silent(self) -> NightError:
        return NightError(
            Status.POSTPONED,
            f"The Git remote does not answer, or has no branch {self.branch}: git push -u origin {self.branch}. "
            "Nothing was changed.",
        )

    def unpublished(self) -> bool:
        """Whether the clone holds a whole night's commit that the branch could still take."""
        return (
            TRAILER in self.git("log", "-1", "--format=%B")
            and self.git("rev-parse", "HEAD~1") == self.upstream
            and self.git("rev-parse", "--abbrev-ref", "HEAD") == self.branch
        )

    def reset(self) -> None:
        """Undo all that is not on the branch; what Git ignores (data, artifacts, checkpoints) stays for now."""
        self.git("checkout", "--quiet", "--force", "-B", self.branch, f"origin/{self.branch}")
        self.git("clean", "--quiet", "-fd")

    def touched(self) -> None:
        """From here on, ``data/`` and ``artifacts/`` may differ from what the commit names."""
        (self.study / ROOM / "ready").unlink(missing_ok=True)

    def commit(self, message: str) -> str:
        """Commit what a night changes, and return the commit."""
        self._commit(f"{message}\n\n{TRAILER}: 1")
        return self.git("rev-parse", "HEAD")

    def note(self, message: str) -> str:
        """Publish a commit of ``registry/`` alone, and return it; when it is cut off, the next night undoes it.

        Raises:
            Moved: the branch has other commits meanwhile.
            NightError: the remote does not answer.
        """
        self._commit(message, ("registry",))
        self.publish()
        return self.git("rev-parse", "HEAD")

    @contextlib.contextmanager
    def candidate(self) -> Iterator[None]:
        """Commit what stands here, to be sent to a cluster; afterwards all is as before, but for the files.

        Without a night's trailer: when the night is cut off here, the next one does not publish it.
        """
        base = self.git("rev-parse", "HEAD")
        self._commit("Train on this")
        yield
        self.git("reset", "--quiet", "--soft", base)

    def _commit(self, message: str, names: Sequence[str] = COMMITTED) -> None:
        found = [name for name in names if (self.place / name).exists()]
        self.git("add", "--", *(self.prefix + name for name in found))
        self.git(*self._author(), "commit", "--quiet", "--no-verify", "--allow-empty", "-m", message)

    def publish(self) -> None:
        """Push the commit by fast-forward: the moment at which the night counts.

        Raises:
            Moved: the branch has other commits meanwhile.
            NightError: the remote does not answer.
        """
        base = self.upstream
        if not run_git(self.root, "push", "--quiet", "origin", f"HEAD:refs/heads/{self.branch}").returncode:
            return
        if not run_git(self.root, "fetch", "--quiet", "origin", self.branch).returncode and self.upstream != base:
            if self.upstream == self.git("rev-parse", "HEAD"):  # taken; the answer was lost on its way
                return
            raise Moved
        raise NightError(
            Status.POSTPONED, "The Git remote did not take the night's commit. The next night publishes it."
        )

    def follow(self) -> str:
        """Let the study's own folder follow the branch; what hinders it, in a sentence, or nothing."""
        run_git(self.study, "fetch", "--quiet", "origin", self.branch)
        for name in COMMITTED:  # data.dvc as the night found and published it is no change of the person's
            path = self.study / name
            there = run_git(self.study, "show", f"FETCH_HEAD:{self.prefix}{name}")
            if path.is_file() and not there.returncode and there.stdout == path.read_text(encoding="utf-8"):
                run_git(self.study, "add", "--", name)
        if run_git(self.study, "merge", "--quiet", "--ff-only", "FETCH_HEAD").returncode:
            return f"{self.study} has changes or commits of its own and did not follow: git pull"
        return ""

    def shown(self, commit: str, path: str) -> str:
        """A file as of a commit; empty where it has none."""
        return run_git(self.root, "show", f"{commit}:{path}").stdout

    def person(self) -> str:
        """Who commits in the study's own folder, as Git knows them."""
        return f"{self._known('name', 'medimg retrain')} <{self._known('email', 'medimg@localhost')}>"

    def _known(self, key: str, default: str) -> str:
        return ask(self.study, "config", f"user.{key}") or default

    def _author(self) -> list[str]:
        name, email = self._known("name", "medimg retrain"), self._known("email", "medimg@localhost")
        unsigned = ["-c", "commit.gpgsign=false"]  # nobody is there who could be asked for a passphrase
        return ["-c", f"user.name={name}", "-c", f"user.email={email}", *unsigned]
