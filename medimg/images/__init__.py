"""What an image is, and how each format becomes one.

``read(path)`` is the one way in. The format is told by the file's first bytes, never by its name.
"""

from dataclasses import dataclass

import numpy as np


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
