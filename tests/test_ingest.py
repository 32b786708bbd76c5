import json
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from medimg.border.statement import write_batch
from medimg.errors import DataError, LabelsError
from medimg.ingest import JOURNAL, ingest
from medimg.params import Ingest
from medimg.records import DATA, INDEX, INDEX_SCHEMA, INGEST, QUARANTINE, read_table


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
    assert index["files"].value_counts().to_dict() == {1: 449, 2: 1}  # one instance is there twice
    assert summary["indexed_files"] == index["files"].sum() == 451
    assert index["sample"].is_monotonic_increasing
    assert index["batch"].eq(1).all()
    assert set(index["format"]) == {"dicom", "png"}
    assert set(index["photometric"]) == {"MONOCHROME1", "MONOCHROME2"}
    assert not index["pixel_sha256"].duplicated().any()


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
    (data / "images" / "slide.tif").write_bytes(b"II*\0" + bytes(100))
    (data / "images" / "more.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    ingest("finding", Ingest(allow_unverified=True, max_quarantined=0.1))
    summary = account()
    assert (summary["seen"], summary["indexed_files"], summary["not_an_image"]) == (34, 30, 1)
    assert summary["by_code"] == {"packed": 1, "truncated": 1, "unsupported": 1}
    bad = ["images/broken.png", "images/more.zip", "images/slide.tif"]
    found = pd.read_csv(QUARANTINE)
    assert found["path"].tolist() == bad and "TIFF" in found["detail"].tolist()[2]
    QUARANTINE.unlink()
    with pytest.raises(DataError, match=r"3 of 33 images cannot be used .* ingest.max_quarantined allows"):
        ingest("finding", Ingest(allow_unverified=True, max_quarantined=0.01))
    assert pd.read_csv(QUARANTINE)["path"].tolist() == bad  # who is to mend it must find it


def test_images_without_a_label_are_counted_and_too_many_are_refused(data):
    label(data, [f"{add(data, 'a.png')},P1,1", "images/gone.png,P3,0"])
    add(data, "b.png", 1)
    told = r"1 of 2 images have no label \(images/b.png\).* 1 rows match no image \(images/gone.png\)"
    with pytest.raises(LabelsError, match=told):
        ingest("finding", Ingest(allow_unverified=True))
    ingest("finding", Ingest(allow_unverified=True, max_unlabelled=0.5))
    assert account()["unlabelled"] == 1
    with pytest.raises(LabelsError, match=r"1 rows match no image \(images/gone.png\)"):
        ingest("finding", Ingest(allow_unverified=True, max_unlabelled=0.5, unmatched_rows="refuse"))


def test_a_row_without_a_key_matches_no_image(data):
    label(data, [f"{add(data, 'a.png')},P1,1", ",P2,0"])
    ingest("finding", Ingest(allow_unverified=True))
    found = account()["labels"]
    assert (found["rows"], found["unmatched"], found["unmatched_first"]) == (2, 1, ["line 3"])
    with pytest.raises(LabelsError, match="1 rows match no image"):
        ingest("finding", Ingest(allow_unverified=True, unmatched_rows="refuse"))


def test_header_and_labels_that_name_different_patients_are_a_conflict(study):
    labels = pd.read_csv("data/labels.csv", dtype=str)
    index = labels.index[labels["path"].str.endswith(".dcm")][1]
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
    with pytest.raises(DataError, match=r"medimg import IMAGES --labels \.\./labels\.csv"):
        ingest("finding", Ingest())


@pytest.mark.parametrize("age", ["unknown-Doe", "nan", "inf", "-5", "1e9"])
def test_an_age_that_is_no_number_of_years_is_named_without_its_value(data, age):
    label(data, [f"{add(data, 'a.png')},P1,{age},1"], "path,patient,age,finding")
    with pytest.raises(LabelsError, match="not a number of years") as caught:
        ingest("finding", Ingest(allow_unverified=True))
    assert age not in str(caught.value)


def test_what_was_read_is_not_read_again_and_the_index_is_the_same(study, monkeypatch):
    ingest("lesion", Ingest())
    first = {path: path.read_bytes() for path in (INDEX, QUARANTINE, INGEST)}
    read = []
    with monkeypatch.context() as patch:
        for name in ("over", "spread"):
            patch.setattr(f"medimg.ingest.reading.{name}", lambda do, paths, **limits: read.extend(paths) or iter(()))
        ingest("lesion", Ingest())
        DATA.rename("away")  # a disk that is not mounted is not taken for files that are gone
        with pytest.raises(DataError, match="does not exist"):
            ingest("lesion", Ingest())
        Path("away").rename(DATA)
        ingest("lesion", Ingest())
    assert read == []
    assert all(path.read_bytes() == data for path, data in first.items())
    JOURNAL.write_bytes(JOURNAL.read_bytes()[: JOURNAL.stat().st_size // 2])  # half written
    ingest("lesion", Ingest())
    assert all(path.read_bytes() == data for path, data in first.items())


def test_the_name_of_the_folder_can_be_the_label(data):
    for name in ("sick/a.png", "well/b.png", "well/c.png"):
        (data / "images" / name).parent.mkdir(exist_ok=True)
        add(data, name, ord(name[-5]))
    label(data, ["images/sick/a.png,P1"], "path,patient")
    ingest("finding", Ingest(allow_unverified=True, labels="folders"))
    index = read_table(INDEX, INDEX_SCHEMA).set_index("path")
    assert index["label"].to_dict() == {
        "images/sick/a.png": "sick",
        "images/well/b.png": "well",
        "images/well/c.png": "well",
    }
    assert index["patient"].dropna().to_dict() == {"images/sick/a.png": "P1"}


@pytest.mark.parametrize("key", ["instance", "series", "study"])
def test_labels_are_found_by_what_the_header_says(study, key):
    ingest("lesion", Ingest())
    before = read_table(INDEX, INDEX_SCHEMA)
    wanted = before.dropna(subset=[key]).drop_duplicates(key)
    Path("data/labels.csv").write_text(wanted[[key, "label"]].rename(columns={"label": "lesion"}).to_csv(index=False))
    ingest("lesion", Ingest(allow_unverified=True, max_unlabelled=1))
    index = read_table(INDEX, INDEX_SCHEMA)
    assert index["label"].isna().equals(before[key].isna())
    said = index.dropna(subset=["label"]).drop_duplicates(key).set_index(key)["label"]
    assert said.to_dict() == wanted.set_index(key)["label"].to_dict()
    assert account()["labels"]["unmatched"] == 0


def test_a_mask_belongs_to_its_image_and_must_fit_it(data):
    rows = [f"{add(data, f'{n}.png', n)},P{n},1,images/mask{n}.png" for n in range(3)]
    add(data, "mask0.png", 1)
    add(data, "mask1.png", 1, size=9)
    add(data, "mask9.png", 1)
    rows += [f"{add(data, '4.png', 4)},P4,1,", "images/gone.png,P9,1,images/mask9.png"]
    label(data, rows, "path,patient,x,mask")
    ingest("x", Ingest(allow_unverified=True, max_quarantined=1))
    index = read_table(INDEX, INDEX_SCHEMA).set_index("path")
    assert set(index.index) == {"images/0.png", "images/4.png"}
    assert index["mask"].dropna().to_dict() == {"images/0.png": "images/mask0.png"}
    refused = pd.read_csv(QUARANTINE).set_index("path")["code"].to_dict()
    assert refused == {
        "images/1.png": "geometry",
        "images/2.png": "conflict",
        "images/mask1.png": "conflict",
        "images/mask9.png": "conflict",
    }
    assert (account()["seen"], account()["indexed_files"], account()["samples"]) == (7, 3, 2)


def frames_of(folder, name, count, size=8):
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[name])
    dataset.PatientID = "P1"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = count, size, size
    dataset.PixelData = np.random.default_rng(len(name)).integers(0, 99, count * size * size, np.int16).tobytes()
    dataset.save_as(folder / "images" / name)
    return f"images/{name}"


def test_each_frame_of_a_file_has_its_frame_of_the_mask(data):
    image, other = frames_of(data, "a.dcm", 3), frames_of(data, "bb.dcm", 3)
    mask, short = frames_of(data, "a-mask.dcm", 3), frames_of(data, "bb-mask.dcm", 2)
    label(data, [f"{image},1,{mask}", f"{other},0,{short}"], "path,x,mask")
    ingest("x", Ingest(allow_unverified=True, frames="samples", max_quarantined=1))
    index = read_table(INDEX, INDEX_SCHEMA)
    assert sorted(index["frame"]) == [0, 1, 2]
    assert set(index["path"]) == {image} and set(index["mask"]) == {mask}
    refused = pd.read_csv(QUARANTINE).set_index("path")["code"].to_dict()
    assert refused == {other: "geometry", short: "conflict"}


def test_nan_in_nifti_is_refused_by_name_or_background_as_the_study_says(data):
    pixels = np.ones((8, 8, 1), np.float32)
    pixels[:2] = np.nan
    nibabel.save(nibabel.Nifti1Image(pixels * np.arange(8)[None, :, None], np.eye(4)), data / "images" / "a.nii")
    label(data, ["images/a.nii,P1,1", f"{add(data, 'b.png')},P2,0"])
    ingest("finding", Ingest(allow_unverified=True, max_quarantined=1))
    assert account()["by_code"] == {"not-a-number": 1}
    assert "ingest.nan: background" in QUARANTINE.read_text()
    ingest("finding", Ingest(allow_unverified=True, nan="background"))
    assert (account()["by_code"], account()["samples"]) == ({}, 2)
    assert read_table(INDEX, INDEX_SCHEMA).set_index("path")["orientation"]["images/a.nii"] == "PL"


def test_the_mask_in_rows_that_contradict_each_other_is_no_image(data):
    image, mask = add(data, "a.png"), add(data, "mask.png", 1)
    rows = [f"{image},P1,1,{mask}", f"{image},P1,0,{mask}", f"{add(data, 'b.png', 2)},P2,0,"]
    label(data, rows, "path,patient,x,mask")
    settings = Ingest(allow_unverified=True, contradicting_rows="drop", max_unlabelled=1, max_quarantined=1)
    ingest("x", settings)
    assert set(read_table(INDEX, INDEX_SCHEMA)["path"]) == {image, "images/b.png"}
    assert pd.read_csv(QUARANTINE)["path"].tolist() == [mask]


def test_one_instance_of_two_patients_is_a_conflict(study):
    folders = [sorted(folder.glob("*.dcm")) for folder in sorted(Path("data/images").iterdir())]
    one, other = [files[0] for files in folders if len(files) == 2][:2]
    copy = pydicom.dcmread(one)
    copy.PatientID = pydicom.dcmread(other, stop_before_pixels=True).PatientID
    copy.save_as("data/images/copy.dcm")
    ingest("lesion", Ingest(allow_unverified=True))
    assert account()["by_code"] == {"conflict": 2, "truncated": 1}


def test_names_folders_and_links_that_are_unusual_are_accounted_for(data):
    label(data, [f"{add(data, 'a.png')},P1,1"])
    (data / "elsewhere").symlink_to(data / "images")
    os.mkfifo(data / "pipe")
    Path(os.fsdecode(os.fsencode(data) + b"/caf\xe9.png")).write_bytes(b"\x89PNG")
    (data / "with, comma\nand line.txt").write_text("")
    ingest("finding", Ingest(allow_unverified=True, max_quarantined=1))
    assert account()["by_code"] == {"unreadable": 4}
    assert account()["seen"] == 5
    assert len(pd.read_csv(QUARANTINE)) == 4
