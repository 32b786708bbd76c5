"""Checkpoints at a URL too, object storage say: a run goes on from there when the folder where it was cut off is gone.

Each object is named as the file is, by its epoch and by the hash of its bytes, so that what came over is whole or not
taken. The study's folder stays what workers read from: it is nearer, and a URL that does not answer stops no training.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from medimg.errors import TrainingError
from medimg.files import publish
from medimg.training.checkpoints import KEPT, newest, whole


@dataclass(frozen=True)
class Afar:
    """Where the checkpoints of one network are kept."""

    url: str
    """a folder, such as ``s3://bucket/checkpoints/RUN/network``"""

    def put(self, checkpoint: Path, say: Callable[[str], None]) -> None:
        """Copy a checkpoint there and remove all but the last ``KEPT``; what goes wrong is said and no more."""
        try:
            fs, root = self._reach()
            fs.makedirs(root, exist_ok=True)
            fs.put_file(str(checkpoint), f"{root}/{checkpoint.name}")
            for name in _listed(fs, root)[KEPT:]:
                fs.rm_file(f"{root}/{name}")
        except Exception as error:  # each file system has errors of its own
            say(f"warning: {checkpoint.name} is in the study's folder alone: {_not_reached(error)}")

    def fetch(self, folder: Path, say: Callable[[str], None]) -> None:
        """Bring the last checkpoint that is whole into ``folder``, unless that holds one as late.

        Raises:
            TrainingError: the URL cannot be reached.
        """
        have = newest(folder, say)
        try:
            fs, root = self._reach()
            for name in _listed(fs, root):
                if have and name[: len("epoch-00000")] <= have.name:
                    return
                with publish(folder / name) as partial:
                    fs.get_file(f"{root}/{name}", str(partial))
                if whole(folder / name):
                    say(f"going on from {name}, which was kept at cluster.checkpoints")
                    return
                (folder / name).unlink()
                say(f"warning: {name} at cluster.checkpoints is damaged; it is passed over for the one before")
        except Exception as error:
            raise TrainingError(
                f"{_not_reached(error)} Check the URL, the credentials that its file system reads from the "
                "environment, and the network; or set it to null: checkpoints are then in the study's folder alone."
            ) from None

    def forget(self, say: Callable[[str], None]) -> None:
        """Remove what is there; the run has ended."""
        try:
            fs, root = self._reach()
            if fs.exists(root):
                fs.rm(root, recursive=True)
        except Exception as error:
            say(f"warning: checkpoints of a run that has ended were not removed: {_not_reached(error)}")

    def _reach(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        fs, root = url_to_fs(self.url)
        fs.invalidate_cache()  # of listings: another process may have written since
        return fs, root.rstrip("/")


class Sender:
    """Puts one checkpoint after another, and waits for none of them longer than training may stand still."""

    def __init__(self, afar: Afar, seconds: float) -> None:
        self._afar, self._seconds = afar, seconds
        self._under_way: Thread | None = None

    def put(self, checkpoint: Path, say: Callable[[str], None]) -> None:
        """As ``Afar.put``; what takes longer goes on while training does, and what comes meanwhile stays here."""
        if self._under_way and self._under_way.is_alive():
            say(f"warning: {checkpoint.name} is in the study's folder alone: an earlier one is still on its way")
            return
        self._under_way = Thread(target=self._afar.put, args=(checkpoint, say), daemon=True)
        self._under_way.start()
        self._under_way.join(self._seconds)


def _listed(fs: Any, root: str) -> list[str]:
    """Names of the checkpoints, the last first."""
    if not fs.exists(root):
        return []
    names = [path.rstrip("/").rpartition("/")[2] for path in fs.ls(root, detail=False)]
    return sorted((name for name in names if name.startswith("epoch-") and name.endswith(".ckpt")), reverse=True)


def _not_reached(error: Exception) -> str:
    return f"cluster.checkpoints cannot be reached ({type(error).__name__})."  # the URL may hold a secret
