"""What crosses the border of a DICOM header: an allow-list. A new data set is built; what no rule names is left behind.

No rule lets text through as it stands. A UID or an institution becomes a pseudonym; a code must be a word of a closed
list; a number must be one. The maker of a device crosses under its common name if it is a known maker, else as a
pseudonym; the model always as a pseudonym, since hospitals write room and owner into it. Dates, times, sequences (but
the modality table), overlays and private elements have no rule. Pixels that are not compressed, and RLE, are written
anew as Explicit VR Little Endian without what stood above their stored bits or behind their end; compressed ones keep
their codestream, bit for bit but for comments and application data.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from medimg.border import terms
from medimg.border.identity import SiteKey
from medimg.border.pixels import clean_jpeg, clean_jpeg_2000
from medimg.errors import ImageError, Refusal
from medimg.images import codecs, dicom

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PROFILE = "medimg allow-list 1"
IMPLEMENTATION_UID = "2.25.296485034837285176904310498325166473811"
IMPLEMENTATION_NAME = "MEDIMG_0_1"
METHOD = PROFILE
_EXPLICIT = "1.2.840.10008.1.2.1"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

Rule = Callable[[Any, SiteKey], Any]
"""From an element's value to the value that crosses; None: the element crosses empty."""


def _uid(value: Any, key: SiteKey) -> str:
    return key.uid(str(value))


def _site(value: Any, key: SiteKey) -> str:
    return key.site(str(value))


def _maker(value: Any, key: SiteKey) -> str:
    words = re.split(r"[^A-Z]+", str(value).upper())
    return next((terms.MAKERS[word] for word in words if word in terms.MAKERS), key.maker(str(value)))


def _device(value: Any, key: SiteKey) -> str:
    return key.device(str(value))


def _age(value: Any, _: SiteKey) -> str | None:
    """``nnnD``, ``nnnW``, ``nnnM`` or ``nnnY``; 90 years and over are one group."""
    found = re.fullmatch(r"(\d{1,3})([DWMY])", str(value).strip())
    if not found:
        return None
    number = int(found[1])
    return f"{min(number, 90) if found[2] == 'Y' else number:03d}{found[2]}"


def _term(*allowed: frozenset[str]) -> Rule:
    """A value of a closed list; of several values each, by place where there is more than one list."""

    def rule(value: Any, _: SiteKey) -> list[str] | None:
        kept = []
        for place, word in enumerate(_values(value)):
            word = str(word).strip().upper()
            if word not in allowed[min(place, len(allowed) - 1)]:
                break
            kept.append(word)
        return kept or None

    return rule


def _numbers(most: int) -> Rule:
    """Up to ``most`` decimal numbers, in the characters they had."""

    def rule(value: Any, _: SiteKey) -> list[str] | None:
        texts = [str(getattr(number, "original_string", number)).strip() for number in _values(value)]
        usable = all(len(text) <= 16 and _NUMBER.fullmatch(text) and math.isfinite(float(text)) for text in texts)
        return texts if usable and 0 < len(texts) <= most else None

    return rule


def _ordinal(value: Any, _: SiteKey) -> int | None:
    """A whole number too short to be somebody's."""
    return int(value) if 0 <= int(value) <= 99999 else None


def _values(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)


