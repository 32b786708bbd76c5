"""First contact: a folder of images becomes a study whose parameters fit it, or a sentence says what is missing."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nibabel.nifti1 import Nifti1Image
from pictures import CANARY, ct
from PIL import Image
from studies import run_stage

from medimg.contact import Wishes, first_contact
from medimg.errors import BorderError, LabelsError, MedimgError, ParamsError
from medimg.params import load

pytestmark = pytest.mark.slow  # Git and DVC are asked for each study


def pictures(folder: Path, names: list[str], size: int = 40, colour: bool = False) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (size, size - 8, 3) if colour else (size, size - 8)
        Image.fromarray(np.random.default_rng(number).integers(0, 255, shape, np.uint8)).save(path)


def table(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve pictures of six patients with two columns that can be labels."""
    folder = tmp_path / "images"
    names = [f"{number}.png" for number in range(12)]
    pictures(folder, names)
    rows = [
        {"path": name, "patient": f"{CANARY}{at // 2}", "finding": "no" if at < 6 else "nodule", "grade": at // 2 % 3}
        for at, name in enumerate(names)
    ]
    table(folder / "labels.csv", rows)
    return folder


def test_it_takes_the_table_beside_the_images_and_writes_what_it_chose_and_why(images: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    first_contact(study, str(images), Wishes(label="finding"))
    params = load(study / "params.yaml")
    assert (params.study.task, params.study.label, params.study.positive) == ("binary", "finding", "nodule")
    assert params.study.unit == "patient" and params.preprocess.size == 64
    assert (params.model.name, params.model.weights) == ("resnet18", "none")
    assert params.augment.preset == "mild"
    text = (study / "params.yaml").read_text()
    assert "# the median of the longer side is 40 pixels" in text and "no, is negative" in text
    assert CANARY not in text
    assert (study / "data.dvc").is_file() and len(list((study / "data/images").rglob("*.png"))) == 12
    status = subprocess.run([sys.executable, "-m", "dvc", "status"], cwd=study, capture_output=True, text=True)
    assert status.returncode == 0, status.stderr


def test_what_it_cannot_know_is_asked_or_named_in_an_error_that_leaves_nothing(images: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    with pytest.raises(LabelsError, match=r"finding, grade.*--label"):
        first_contact(study, str(images), Wishes())
    assert not study.exists()
    asked = []

    def ask(text: str, allowed: list[str]) -> str:
        asked.append(text)
        return allowed[-1]

    first_contact(study, str(images), Wishes(), ask)
    params = load(study / "params.yaml")
    assert asked == ["Which column is the label?"]
    assert (params.study.task, params.study.classes) == ("multiclass", ("0", "1", "2"))


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        (Wishes(label="colour"), "No column colour.*finding, grade"),
        (Wishes(label="finding", positive="mass"), "no value mass.*no, nodule"),
        (Wishes(labels=Path("nowhere.csv")), "nowhere.csv"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(
    images: Path, tmp_path: Path, wishes: Wishes, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # and not in a study, where no table may lie
    with pytest.raises(MedimgError, match=sentence):
        first_contact(tmp_path / "study", str(images), wishes)
    assert not (tmp_path / "study").exists()


def test_class_folders_are_labels_and_colour_is_kept(tmp_path: Path) -> None:
    pictures(tmp_path / "in", [f"{name}/{at}.png" for name in ("melanoma", "benign") for at in range(5)], colour=True)
    with pytest.raises(BorderError, match="each-image-is-a-patient"):
        first_contact(tmp_path / "study", str(tmp_path / "in"), Wishes())
    first_contact(tmp_path / "study", str(tmp_path / "in"), Wishes(each_image_is_a_patient=True, question="Is it bad?"))
    params = load(tmp_path / "study/params.yaml")
    assert (params.study.label, params.study.positive, params.study.question) == ("label", "melanoma", "Is it bad?")
    assert params.preprocess.channels == 3 and params.study.unit == "image"


def test_a_note_beside_class_folders_is_no_class(tmp_path: Path) -> None:
    pictures(tmp_path / "in", [f"{name}/{at}.png" for name in ("melanoma", "benign") for at in range(5)])
    (tmp_path / "in/README").write_text("from the ward")
    first_contact(tmp_path / "study", str(tmp_path / "in"), Wishes(each_image_is_a_patient=True))
    assert load(tmp_path / "study/params.yaml").study.positive == "melanoma"


def test_a_table_of_a_spreadsheet_is_found_and_its_file_names_are_paths(images: Path, tmp_path: Path) -> None:
    lines = (images / "labels.csv").read_text().replace("path,", "Datei,", 1).replace(",", ";").splitlines()
    (images / "labels.csv").unlink()
    (images / "Befunde.CSV").write_bytes(("\ufeff" + "\r\n".join([*lines, lines[3], ""])).encode())
    first_contact(tmp_path / "study", str(images), Wishes(label="finding"))
    params = load(tmp_path / "study/params.yaml")
    assert (params.study.positive, params.study.unit) == ("nodule", "patient")
    with (tmp_path / "study/data/labels.csv").open(newline="") as file:
        assert sorted(row["finding"] for row in csv.DictReader(file)) == ["no"] * 6 + ["nodule"] * 6


def test_a_table_that_cannot_be_used_is_named_with_its_reason(images: Path, tmp_path: Path) -> None:
    rows = (images / "labels.csv").read_text()
    for text, why in (
        (rows.replace("path,patient", "picture,who", 1).encode(), "labels.csv has none of these columns"),
        (rows.replace("nodule", "Kn\u00f6tchen").encode("cp1252"), "Save it as CSV UTF-8"),
    ):
        (images / "labels.csv").write_bytes(text)
        with pytest.raises(LabelsError, match=why):
            first_contact(tmp_path / "study", str(images), Wishes())


def test_ct_gets_its_window_and_preset(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for at in range(8):
        (folder / f"{at}.dcm").write_bytes(ct(at, patient=at // 2, BodyPartExamined="CHEST"))
    table(
        folder / "labels.csv", [{"patient": f"{CANARY}{at}", "finding": "yes" if at % 2 else "no"} for at in range(4)]
    )
    first_contact(tmp_path / "study", str(folder), Wishes())
    params = load(tmp_path / "study/params.yaml")
    assert (params.preprocess.window, params.augment.preset, params.preprocess.size) == ("lung", "ct", 128)
    assert params.study.positive == "yes" and params.study.unit == "patient"
    assert (params.model.name, params.model.weights) == ("efficientnet-lite0", "imagenet")
    assert "# 8 images are few to learn seeing from" in (tmp_path / "study/params.yaml").read_text()


def test_parts_that_a_table_names_are_the_studys(tmp_path: Path) -> None:
    names = [f"{part}/{at}.png" for part in ("train", "validation", "test") for at in range(4)]
    pictures(tmp_path / "in", names)
    rows = [
        {"path": name, "set": name.split("/")[0], "label": ["benign", "ill"][at % 2]} for at, name in enumerate(names)
    ]
    table(tmp_path / "in/labels.csv", rows)
    study = tmp_path / "study"
    first_contact(study, str(tmp_path / "in"), Wishes(each_image_is_a_patient=True))
    params = load(study / "params.yaml")
    assert (params.study.label, params.study.positive) == ("label", "ill")
    assert params.study.question == "Does this image show ill?"
    assert (params.split.column, params.split.validation, params.split.test) == ("set", 0, 0)
    for stage in ("ingest", "split"):
        done = run_stage(stage, study)
        assert done.returncode == 0, done.stdout + done.stderr
    parts = pd.read_parquet(study / "artifacts/parts.parquet")
    assert parts["part"].value_counts().to_dict() == {"train": 4, "validation": 4, "test": 4}


def test_volumes_are_the_samples_and_folders_of_masks_no_classes(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        for at in range(6):
            voxels = np.random.default_rng(at).integers(0, 99, (40, 30, 20), np.int16)
            Nifti1Image(voxels, np.diag([1.0, 1, 2, 1])).to_filename(tmp_path / "in" / folder / f"{at}.nii.gz")
    with pytest.raises(LabelsError, match="no table"):
        first_contact(tmp_path / "study", str(tmp_path / "in"), Wishes())
    rows = [{"path": f"{at}.nii.gz", "patient": f"{CANARY}{at}", "stage": "abc"[at % 3]} for at in range(6)]
    table(tmp_path / "in/images/labels.csv", rows)
    first_contact(tmp_path / "study", str(tmp_path / "in/images"), Wishes())
    params = load(tmp_path / "study/params.yaml")
    assert (params.ingest.sample, params.preprocess.size, params.preprocess.orientation) == ("volume", 64, "SPL")
    assert params.study.question == "Which stage does this volume show?"


def test_without_a_word_about_labels_and_where_something_is_there_it_makes_nothing(tmp_path: Path) -> None:
    pictures(tmp_path / "in", ["a.png", "b.png"])
    with pytest.raises(LabelsError, match="no table"):
        first_contact(tmp_path / "study", str(tmp_path / "in"), Wishes())
    assert not (tmp_path / "study").exists()
    with pytest.raises(ParamsError, match="holds something"):
        first_contact(tmp_path / "in", str(tmp_path / "in"), Wishes())
    assert len(list((tmp_path / "in").iterdir())) == 2
