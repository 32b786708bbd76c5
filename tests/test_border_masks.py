"""Masks and class folders cross the border: under pseudonyms, with their images, and only where they name nobody."""

import csv
import zipfile
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data.data_manager import DATA_ROOT
from studies import import_folder

from medimg.border.audit import audit
from medimg.border.identity import refused_path
from medimg.errors import BorderError, LabelsError
from medimg.images import read
from medimg.ingest import ingest
from medimg.params import Ingest
from medimg.records import INDEX, INDEX_SCHEMA, read_table


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIMG_SITE_KEY", str(tmp_path / "config" / "site.key"))
    monkeypatch.chdir(tmp_path)


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 24), np.uint8)).save(path)


def outline(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((24, 24), np.uint8)
    pixels[:size, :size] = 1
    Image.fromarray(pixels).save(path)


def rows(out: Path = Path("data")) -> list[dict[str, str]]:
    with (out / "labels.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sorted_into(classes: list[str], each: int = 3) -> Path:
    for number, name in enumerate(classes):
        for image in range(each):
            picture(Path("hospital", "Zebrafink", name, f"{number}-{image}.png"), 10 * number + image)
    return Path("hospital")


def with_masks(patients: dict[str, list[str]]) -> Path:
    """Images with a mask each, equal within a patient; returns the table."""
    lines = ["path;patient;finding;mask"]
    for number, (patient, images) in enumerate(patients.items()):
        for image in images:
            picture(Path("hospital", f"{image}.png"), zlib.crc32(f"{number}{image}".encode()))
            outline(Path("hospital/Zebrafink masks", f"{image}-mask.png"), number + 1)
            lines.append(f"{image}.png;{patient};{'yes' if number % 2 else 'no'};Zebrafink masks/{image}-mask.png")
    Path("labels.csv").write_text("\n".join(lines))
    return Path("labels.csv")


def test_the_folder_above_an_image_becomes_its_label():
    source = sorted_into(["covid", "normal"])
    done = import_folder(source, None, Path("data"), each_image_is_a_patient=True, class_folders="label")
    assert (done.imported, done.kept_columns, done.labels_unmatched) == (6, {"label": ["covid", "normal"]}, 0)
    assert sorted(row["label"] for row in rows()) == ["covid"] * 3 + ["normal"] * 3
    written = [path for path in Path("data").rglob("*") if path.is_file()]
    assert not any(b"Zebrafink" in path.read_bytes() or "Zebrafink" in path.as_posix() for path in written)
    ingest("label", Ingest())
    assert read_table(INDEX, INDEX_SCHEMA)["label"].value_counts().to_dict() == {"covid": 3, "normal": 3}


def test_folders_stand_beside_the_columns_of_a_table_in_an_archive_too():
    source = sorted_into(["covid", "normal"], each=4)
    with zipfile.ZipFile("images.zip", "w") as archive:
        for path in source.rglob("*.png"):
            archive.write(path, path.relative_to(source))
    names = [f"Zebrafink/{name}/{n}-{image}.png" for n, name in enumerate(("covid", "normal")) for image in range(4)]
    Path("labels.csv").write_text("path,patient,view\n" + "".join(f"{name},p{name},pa\n" for name in names))
    import_folder(Path("images.zip"), Path("labels.csv"), Path("data"), class_folders="label")
    assert {(row["label"], row["view"]) for row in rows()} == {("covid", "pa"), ("normal", "pa")}


@pytest.mark.parametrize(
    "classes", [["Zebrafink 1950", "normal"], [f"zq{chr(97 + n)}" for n in range(21)], ["2021-01-02", "normal"]]
)
def test_folders_that_may_name_somebody_are_refused_and_nothing_is_imported(classes):
    source = sorted_into(classes)
    with pytest.raises(BorderError, match="do not look like classes") as refusal:
        import_folder(source, None, Path("data"), each_image_is_a_patient=True, class_folders="label")
    assert not any(name in str(refusal.value) for name in set(classes) - {"normal"})
    assert not Path("data").exists()


def test_a_folder_for_each_patient_is_refused_also_when_the_column_has_crossed_before():
    import_folder(sorted_into(["covid", "normal"]), None, Path("data"), each_image_is_a_patient=True, class_folders="x")
    before = Path("data/labels.csv").read_bytes()
    picture(Path("later/Meier/1.png"), 100)
    with pytest.raises(BorderError, match="do not look like classes"):
        import_folder(Path("later"), None, Path("data"), each_image_is_a_patient=True, class_folders="x")
    assert Path("data/labels.csv").read_bytes() == before
    Path("later/Meier").rename("later/covid")
    import_folder(Path("later"), None, Path("data"), each_image_is_a_patient=True, class_folders="x")
    assert len(rows()) == 7


@pytest.mark.parametrize("column", ["patient", "Path", "mask", "patient_name", " "])
def test_a_name_for_the_column_that_has_a_meaning_or_speaks_of_a_person_is_refused(column):
    with pytest.raises(BorderError, match="--class-folders needs the name"):
        import_folder(sorted_into(["a"]), None, Path("data"), class_folders=column)


def test_masks_cross_with_their_images_and_the_index_names_them():
    table = with_masks({"p1": ["a", "b"], "p2": ["c"], "p3": ["d"], "p4": ["e"]})
    done = import_folder(Path("hospital"), table, Path("data"))
    assert (done.imported, done.masks, done.patients, done.refused) == (5, 5, 4, {})
    for row in rows():
        assert Path(row["mask"]).parent == Path(row["path"]).parent  # of its image's patient
        assert set(np.unique(read(Path("data", row["mask"])).pixels)) == {0, 1}
    assert len({row["mask"] for row in rows()}) == 5  # two equal masks of one patient are two files
    assert audit(Path("data"), ["labels.csv", *[row["mask"] for row in rows()]]) == []
    ingest("finding", Ingest())
    index = read_table(INDEX, INDEX_SCHEMA)
    assert dict(zip(index["path"], index["mask"], strict=True)) == {row["path"]: row["mask"] for row in rows()}
    assert import_folder(Path("hospital"), table, Path("data")).batch is None


def test_without_a_patient_a_mask_is_of_its_images_own():
    table = with_masks({"": ["a", "b"]})
    done = import_folder(Path("hospital"), table, Path("data"), each_image_is_a_patient=True)
    assert (done.imported, done.masks, done.patients, done.nobody) == (2, 2, 2, 2)
    assert all(Path(row["mask"]).parent == Path(row["path"]).parent for row in rows())


def test_a_mask_drawn_anew_takes_the_old_ones_place_which_is_quarantined():
    table = with_masks({"p1": ["a"], "p2": ["b"], "p3": ["c"], "p4": ["d"]})
    import_folder(Path("hospital"), table, Path("data"))
    old = {row["path"]: row["mask"] for row in rows()}
    outline(Path("hospital/Zebrafink masks/a-mask.png"), 20)
    done = import_folder(Path("hospital"), table, Path("data"))
    assert (done.imported, done.masks, done.relabelled) == (0, 1, 1)
    ingest("finding", Ingest(max_quarantined=0.5))
    index = read_table(INDEX, INDEX_SCHEMA)
    assert len(index) == 4
    assert sum(old[path] != mask for path, mask in zip(index["path"], index["mask"], strict=True)) == 1


def test_a_mask_whose_image_did_not_cross_or_of_two_patients_stays_behind():
    table = with_masks({"p1": ["a"], "p2": ["b"], "p3": ["c"]})
    table.write_text(table.read_text().replace("b-mask", "a-mask"))
    Path("hospital/c.png").write_bytes(Path("hospital/c.png").read_bytes()[:60])
    Path("hospital/Zebrafink masks/b-mask.png").unlink()
    done = import_folder(Path("hospital"), table, Path("data"))
    assert (done.imported, done.masks) == (2, 0)
    assert "conflict" in done.refused
    assert refused_path().read_text().count("-mask.png,conflict") == 2
    assert all("mask" not in row for row in rows())


def test_a_mask_that_is_not_there_or_an_image_too_is_refused_before_anything_is_written():
    table = with_masks({"p1": ["a"], "p2": ["b"]})
    text = table.read_text()
    table.write_text(text.replace("a-mask", "none"))
    with pytest.raises(LabelsError, match="1 files that are not in the source"):
        import_folder(Path("hospital"), table, Path("data"))
    table.write_text(text.replace("Zebrafink masks/a-mask.png", "b.png"))
    with pytest.raises(LabelsError, match="1 files as an image"):
        import_folder(Path("hospital"), table, Path("data"))
    assert not Path("data").exists()


def test_masks_in_an_archive_cross_as_from_its_folder():
    table = with_masks({"p1": ["a"], "p2": ["b"]})
    with zipfile.ZipFile("images.zip", "w") as archive:
        for path in sorted(Path("hospital").rglob("*.png"), reverse=True):
            archive.write(path, path.relative_to("hospital"))
    import_folder(Path("hospital"), table, Path("one/data"))
    import_folder(Path("images.zip"), table, Path("two/data"))
    assert rows(Path("one/data")) == rows(Path("two/data"))


def test_volumes_cross_with_their_masks_voxel_by_voxel():
    for number in range(2):
        for kind, top in (("images", 1000), ("masks", 2)):
            voxels = np.random.default_rng(number).integers(0, top, (5, 6, 7), np.int16)
            path = Path("hospital", kind, f"{number}.nii.gz")
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 2.0, 3.0, 1.0])), path)
    lines = [f"images/{number}.nii.gz,masks/{number}.nii.gz\n" for number in range(2)]
    Path("labels.csv").write_text("path,mask\n" + "".join(lines))
    options = {"each_image_is_a_patient": True, "class_folders": "label"}
    done = import_folder(Path("hospital"), Path("labels.csv"), Path("data"), **options)
    assert (done.imported, done.masks, done.patients, done.refused) == (2, 2, 2, {})
    ingest("label", Ingest(sample="volume"))
    index = read_table(INDEX, INDEX_SCHEMA)
    assert index["mask"].notna().all() and set(index["depth"]) == {7}
    for column, kind in (("path", "images"), ("mask", "masks")):
        written = {nibabel.load(Path("data", path)).get_fdata().tobytes() for path in index[column]}
        assert written == {nibabel.load(path).get_fdata().tobytes() for path in Path("hospital", kind).iterdir()}


def test_a_dicom_file_of_several_frames_crosses():
    found = next(Path(DATA_ROOT).rglob("SC_rgb_rle_2frame.dcm"))
    Path("hospital").mkdir()
    before = pydicom.dcmread(found)
    before.BurnedInAnnotation = "NO"
    before.save_as("hospital/1.dcm")
    done = import_folder(Path("hospital"), None, Path("data"))
    assert (done.imported, done.refused) == (1, {})
    after = pydicom.dcmread(Path("data", rows()[0]["path"]))
    assert np.array_equal(before.pixel_array, after.pixel_array) and before.pixel_array.shape[0] == 2
