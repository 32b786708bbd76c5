"""New images through a bundle: the scores of the predict stage, pseudonyms, flags, and what a bad file does."""

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from pydicom import Dataset, dcmread
from studies import import_folder

from medimg.cli import main as command_line
from medimg.errors import DataError
from medimg.predict import predict
from medimg.predict.inputs import Job
from medimg.predict.score import in_order
from medimg.records import read_predictions

pytestmark = pytest.mark.slow
CANARY = "Zaphodia^Canarius"


@pytest.fixture(scope="module")
def bundle(bundled: Path) -> Path:
    return bundled / "artifacts/bundle"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory, bundled: Path) -> Path:
    """Twelve of the demo's files as a hospital would hold them, named after a patient."""
    folder = tmp_path_factory.mktemp("hospital") / CANARY
    folder.mkdir()
    bad = set(pd.read_csv(bundled / "artifacts/quarantine.csv")["path"])
    paths = [
        path for path in sorted(bundled.glob("data/images/*/*.dcm")) if path.as_posix().split("data/")[1] not in bad
    ]
    for number, path in enumerate(paths[:12]):
        file = dcmread(path)
        file.PatientName, file.PatientID = CANARY, f"{CANARY}-{number // 2}"
        file.AccessionNumber = f"ACC{number}"
        file.save_as(folder / f"{CANARY}-{number}.dcm")
    shutil.copy(next((bundled / "data/images").rglob("*.png")), folder / f"{CANARY}.png")
    return folder


