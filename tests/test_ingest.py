import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from medimg.border.statement import write_batch
from medimg.errors import DataError, LabelsError
from medimg.ingest import ingest
from medimg.params import Ingest
from medimg.records import INDEX, INDEX_SCHEMA, INGEST, QUARANTINE, read_table


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty study of PNG files; returns a function that adds one and a function that seals the import."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "images").mkdir(parents=True)
    return tmp_path / "data"


def add(data, name, value=0, size=8):
    path = data / "images" / name
    Image.fromarray(np.full((size, size), value, np.uint8)).save(path, format="PNG")
    return f"images/{name}"


def label(data, rows, columns="path,patient,finding"):
    (data / "labels.csv").write_text("\n".join([columns, *rows]) + "\n")


def seal(data):
    paths = [path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()]
    write_batch(data, 1, {"profile": "test"}, paths)


def account():
    return json.loads(INGEST.read_text())


def test_the_demo_study_is_accounted_for_file_by_file(study):
    ingest("lesion", Ingest())
    summary = account()
    files = [path for path in Path("data/images").rglob("*") if path.is_file()]
    assert summary["seen"] == len(files)
    assert summary["seen"] == summary["indexed_files"] + summary["not_an_image"] + summary["quarantined"]
    assert summary["by_code"] == {"truncated": 1}
    assert summary["patients"] == 300
    assert summary["unverified"] == 0
    refused = pd.read_csv(QUARANTINE)
    assert refused["code"].tolist() == ["truncated"]
    index = read_table(INDEX, INDEX_SCHEMA)
    assert set(index["path"]) | set(refused["path"]) == {path.relative_to("data").as_posix() for path in files}
    assert index["sample"].is_monotonic_increasing
    assert index["batch"].eq(1).all()
    assert set(index["format"]) == {"dicom", "png"}
    assert set(index["photometric"]) == {"MONOCHROME1", "MONOCHROME2"}
    assert index["pixel_sha256"].duplicated().sum() == 1


def test_the_index_is_byte_equal_when_files_are_met_in_another_order(study, tmp_path):
    ingest("lesion", Ingest())
    first = INDEX.read_bytes()
    shutil.copytree("data", "again", copy_function=shutil.copyfile)
    shutil.rmtree("data")
    Path("again").rename("data")
    ingest("lesion", Ingest())
    assert INDEX.read_bytes() == first


def test_files_that_no_import_vouches_for_are_refused_or_reported(data):
    label(data, [f"{add(data, 'a.png')},P1,1", f"{add(data, 'b.png', 1)},P2,0"])
    with pytest.raises(DataError, match=r"3 of 3 files .* did not come through an import"):
        ingest("finding", Ingest())
    assert not INDEX.exists()
    ingest("finding", Ingest(allow_unverified=True))
    assert account()["unverified"] == 3
    seal(data)
    ingest("finding", Ingest())
    assert account()["unverified"] == 0
    add(data, "a.png", 2)
    with pytest.raises(DataError, match=r"1 of 3 files .*labels.csv is not among them"):
        ingest("finding", Ingest())


def test_a_changed_manifest_is_refused(data):
    label(data, [f"{add(data, 'a.png')},P1,1"])
    seal(data)
    with (data / "imports" / "0001.csv").open("a") as manifest:
        manifest.write("images/b.png,00\n")
    with pytest.raises(DataError, match="not the one that its import statement names"):
        ingest("finding", Ingest())


def test_what_is_no_image_is_counted_and_what_is_broken_is_quarantined_with_its_code(data):
    rows = [f"{add(data, f'{number}.png', number)},P{number},{number % 2}" for number in range(30)]
    label(data, rows)
    (data / "images" / "notes.txt").write_text("nothing to see")
    (data / "images" / "broken.png").write_bytes((data / "images" / "0.png").read_bytes()[:-20])
    ingest("finding", Ingest(allow_unverified=True))
    summary = account()
    assert (summary["seen"], summary["indexed_files"], summary["not_an_image"], summary["quarantined"]) == (
        32,
        30,
        1,
        1,
    )
    assert pd.read_csv(QUARANTINE)["path"].tolist() == ["images/broken.png"]
    with pytest.raises(DataError, match=r"1 of 31 images cannot be used .* ingest.max_quarantined allows"):
        ingest("finding", Ingest(allow_unverified=True, max_quarantined=0.01))


def test_images_without_a_label_are_counted_and_too_many_are_refused(data):
    label(data, [f"{add(data, 'a.png')},P1,1", "images/gone.png,P3,0"])
    add(data, "b.png", 1)
    with pytest.raises(LabelsError, match=r"1 of 2 images have no value in column 'finding'.* 1 rows match no image"):
        ingest("finding", Ingest(allow_unverified=True))
    ingest("finding", Ingest(allow_unverified=True, max_unlabelled=0.5))
    assert account()["unlabelled"] == 1


def test_header_and_labels_that_name_different_patients_are_a_conflict(study):
    labels = pd.read_csv("data/labels.csv", dtype=str)
    index = labels.index[labels["path"].str.endswith(".dcm")][0]
    labels.loc[index, "patient"] = "P000000000000"
    labels.to_csv("data/labels.csv", index=False)
    ingest("lesion", Ingest(allow_unverified=True))
    assert account()["by_code"] == {"conflict": 1, "truncated": 1}


def test_one_instance_with_two_sets_of_pixels_is_a_conflict_and_neither_is_used(study):
    folders = [sorted(folder.glob("*.dcm")) for folder in sorted(Path("data/images").iterdir())]
    one, other = next(files for files in folders if len(files) == 2)
    first, second = pydicom.dcmread(one), pydicom.dcmread(other)
    assert first.SOPInstanceUID != second.SOPInstanceUID
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    second.save_as(other)
    ingest("lesion", Ingest(allow_unverified=True))
    assert account()["by_code"] == {"conflict": 2, "truncated": 1}


def test_a_file_that_cannot_be_opened_is_quarantined(study):
    Path("data/images/gone.dcm").symlink_to("nowhere")
    ingest("lesion", Ingest(allow_unverified=True))
    assert account()["by_code"] == {"truncated": 1, "unreadable": 1}
    with pytest.raises(DataError, match="did not come through an import"):
        ingest("lesion", Ingest())


@pytest.mark.parametrize("make", [None, "empty"])
def test_no_data_says_how_to_bring_some(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    if make:
        (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=r"medimg import IMAGES --labels labels\.csv"):
        ingest("finding", Ingest())


def test_an_age_that_is_no_number_is_named_without_its_value(data):
    label(data, [f"{add(data, 'a.png')},P1,unknown-Doe,1"], "path,patient,age,finding")
    with pytest.raises(LabelsError, match="not a number of years") as caught:
        ingest("finding", Ingest(allow_unverified=True))
    assert "Doe" not in str(caught.value)
