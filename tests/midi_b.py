"""An answer key in the manner of MIDI-B: what must go and what must stay, from Table E.1-1, and how a tool did by it.

It shares no code with the border: the table's facts are read as text, objects are made and read with pydicom alone.
"""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pydicom
from pydicom.datadict import DicomDictionary, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import Tag

TABLE = Path(__file__).parent.parent / "medimg" / "border" / "standard" / "actions.csv"
SECRET = "Zebrafink"
NUMBERS = {"DS": "1.5", "IS": 3, "FD": 1.5, "FL": 1.5, "US": 3, "SS": -3, "UL": 3, "SL": -3}
TERMS = {  # attributes that no row lists, with values that PS3.3 defines
    "Modality": "MR", "BodyPartExamined": "CHEST", "PatientPosition": "HFS", "Laterality": "L",
    "ScanningSequence": "SE", "SequenceVariant": "SK", "MRAcquisitionType": "2D", "ViewPosition": "AP",
    "ConversionType": "DV",
    "PresentationIntentType": "FOR PRESENTATION", "LossyImageCompression": "00", "RescaleType": "HU",
    "PhotometricInterpretation": "MONOCHROME2", "VolumetricProperties": "VOLUME", "PixelPresentation": "MONOCHROME",
    "SpecificCharacterSet": "ISO_IR 100", "BurnedInAnnotation": "NO", "ScanOptions": "FC",
}  # fmt: skip
SAMPLES = {
    **NUMBERS,
    "DA": "20210302",
    "TM": "101112",
    "DT": "20210302101112",
    "AS": "063Y",
    "UI": "1.2.276.0.7230010.3.1.4.99",
    "PN": f"{SECRET}^Anna",
    "OB": SECRET.encode() + b"\0",
    "UN": SECRET.encode() + b"\0",
    "UR": f"http://{SECRET}",
}
OWN = {0x00100020, 0x00120062, 0x00120063, 0x00120064, 0x00280303}
"""What a de-identified file must say anew."""
IMAGE = {0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011}


@dataclass
class Score:
    """How many actions were asked for, and which were not done."""

    asked: int = 0
    misses: list[str] = field(default_factory=list)

    @property
    def right(self) -> float:
        return 1 - len(self.misses) / self.asked


def rows() -> Iterator[tuple[int, str, dict[str, str]]]:
    with TABLE.open(newline="") as file:
        for row in csv.DictReader(file):
            tag = row["tag"]
            if tag == "private":
                yield 0x00991001, "LO", row
            elif "X" in tag:
                yield int(tag.replace("XXXX", "3000").replace("XX", "00"), 16), "OW", row
            elif int(tag, 16) not in OWN and not tag.startswith("0000") and not tag.startswith("0002"):
                yield int(tag, 16), dictionary_VR(int(tag, 16)).split(" or ")[0], row


def listed() -> set[int]:
    return {tag for tag, _, _ in rows()}


def retained() -> Iterator[tuple[int, str, object]]:
    """Public attributes that no row lists and that cannot hold a word: numbers, and the standard's own terms."""
    known = listed() | OWN | IMAGE
    for tag, (vr, vm, _, retired, _) in DicomDictionary.items():
        group = tag >> 16
        if (
            vr in NUMBERS
            and tag not in known
            and group >= 8
            and tag & 0xFFFF
            and not retired
            and group not in (0x0028,)
        ):
            value = NUMBERS[vr]
            low = int(vm.split("-")[0])
            yield tag, vr, [value] * low if low > 1 else value
    for keyword, text in TERMS.items():
        yield int(Tag(keyword)), "CS", text


def add(dataset: Dataset, tag: int, vr: str, value: object) -> None:
    if tag >> 16 & 1:
        dataset.private_block(tag >> 16, SECRET, create=True).add_new(tag & 0xFF, vr, value)
    elif Tag(tag) not in dataset:
        dataset.add_new(tag, vr, value)


