"""What an image is, and how each format becomes one.

``read(path)`` is the one way in. The format is told by the file's first bytes, never by its name.
"""

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from medimg.errors import ImageError, NotAnImage, Refusal
from medimg.images.sniff import FORMATS, HEAD, load, not_read, sniff

__all__ = ["Facts", "Image", "decode", "guarded", "pixel_sha256", "quiet", "read", "read_bytes"]


Result = TypeVar("Result")
_QUIET = ContextVar("quiet", default=False)


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
    issuer: str | None = None
    """who gave the patient that number; gone behind the border, and no column of the index"""
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
    date: str | None = None
    """of the study, YYYY-MM-DD, shifted at the border"""
    depth: int = 1
    """slices of a volume"""
    frames: int = 1
    """frames read for it; of a ``Header``: frames in its file"""
    files: int = 1
    spacing_slice: float | None = None
    """mm between the centres of slices, along their normal"""
    orientation: str | None = None
    """where slices, rows and columns (of an image: rows and columns) increase toward, such as SPL"""


@dataclass(frozen=True)
class Image:
    """One 2D image: pixels as a person would see them, brighter is higher."""

    pixels: np.ndarray
    """``(C, H, W)``, C 1 (grey) or 3 (RGB), row first: the stored integers, or float32 where the header rescales them.
    MONOCHROME1 is already inverted."""
    facts: Facts
    windowed: bool = False
    """whether the file's own VOI table or window was applied: 0 is the darkest, 1 the brightest"""


def read(path: Path, frame: int | None = None, voi: bool = False) -> Image:
    """Read one 2D image: a file of DICOM, PNG, JPEG or NIfTI, or a frame of a multi-frame DICOM file.

    Args:
        path: the file.
        frame: which one, from 0; None: the file must hold one image only.
        voi: show it as the file says, by its VOI table or window, if it says so (``Image.windowed``).

    Returns:
        ``Image``: ``(C, H, W)`` pixels, row first, and what the file says of them (spacing in mm, age in years).

    Raises:
        ImageError: the file cannot be used; its code is one of ``Refusal``. Its text holds sizes and terms of the
            standard, never another value of the header; nor does the chain of exceptions behind it.
        NotAnImage: the file is no image; the message is its kind in a word or two.
    """
    return guarded(lambda: decode(load(path), frame, voi))


def read_bytes(data: bytes, frame: int | None = None, voi: bool = False) -> Image:
    """Read one 2D image from the bytes of its file; otherwise as ``read``."""
    return guarded(lambda: decode(data, frame, voi))


def guarded(work: Callable[[], Result]) -> Result:
    """``work()``, silent; whatever it raises becomes an ``ImageError`` or ``NotAnImage`` that quotes no header.

    Pixels that are not finite numbers are CORRUPT.
    """
    problem: ImageError | NotAnImage
    try:
        with quiet():
            result = work()
        pixels = getattr(result, "pixels", None)
        if pixels is not None and pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise ImageError(Refusal.CORRUPT, "some of its pixels are not numbers")
        return result
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


def decode(data: bytes, frame: int | None = None, voi: bool = False) -> Image:
    """As ``read_bytes``, but a library's own exceptions come through: call it within ``guarded``."""
    kind = sniff(data[:HEAD])
    if kind == "dicom":
        from medimg.images import dicom

        return dicom.read(data, frame, voi)
    if frame:
        raise ImageError(Refusal.NOT_2D, f"no frame {frame + 1}: only DICOM files are read by the frame")
    if kind == "nifti":
        from medimg.images import nifti

        return nifti.read(data)
    if kind not in FORMATS:
        raise not_read(kind)
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
    if _QUIET.get():  # within another such block: there is nothing left to silence
        yield
        return
    token = _QUIET.set(True)
    loggers = [logging.getLogger(name) for name in ("pydicom", "nibabel", "nibabel.global", "PIL", "imagecodecs")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)  # a level, since loggers below inherit it
        try:
            yield
        finally:
            _QUIET.reset(token)
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