RULES: dict[str, Rule] = {
    "ImageType": _term(*terms.IMAGE_TYPES),
    "SOPInstanceUID": _uid,
    "StudyInstanceUID": _uid,
    "SeriesInstanceUID": _uid,
    "FrameOfReferenceUID": _uid,
    "InstitutionName": _site,
    "Manufacturer": _maker,
    "ManufacturerModelName": _device,
    "Modality": _term(terms.MODALITIES),
    "PatientSex": _term(terms.SEXES),
    "PatientAge": _age,
    "BodyPartExamined": _term(terms.BODY_PARTS),
    "ViewPosition": _term(terms.VIEWS),
    "Laterality": _term(terms.LATERALITIES),
    "ImageLaterality": _term(terms.LATERALITIES),
    "PatientPosition": _term(terms.POSITIONS),
    "PatientOrientation": _term(terms.DIRECTIONS),
    "ConversionType": _term(terms.CONVERSIONS),
    "ScanningSequence": _term(terms.SCANNING_SEQUENCES),
    "SequenceVariant": _term(terms.SEQUENCE_VARIANTS),
    "MRAcquisitionType": _term(terms.MR_ACQUISITIONS),
    "RescaleType": _term(terms.RESCALE_TYPES),
    "LossyImageCompression": _term(terms.LOSSY),
    "SeriesNumber": _ordinal,
    "AcquisitionNumber": _ordinal,
    "InstanceNumber": _ordinal,
    "RescaleSlope": _numbers(1),
    "RescaleIntercept": _numbers(1),
    "WindowCenter": _numbers(8),
    "WindowWidth": _numbers(8),
    "PixelSpacing": _numbers(2),
    "ImagerPixelSpacing": _numbers(2),
    "ImagePositionPatient": _numbers(3),
    "ImageOrientationPatient": _numbers(6),
    "SliceThickness": _numbers(1),
    "SpacingBetweenSlices": _numbers(1),
    "KVP": _numbers(1),
    "RepetitionTime": _numbers(1),
    "EchoTime": _numbers(1),
    "InversionTime": _numbers(1),
    "EchoTrainLength": _numbers(1),
    "MagneticFieldStrength": _numbers(1),
    "FlipAngle": _numbers(1),
}

EMPTY = terms.words(
    "PatientName PatientBirthDate StudyDate StudyTime AccessionNumber ReferringPhysicianName StudyID SeriesNumber "
    "InstanceNumber Manufacturer PatientSex"
)
"""Type 2 in most objects: there, and empty where no rule fills them."""

EMPTIED = terms.words("PositionReferenceIndicator ScanOptions")
"""Type 2 in some objects: there, and empty, where the source has them."""

PIXELS = terms.words(
    "SamplesPerPixel PhotometricInterpretation PlanarConfiguration Rows Columns BitsAllocated BitsStored HighBit "
    "PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit PixelData ModalityLUTSequence LUTDescriptor "
    "ModalityLUTType LUTData RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor "
    "BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData GreenPaletteColorLookupTableData "
    "BluePaletteColorLookupTableData"
)
"""What ``_pixels`` and ``_tables`` write, as numbers."""

OWN = terms.words("SOPClassUID PatientID PatientIdentityRemoved DeidentificationMethod BurnedInAnnotation")
ALLOWED = EMPTY | EMPTIED | PIXELS | OWN | frozenset(RULES)


def clean(data: bytes, key: SiteKey, patient: str) -> bytes:
    """The bytes of a new DICOM file with the same pixels and what the profile lets through.

    Args:
        data: a file that ``medimg.images`` reads.
        key: the site's.
        patient: pseudonym to write as PatientID.

    Raises:
        ImageError: BURNED_IN: the header says that there is text in the pixels, or it is a secondary capture (a
            screenshot, a scan of paper) whose header does not say that there is none.
    """
    source = dicom.parse(data)
    burned_in = dicom.text(source, "BurnedInAnnotation")
    if burned_in == "YES":
        raise ImageError(Refusal.BURNED_IN, "the header says that the pixels show text")
    if (dicom.text(source, "SOPClassUID") or "").startswith(_SECONDARY_CAPTURE) and burned_in != "NO":
        raise ImageError(Refusal.BURNED_IN, "a secondary capture whose header does not say that it shows no text")
    target = _header(source, key)
    target.SOPClassUID, target.PatientID = _sop_class(source), patient
    target.PatientIdentityRemoved, target.DeidentificationMethod = "YES", METHOD
    if burned_in == "NO":
        target.BurnedInAnnotation = "NO"
    layout = dicom.layout_of(source)
    _tables(source, target, layout)
    syntax = _pixels(source, target, layout)
    return _encode(target, syntax)


def _sop_class(source: Dataset) -> str:
    """The SOP class if it is the standard's, else Secondary Capture."""
    from pydicom.uid import UID, UID_dictionary

    uid = UID(dicom.text(source, "SOPClassUID") or "")
    known = uid in UID_dictionary and "Storage" in uid.name
    return str(uid) if known else _SECONDARY_CAPTURE


