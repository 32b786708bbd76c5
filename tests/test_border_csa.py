"""Siemens mosaics keep what cuts them into slices, and nothing else of the maker's private header."""

import io
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.dataset import Dataset
from series import MR, block, csa, image, write
from studies import import_folder

from medimg.border import profile
from medimg.border.audit import audit
from medimg.border.examine import examine
from medimg.border.identity import SiteKey
from medimg.border.options import Policy
from medimg.images.headers import header
from medimg.images.series import assemble
from medimg.images.volume import Volume, read_volume
from medimg.ingest import ingest
from medimg.params import Ingest
from medimg.params.geometry import Geometry
from medimg.records import INDEX, INDEX_SCHEMA, QUARANTINE, read_table

SIEMENS = Path(__file__).parent.parent.parent / "shared" / "data" / "dcm_qa_nih" / "In" / "20180918Si"
KEY = SiteKey(bytes(32))
OBLIQUE = (-0.6, 0.0, 0.8)


def mosaic(said: bytes, block_at: int = 0x10, **elements: object) -> Dataset:
    sheet = np.zeros((15, 12), np.int16)
    for number, tile in enumerate(block(5)):
        top, left = number // 3 * 5, number % 3 * 4
        sheet[top : top + 5, left : left + 4] = tile
    kind = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"], "SOPClassUID": MR, "Modality": "MR"}
    where = {"ImagePositionPatient": [9.0, 17.5, 7.0], "SpacingBetweenSlices": 2}
    target = image(sheet, **(kind | where | elements))
    target.add_new(0x00290000 | block_at, "LO", "SIEMENS CSA HEADER")
    target.add_new(0x00290000 | block_at << 8 | 0x08, "CS", "IMAGE NUM 4")
    target.add_new(0x00290000 | block_at << 8 | 0x10, "OB", said)
    return target


def talkative(said: bytes) -> bytes:
    """The same header with what a scanner writes beside the two facts: bytes in gaps, and a third element."""
    more = csa(7, (0, 0, 1))[16:]
    more = more.replace(b"NumberOfImagesInMosaic", b"PatientsNameOfMosaics\0").replace(
        b"SliceNormalVector", b"HUBER^ANNA^VECTOR"
    )
    return said[:8] + b"\4\0\0\0" + said[12:] + more + b"HUBER^ANNA"


def crossed(dataset: Dataset, policy: Policy | None = None) -> Dataset:
    dataset.save_as(buffer := io.BytesIO(), enforce_file_format=True)
    data = profile.clean(buffer.getvalue(), KEY, "P1", policy).data
    assert b"HUBER" not in data
    return pydicom.dcmread(io.BytesIO(data))


def private(dataset: Dataset) -> list[int]:
    return [int(element.tag) for element in dataset if element.tag.is_private]


@pytest.mark.parametrize("normal", [(0, 0, 1), (0, 0, -1), OBLIQUE])
@pytest.mark.parametrize("block_at", [0x10, 0x3F])
def test_two_facts_of_the_header_cross_and_an_independent_reader_finds_them(
    normal: tuple[float, float, float], block_at: int
) -> None:
    found = crossed(mosaic(talkative(csa(5, normal)), block_at))
    assert private(found) == [0x00290010, 0x00291010]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is experimental
        from nibabel.nicom import csareader
    tags = csareader.read(found[0x00291010].value)["tags"]
    assert {name: tag["items"] for name, tag in tags.items()} == {
        "NumberOfImagesInMosaic": [5],
        "SliceNormalVector": list(normal),
    }
    assert crossed(mosaic(csa(5, normal)))[0x00291010].value == found[0x00291010].value
    off = Policy(**dict.fromkeys(Policy.model_fields, False))
    assert crossed(mosaic(csa(5, normal)), off)[0x00291010].value == found[0x00291010].value


def test_what_is_no_mosaic_or_no_number_leaves_no_private_element() -> None:
    good = csa(5, (0, 0, 1))
    assert not private(crossed(mosaic(good, ImageType=["ORIGINAL", "PRIMARY", "M"])))
    bad = (
        b"",
        b"SV10",
        good[:90],
        csa(0, (0, 0, 1)),
        csa(5, (0, 0, 2)),
        csa(5, (float("nan"), 0, 1)),
        csa(99999, (0, 0, 1)),
    )
    for said in (*bad, good.replace(b"5\0", b"X\0"), good.replace(b"1.00000000", b"HUBER^ANNA")):
        assert not private(crossed(mosaic(said)))


def written(folder: Path, *targets: Dataset) -> Path:
    folder.mkdir()
    for number, target in enumerate(targets):
        write(folder / f"{number}.dcm", target)
    return folder


def volumes(folder: Path) -> list[Volume]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix == ".dcm")
    plans, refused = assemble([header(path) for path in paths], Geometry())
    assert not refused
    found = [read_volume(plan) for plan in plans]
    return sorted(found, key=lambda volume: volume.pixels.tobytes())


def same(before: list[Volume], after: list[Volume]) -> bool:
    pairs = zip(before, after, strict=True)
    return all(np.array_equal(a.pixels, b.pixels) and np.array_equal(a.affine, b.affine) for a, b in pairs)


def test_an_imported_mosaic_is_the_volume_that_it_was_and_its_audit_holds_the_header(tmp_path: Path) -> None:
    for number, normal in enumerate([(0, 0, 1), (0, 0, -1)]):
        source = written(tmp_path / f"a{number}", mosaic(talkative(csa(5, normal)), 0x12))
        out = tmp_path / f"study{number}" / "data"
        import_folder(source, None, out)
        assert examine(out).findings == []
        assert same(volumes(source), volumes(out / "images"))
    (path,) = (out / "images").rglob("*.dcm")
    whole, said = path.read_bytes(), pydicom.dcmread(path)[0x00291010].value
    for change in (
        talkative(said),
        said + b"HU",
        said.replace(b"IS", b"HU"),
        csa(5, (0, 0, 1)),
        said[:-2] + b"HU",
    ):
        path.write_bytes(whole)
        assert audit(out, [path.relative_to(out).as_posix()]) == []
        dataset = pydicom.dcmread(path)
        dataset[0x00291010].value = change
        dataset.save_as(path)
        assert len(audit(out, [path.relative_to(out).as_posix()])) == 1


def indexed(folder: Path) -> pd.DataFrame:
    chosen = Ingest(sample="volume", allow_unverified=True, max_unlabelled=1, max_quarantined=1)
    ingest("finding", chosen)
    assert pd.read_csv(QUARANTINE).empty, folder
    columns = ["pixel_sha256", "depth", "height", "width", "spacing_slice", "spacing_row", "orientation", "files"]
    return read_table(INDEX, INDEX_SCHEMA)[columns].sort_values("pixel_sha256", ignore_index=True)


@pytest.mark.skipif(not SIEMENS.is_dir(), reason="the Siemens mosaics are not here")
def test_real_mosaics_are_the_same_volumes_behind_the_border(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "study" / "data"
    assert import_folder(SIEMENS, None, out).imported == 8
    (tmp_path / "plain").mkdir()
    shutil.copytree(SIEMENS, tmp_path / "plain" / "data")
    found = {}
    for name in ("plain", "study"):
        (tmp_path / name / "data" / "labels.csv").write_text("patient,finding\nnobody,1\n")
        monkeypatch.chdir(tmp_path / name)
        found[name] = indexed(Path(name))
    assert len(found["plain"]) == 8
    pd.testing.assert_frame_equal(found["plain"], found["study"])
    assert same(volumes(SIEMENS), volumes(out / "images"))
