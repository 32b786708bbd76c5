"""One file, whole: its header, and every frame of it decoded."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from medimg.images import decode, guarded
from medimg.images.headers import Header, header_of
from medimg.images.sniff import HEAD, sniff

Found = TypeVar("Found")


def scan(data: bytes, name: str, each: Callable[[np.ndarray], Found]) -> tuple[Header, list[Found]]:
    """Read the header of a file and decode all of its frames, one at a time.

    Args:
        data: the bytes of the file.
        name: what its slices call it.
        each: what is wanted of a frame's pixels, ``(C, H, W)``; of a NIfTI file, of a time point's ``(1, D, H, W)``.

    Returns:
        the header, and what ``each`` found, in the order of the frames.

    Raises:
        ImageError, NotAnImage: as ``medimg.images.read_bytes``; several frames or slices are no reason.
    """
    header = guarded(lambda: header_of(data, name))
    frames = {"dicom": _dicom, "nifti": _nifti}.get(sniff(data[:HEAD]), _picture)(data, header)
    return header, [each(pixels) for pixels in frames]


def _dicom(data: bytes, header: Header) -> Iterator[np.ndarray]:
    from medimg.images import dicom

    dataset = guarded(lambda: dicom.parse(data))
    layout = guarded(lambda: dicom.layout_of(dataset))
    for frame in range(header.facts.frames):
        yield guarded(lambda frame=frame: dicom.image_of(dataset, layout, frame)).pixels  # type: ignore[misc]


def _nifti(data: bytes, header: Header) -> Iterator[np.ndarray]:
    from medimg.images import nifti

    plain = guarded(lambda: nifti.inflate(data))  # once, not for each time point
    for frame in range(header.facts.frames):
        yield guarded(lambda frame=frame: nifti.read_volume(plain, [frame]))  # type: ignore[misc]


def _picture(data: bytes, header: Header) -> Iterator[np.ndarray]:
    yield guarded(lambda: decode(data)).pixels
