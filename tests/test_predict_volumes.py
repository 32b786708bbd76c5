"""New volumes through a bundle: the scores of the predict stage, whatever way the files come, and what is refused."""

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import yaml
from monaibundle import run_monai
from orthanc import PASSWORD, USER, Orthanc, needs_orthanc, orthanc
from pydicom import dcmread
from studies import run_medimg, shares
from volumes import CANARY, PATIENTS, SLICES, make_study, write_hospital

from cluster.local import local_cluster
from medimg.border.locate import Options
from medimg.export.monai_bundle import export_monai
from medimg.predict import predict
from medimg.records import read_predictions

pytestmark = pytest.mark.slow
FEW = 4
"""series of which a hospital holds copies in most tests"""


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospital") / "all"
    write_hospital(folder)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, hospital: Path) -> Path:
    folder = tmp_path_factory.mktemp("volumes") / "study"
    make_study(folder, hospital)
    return folder


@pytest.fixture
def few(hospital: Path, tmp_path: Path) -> Path:
    """Some series and a NIfTI file."""
    folder = tmp_path / "few"
    for patient in range(FEW):
        shutil.copytree(hospital / f"{CANARY}-{patient}", folder / f"{patient}")
    shutil.copy(hospital / "n5.nii.gz", folder)
    return folder


def everything(folder: Path) -> bytes:
    return b"".join(str(path).encode() + path.read_bytes() for path in folder.rglob("*") if path.is_file())


def scores(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "predictions.parquet").set_index("sample")


def test_volumes_get_the_scores_of_the_predict_stage_and_those_of_one_batch_bit_for_bit(
    hospital: Path, study: Path, tmp_path: Path
) -> None:
    there = read_predictions(study / "artifacts/predictions.parquet")
    known = pd.Series(there.probabilities[:, 0], index=there.rows["sample"])
    done = predict([str(hospital)], study / "artifacts/bundle", tmp_path / "all")
    every = scores(tmp_path / "all")
    assert done.scored == len(every) == len(pd.read_parquet(study / "artifacts/index.parquet"))
    assert done.not_images == 1 and not done.refused  # labels.csv
    assert (every["patient"].loc[there.rows["sample"]].to_numpy() == there.rows["patient"].to_numpy()).all()
    np.testing.assert_allclose(every["probability"].loc[known.index], known, atol=1e-5, rtol=0)
    index = pd.read_parquet(study / "artifacts/index.parquet").set_index("sample")
    test = there.rows.loc[there.rows["part"] == "test", "sample"]
    whose = set(index.loc[test, "patient"])
    shutil.copytree(study / "data", tmp_path / "data")
    for path in (tmp_path / "data/images").iterdir():
        if path.name not in whose:
            shutil.rmtree(path)
    predict([str(tmp_path / "data")], study / "artifacts/bundle", tmp_path / "test")
    assert (scores(tmp_path / "test")["probability"].loc[test] == known.loc[test]).all()


