"""A tiny image in every transfer syntax that can be written here, read back as ``medimg import`` reads it."""

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import numpy as np

from medimg.doctor import Check
from medimg.images.codecs import DEFLATED, LOSSY, READABLE, RLE

_SIDE = 32
_LOSS = 8  # grey values of 255 that a lossy syntax may be off by on a smooth image


def codecs() -> Iterator[Check]:
    """Each syntax: decodes to the same pixels, or nearly so where it is lossy."""
    untried = []
    for syntax in sorted(READABLE):
        frame = _encoded(syntax)
        name = _name(syntax)
        if frame is None:
            untried.append(name)
            continue
        found = _read(syntax, frame)
        off = None if found is None else int(np.abs(found.astype(int) - picture()).max())
        good = off is not None and off <= (_LOSS if syntax in LOSSY else 0)
        words = "decodes" if good else "does not decode" if off is None else f"decodes to other pixels (by up to {off})"
        yield Check(name, "ok" if good else "fail", words, "" if good else "pip install -r requirements.lock")
    if untried:
        yield Check("other syntaxes", "ok", f"read, but nothing here writes a sample: {', '.join(untried)}")


def picture() -> np.ndarray:
    """``(H, W)`` uint8: a smooth ramp, which a lossy codec hardly changes."""
    down, across = np.mgrid[:_SIDE, :_SIDE]
    return np.asarray(3 * down + 4 * across, np.uint8)


def _name(syntax: str) -> str:
    from pydicom.uid import UID

    return str(UID(syntax).name)


def _encoded(syntax: str) -> bytes | None:
    """The frame as it is encapsulated; empty bytes: native; None: no encoder here."""
    import imagecodecs

    image, kind = picture(), syntax.removeprefix("1.2.840.10008.1.2")
    lossless: dict[str, Callable[[], Any]] = {
        ".4.50": lambda: imagecodecs.jpeg8_encode(image, level=100),
        ".1.98": lambda: image.tobytes(),
        ".4.57": lambda: imagecodecs.ljpeg_encode(image),
        ".4.70": lambda: imagecodecs.ljpeg_encode(image),
        ".4.80": lambda: imagecodecs.jpegls_encode(image),
        ".4.81": lambda: imagecodecs.jpegls_encode(image, level=2),
        ".4.90": lambda: imagecodecs.jpeg2k_encode(image, level=0, codecformat="j2k", reversible=True),
        ".4.91": lambda: imagecodecs.jpeg2k_encode(image, level=60, codecformat="j2k"),
        ".4.201": lambda: imagecodecs.htj2k_encode(image),
    }
    if kind in ("", ".1", ".1.99", ".2", ".5"):
        return b""
    return bytes(lossless[kind]()) if kind in lossless else None


def _read(syntax: str, frame: bytes) -> np.ndarray | None:
    from medimg.errors import ImageError
    from medimg.images import read_bytes

    try:
        return np.asarray(read_bytes(_file(syntax, frame)).pixels[0])
    except ImageError:
        return None


def _file(syntax: str, frame: bytes) -> bytes:
    """A DICOM file of the picture."""
    from pydicom import Dataset, FileMetaDataset, dcmwrite
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    file = Dataset()
    file.SOPClassUID, file.SOPInstanceUID = SecondaryCaptureImageStorage, "2.25.1"
    file.Rows = file.Columns = _SIDE
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 8, 8, 7, 0
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = UID(syntax)
    file.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    file.PixelData = encapsulate([frame]) if frame else picture().tobytes()
    file["PixelData"].VR = "OB"
    if frame:
        file["PixelData"].is_undefined_length = True
    if syntax == RLE:
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.compress(UID(RLE), generate_instance_uid=False)
    buffer = BytesIO()
    little = not syntax.endswith("1.2.2")
    implicit = syntax.endswith("10008.1.2")
    if syntax in (DEFLATED, RLE) or frame:
        dcmwrite(buffer, file, enforce_file_format=True)
    else:
        dcmwrite(buffer, file, enforce_file_format=True, implicit_vr=implicit, little_endian=little)
    return buffer.getvalue()
