"""Pixels are not decoded twice where all that decides them is equal, byte for byte: as safe as decoding them again."""

import io
import random
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.data.data_manager import DATA_ROOT
from pydicom.dataset import Dataset

from medimg.border import deidentify as module
from medimg.border import profile
from medimg.border.deidentify import Rules, deidentify
from medimg.border.identity import SiteKey
from medimg.border.profile import Cleaned
from medimg.border.same import GROUPS, SAID, what_decides, what_decides_written
from medimg.errors import ImageError, NotAnImage
from medimg.images import dicom, lookup, pixel_sha256, quiet
from medimg.images.scan import scan

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
CORPUS = sorted(
    path
    for root in (Path(DATA_ROOT) / "test_files", SHARED / "dicom_corpus")
    for path in (root.rglob("*") if root.is_dir() else ())
    if path.is_file() and path.stat().st_size < 2**20
)
CT = (Path(DATA_ROOT) / "test_files" / "CT_small.dcm").read_bytes()
RULES = Rules(SiteKey(bytes(32)), each_image_is_a_patient=True)


def chosen() -> list[Path]:
    return random.Random(7).sample(CORPUS, min(120, len(CORPUS)))


def parsed(path: Path) -> Dataset | None:
    try:
        with quiet():
            return dicom.parse(path.read_bytes())
    except Exception:
        return None


def test_decoding_looks_into_no_element_that_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[int] = set()
    get, contains, item = Dataset.__getitem__, Dataset.__contains__, Dataset.get_item

    def note(key: object) -> None:
        tag = pydicom.datadict.tag_for_keyword(key) if isinstance(key, str) else key
        asked.add(int(tag or 0))  # type: ignore[call-overload]

    monkeypatch.setattr(Dataset, "__getitem__", lambda self, key: (note(key), get(self, key))[1])
    monkeypatch.setattr(Dataset, "__contains__", lambda self, key: (note(key), contains(self, key))[1])
    monkeypatch.setattr(Dataset, "get_item", lambda self, key, **how: (note(key), item(self, key, **how))[1])
    decoded = 0
    for path in chosen():
        dataset = parsed(path)
        if dataset is None:
            continue
        try:
            with quiet():
                layout = dicom.layout_of(dataset)
                asked.clear()
                dicom.values_of(dataset, dicom.layout_of(dataset), layout.frames - 1)
        except Exception:
            continue
        decoded += 1
        beyond = {tag for tag in asked if tag >> 16 not in GROUPS or tag in SAID}
        assert beyond <= {0x00020010, 0x00080005}, path.name  # the syntax, compared; the alphabet, of texts only
    assert decoded >= 20


def test_where_the_bytes_are_equal_so_are_the_pixels_decoded() -> None:
    equal = 0
    for path in chosen():
        data, dataset = path.read_bytes(), parsed(path)
        before = what_decides(dataset) if dataset is not None else None
        try:
            with quiet():
                clean = profile.clean(data, RULES.key, "P000000000000").data
                if before is None or what_decides_written(clean) != before:
                    continue
                shown = scan(data, "", pixel_sha256)[1]
        except (ImageError, NotAnImage):
            continue
        assert scan(clean, "", pixel_sha256)[1] == shown, path.name
        with quiet():
            assert what_decides(dicom.parse(clean)) == before, path.name  # pydicom's whole reader sees the same
        equal += 1
    assert equal >= 10


def changed(data: bytes, change: Callable[[Dataset], object]) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    change(dataset)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


JPEG_LS = (Path(DATA_ROOT) / "test_files" / "MR_small_jpeg_ls_lossless.dcm").read_bytes()

PALETTE = changed(
    (Path(DATA_ROOT) / "test_files" / "examples_palette.dcm").read_bytes(),
    lambda ds: setattr(ds, "BurnedInAnnotation", "NO"),
)


def flip(at: int) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        data = bytearray(dataset.PixelData)
        data[at] ^= 1
        dataset.PixelData = bytes(data)

    return change


@pytest.mark.parametrize(
    ("data", "change"),
    [
        (CT, flip(0)),
        (CT, flip(-2)),
        (CT, lambda ds: setattr(ds, "RescaleSlope", "2")),
        (CT, lambda ds: setattr(ds, "RescaleIntercept", "7")),
        (CT, lambda ds: delattr(ds, "RescaleIntercept")),
        (CT, lambda ds: (setattr(ds, "Rows", 64), setattr(ds, "Columns", 256))),
        (CT, lambda ds: setattr(ds, "PhotometricInterpretation", "MONOCHROME1")),
        (CT, lambda ds: setattr(ds, "PixelPaddingValue", int.from_bytes(ds.PixelData[:2], "little"))),
        (CT, lambda ds: (setattr(ds, "BitsStored", 8), setattr(ds, "HighBit", 7))),
        (JPEG_LS, flip(-100)),
        (PALETTE, flip(5)),
        (PALETTE, lambda ds: setattr(ds, "RedPaletteColorLookupTableData", ds.GreenPaletteColorLookupTableData)),
    ],
)
def test_a_file_that_decodes_to_other_pixels_is_refused(
    data: bytes, change: Callable[[Dataset], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert deidentify(data, "a", RULES).data  # as it is, it crosses
    clean = profile.clean

    def damaged(*arguments: object) -> Cleaned:
        return Cleaned(changed(clean(*arguments).data, change))  # type: ignore[arg-type]

    monkeypatch.setattr(profile, "clean", damaged)
    with pytest.raises(ImageError):
        deidentify(data, "a", RULES)


def test_another_transfer_syntax_is_no_equal_file() -> None:
    clean = profile.clean(CT, RULES.key, "P000000000000").data
    relabelled = clean.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0", 1)
    assert relabelled != clean and what_decides_written(relabelled) != what_decides_written(clean)


@pytest.mark.parametrize("data", [CT, JPEG_LS], ids=["native", "one codestream"])
def test_equal_files_are_decoded_once(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    read = dicom.read_parsed
    monkeypatch.setattr(module.dicom, "read_parsed", lambda dataset: (decoded.append(1), read(dataset))[1])
    deidentify(data, "a", RULES)
    assert len(decoded) == 1


def test_texts_are_those_that_pydicom_reads() -> None:
    keywords = "PatientID StudyInstanceUID Modality BodyPartExamined Manufacturer InstitutionName PatientAge StudyDate"
    keywords += " ImageType SOPClassUID RescaleSlope WindowCenter InstanceNumber PixelPaddingValue AcquisitionTime"
    compared = 0
    for path in chosen():
        ours, theirs = parsed(path), parsed(path)
        if ours is None or theirs is None:
            continue
        for keyword in keywords.split():
            try:
                found = theirs.get(keyword)
            except Exception:
                continue
            if isinstance(found, pydicom.multival.MultiValue):
                found = found[0] if found else None
            expected = None if found is None else str(found).strip(" \0") or None
            assert lookup.text(ours, keyword) == expected, (path.name, keyword)
            compared += expected is not None
    assert compared > 300
