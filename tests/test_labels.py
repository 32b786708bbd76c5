import json

import pytest

from medimg.errors import LabelsError
from medimg.labels import KEYS, read_labels


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return lambda text: (tmp_path / "data" / "labels.csv").write_text(text, encoding="utf-8-sig")


def test_rows_are_found_by_path(table):
    table("path,patient,sex,finding\na.png,P1,F, 1 \nb.png,P2,,\n")
    labels = read_labels("finding")
    none = {"age": None, "site": None, "mask": None}
    assert labels.of("a.png") == {"patient": "P1", "sex": "F", "label": "1"} | none
    assert labels.of("b.png")["label"] is None
    assert labels.of("c.png") == {}
    assert labels.of(None) == {}


def test_sex_is_said_as_the_index_says_it(table):
    table("path,sex,finding\na,female,1\nb,M,1\nc,unknown,1\n")
    labels = read_labels("finding")
    assert [labels.of(key)["sex"] for key in "abc"] == ["F", "M", None]


def test_rows_that_do_not_say_whose_they_are_are_counted_and_empty_ones_are_not(table):
    table("path,patient,finding\na,P1,1\n,P2,1\n,,\n")
    labels = read_labels("finding")
    assert (labels.count(), labels.keyless, labels.keyless_names()) == (2, 1, ["line 3"])


@pytest.mark.parametrize("key", KEYS)
def test_rows_are_found_by_each_kind_of_key(table, key):
    table(f"{key},finding\n1.2.3,1\n")
    labels = read_labels("finding")
    assert labels.key == key
    assert labels.of("1.2.3")["label"] == "1"


def test_the_finest_key_counts_unless_another_is_named(table):
    table("patient,series,finding\nP1,1.2,1\n")
    assert read_labels("finding").key == "series"
    assert read_labels("finding", key="patient").of("P1")["label"] == "1"
    with pytest.raises(LabelsError, match=r"needs the column study, which ingest.labels_key names"):
        read_labels("finding", key="study")


def test_several_columns_are_one_json_object(table):
    table("path,b,a\nx,1,\ny,,\n")
    labels = read_labels(("a", "b"))
    assert json.loads(labels.of("x")["label"]) == {"a": None, "b": "1"}
    assert labels.of("y")["label"] is None


def test_rows_that_nobody_asked_for_and_rows_that_contradict_are_named_by_line_or_path(table):
    table("patient,finding\nDoe^John,1\nP2,1\nP2,0\nP3,1\n")
    labels = read_labels("finding", contradictions="drop")
    assert labels.of("P2") == {}
    assert labels.of("P3")["label"] == "1"
    assert [labels.name(key) for key in labels.unused()] == ["line 2"]
    assert [labels.name(key) for key in labels.contradicting()] == ["line 3"]
    with pytest.raises(LabelsError, match=r"contradict each other: line 3\. Leave one") as caught:
        read_labels("finding")
    assert "P2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "path,patient,findings\na,P1,1\n",
            "no column 'finding'.*columns are: path, patient, findings.*Did you mean findings",
        ),
        ("file,finding\na,1\n", "needs a column path or instance or series or study or patient"),
        ("path,finding\na,1\na,0\n", "1 values of 'path' with rows that contradict"),
        ("", "not a CSV table"),
        ("path,finding\na,1,2\n", "line 2 has more cells"),
        ("path,finding,finding\na,1,2\n", "more than one column finding"),
        ("path;patient;finding\na;P1;1\n", "by semicolons or tabs"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(table, text, words):
    table(text)
    with pytest.raises(LabelsError, match=words):
        read_labels("finding")


def test_a_missing_table_says_how_to_bring_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LabelsError, match=r"medimg import IMAGES --labels \.\./labels\.csv"):
        read_labels("finding")


def test_a_repeated_row_is_one(table):
    table("path,finding\na,1\na,1\n")
    assert read_labels("finding").of("a")["label"] == "1"
