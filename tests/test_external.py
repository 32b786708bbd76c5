"""A bundle on other data: frozen, each labelled patient in test, what the model knows left out."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from medimg import demo
from medimg.cli import main as command_line
from medimg.errors import DataError, LabelsError
from medimg.external import KNOWN, evaluate
from medimg.files import sha256_file
from medimg.records import mark, read_predictions

pytestmark = pytest.mark.slow


@pytest.fixture
def made(bundled: Path) -> Path:
    return bundled


@pytest.fixture
def bundle(made: Path) -> Path:
    return made / "artifacts/bundle"


def sealed(bundle: Path, copy: Path, **files: str) -> Path:
    """A copy of the bundle with other content of some files, under a seal that fits."""
    shutil.copytree(bundle, copy)
    about = yaml.safe_load((copy / "bundle.yaml").read_text())
    for name, text in files.items():
        path = next(path for path in copy.iterdir() if path.stem == name)
        path.write_text(text)
        about["sha256"][path.name] = sha256_file(path)
    (copy / "bundle.yaml").write_text(yaml.safe_dump(about))
    return copy


def subgroups(folder: Path) -> tuple[list[dict[str, object]], list[float]]:
    """Who the groups are, and what was measured of them."""
    groups = json.loads((folder / "subgroups.json").read_text())["groups"]
    values = [one["value"] for group in groups for one in group.pop("measures").values() if one["value"] is not None]
    return groups, values


def test_on_its_own_data_only_test_remains_and_nothing_has_changed(made: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluate(bundle, made / "data", out)
    here, there = (
        read_predictions(out / "predictions.parquet"),
        read_predictions(made / "artifacts/predictions.parquet"),
    )
    test = there.part("test")
    assert list(here.rows["sample"]) == list(test.rows["sample"])
    np.testing.assert_allclose(here.logits, test.logits, atol=1e-4)  # a batch holds other neighbours
    assert (out / "operating.yaml").read_bytes() == (made / "artifacts/evaluation/operating.yaml").read_bytes()
    (ours, values), (theirs, same) = map(subgroups, (out, made / "artifacts/evaluation"))
    assert ours == theirs and values == pytest.approx(same, abs=0.05)  # of a network at chance, ranks are near ties
    account = json.loads((out / "split.json").read_text())
    assert account["excluded"][KNOWN] >= len(there.part("validation"))
    assert list(account["parts"]) == ["test"]
    report = (out / "report.html").read_text()
    assert f"of the bundle {sha256_file(bundle / 'bundle.yaml')[:16]}" in report
    assert "had no say in them" in report and "not made: there is no train part" in report
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]  # the working folder is gone


def test_a_stranger_s_patients_are_all_predicted_at_the_frozen_threshold(
    made: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = sealed(bundle, tmp_path / "bundle", seen='{"images": [], "patients": []}')
    words = ["medimg", "evaluate", str(stranger), "--data", str(made / "data"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit, match="0"):
        command_line()
    assert "test patients" in capsys.readouterr().out
    here, there = (read_predictions(path / "predictions.parquet") for path in (tmp_path / "out", made / "artifacts"))
    parts = pd.read_parquet(made / "artifacts/parts.parquet")
    assert set(here.rows["sample"]) >= set(parts.loc[parts["part"] != "excluded", "sample"])
    assert here.rows["part"].eq("test").all()
    joined = there.rows.reset_index().merge(here.rows.reset_index(), on="sample", suffixes=("", "_here"))
    assert len(joined) == len(there)
    np.testing.assert_allclose(here.logits[joined["index_here"]], there.logits[joined["index"]], atol=1e-4)
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    threshold = yaml.safe_load((bundle / "operating.yaml").read_text())["thresholds"]["lesion"]["threshold"]
    assert (tmp_path / "out/operating.yaml").read_bytes() == (bundle / "operating.yaml").read_bytes()
    found = here.probabilities[:, 0] >= threshold
    truth = here.truth[:, 0] > 0
    assert metrics["test"]["sensitivity"]["value"] == pytest.approx(found[truth].mean(), abs=1e-6)
    assert metrics["test"]["specificity"]["value"] == pytest.approx((~found)[~truth].mean(), abs=1e-6)


def test_the_bundle_knows_images_and_patients_of_train_and_validation(made: Path, bundle: Path) -> None:
    seen = json.loads((bundle / "seen.json").read_text())
    table = pd.read_parquet(made / "artifacts/parts.parquet").merge(
        pd.read_parquet(made / "artifacts/index.parquet")[["sample", "pixel_sha256"]], on="sample"
    )
    for part, knows in {"train": True, "validation": True, "test": False}.items():
        rows = table[table["part"] == part]
        assert rows["patient"].map(mark).isin(seen["patients"]).eq(knows).all()
        assert rows["pixel_sha256"].map(mark).isin(seen["images"]).eq(knows).all()
    text = (bundle / "seen.json").read_text()
    assert not any(patient in text for patient in table["patient"])


def changed(bundle: Path, made: Path, what: str) -> tuple[Path, Path]:
    """Bundle and data with something amiss."""
    data = made / "data"
    if what == "no bundle":
        return data, data
    if what == "no data":
        return bundle, made / "nowhere"
    if what == "weights":
        with (bundle / "weights.safetensors").open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"\x01")
    about = yaml.safe_load((bundle / "bundle.yaml").read_text())
    if what == "version":
        about["medimg"] = "0.0.1"
    if what == "no positive":
        about["study"]["positive"] = "yes"
    if what == "no column":
        about["study"]["label"] = "nodule"
    (bundle / "bundle.yaml").write_text(yaml.safe_dump(about))
    return bundle, data


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("no bundle", "There is no bundle in"),
        ("no data", "There is no folder"),
        ("weights", "is not the file that"),
        ("version", "made by medimg 0.0.1"),
        ("no positive", "no positive image among them"),
        ("no column", "has no column nodule.*--label NAME"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    what: str, sentence: str, made: Path, bundle: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    with pytest.raises(DataError, match=sentence):
        evaluate(*changed(copy, made, what), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_folder_that_holds_something_and_labels_that_no_import_brought(
    made: Path, bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="holds something already"):
        evaluate(bundle, made / "data", made)
    demo.write(tmp_path / "data")
    labels = tmp_path / "data/labels.csv"
    pd.read_csv(labels, dtype=str).rename(columns={"lesion": "nodule"}).to_csv(labels, index=False)
    with pytest.raises(DataError, match="import"):
        evaluate(bundle, tmp_path / "data", tmp_path / "out", label="nodule")
    with pytest.raises(LabelsError, match="no column lesion"):
        evaluate(bundle, tmp_path / "data", tmp_path / "out", allow_unverified=True)
    evaluate(bundle, tmp_path / "data", tmp_path / "out", label="nodule", allow_unverified=True)
    assert "did not come through an import" in (tmp_path / "out/report.html").read_text()