def test_the_way_in_which_files_come_changes_nothing_and_nobody_is_named(
    few: Path, study: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in sorted(few.rglob("*.*"), reverse=True):
            archive.write(path, path.relative_to(few).as_posix())
    files = [str(path) for path in sorted(few.rglob("*.*"), key=lambda path: path.name)]
    for name, typed in {"folder": [str(few)], "zip": [str(tmp_path / "all.zip")], "files": files}.items():
        done = predict(typed, study / "artifacts/bundle", tmp_path / name, processes=1 if name == "zip" else 2)
        assert (done.what, done.scored) == ("volumes", FEW + 1)
        assert everything(tmp_path / name).replace(f"/{name}/".encode(), b"") == everything(
            tmp_path / "folder"
        ).replace(b"/folder/", b"")
    assert CANARY.encode() not in everything(tmp_path / "zip")


def test_reports_and_pictures_are_about_every_slice(few: Path, study: Path, tmp_path: Path) -> None:
    predict(
        [str(few)], study / "artifacts/bundle", tmp_path / "out",
        identified=tmp_path / "named", reports=True, pictures=True, maps=True,
    )  # fmt: skip
    assert CANARY.encode() not in everything(tmp_path / "out")
    table = scores(tmp_path / "out")
    assert len(list((tmp_path / "out/heatmaps").glob("*.png"))) == len(table) == FEW + 1
    maps = [nibabel.load(path) for path in (tmp_path / "out/maps").glob("*.nii.gz")]
    assert {one.shape for one in maps} == {(18, 20, SLICES)} and len(maps) == len(table)
    assert any(np.array_equal(one.affine, nibabel.load(few / "n5.nii.gz").affine) for one in maps)
    tops = [np.asarray(one.dataobj).max() for one in maps]
    assert all(top == 0 or top > 127 for top in tops)  # 0: nothing in it speaks for the answer
    reports = [dcmread(path) for path in (tmp_path / "named/sr").glob("*.dcm")]
    assert len(reports) == len(list((tmp_path / "out/sr").glob("*.dcm"))) == FEW
    slices = {path.parent.name: set() for path in few.rglob("*.dcm")}
    for path in few.rglob("*.dcm"):
        slices[path.parent.name].add(dcmread(path).SOPInstanceUID)
    evidence = [
        {one.ReferencedSOPInstanceUID for one in report.CurrentRequestedProcedureEvidenceSequence[0]
         .ReferencedSeriesSequence[0].ReferencedSOPSequence}
        for report in reports
    ]  # fmt: skip
    assert sorted(map(sorted, evidence)) == sorted(map(sorted, slices.values()))
    captures = [dcmread(path) for path in (tmp_path / "named/heatmaps").glob("*.dcm")]
    assert {len(one.SourceImageSequence) for one in captures} == {SLICES} and len(captures) == FEW
    assert captures[0].pixel_array.shape == (32, 64, 3)
    named = pd.read_csv(tmp_path / "named/predictions.csv")
    assert set(named["series_uid"].dropna()) == {f"1.2.8.{patient}" for patient in range(FEW)}


def test_what_is_no_volume_like_the_others_is_refused_file_by_file(few: Path, study: Path, tmp_path: Path) -> None:
    changed = sorted((few / "0").iterdir())
    for path in changed:
        file = dcmread(path)
        file.Modality = "CT"
        file.save_as(path)
    (few / "1/1.dcm").unlink()
    broken = (few / "2/1.dcm").read_bytes()
    (few / "2/1.dcm").write_bytes(broken[: len(broken) - 100])
    other = dcmread(few / "3/4.dcm")
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(few / "3/again.dcm")  # the same instance, other pixels
    shutil.copy(few / "n5.nii.gz", few / "copy.nii.gz")
    done = predict([str(few)], study / "artifacts/bundle", tmp_path / "out")
    assert done.scored == 1
    # The end slice of a stack is no gap; here one is lost from the middle of each.
    expected = {"unlike": SLICES, "truncated": 1, "conflict": 2, "missing-slice": 3 * (SLICES - 1)}
    assert done.refused == expected
    assert len(pd.read_csv(tmp_path / "out/refused.csv")) == sum(expected.values())


def test_monai_s_own_command_gives_the_same_answers_for_volumes(hospital: Path, study: Path, tmp_path: Path) -> None:
    for name in ("ignite", "fire"):
        pytest.importorskip(name)
    bundle, images = tmp_path / "bundle", tmp_path / "images"
    shutil.copytree(study / "artifacts/bundle", bundle)
    about = yaml.safe_load((bundle / "bundle.yaml").read_text())
    about["preprocess"] |= {"kernel": "monai", "spacing": 1.5, "fit": "pad"}
    (bundle / "bundle.yaml").write_text(yaml.safe_dump(about))
    images.mkdir()
    for path in hospital.glob("*.nii.gz"):
        shutil.copy(path, images)
    export_monai(bundle, tmp_path / "monai")
    there = run_monai(tmp_path / "monai", images)
    predict([str(images)], bundle, tmp_path / "ours", identified=tmp_path / "named")
    ours = pd.read_csv(tmp_path / "named/predictions.csv").set_index("file")["probability"].sort_index()
    assert list(there.index) == list(ours.index)
    np.testing.assert_allclose(there, ours, atol=1e-5, rtol=0)


def test_the_nodes_of_a_cluster_share_the_volumes_and_change_nothing(study: Path, tmp_path: Path) -> None:
    with local_cluster(2) as cluster:
        there = cluster.environment | {"RAY_ADDRESS": cluster.address}
        done = run_medimg("predict", "data", "--out", str(tmp_path / "there"), folder=study, **there)
    assert done.returncode == 0, done.stderr
    did = shares(done.stderr)
    assert len(did) == 2
    assert sum(did.values()) == PATIENTS
    predict([str(study / "data")], study / "artifacts/bundle", tmp_path / "here")
    assert everything(tmp_path / "there").replace(b"/there/", b"") == everything(tmp_path / "here").replace(
        b"/here/", b""
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, hospital: Path) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        for path in sorted(hospital.rglob("*.dcm"))[: 12 * SLICES]:
            running.ask("/instances", path.read_bytes())
        yield running


@needs_orthanc
def test_a_query_of_dicomweb_is_an_input(
    server: Orthanc, hospital: Path, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIMG_PACS_USER", USER)
    monkeypatch.setenv("MEDIMG_PACS_PASSWORD", PASSWORD)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "who.txt").write_text(f"{CANARY}-0\n")
    options = Options([f"PatientID=@{tmp_path / 'who.txt'}", "Modality=MR"], ca=server.ca)
    address = f"https://127.0.0.1:{server.tls}/dicom-web"
    done = predict([address], study / "artifacts/bundle", tmp_path / "web", options=options, reports=True)
    assert (done.scored, done.studies) == (1, 1)
    predict([str(hospital / f"{CANARY}-0")], study / "artifacts/bundle", tmp_path / "folder")
    assert scores(tmp_path / "web").equals(scores(tmp_path / "folder"))
    assert CANARY.encode() not in everything(tmp_path / "web")
    waiting = [
        path for path in tmp_path.rglob("*") if path.is_file() and "medimg-" in str(path) and path.stat().st_size
    ]
    assert {path.suffix for path in waiting} == {".lock"}  # of --out, with the number of the process
    assert all(path.read_text().isdigit() for path in waiting)
