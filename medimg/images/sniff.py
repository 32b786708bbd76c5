"""Which format a file is in, told by its first bytes."""

import re
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

PACKED = ("zip", "gzip", "tar", "bzip2", "xz", "7z", "rar")
"""Kinds that may hold images which nobody would look at"""

UNREAD = {
    "tiff": "TIFF",
    "gif": "GIF",
    "bmp": "BMP",
    "webp": "WebP",
    "jp2": "JPEG 2000",
    "jxl": "JPEG XL",
    "heif": "HEIF or AVIF",
    "netpbm": "PGM or PPM",
    "nrrd": "NRRD",
    "metaimage": "MetaImage",
    "analyze": "ANALYZE",
}
"""Kinds that are images in formats that medimg does not read → what people call them"""

_OFFICE = (b"[Content_Types].xml", b"mimetype", b"_rels/")  # the first member of what office programs write
_OTHERS = (
    (b"%PDF", "pdf"),
    (b"PK\x03\x04", "zip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),  # BigTIFF, as of whole slides
    (b"MM\0+", "tiff"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"NRRD000", "nrrd"),
    (b"\0\0\0\x0cjP  ", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),  # without a container
    (b"\0\0\0\x0cJXL ", "jxl"),
    (b"\x89HDF", "hdf5"),
)
_SHAPES = (  # what is too short to be told by its first bytes alone
    (re.compile(rb"BM.{4}\0{4}.{4}[\x0c\x28\x34\x38\x6c\x7c]\0{3}", re.DOTALL), "bmp"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "webp"),
    (re.compile(rb".{4}ftyp(?:hei[cxm]|mif1|msf1|avif)", re.DOTALL), "heif"),
    (re.compile(rb"P[1-6]\s+(?:#[^\n]*\n\s*)*\d+\s+(?:#[^\n]*\n\s*)*\d+\s"), "netpbm"),
    (re.compile(rb"(?:ObjectType\s*=\s*Image\s|NDims\s*=\s*\d)"), "metaimage"),
    (re.compile(rb"\x5c\x01\0\0.{36}[\x01-\x07]\0|\0\0\x01\x5c.{36}\0[\x01-\x07]", re.DOTALL), "analyze"),
)


def load(path: Path) -> bytes:
    """The bytes of an image file; of any other, only the first are looked at.

    Raises:
        NotAnImage: it is no image; the message is the kind.
        ImageError: UNREADABLE, MEMORY, and as ``not_read``.
    """
    try:
        if path.exists() and not path.is_file():  # to open a pipe is to wait for it
            raise ImageError(Refusal.UNREADABLE, "it is no regular file")
        with path.open("rb", buffering=0) as file:
            head = file.read(HEAD)
            kind = sniff(head)
            if kind not in FORMATS:
                raise not_read(kind)
            if path.stat().st_size > MAX_FILE:
                raise ImageError(Refusal.MEMORY, f"the file is larger than {MAX_FILE} bytes")
            file.seek(0)
            return file.read()  # whole: to join it to its head would be to copy it
    except OSError:
        raise ImageError(Refusal.UNREADABLE, "the file system does not let us read it") from None


def not_read(kind: str) -> ImageError | NotAnImage:
    """Why a file of a ``kind`` that ``FORMATS`` lacks is passed over: what may show something is refused, and counted.

    Returns:
        ImageError: UNSUPPORTED, an image in another format; PACKED.
        NotAnImage: anything else; the message is the kind.
    """
    if kind in UNREAD:
        return ImageError(
            Refusal.UNSUPPORTED, f"an image in the format {UNREAD[kind]}: convert it to DICOM, PNG or NIfTI"
        )
    if kind in PACKED:
        return ImageError(Refusal.PACKED, "unpack it, or name it by itself")
    return NotAnImage(kind)


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
    if head[257:262] == b"ustar":
        return "tar"
    if head.startswith(b"PK\x03\x04") and head[30:].startswith(_OFFICE):
        return "office"
    for magic, kind in _OTHERS:
        if head.startswith(magic):
            return kind
    for shape, kind in _SHAPES:
        if shape.match(head):
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
