"""Images in a zip or tar file: read as a stream, never unpacked; a name in the archive is a label and no path.

What an archive can do to its reader is bounded before anything is imported: how far it expands, how many members it
has, how much is read at once. Links, devices and names that lead out of the archive are refused, each by its name.
"""

import bz2
import gzip
import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from medimg.border.sources import Item
from medimg.errors import BorderError, ImageError, Refusal
from medimg.images.sniff import FORMATS, HEAD, MAX_FILE, sniff

_MEMBERS = 10_000_000
_RATIO, _FLOOR = 200, 2**30
_AT_ONCE = 2**24  # no header of a member is larger; its data are read in pieces
_PIECE = 2**20
_BLOCK = tarfile.BLOCKSIZE
_LEADS_OUT = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)")
_COMPRESSED = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))


class _TooMuch(Exception):
    """The archive expands beyond its limit."""


@dataclass(frozen=True, repr=False)
class _Member:
    name: str
    size: int
    file: IO[bytes] | None
    """None: it is no regular file"""


class Archive:
    """A zip or tar file (plain, gz, bz2 or xz).

    Args:
        path: the file.
        most: bytes to which it may expand; by default 200 times its size, and at least 1 GiB.
    """

    has_paths = True

    def __init__(self, path: Path, most: int | None = None) -> None:
        self.path = path
        self.where = str(path)
        self.most = max(_FLOOR, _RATIO * path.stat().st_size) if most is None else most

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether a file is an archive, by its bytes."""
        try:
            if _is_zip(path):
                return True
            with _inflated(path) as file:
                return file.read(_BLOCK)[257:262] == b"ustar"
        except (OSError, EOFError, lzma.LZMAError, zlib.error):
            return False

    def names(self, labels: Path | None) -> list[str]:
        """What the archive calls its files, after a first pass over all of it.

        Raises:
            BorderError: it is damaged, encrypted or empty, or expands beyond the limit.
        """
        try:
            found = [member.name for member in self._members()]
        except BorderError:
            raise
        except _TooMuch:
            raise BorderError(
                f"{self.path} expands to more than {self.most} bytes or {_MEMBERS} files: as a trap does that is built "
                "to fill a disk. Nothing was taken from it. If it is what it should be, unpack it and name the folder."
            ) from None
        except Exception as error:  # its text may quote the name of a member
            raise BorderError(
                f"{self.path} is damaged ({type(error).__name__}). Nothing was taken from it. Copy or pack it again."
            ) from None
        if not found:
            raise BorderError(f"The archive {self.path} holds no files to import.")
        return sorted(found)

    def items(self, room: Path) -> Iterator[Item]:
        """Its files as they come; of a file that is no image only the head is read."""
        for member in self._members():
            try:
                yield Item(member.name, data=_read(member))
            except ImageError as refusal:
                yield Item(member.name, refusal=refusal.code, detail=refusal.detail)

    def _members(self) -> Iterator[_Member]:
        total = 0
        each = _zip(self.path) if _is_zip(self.path) else _tar(self.path, self.most)
        for number, member in enumerate(each):
            total += member.size
            if total > self.most or number >= _MEMBERS:
                raise _TooMuch
            yield member


def _read(member: _Member) -> bytes:
    """The bytes of a member that is an image, the head of any other.

    Raises:
        ImageError: UNSAFE, MEMORY, UNREADABLE.
    """
    if member.file is None:
        raise ImageError(Refusal.UNSAFE, "a link or a device, not a file")
    if _LEADS_OUT.search(member.name):
        raise ImageError(Refusal.UNSAFE, "its name leads out of the archive")
    if member.size > MAX_FILE:
        raise ImageError(Refusal.MEMORY, f"the file is larger than {MAX_FILE} bytes")
    try:
        with member.file as file:
            head = file.read(HEAD)
            if not head or sniff(head) not in FORMATS:
                return head
            data = io.BytesIO()
            data.write(head)
            while piece := file.read(_PIECE):
                data.write(piece)
            return data.getvalue()
    except Exception:  # a wrong checksum, an unknown compression; its text may quote the name
        raise ImageError(Refusal.UNREADABLE, "the archive does not give its bytes") from None


class _Lazy(io.RawIOBase):
    """A member of a zip file, opened when it is read."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self._archive, self._info = archive, info
        self._file: IO[bytes] | None = None

    def read(self, size: int = -1) -> bytes:
        self._file = self._file or self._archive.open(self._info)
        return self._file.read(size)

    def close(self) -> None:
        if self._file:
            self._file.close()
        super().close()


def _is_zip(path: Path) -> bool:
    """Told by how it begins: zipfile looks at the end, where a tar file may hold a zip file of its own."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def _zip(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if any(info.flag_bits & 1 for info in infos):
            raise BorderError(f"{path} is encrypted. Unpack it, and import the folder.")
        for info in infos:
            if info.is_dir():
                continue
            kind = stat.S_IFMT(info.external_attr >> 16)
            regular = kind in (0, stat.S_IFREG)
            yield _Member(info.filename, info.file_size, cast(IO[bytes], _Lazy(archive, info)) if regular else None)


def _inflated(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        head = file.read(6)
    opener: Any = next((opener for magic, opener in _COMPRESSED if head.startswith(magic)), open)
    return cast(IO[bytes], opener(path, "rb"))


class _Guard(io.RawIOBase):
    """A stream that ends with an error where it would go on too long, or give too much at once."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self.file, self.most, self.block = file, most + 2 * _AT_ONCE, b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _AT_ONCE or self.file.tell() > self.most:
            raise _TooMuch
        data = self.file.read(size)
        if size == _BLOCK:
            self.block = data
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence or offset > self.most:
            raise _TooMuch
        return self.file.seek(offset)

    def tell(self) -> int:
        return self.file.tell()


def _tar(path: Path, most: int) -> Iterator[_Member]:
    with _inflated(path) as file:
        guard = _Guard(file, most)
        with tarfile.open(fileobj=cast(IO[bytes], guard), mode="r:") as archive:
            remembered: list[tarfile.TarInfo] = archive.members  # type: ignore[attr-defined]
            while (info := archive.next()) is not None:
                remembered.clear()
                if not info.isdir():
                    regular = info.isreg() and not info.issparse()
                    yield _Member(info.name, info.size, archive.extractfile(info) if regular else None)
            if guard.block.strip(b"\0") or len(guard.block) < _BLOCK:  # tarfile takes any damage for the end
                raise tarfile.ReadError
