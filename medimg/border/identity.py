"""Who is who, without saying who: pseudonyms by HMAC-SHA-256 under a key that never leaves the site."""

import csv
import fcntl
import hmac
import os
import secrets
import stat
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from medimg.errors import BorderError
from medimg.files import publish

_BYTES = 32
_STUDY = ("params.yaml", "dvc.yaml")


@dataclass(frozen=True, repr=False)
class SiteKey:
    """A site's secret. The same identifier gives the same pseudonym under one key, and another under another."""

    secret: bytes

    @property
    def fingerprint(self) -> str:
        """8 hex digits by which to tell keys apart; they say nothing of the key."""
        return sha256(self._hmac(b"fingerprint")).hexdigest()[:8]

    def patient(self, identifier: str) -> str:
        """``P`` and 12 hex digits."""
        return "P" + self._hmac(b"patient\0" + _bytes(identifier.strip())).hex()[:12]

    def site(self, name: str) -> str:
        """``S`` and 6 hex digits."""
        return "S" + self._hmac(b"site\0" + _bytes(name.strip())).hex()[:6]

    def issuer(self, name: str) -> str:
        """``I`` and 6 hex digits, for who gave a patient the number; empty for nobody."""
        return "I" + self._hmac(b"issuer\0" + _bytes(name.strip())).hex()[:6] if name.strip() else ""

    def uid(self, uid: str) -> str:
        """A UID of the form ``2.25.<128 bits>``."""
        return f"2.25.{int.from_bytes(self._hmac(b'uid' + bytes(1) + _bytes(uid))[:16], 'big')}"

    def days(self, patient: str) -> int:
        """How many days the dates of a patient (the pseudonym) move back: 1 to 3650."""
        return 1 + int.from_bytes(self._hmac(b"days\0" + _bytes(patient))[:8], "big") % 3650

    def file(self, data: bytes) -> str:
        """16 hex digits for the bytes of a source file."""
        return self._hmac(b"file\0" + sha256(data).digest()).hex()[:16]

    def row(self, name: str) -> str:
        """16 hex digits for what a row of the hospital's table is about: a file, a patient."""
        return self._hmac(b"row\0" + _bytes(name)).hex()[:16]

    def _hmac(self, message: bytes) -> bytes:
        return hmac.digest(self.secret, message, "sha256")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a broken header may hold what UTF-8 cannot say


def key_path() -> Path:
    """Where the key lies: ``$MEDIMG_SITE_KEY``, or ``medimg/site.key`` below ``$XDG_CONFIG_HOME`` or ``~/.config``."""
    named = os.environ.get("MEDIMG_SITE_KEY")
    if named:
        return Path(named)
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "medimg" / "site.key"


def in_study(path: Path, out: Path) -> bool:
    """Whether a file lies in ``out``, in the study whose data it is, in the one that we are in, or in any other."""
    studies = [out.resolve()]
    studies += [study.resolve() for study in (out.resolve().parent, Path.cwd()) if (study / "params.yaml").exists()]
    above = path.resolve().parents
    others = (all((folder / name).exists() for name in _STUDY) for folder in above)
    return any(study in above for study in studies) or any(others)


def check_outside(path: Path, out: Path, option: str, holds: str) -> None:
    """Refuse a file of the hospital's that lies in a study.

    Args:
        path: the file.
        out: the study's ``data`` folder.
        option: how it was named.
        holds: what it holds, for people.

    Raises:
        BorderError: Git would take it. The message does not quote its path, which may name somebody.
    """
    if in_study(path, out):
        raise BorderError(
            f"{option}: the file lies in a study, where Git takes it, and it holds {holds}. Move it out, name it "
            "there, and if Git has taken note of it, have it forget that as well (git rm --cached, and the history)."
        )


def check_apart(path: Path, out: Path) -> None:
    """Refuse a key in the study whose data are ``out``, or in any other, before it is made.

    Raises:
        BorderError: Git would take it, and the list of refused files beside it.
    """
    if in_study(path, out):
        raise BorderError(
            f"The site key {path} would lie in a study, with the hospital's names of refused files beside it, where "
            "Git takes them. Keep it elsewhere: change MEDIMG_SITE_KEY."
        )


def refused_path() -> Path:
    """The list of files that the last import refused: beside the site key, since it holds the hospital's names."""
    return key_path().with_name("refused.csv")


def write_refused(rows: list[tuple[str, str, str]]) -> None:
    """Write path in the hospital, code and detail of each refused file, readable by the owner alone."""
    path = refused_path()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # imports into other studies may write theirs now
        with publish(path) as partial:
            partial.touch(0o600)
            with partial.open("w", encoding="utf-8", newline="", errors="surrogateescape") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(["path", "code", "detail"])
                table.writerows(rows)
    finally:
        os.close(folder)


def load_key(path: Path | None = None) -> SiteKey:
    """Read the site's key; make it on first use.

    Raises:
        BorderError: others may read it, it holds something else, or it can be neither read nor made.
    """
    path = path or key_path()
    try:
        if not path.exists():
            _make(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise BorderError(f"The site key {path} cannot be read or made: {error.strerror}.") from None
    if mode & 0o077:
        raise BorderError(
            f"The site key {path} can be read by others (mode {mode:03o}). Whoever has it can undo the pseudonyms. "
            f"Run: chmod 600 {path}"
        )
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != _BYTES:
        raise BorderError(f"The site key {path} is not {_BYTES} bytes in hex. Restore it from your backup.")
    return SiteKey(secret)


def _make(path: Path) -> None:
    """Make the key whole or not at all; of two processes that try, one wins and both use its key."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            return
    finally:
        partial.unlink(missing_ok=True)
