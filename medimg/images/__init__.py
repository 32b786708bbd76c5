"""What an image is, and how each format becomes one.

``read(path)`` is the one way in. The format is told by the file's first bytes, never by its name.
"""

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medimg.errors import ImageError, NotAnImage, Refusal
from medimg.images.sniff import FORMATS, HEAD, load, sniff

__all__ = ["Facts", "Image", "pixel_sha256", "quiet", "read", "read_bytes"]


@dataclass(frozen=True)
class Facts:
    """What a file says of its image; None where it says nothing. Field names are those of the index."""

    format: str
    """dicom, png, jpeg or nifti"""
    channels: int
    height: int
    width: int
    bits: int
    """stored bits of a pixel"""
    photometric: str
    """as DICOM names it: MONOCHROME1, MONOCHROME2, RGB, …"""
    patient: str | None = None
    study: str | None = None
    series: str | None = None
    instance: str | None = None
    spacing_row: float | None = None
    """mm between rows"""
    spacing_column: float | None = None
    """mm between columns"""
    modality: str | None = None
    body_part: str | None = None
    view: str | None = None
    laterality: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    site: str | None = None
    sex: str | None = None
    """F, M or O"""
    age: float | None = None
    """years"""


@dataclass(frozen=True)
class Image:
    """One 2D image: pixels as a person would see them, brighter is higher."""

    pixels: np.ndarray
    """``(C, H, W)``, C 1 (grey) or 3 (RGB), row first: the stored integers, or float32 where the header rescales them.
    MONOCHROME1 is already inverted."""
    facts: Facts


def read(path: Path) -> Image:
    """Read one 2D image file: DICOM, PNG, JPEG or NIfTI.

    Returns:
        ``Image``: ``(C, H, W)`` pixels, row first, and what the file says of them (spacing in mm, age in years).

    Raises:
        ImageError: the file cannot be used; its code is one of ``Refusal``. Its text holds sizes and terms of the
            standard, never another value of the header; nor does the chain of exceptions behind it.
        NotAnImage: the file is no image; the message is its kind in a word or two.
    """
    return _guarded(lambda: _decode(load(path)))


def read_bytes(data: bytes) -> Image:
    """Read one 2D image from the bytes of its file; otherwise as ``read``."""
    return _guarded(lambda: _decode(data))


def _guarded(work: Callable[[], Image]) -> Image:
    problem: ImageError | NotAnImage
    try:
        with quiet():
            image = work()
        if not np.isfinite(image.pixels).all():
            raise ImageError(Refusal.CORRUPT, "some of its pixels are not numbers")
        return image
    except (ImageError, NotAnImage) as known:
        problem = known
    except MemoryError:
        problem = ImageError(Refusal.MEMORY, "there is not enough memory to read it")
    except Exception:
        problem = ImageError(Refusal.CORRUPT, "its header or pixels do not decode")
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # what a decoder written in Rust raises; no Exception
            raise
        problem = ImageError(Refusal.CORRUPT, "its pixels do not decode")
    # Raised out here, without context: the exception of a library may quote the header.
    problem.__cause__ = problem.__context__ = None
    raise problem.with_traceback(None)


def _decode(data: bytes) -> Image:
    kind = sniff(data[:HEAD])
    if kind == "dicom":
        from medimg.images import dicom

        return dicom.read(data)
    if kind == "nifti":
        from medimg.images import nifti

        return nifti.read(data)
    if kind not in FORMATS:
        raise NotAnImage(kind)
    from medimg.images import raster

    return raster.read_png(data) if kind == "png" else raster.read_jpeg(data)


def pixel_sha256(pixels: np.ndarray) -> str:
    """SHA-256, in hex, over dtype, shape and little-endian C-ordered bytes of ``pixels``."""
    little = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{little.dtype.str} {little.shape} ".encode())
    digest.update(little.data)
    return digest.hexdigest()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the format libraries from warning or logging, even for debugging: what they say quotes header values."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "nibabel", "nibabel.global", "PIL", "imagecodecs")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)  # a level, since loggers below inherit it
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