def _header(source: Dataset, key: SiteKey) -> Dataset:
    from pydicom.dataset import Dataset

    target = Dataset()
    for keyword in sorted(EMPTY):
        setattr(target, keyword, "")
    for keyword in sorted(EMPTIED):
        if keyword in source:
            setattr(target, keyword, None)
    for keyword, rule in RULES.items():
        if keyword in source:
            try:
                value = source.get(keyword)
                kept = None if value is None or value == "" else rule(value, key)
            except Exception:
                kept = None  # an element that does not parse is none that we need
            setattr(target, keyword, kept)
    return target


def _tables(source: Dataset, target: Dataset, layout: codecs.Layout) -> None:
    """Padding, modality table and palette: numbers, written anew in little endian."""
    from pydicom.dataset import Dataset

    number = "SS" if layout.signed else "US"
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = source.get(keyword)
        if isinstance(value, int):
            value = dicom.signed(value & 0xFFFF) if layout.signed else value & 0xFFFF
            target.add_new(keyword, number, value)
    if source.get("ModalityLUTSequence"):
        item, old = Dataset(), source.ModalityLUTSequence[0]
        _table(item, "LUTDescriptor", "LUTData", old, layout)
        kind = dicom.text(old, "ModalityLUTType")
        item.ModalityLUTType = kind if kind in terms.RESCALE_TYPES else "US"
        target.ModalityLUTSequence = [item]
    if layout.photometric == "PALETTE COLOR":
        for colour in ("Red", "Green", "Blue"):
            name = f"{colour}PaletteColorLookupTable"
            _table(target, f"{name}Descriptor", f"{name}Data", source, layout)


def _table(target: Dataset, descriptor: str, data: str, source: Dataset, layout: codecs.Layout) -> None:
    entries, first, bits = (int(value) & 0xFFFF for value in source[descriptor].value)
    table = dicom.table_of(source[data].value, entries, bits, layout.syntax == codecs.BIG_ENDIAN)
    numbers = [entries, first, bits]
    if layout.signed:
        numbers = [dicom.signed(value) for value in numbers]
    target.add_new(descriptor, "SS" if layout.signed else "US", numbers)
    target.add_new(data, "OW", _even(table.astype(table.dtype.newbyteorder("<")).tobytes()))


def _pixels(source: Dataset, target: Dataset, layout: codecs.Layout) -> str:
    """Write the image pixel module; return the transfer syntax that fits it."""
    from pydicom.encaps import encapsulate, get_frame

    photometric, syntax = layout.photometric, layout.syntax
    if syntax in codecs.NATIVE or syntax == codecs.RLE:
        pixels = codecs.stored(source, layout)
        raw = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
        if layout.allocated == 1:
            raw = np.packbits(pixels.ravel(), bitorder="little").tobytes()
        photometric, syntax = photometric.replace("YBR_FULL_422", "YBR_FULL"), _EXPLICIT
        target.add_new("PixelData", "OB" if layout.allocated <= 8 else "OW", _even(raw))
    else:
        frame = get_frame(source.PixelData, 0, number_of_frames=1)
        frame = clean_jpeg_2000(frame) if syntax in codecs.JPEG_2000 else clean_jpeg(frame)
        target.add_new("PixelData", "OB", encapsulate([frame], has_bot=False))
        target["PixelData"].is_undefined_length = True
    target.PhotometricInterpretation = photometric
    target.SamplesPerPixel = layout.samples
    if layout.samples > 1:
        target.PlanarConfiguration = 0
    target.Rows, target.Columns = layout.rows, layout.columns
    target.BitsAllocated, target.BitsStored, target.HighBit = layout.allocated, layout.stored, layout.stored - 1
    target.PixelRepresentation = int(layout.signed)
    return syntax


def _even(data: bytes) -> bytes:
    return data + bytes(len(data) % 2)


def _encode(target: Dataset, syntax: str) -> bytes:
    import pydicom
    from pydicom.dataset import FileMetaDataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = target.SOPClassUID
    meta.MediaStorageSOPInstanceUID = target.get("SOPInstanceUID", "2.25.0")
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = IMPLEMENTATION_NAME
    target.file_meta = meta
    target.preamble = bytes(128)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, target, enforce_file_format=True)
    return buffer.getvalue()
