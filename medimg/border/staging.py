"""Where an import grows until it is whole: beside data/, never in it.

::

    .medimg/import/
      <digest of the rules>/   one import at work; another import under the same rules goes on from it
        records/               for each source file that was de-identified: what became of it, in pseudonyms
        data/                  de-identified images where they will stand; then labels.csv and the statement
      ready/                   a whole batch, audited; only its move into data/ is left

A batch becomes ``ready`` in one rename. Killed before that, an import leaves ``data/`` as it was; killed after it, the
next one moves the rest first. So ``data/`` never holds half a file, nor a file that no audit has seen.

A process that outlives its killed import still finishes a file. Each holds ``workers.lock`` shared, which the next
import waits to hold alone; one that joins later finds that the import has another holder, and stops.
"""

import fcntl
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from medimg.border.deidentify import Rules, deidentify
from medimg.border.identity import SiteKey
from medimg.border.masks import Mask
from medimg.border.sources import Item, Taken
from medimg.errors import NotAnImage
from medimg.files import code_sha256, publish, sha256, sha256_file, sha256_json


@dataclass(frozen=True)
class Unwritable:
    """The disk refuses: no matter of this file alone."""

    reason: str


_joined: dict[Path, IO[str]] = {}  # the locks that this process holds until it ends


def import_lock(out: Path) -> Path:
    """What an import into ``out`` locks; it holds the number of its process."""
    return out.resolve().parent / ".medimg" / "import.lock"


def root(out: Path) -> Path:
    """The folder for the staging of imports into ``out``: beside it, on the same disk wherever that can be."""
    return out.resolve().parent / ".medimg" / "import"


