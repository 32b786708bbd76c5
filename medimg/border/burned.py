"""Text burned into pixels: which files may show it, and masks for them. What may show text is refused or masked."""

from __future__ import annotations

import re

import numpy as np

from medimg.border import ocr
from medimg.border.elements import EXPLICIT, PIXEL_DATA, Element
from medimg.border.frames import Top, text
from medimg.border.ocr import Box
from medimg.errors import ImageError, Refusal
from medimg.images import codecs, dicom

_BURNED_IN, _SOP_CLASS, _MODALITY, _CONVERSION = 0x00280301, 0x00080016, 0x00080060, 0x00080064
_IMAGE_TYPE, _SERIES, _REGIONS = 0x00080008, 0x0008103E, 0x00186011
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_MODALITIES = frozenset({"US", "IVUS", "ES", "XC", "GM", "OT", "DOC", "SC", "HC", "BI"})
"""Devices that write what they show on their screen, names and all."""
_CONVERSIONS = frozenset({"DV", "DF", "WSD", "SD", "SI", "DRW", "SYN"})
_SHEET = re.compile(
    r"screen.?(sav|shot|cap)|dose.?(report|info|record|summ|sheet)|patient.?protocol|_?som\d.?prot|exam.?protocol", re.I
)
_MOST_FRAMES = 8


def why_suspect(top: Top) -> str:
    """Why the pixels of a file may show text, by its header; empty if they should not."""
    said = text(top, _BURNED_IN)
    if said == "YES":
        return "the header says that the pixels show text"
    words = " ".join(_all(top, tag) for tag in (_IMAGE_TYPE, _SERIES))
    if _SHEET.search(words):
        return "a dose sheet, a protocol or a copy of a screen"
    if said == "NO":
        return ""
    if text(top, _SOP_CLASS).startswith(_SECONDARY_CAPTURE):
        return "a secondary capture whose header does not say that it shows no text"
    if text(top, _CONVERSION) in _CONVERSIONS:
        return "converted from film, video or paper, and the header does not say that it shows no text"
    if text(top, _MODALITY) in _MODALITIES:
        return "of a modality that writes on its images, and the header does not say that it shows no text"
    return ""


def _all(top: Top, tag: int) -> str:
    value = top[tag][2] if tag in top else b""
    return value.decode("latin-1") if isinstance(value, bytes) else ""


def regions(top: Top) -> list[Box]:
    """The ultrasound regions of a file (PS3.3 C.8.5.5): outside them the device writes who was examined."""
    value = top[_REGIONS][2] if _REGIONS in top else []
    boxes = []
    for item in value if isinstance(value, list) else []:
        found = {tag: int.from_bytes(of, "little") for tag, _, of in item if isinstance(of, bytes)}
        left, upper, right, lower = (found.get(0x00186018 + 2 * number, -1) for number in range(4))
        if 0 <= left < right and 0 <= upper < lower:
            boxes.append((upper, left, lower + 1, right + 1))
    return boxes


def masked(data: bytes, top: Top) -> tuple[list[Element], str] | None:
    """The pixels of a file with all text masked, as Explicit VR Little Endian; None where there is nothing to mask.

    Outside ultrasound regions everything is masked; what a text detector finds is masked where it is installed.

    Raises:
        ImageError: BURNED_IN: text is left after that, or the file is suspect and nothing here can look at it.
    """
    suspect, inside = why_suspect(top), regions(top)
    looked = ocr.installed()
    if suspect and not looked and not inside:
        raise ImageError(Refusal.BURNED_IN, f"{suspect}; the text detector (extra ocr) is not installed")
    if not looked and not (suspect and inside):
        return None
    source = dicom.parse(data)
    layout = dicom.layout_of(source)
    if layout.real:
        raise ImageError(Refusal.BURNED_IN, f"{suspect or 'real numbers'}; no detector looks at real numbers")
    frames = np.stack([codecs.stored(source, layout, number) for number in range(layout.frames)])  # (N, H, W, S)
    ycc = layout.photometric.startswith("YBR") and layout.syntax not in codecs.JPEG | codecs.JPEG_2000
    black = np.array([0, 128, 128] if ycc else [0], frames.dtype)
    cover = np.zeros(frames.shape[1:3], bool)
    if inside and suspect:
        cover[:] = True
        for upper, left, lower, right in inside:
            cover[upper:lower, left:right] = False
    frames[:, cover] = black
    found = _detect(frames, every=bool(suspect)) if looked else []
    for upper, left, lower, right in found:
        cover[upper:lower, left:right] = True
    if not cover.any():
        if suspect and not looked:
            raise ImageError(Refusal.BURNED_IN, f"{suspect}; its regions leave nothing out, and no detector looked")
        if text(top, _BURNED_IN) == "YES":
            raise ImageError(Refusal.BURNED_IN, "the header says that the pixels show text, but none is found to mask")
        return None
    frames[:, cover] = black
    if found and _detect(frames, every=bool(suspect)):
        raise ImageError(Refusal.BURNED_IN, "text that is left after what a detector found was masked")
    raw = frames.astype(frames.dtype.newbyteorder("<")).tobytes()
    photometric = layout.photometric.replace("YBR_FULL_422", "YBR_FULL") if ycc or layout.samples == 1 else "RGB"
    changed: list[Element] = [
        (PIXEL_DATA, "OB" if layout.allocated <= 8 else "OW", raw),
        (0x00280004, "CS", photometric.encode()),
        (0x00280102, "US", (layout.stored - 1).to_bytes(2, "little")),
    ]
    if looked and (suspect or len(frames) <= _MOST_FRAMES):  # else nobody has seen all that may stand there
        changed.append((_BURNED_IN, "CS", b"NO"))
    if layout.allocated == 1:
        changed[0] = PIXEL_DATA, "OB", np.packbits(frames.ravel(), bitorder="little").tobytes()
    if layout.samples > 1:
        changed.append((0x00280006, "US", bytes(2)))
    return changed, EXPLICIT


def covered(pixels: np.ndarray) -> np.ndarray | None:
    """A picture, ``(C, H, W)``, with the text masked that a detector finds; None where there is none, or no detector.

    Raises:
        ImageError: BURNED_IN: text is left after that.
    """
    if not ocr.installed():
        return None
    frames = pixels.transpose(1, 2, 0)[None].copy()
    found = _detect(frames)
    for upper, left, lower, right in found:
        frames[:, upper:lower, left:right] = 0
    if found and _detect(frames):
        raise ImageError(Refusal.BURNED_IN, "text that is left after what a detector found was masked")
    return np.ascontiguousarray(frames[0].transpose(2, 0, 1)) if found else None


def _detect(frames: np.ndarray, every: bool = False) -> list[Box]:
    """Text in every frame, or in up to ``_MOST_FRAMES`` of them, evenly chosen, first and last among them."""
    count = len(frames) if every else _MOST_FRAMES
    chosen = sorted({int(at) for at in np.linspace(0, len(frames) - 1, count)})
    return [box for at in chosen for box in ocr.faint(frames[at][..., 0] if frames.shape[-1] == 1 else frames[at])]
