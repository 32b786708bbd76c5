"""The pipeline as DVC runs it, on the demo study, small and short."""

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from studies import ROOT, copy_study, run_dvc, set_params

from medimg.errors import DataError
from medimg.files import sha256_file
from medimg.inference import load_network

STAGES = ["ingest", "split", "preprocess", "preview", "train", "predict", "evaluate", "bundle"]
SMALL = {"preprocess": {"size": 32}, "train": {"max_epochs": 1}}


def git(folder, *words):
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def ran(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return [stage for stage in STAGES if f"Running stage '{stage}'" in done.stdout]


@pytest.fixture(scope="module")
def study(tmp_path_factory, demo_data):
    """The demo study after one ``dvc repro``, committed."""
    folder = tmp_path_factory.mktemp("dag") / "study"
    copy_study(folder, demo_data)
    set_params(folder, **SMALL)
    git(folder, "init", "--quiet")
    assert run_dvc(folder, "add", "--quiet", "data").returncode == 0
    assert sorted(ran(run_dvc(folder, "repro"))) == sorted(STAGES)
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def test_every_output_is_in_its_place(study):
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for stage in stages.values():
        for out in [*stage["outs"], *stage.get("metrics", [])]:
            path = study / (next(iter(out)) if isinstance(out, dict) else out)
            assert path.exists()
    assert not [path for path in study.rglob(".partial-*") if ".dvc" not in path.parts]


def test_nothing_touched_nothing_runs(study):
    done = run_dvc(study, "repro")
    assert ran(done) == []
    assert "up to date" in done.stdout


def test_each_validation_and_test_image_is_predicted_exactly_once(study):
    parts = pd.read_parquet(study / "artifacts/parts.parquet")
    predictions = pd.read_parquet(study / "artifacts/predictions.parquet")
    assert predictions["sample"].is_unique
    expected = parts[parts["part"].isin(["validation", "test"])]
    joined = predictions.merge(expected, on=["sample", "patient", "part"])
    assert len(joined) == len(predictions) == len(expected)
    assert set(predictions["weights"]) == {sha256_file(study / "artifacts/weights/weights.safetensors")}
    assert predictions[predictions["part"] == "test"]["patient"].nunique() >= 90


def test_the_bundle_holds_what_its_seal_says(study):
    bundle = study / "artifacts/bundle"
    about = yaml.safe_load((bundle / "bundle.yaml").read_text())
    assert {path.name for path in bundle.iterdir()} == {*about["sha256"], "bundle.yaml"}
    assert {name: sha256_file(bundle / name) for name in about["sha256"]} == about["sha256"]
    assert about["preprocess"]["size"] == 32
    assert about["study"]["label"] == "lesion"


def test_no_patient_is_in_two_parts(study):
    parts = pd.read_parquet(study / "artifacts/parts.parquet")
    drawn = parts[parts["part"] != "excluded"]
    assert drawn.groupby("patient")["part"].nunique().max() == 1
    ledger = pd.read_csv(study / "splits.csv")
    assert ledger["patient"].is_unique
    assert set(drawn["patient"]) == set(ledger["patient"])


@pytest.mark.parametrize("words", [("metrics", "show"), ("plots", "show"), ("dag",), ("metrics", "diff")])
def test_dvcs_own_commands_work(study, words):
    done = run_dvc(study, *words)
    assert done.returncode == 0, done.stderr
    if words == ("metrics", "show"):
        metrics = json.loads((study / "artifacts/evaluation/metrics.json").read_text())
        assert "headline.value" in done.stdout
        assert f"{metrics['headline']['value']:.5g}" in done.stdout


def test_weights_that_are_not_the_ones_of_model_yaml_are_refused(study, tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(study / "artifacts/weights", folder)
    load_network(folder)
    with (folder / "weights.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(DataError, match="is not the file that"):
        load_network(folder)


def touch(path):
    path.write_text(path.read_text() + "\n# a line more\n")


@pytest.mark.parametrize(
    ("file", "stale"),
    [
        ("medimg/evaluation/words.py", {"evaluate"}),
        ("medimg/bundle.py", {"bundle"}),
        ("medimg/training/launch.py", {"train"}),
        ("medimg/augment/apply.py", {"preview", "train"}),
        ("medimg/images/dicom.py", {"ingest", "preprocess", "preview"}),
        ("medimg/errors.py", set()),
        ("medimg/cli/__init__.py", set()),
    ],
)
def test_a_change_to_code_makes_stale_the_stages_that_it_decides_and_no_other(study, file, stale):
    before = (study / file).read_text()
    touch(study / file)
    done = run_dvc(study, "status", "--json")
    (study / file).write_text(before)
    changed = json.loads(done.stdout)
    direct = {stage for stage, changes in changed.items() if file.startswith(tuple(_dependencies(changes)))}
    assert direct == stale


def _dependencies(changes):
    return [name for change in changes if "changed deps" in change for name in change["changed deps"]]


def test_a_change_in_evaluation_runs_evaluate_again_and_not_the_training(study, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    touch(folder / "medimg/evaluation/words.py")
    stages = ran(run_dvc(folder, "repro"))
    assert "evaluate" in stages
    assert set(stages) <= {"evaluate", "bundle"}


def test_a_parameter_can_be_tried_as_an_experiment(study, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    done = run_dvc(folder, "exp", "run", "--set-param", "evaluate.threshold.rule=sensitivity")
    assert ran(done) == ["evaluate", "bundle"]
    assert (
        yaml.safe_load((folder / "artifacts/evaluation/operating.yaml").read_text())["thresholds"]["lesion"]["rule"]
        == "sensitivity"
    )


@pytest.mark.slow
def test_the_demo_study_as_it_stands_is_learned(tmp_path, demo_data):
    folder = tmp_path / "study"
    copy_study(folder, demo_data)
    git(folder, "init", "--quiet")
    ran(run_dvc(folder, "repro"))
    metrics = json.loads((folder / "artifacts/evaluation/metrics.json").read_text())
    assert metrics["headline"]["value"] >= 0.85
    assert metrics["counts"]["test"]["patients"] >= 90
    workers = json.loads((folder / "artifacts/training/workers.json").read_text())
    assert len(workers) == 1
    assert Path(folder / "artifacts/preview.png").stat().st_size > 10_000


def test_curves_of_several_questions_are_drawn_apart(tmp_path):
    """DVC's own template joins all rows of a file into one line."""
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"plots": plots}))
    for name in ("pipelines", "artifacts/evaluation"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(ROOT / "pipelines/lines.json", tmp_path / "pipelines")
    rows = ["question,fpr,tpr,threshold", "mass,0,0,1", "mass,1,1,0", "fluid,0,0,1", "fluid,0,1,0.5", "fluid,1,1,0"]
    (tmp_path / "artifacts/evaluation/roc.csv").write_text("\n".join(rows) + "\n")
    run_dvc(tmp_path, "init", "--no-scm", "--quiet")
    done = run_dvc(tmp_path, "plots", "show", "--json")
    drawn = json.loads(done.stdout)["data"]["artifacts/evaluation/roc.csv"][0]["content"]
    assert drawn["encoding"]["color"]["field"] == "question" and drawn["encoding"]["order"] is None
    assert drawn["encoding"]["x"]["field"] == "fpr" and len(drawn["data"]["values"]) == 5
