"""A part of the report that stands for itself: what it says, and the file that says it in numbers."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Section:
    """One partial of the report."""

    template: str
    """in ``medimg/evaluation/template``"""
    content: dict[str, Any]
    """what the template calls ``content``"""
    file: str | None
    """in ``artifacts/evaluation``; None: the numbers stand elsewhere"""
    plain: Any
    """what that file holds, as JSON"""
    first: tuple[str, str] | None = None
    """label and text of its line on the first screen"""
