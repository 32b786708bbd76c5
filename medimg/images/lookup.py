"""Values of a DICOM data set by keyword, without what pydicom spends on elements that are missing or plain text."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_PLAIN = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UI"})
"""Whose value pydicom takes apart at backslashes and strips, and no more, once it is decoded"""


@cache
def _tag(keyword: str) -> tuple[int, bool]:
    """The tag, and whether its VR is one of ``_PLAIN``."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag, dictionary_VR(tag) in _PLAIN


def get(dataset: Dataset, keyword: str) -> Any:
    """As ``dataset.get(keyword)``: None when it is missing."""
    tag, _ = _tag(keyword)
    return dataset[tag].value if tag in dataset.keys() else None  # noqa: SIM118  # the set itself parses its key


def text(dataset: Dataset, keyword: str) -> str | None:
    """The (first) value of an element, stripped; None when it is missing or empty."""
    tag, plain = _tag(keyword)
    if tag not in dataset.keys():  # noqa: SIM118
        return None
    if plain:
        raw = dataset.get_item(tag)
        if raw.is_raw and raw.VR in (None, *_PLAIN) and raw.value.isascii() and b"\x1b" not in raw.value:
            return raw.value.split(b"\\", 1)[0].decode("ascii").strip(" \0") or None
    found = dataset[tag].value
    if isinstance(found, (list, tuple)) or type(found).__name__ == "MultiValue":
        found = found[0] if found else None
    return (str(found).strip(" \0") or None) if found is not None else None