def sample(vr: str) -> object:
    if vr == "SQ":
        item = Dataset()
        item.PatientComments = SECRET
        item.ReferencedSOPInstanceUID = SAMPLES["UI"]
        return [item]
    return SECRET.encode() + b"\0" if vr == "OW" else SAMPLES.get(vr, SECRET)


def question(base: Path, nested: bool) -> bytes:
    """An object of ``base`` with every listed and every retained attribute, at its top or in a sequence of it."""
    dataset = pydicom.dcmread(base)
    place = Dataset() if nested else dataset
    for tag, vr, _ in rows():
        if Tag(tag) in place and vr not in ("SQ",):
            del place[Tag(tag)]
        add(place, tag, vr, sample(vr))
    for tag, vr, value in retained():
        if not nested and Tag(tag) in dataset:
            continue
        add(place, tag, vr, value)
    if nested:
        dataset.ReferencedSeriesSequence = [place]
    buffer = io.BytesIO()
    with pydicom.config.disable_value_validation():
        dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def mark(before: bytes, after: bytes, nested: bool, options: set[str]) -> Score:
    """Hold an answer against the key; ``options`` are names of columns of the table that are in use."""
    old, new = pydicom.dcmread(io.BytesIO(before)), pydicom.dcmread(io.BytesIO(after))
    pixels = old.PixelData, new.PixelData
    if nested:
        old, new = old.ReferencedSeriesSequence[0], new.ReferencedSeriesSequence[0]
    score, days = Score(), set()
    for tag, vr, row in rows():
        score.asked += 1
        why = _wrong(old, new, tag, vr, row, options, days)
        if why:
            score.misses.append(f"({tag >> 16:04x},{tag & 0xFFFF:04x}) {row['basic']}: {why}")
    for tag, _, _ in retained():
        if Tag(tag) not in old:
            continue
        score.asked += 1
        if Tag(tag) not in new or new[Tag(tag)].value != old[Tag(tag)].value:
            score.misses.append(f"({tag >> 16:04x},{tag & 0xFFFF:04x}): did not stay")
    score.asked += 2
    if len(days) > 1:
        score.misses.append("dates were moved by different numbers of days")
    if pixels[0] != pixels[1]:
        score.misses.append("the pixels changed")
    return score


def _wrong(
    old: Dataset, new: Dataset, tag: int, vr: str, row: dict[str, str], options: set[str], days: set[int]
) -> str:
    if tag >> 16 & 1:
        return "stayed" if any(element.tag.is_private for element in new) else ""
    there = Tag(tag) in new
    value = new[Tag(tag)].value if there else None
    if "modified_dates" in options and row["modified_dates"] and vr in ("DA", "TM", "DT"):
        if not there or not value:
            return "gone, although dates are kept"
        if vr != "TM":
            days.add((datetime.strptime(str(value)[:8], "%Y%m%d") - datetime(2021, 3, 2)).days)
        return "not moved" if vr != "TM" and value == old[Tag(tag)].value else ""
    if "patient" in options and tag in (0x00100040, 0x00101010):
        return "" if tag == 0x00100040 or value == "063Y" else "gone, although age is kept"
    if not there:
        return "" if "X" in row["basic"] else "gone"
    if row["basic"] == "X":
        return "" if "descriptors" in options and row["descriptors"] and SECRET not in str(new[Tag(tag)]) else "stayed"
    if SECRET in str(new[Tag(tag)]) or (vr != "SQ" and value == old[Tag(tag)].value):
        return "holds what it held"
    if row["basic"] == "U" and (not value or str(value) == SAMPLES["UI"]):
        return "no new UID"
    return "empty" if row["basic"] == "D" and not value else ""


def marks(tool: Callable[[bytes], bytes], bases: list[Path], options: set[str]) -> Score:
    """The sum over objects of several kinds, at the top and nested."""
    total = Score()
    for base in bases:
        for nested in (False, True):
            before = question(base, nested)
            found = mark(before, tool(before), nested, options)
            total.asked += found.asked
            total.misses += [f"{base.stem}{' nested' * nested} {miss}" for miss in found.misses]
    return total
