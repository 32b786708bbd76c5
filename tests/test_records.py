import pandas as pd
import pyarrow as pa
import pytest
from studies import ROOT

from medimg.errors import DataError, Refusal
from medimg.records import INDEX_SCHEMA, read_table, write_rows, write_table
from medimg.reference import files

SCHEMA = pa.schema([pa.field("sample", pa.string(), nullable=False), pa.field("age", pa.float64())])


def test_a_table_survives_and_is_byte_equal_whatever_index_it_had(tmp_path):
    table = pd.DataFrame({"age": [1.5, None], "sample": ["a", "b"]})
    write_table(tmp_path / "a", table, SCHEMA)
    write_table(tmp_path / "b", table.set_axis([7, 9]), SCHEMA)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    back = read_table(tmp_path / "a", SCHEMA)
    assert back["sample"].tolist() == ["a", "b"]
    assert back["age"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"sample": ["a"]}),
        pd.DataFrame({"sample": ["a"], "age": [1.0], "name": ["x"]}),
        pd.DataFrame({"sample": [None], "age": [1.0]}),
    ],
    ids=["a column missing", "a column too many", "a required value missing"],
)
def test_a_table_that_does_not_fit_its_schema_is_not_written(tmp_path, table):
    with pytest.raises(ValueError):
        write_table(tmp_path / "a", table, SCHEMA)
    assert not (tmp_path / "a").exists()


def test_a_missing_or_foreign_file_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="Run dvc repro"):
        read_table(tmp_path / "none", SCHEMA)
    write_table(tmp_path / "a", pd.DataFrame({"sample": ["a"]}), pa.schema([SCHEMA.field("sample")]))
    with pytest.raises(DataError, match="another version"):
        read_table(tmp_path / "a", SCHEMA)


def test_the_page_of_files_is_the_one_that_the_schema_writes():
    page = (ROOT / "docs/files.md").read_text()
    assert page == files()
    assert all(f"| `{name}` |" in page for name in INDEX_SCHEMA.names)
    assert all(code.sentence and f"| `{code.value}` | {code.sentence} |" in page for code in Refusal)


def test_rows_are_written_page_by_page_and_a_row_that_lacks_something_is_a_defect(tmp_path, monkeypatch):
    monkeypatch.setattr("medimg.records._PAGE", 2)
    write_rows(tmp_path / "a", ({"sample": str(number), "age": None} for number in range(5)), SCHEMA)
    assert read_table(tmp_path / "a", SCHEMA)["sample"].tolist() == list("01234")
    with pytest.raises(ValueError, match="rows have no sample"):
        write_rows(tmp_path / "a", [{"age": 1.0}], SCHEMA)
    assert len(read_table(tmp_path / "a", SCHEMA)) == 5