@dataclass(frozen=True)
class Staging:
    """One import at work."""

    out: Path
    rules: Rules
    folder: Path
    holder: int
    """the process whose import this is"""

    @classmethod
    def open(cls, out: Path, rules: Rules) -> "Staging":
        """Go on where an import under the same rules and by the same code was cut off, or start anew.

        The caller holds the lock.
        """
        _wait_for_orphans(out)
        stamp = sha256_json([code_sha256(), rules.key.fingerprint, rules.digest()])[:16]
        for other in root(out).iterdir():
            if other.is_dir() and other.name != stamp:
                shutil.rmtree(other)
        folder = root(out) / stamp
        for inner in ("data/images", "records"):
            (folder / inner).mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(out, rules, folder, os.getpid())

    @property
    def data(self) -> Path:
        """The batch as it will stand in data/."""
        return self.folder / "data"

    def take(self, item: Item) -> Taken | Unwritable | None:
        """De-identify one file into the staging; None: it is no image. Runs in a process of its own.

        Raises:
            ImageError: it is refused.
        """
        return self._take(item, None)

    def take_mask(self, mask: Mask) -> Taken | Unwritable | None:
        """The same for a mask, which is named after its bytes and its source, so that two images never share one.

        Raises:
            ImageError: it is refused.
        """
        return self._take(*mask)

    def _take(self, item: Item, owner: str | None) -> Taken | Unwritable | None:
        if os.getpid() != self.holder:
            self._join()
        if item.known is not None:
            return item.known
        try:
            data = item.load()
            record = self._record(data, item.name, owner)
            known = self._known(record)
            if known:
                return known
            crossing = deidentify(data, item.name, self.rules, owner)
        except NotAnImage:
            return None
        target = place(data, crossing.patient, crossing.extension, self.rules.key)
        if owner is not None:
            name = self.rules.key.file(self.rules.key.row(item.name).encode() + body(data))
            target = f"images/{crossing.patient}/{name}.mask{crossing.extension}"
        row = self.rules.key.row(crossing.row) if crossing.row is not None else None
        taken = Taken(
            *(target, sha256(crossing.data), crossing.patient, crossing.site, row, crossing.actions, crossing.nobody),
            *(crossing.issuer, crossing.named),
        )
        try:
            if not _holds(self.out / target, taken.sha256):
                self._write(self.data / target, crossing.data)
            self._write(record, json.dumps(asdict(taken)).encode())
        except OSError as error:
            return Unwritable(str(error.strerror))
        return taken

    def _join(self) -> None:
        path = root(self.out) / "workers.lock"
        if path not in _joined:
            _joined[path] = path.open("a")
            fcntl.flock(_joined[path], fcntl.LOCK_SH)
        if import_lock(self.out).read_text() != str(self.holder):
            raise SystemExit

    def _write(self, path: Path, data: bytes) -> None:
        """Whole or not at all; of two processes with equal files, both write the same.

        The disk has it for good only after the audit: to wait here for each file would take longer than all the rest.
        After a loss of power, a file that is not what its record says is written again.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"partial-{os.getpid()}"
        partial.write_bytes(data)
        partial.replace(path)

    def seal(self) -> None:
        """From here on the batch is whole: what is left is its move."""
        self.data.rename(root(self.out) / "ready")

    def fetch(self, target: str) -> None:
        """Bring back a file that already stands in ``out``, to be audited and vouched for with the rest."""
        if not (self.data / target).exists():
            with publish(self.data / target) as partial:
                shutil.copyfile(self.out / target, partial)

    def keep(self, targets: set[str]) -> None:
        """Forget staged files other than these: of sources that an earlier import was cut off in."""
        for path in list(self.data.rglob("*")):
            if path.is_file() and path.relative_to(self.data).as_posix() not in targets:
                path.unlink()

    def drop(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def has(self, taken: Taken) -> bool:
        """Whether a file stands in ``out`` as it was written."""
        return _holds(self.out / taken.target, taken.sha256)

    def _record(self, data: bytes, name: str, owner: str | None) -> Path:
        named = self.rules.row_of(name)  # the same bytes under another name may have another row
        suffix = f"-{self.rules.key.row(named)}" if named is not None else ""
        if owner is not None:
            suffix = f"-{self.rules.key.row(name)}-{owner}"
        return self.folder / "records" / f"{self.rules.key.file(data)}{suffix}.json"

    def _known(self, record: Path) -> Taken | None:
        if not record.is_file():
            return None
        try:
            taken = Taken(**json.loads(record.read_text(encoding="utf-8")))
        except ValueError:  # a loss of power left it empty
            return None
        staged, there = self.data / taken.target, self.out / taken.target
        return taken if _holds(staged, taken.sha256) or _holds(there, taken.sha256) else None


def place(data: bytes, patient: str, extension: str, key: SiteKey) -> str:
    """Where an image of ``patient`` (a pseudonym) stands below data/, by the bytes of the hospital's file."""
    return f"images/{patient}/{key.file(body(data))}{extension}"


def body(data: bytes) -> bytes:
    """What makes a file this file: of DICOM, all behind the meta header, which each sender writes anew."""
    if data[128:132] == b"DICM" and data[132:138] == b"\2\0\0\0UL":
        return data[144 + int.from_bytes(data[140:144], "little") :]
    return data


def _wait_for_orphans(out: Path) -> None:
    root(out).mkdir(mode=0o700, parents=True, exist_ok=True)
    with (root(out) / "workers.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def _holds(file: Path, digest: str) -> bool:
    return file.is_file() and sha256_file(file) == digest


def roll_forward(out: Path) -> bool:
    """Move a batch that is ready into ``out``: images, then labels, then manifest and statement, which vouch for them.

    Returns:
        whether there was one. The caller holds the lock.
    """
    ready = root(out) / "ready"
    if not ready.is_dir():
        return False
    files = [path.relative_to(ready) for path in ready.rglob("*") if path.is_file()]
    for path in sorted(files, key=_rank):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        _move(ready / path, out / path)
    shutil.rmtree(ready)
    return True


def _rank(path: Path) -> tuple[int, str]:
    order = {"images": 0, "labels.csv": 1}
    return order.get(path.parts[0], 3 if path.suffix == ".json" else 2), path.as_posix()


def _move(source: Path, target: Path) -> None:
    if source.stat().st_dev == target.parent.stat().st_dev:
        source.replace(target)
        return
    with publish(target) as partial:  # data/ is a disk of its own
        shutil.copyfile(source, partial)
    source.unlink()
