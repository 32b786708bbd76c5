"""What reading a file has found."""

from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
"""Columns of the index by name"""


@dataclass(frozen=True)
class Stamp:
    """How a file is recognised without being read."""

    size: int
    time: int
    """of the last change, ns"""
    head: str
    """SHA-256 of its first bytes; empty when they could not be read"""


@dataclass(frozen=True)
class Reading:
    """What came of reading one file."""

    stamp: Stamp
    fate: str
    """image, other (no image) or refused"""
    code: str | None = None
    """why refused, as in quarantine.csv"""
    detail: str | None = None
    sha256: str | None = None
    """of the file's bytes; None when they could not be read"""
    row: Row | None = None
    """of an image: columns of the index by name"""
