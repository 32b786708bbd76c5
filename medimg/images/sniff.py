"""Which format a file is in, told by its first bytes."""

import zlib
from pathlib import Path

from medimg.errors import ImageError, NotAnImage, Refusal

HEAD = 4096
"""How many bytes ``sniff`` wants to see."""

FORMATS = ("dicom", "png", "jpeg", "nifti")

MAX_BYTES = 2**28
"""Decoded pixels or inflated files beyond this are refused before memory is taken for them."""

MAX_FILE = 2**30
"""Larger files are refused unread, bytes."""

_OTHERS = (
    (b"%PDF", "pdf"),
    (b"PK\x03\x04", "zip"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"\x89HDF", "hdf5"),
)


def load(path: Path) -> bytes:
    """The bytes of an image file; of any other, only the first are looked at.

    Raises:
        NotAnImage: the first bytes are of no format that is read; the message is the kind.
        ImageError: UNREADABLE, MEMORY.
    """
    try:
        if path.exists() and not path.is_file():  # to open a pipe is to wait for it
            raise ImageError(Refusal.UNREADABLE, "it is no regular file")
        with path.open("rb") as file:
            head = file.read(HEAD)
            kind = sniff(head)
            if kind not in FORMATS:
                raise NotAnImage(kind)
            if path.stat().st_size > MAX_FILE:
                raise ImageError(Refusal.MEMORY, f"the file is larger than {MAX_FILE} bytes")
            return head + file.read()
    except OSError:
        raise ImageError(Refusal.UNREADABLE, "the file system does not let us read it") from None


def sniff(head: bytes) -> str:
    """Return dicom, png, jpeg or nifti, or else a word for what the bytes look like.

    Raises:
        ImageError: the file is empty.
    """
    if not head:
        raise ImageError(Refusal.UNREADABLE, "the file is empty")
    if head[128:132] == b"DICM":
        return "dicom"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x1f\x8b"):
        return "nifti" if is_nifti(_inflated_head(head)) else "gzip"
    if is_nifti(head):
        return "nifti"
    if _is_bare_dicom(head):
        return "dicom"
    for magic, kind in _OTHERS:
        if head.startswith(magic):
            return kind
    return "text" if b"\0" not in head else "unknown"


def is_nifti(head: bytes) -> bool:
    """Whether the bytes start a NIfTI-1 or NIfTI-2 header, of either byte order."""
    size = (head[:4], head[:4][::-1])
    if (348).to_bytes(4, "little") in size:
        return head[344:348] in (b"n+1\0", b"ni1\0")
    return (540).to_bytes(4, "little") in size and head[4:8] in (b"n+2\0", b"ni2\0")


def _inflated_head(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(head, 540)
    except zlib.error:
        return b""


def _is_bare_dicom(head: bytes) -> bool:
    """Whether the bytes start with a data element of group 0002 or 0008: DICOM without its preamble."""
    if len(head) < 8:
        return False
    for order in ("little", "big"):
        group = int.from_bytes(head[:2], order)
        element = int.from_bytes(head[2:4], order)
        if group in (2, 8) and element <= 0x0100:
            explicit = head[4:6].isalpha() and head[4:6].isupper()
            length = int.from_bytes(head[4:8], order)
            return explicit or length < 1024
    return False
