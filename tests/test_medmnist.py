"""The command that fills the table of published results reads the files of a study."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from studies import ROOT

from benchmarks.studies.medmnist import PUBLISHED, main, scores
from medimg.errors import DataError
from medimg.records import PARTS, PARTS_SCHEMA, PREDICTIONS, Predictions, write_predictions, write_table


def test_a_class_is_the_most_probable_and_findings_are_averaged() -> None:
    classes = np.array([[0.0], [1], [2], [2]])
    given = np.array([[0.8, 0.1, 0.1], [0.5, 0.4, 0.1], [0.1, 0.2, 0.7], [0.2, 0.2, 0.6]])
    assert scores(classes, given) == (1.0, 0.75)
    findings = np.array([[0.0, 1], [1, 0], [1, 1], [0, 0]])
    assert scores(findings, np.abs(findings - 0.4)) == (1.0, 1.0)
    assert scores(findings, np.column_stack([findings[:, 0], 1 - findings[:, 1]])) == (0.5, 0.5)


def test_the_row_is_what_scikit_learn_says_of_the_test_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "breastmnist"
    (study / "artifacts").mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", study)
    random = np.random.default_rng(2)
    truth = random.integers(0, 2, (60, 1)).astype(float)
    logits = truth + random.normal(size=truth.shape)
    names = [f"{at:016x}" for at in range(60)]
    part = np.array(["test"] * 40 + ["validation"] * 20)
    rows = pd.DataFrame({"sample": names, "patient": names, "study": None, "part": part, "fold": None, "weights": "w"})
    probabilities = 1 / (1 + np.exp(-logits))
    write_predictions(Predictions(rows, truth, logits, probabilities), study / PREDICTIONS)
    with pytest.raises(DataError):  # nothing says who is in which part
        main([str(study)])
    table = pd.DataFrame({name: [None] * 60 for name in PARTS_SCHEMA.names})
    table["sample"], table["patient"], table["part"] = names, names, part
    table = pd.concat([table, table.tail(1).assign(sample="0" * 15 + "f", part="excluded")])
    write_table(study / PARTS, table, PARTS_SCHEMA)
    main([str(study)])
    auc = roc_auc_score(truth[:40, 0], logits[:40, 0])
    accuracy = ((logits[:40] > 0) == truth[:40]).mean()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(
        f"| `breastmnist` | 0.901 | 0.863 | {auc:.3f} | {accuracy:.3f} | resnet10, 96 pixels, 40 test"
    )
    assert last.endswith("1 left out |")


def test_the_page_shows_what_was_published() -> None:
    text = (ROOT / "docs/fetch.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+) \|", text, re.MULTILINE)
    assert {name: (float(auc), float(accuracy)) for name, auc, accuracy in rows} == PUBLISHED
