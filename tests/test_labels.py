import pytest

from medimg.errors import LabelsError
from medimg.labels import read_labels


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return lambda text: (tmp_path / "data" / "labels.csv").write_text(text, encoding="utf-8-sig")


def test_rows_are_found_by_path(table):
    table("path,patient,sex,finding\na.png,P1,F, 1 \nb.png,P2,,\n")
    labels = read_labels("finding")
    assert labels.of("a.png", None) == {"patient": "P1", "sex": "F", "age": None, "site": None, "label": "1"}
    assert labels.of("b.png", None)["label"] is None
    assert labels.of("c.png", None) == {}


def test_without_a_path_column_rows_are_found_by_patient(table):
    table("patient,finding\nP1,1\n")
    assert read_labels("finding").of("any.dcm", "P1")["label"] == "1"
    assert read_labels("finding").of("any.dcm", None) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "path,patient,findings\na,P1,1\n",
            "no column 'finding'.*columns are: path, patient, findings.*Did you mean findings",
        ),
        ("file,finding\na,1\n", "needs a column path or patient"),
        ("path,finding\na,1\na,0\n", "1 values of 'path' with rows that contradict"),
        ("", "not a CSV table"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(table, text, words):
    table(text)
    with pytest.raises(LabelsError, match=words):
        read_labels("finding")


def test_a_missing_table_says_how_to_bring_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LabelsError, match=r"medimg import IMAGES --labels labels.csv"):
        read_labels("finding")


def test_a_repeated_row_is_one(table):
    table("path,finding\na,1\na,1\n")
    assert read_labels("finding").of("a", None)["label"] == "1"