def everything(folder: Path) -> bytes:
    return b"".join(str(path).encode() + path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_the_study_s_own_images_get_the_scores_of_the_predict_stage(
    bundled: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bundled)
    monkeypatch.setattr("sys.argv", ["medimg", "predict", "data", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="0"):
        command_line()
    told = capsys.readouterr()
    assert "451 images scored" in told.out and "1 truncated" in told.out
    here = pd.read_parquet(tmp_path / "out/predictions.parquet").set_index("sample")
    there = read_predictions(bundled / "artifacts/predictions.parquet")
    same = here.loc[there.rows["sample"]]
    np.testing.assert_allclose(same["probability"], there.probabilities[:, 0], atol=1e-6, rtol=0)  # in other batches
    assert (same["patient"].to_numpy() == there.rows["patient"].to_numpy()).all()
    threshold = yaml.safe_load((bundle / "operating.yaml").read_text())["thresholds"]["lesion"]["threshold"]
    assert ((here["decision"] == "positive") == (here["probability"] >= threshold)).all()
    assert (here["flags"] != "").mean() < 0.05
    test = here.loc[there.rows.loc[there.rows["part"] == "test", "sample"]]
    flagged = int((test["flags"] != "").sum())
    assert f"({flagged} of the {len(test)} of the study's test part would be)" in told.out
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["scored"] == len(here) and summary["thresholds"]["lesion"] == threshold


def test_a_hospital_s_files_have_the_names_and_scores_that_an_import_would_give_them(
    hospital: Path, bundle: Path, tmp_path: Path
) -> None:
    import_folder(hospital, None, tmp_path / "data", each_image_is_a_patient=True)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in hospital.iterdir():
            archive.write(path, path.name)
    files = [str(path) for path in hospital.iterdir()]
    for name, typed in {
        "raw": [str(hospital)],
        "imported": [str(tmp_path / "data")],
        "zip": [str(tmp_path / "all.zip")],
        "files": files,
    }.items():
        predict(typed, bundle, tmp_path / name)
    raw = (tmp_path / "raw/predictions.parquet").read_bytes()
    for name in ("imported", "zip", "files"):
        assert (tmp_path / name / "predictions.parquet").read_bytes() == raw
    assert CANARY.encode() not in everything(tmp_path / "raw")
    assert len(pd.read_parquet(tmp_path / "raw/predictions.parquet")["patient"].unique()) == 7


def test_names_are_told_only_in_a_folder_of_their_own_outside_the_study(
    hospital: Path, bundle: Path, bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict([str(hospital)], bundle, tmp_path / "out", identified=tmp_path / "named")
    assert CANARY.encode() not in everything(tmp_path / "out")
    named = pd.read_csv(tmp_path / "named/predictions.csv")
    assert set(named["file"]) == {path.name for path in hospital.iterdir()}
    assert set(named["patient_id"].dropna()) == {f"{CANARY}-{number}" for number in range(6)}
    assert set(named["accession"].dropna()) == {f"ACC{number}" for number in range(12)}
    assert (
        named.set_index("sample")["probability"].sort_index().tolist()
        == pd.read_csv(tmp_path / "out/predictions.csv")["probability"].tolist()
    )
    assert (tmp_path / "named").stat().st_mode & 0o077 == 0
    monkeypatch.chdir(bundled)
    for place in (bundled / "named", tmp_path / "other/named"):
        with pytest.raises(DataError, match="names of patients"):
            predict([str(hospital)], bundle, tmp_path / "other", identified=place)
    assert not (bundled / "named").exists()


def test_what_is_unlike_the_training_data_is_refused_or_flagged_and_a_bad_file_stops_nothing(
    hospital: Path, bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    shutil.copytree(hospital, folder)
    paths = sorted(folder.glob("*.dcm"))
    file = dcmread(paths[0])
    file.Modality = "CT"
    file.save_as(paths[0])
    file = dcmread(next(path for path in paths[1:] if dcmread(path).file_meta.TransferSyntaxUID.is_compressed is False))
    noise = np.random.default_rng(0).integers(0, 2**12, (file.Rows, file.Columns), np.uint16)
    file.PixelData, file.ViewPosition = noise.tobytes(), "LL"
    file.save_as(folder / "noise.dcm")
    (folder / "broken.dcm").write_bytes(paths[1].read_bytes()[:900])
    (folder / "notes.txt").write_text(CANARY)
    (folder / "more.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    (folder / "slide.tif").write_bytes(b"II*\0" + bytes(100))
    done = predict([str(folder)], bundle, tmp_path / "out")
    assert [done.refused[code] for code in ("packed", "unlike", "unsupported")] == [1, 1, 1]
    assert sum(done.refused.values()) == 4 and done.not_images == 1
    table = pd.read_csv(tmp_path / "out/predictions.csv", keep_default_na=False)
    assert table["flags"].str.contains("view").sum() == 1
    assert CANARY.encode() not in everything(tmp_path / "out")
    every = predict([str(folder)], bundle, tmp_path / "all", score_all=True)
    assert every.scored == done.scored + 1
    flags = pd.read_csv(tmp_path / "all/predictions.csv", keep_default_na=False)["flags"]
    assert flags.str.contains("modality").sum() == 1


@pytest.mark.parametrize(
    ("what", "sentence"),
    [("nothing", "There is no file or folder"), ("text", "No image could be scored"), ("full", "holds something")],
)
def test_what_cannot_be_is_refused_in_a_sentence(what: str, sentence: str, bundle: Path, tmp_path: Path) -> None:
    typed = tmp_path / "in.txt"
    if what != "nothing":
        typed.write_text("no image")
    if what == "full":
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine").touch()
    with pytest.raises(DataError, match=sentence):
        predict([str(typed)], bundle, tmp_path / "out")
    assert not (tmp_path / "out/summary.json").exists()


def test_decisions_about_patients_join_their_images(bundled: Path, bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    about = yaml.safe_load((copy / "bundle.yaml").read_text())
    about["study"]["unit"] = "patient"
    (copy / "bundle.yaml").write_text(yaml.safe_dump(about))
    predict([str(bundled / "data")], copy, tmp_path / "out")
    images, units = (pd.read_parquet(tmp_path / f"out/{name}.parquet") for name in ("predictions", "units"))
    assert len(units) == images["patient"].nunique() and units["images"].sum() == len(images)
    mean = images.groupby("patient")["probability"].mean()
    np.testing.assert_allclose(units.set_index("patient")["probability"], mean, atol=1e-12)
    joined = images.merge(units, on="patient", suffixes=("", "_unit"))
    assert (joined["decision"] == joined["decision_unit"]).all()


def test_results_that_come_in_any_order_leave_in_that_of_the_jobs() -> None:
    jobs = [Job(number, None) for number in range(50)]  # type: ignore[arg-type]
    order = np.random.default_rng(1).permutation(50)
    assert [job.number for job, _ in in_order((jobs[at], None) for at in order)] == list(range(50))


def documents(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.dcm"))


def test_reports_and_pictures_say_what_the_table_says_under_pseudonyms_and_with_names_elsewhere(
    hospital: Path, bundle: Path, tmp_path: Path
) -> None:
    for run in ("one", "two"):
        predict(
            [str(hospital)],
            bundle,
            tmp_path / run,
            identified=tmp_path / f"{run}-named",
            reports=True,
            pictures=True,
            maps=True,
            processes=1 if run == "one" else 2,
        )
    assert everything(tmp_path / "one").replace(b"/one/", b"/two/") == everything(tmp_path / "two")
    assert CANARY.encode() not in everything(tmp_path / "one")
    table = pd.read_csv(tmp_path / "one/predictions.csv").set_index("sample")
    assert len(list((tmp_path / "one/heatmaps").glob("*.png"))) == len(table) == 13
    maps = {path.stem: Image.open(path).size for path in (tmp_path / "one/maps").glob("*.png")}
    assert sorted(maps) == sorted(table.index)
    sizes = [(one.Columns, one.Rows) for one in map(dcmread, hospital.glob("*.dcm"))]
    assert sorted(maps.values()) == sorted([*sizes, Image.open(next(hospital.glob("*.png"))).size])
    probabilities = []
    for path in documents(tmp_path / "one/sr"):
        report = dcmread(path)
        assert report.VerificationFlag == "UNVERIFIED" and report.Modality == "SR"
        assert "For research use only" in report.to_json() and report.PatientID in set(table["patient"])
        probabilities += values(report)
    dicom = table[table["study"].notna()]
    np.testing.assert_allclose(sorted(probabilities), sorted(dicom["probability"]), rtol=1e-9)
    captures = [dcmread(path) for path in documents(tmp_path / "one/heatmaps")]
    assert len(captures) == 12 and all(one.PatientID in set(table["patient"]) for one in captures)
    assert captures[0].pixel_array.shape == (32, 64, 3) and "Research use only" in captures[0].DerivationDescription
    own = [dcmread(path) for path in documents(tmp_path / "one-named")]
    assert {str(one.PatientName) for one in own} == {CANARY}
    originals = {dcmread(path).SOPInstanceUID for path in hospital.glob("*.dcm")}
    named = [one for one in own if one.Modality != "SR"]
    assert {one.SourceImageSequence[0].ReferencedSOPInstanceUID for one in named} == originals


def values(report: Dataset) -> list[float]:
    found = []
    for item in report.get("ContentSequence", []):
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "PROBABILITY":
            found.append(float(item.MeasuredValueSequence[0].NumericValue))
        found += values(item)
    return found


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_dciodvfy_finds_no_error_in_reports_and_pictures(hospital: Path, bundle: Path, tmp_path: Path) -> None:
    predict([str(hospital)], bundle, tmp_path / "out", reports=True, pictures=True)
    written = documents(tmp_path / "out")
    assert len(written) > 12
    for path in written:
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False)
        assert not [line for line in done.stderr.splitlines() if line.startswith("Error")], done.stderr
